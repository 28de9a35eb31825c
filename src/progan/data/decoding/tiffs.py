"""TIFF files of any layout: planes, tiles, signs, byte orders, 1 to 16 bits and all kinds of alpha.

Pillow knows some of these layouts only, and garbles planes of 16 bits.
"""

import io
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from progan.data.decoding.colors import ORIENTATION, Samples, scaled_to_8_bits
from progan.data.decoding.formats import check_size
from progan.data.decoding.tiff_data import SAVE, TiffPage
from progan.errors import DataError

HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of TIFF and BigTIFF files."""
_BYTEWISE = {1, 5, 8, 32773, 32946, 34925, 50000}  # none, LZW, Deflate, PackBits, Deflate, LZMA, Zstandard
_BY_PILLOW = {2, 3, 4, 6, 7, 32771}  # CCITT, JPEG, padded 16-bit rows: formats of their own
_OTHERS = {
    33003: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000", 34887: "LERC", 50001: "WebP", 50002: "JPEG XL",
    52546: "JPEG XL",
}  # fmt: skip
_COLORS: dict[int, tuple[str, int]] = {0: ("L", 1), 1: ("L", 1), 2: ("RGB", 3), 3: ("RGB", 1), 5: ("CMYK", 4)}
_OTHER_COLORS = {
    4: "a transparency mask",
    8: "CIE L*a*b*",
    9: "ICC L*a*b*",
    10: "ITU L*a*b*",
    32844: "LogL",
    32845: "LogLuv",
}
_RAW_COLORS = (32803, 34892)
_RAW = "a camera raw file; develop it to JPEG or to TIFF with 8 or 16 bits"


@dataclass(frozen=True, kw_only=True)
class Tiff(TiffPage):
    """First page of a TIFF file, and what its numbers mean."""

    @classmethod
    def opened(cls, data: bytes) -> "Tiff":
        """Read the tags of the first page.

        Raises:
            DataError: if it is a camera raw file, whose first page is a thumbnail.
        """
        tags = ImageFileDirectory_v2(data[: 16 if data[2:3] == b"+" or data[3:4] == b"+" else 8])
        file = io.BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        found = cls(data=data, tags=tags, order="<" if data[:2] == b"II" else ">")
        check_size(found.width, found.height)
        thumbnail = found.number(254, 0) & 1 and 330 in tags
        if thumbnail or 50706 in tags or data[8:10] == b"CR" or found.color in _RAW_COLORS:
            raise DataError(_RAW)
        return found

    @property
    def color(self) -> int:
        """PhotometricInterpretation."""
        return self.number(262, 1)

    @property
    def is_grey(self) -> bool:
        return self.color in (0, 1)

    @property
    def for_pillow(self) -> bool:
        """Whether Pillow has to convert the colors, too."""
        return self.compression in _BY_PILLOW or self.color == 6

    @property
    def is_deep(self) -> bool:
        """Whether it has 16 bits of which it does not say how many are used."""
        return self.white is None

    @property
    def white(self) -> int | None:
        """Number of full intensity, or None if the file does not say which part of 16 bits it uses."""
        if self.color == 3:
            return 255
        bits, maximum = self.number(258, 1), self.number(281, 0)
        if bits > 8 and 255 <= maximum < (1 << min(bits, 16)) - 1 and maximum & (maximum + 1) == 0:
            return maximum  # as cameras of 10 to 14 bits write it; other maxima are mere statistics
        return (1 << bits) - 1 if bits < 16 else None

    def check(self) -> None:
        """Refuse a layout that nothing here reads.

        Raises:
            DataError: with the layout and what to do.
        """
        if self.width < 1 or self.height < 1 or self.channels < 1:
            raise DataError("broken image (a TIFF without pixels)")
        if self.compression not in _BY_PILLOW and self.compression not in _BYTEWISE:
            kind = _OTHERS.get(self.compression, "unknown")
            raise DataError(f"a TIFF with compression {self.compression} ({kind}), which is not supported; {SAVE}")
        if self.color in _OTHER_COLORS:
            raise DataError(f"a TIFF whose colors are {_OTHER_COLORS[self.color]}; {SAVE}")
        if self.for_pillow:
            if self.planar:
                raise DataError(f"a TIFF with compression {self.compression} and separate planes; {SAVE}")
            return
        if self.color not in _COLORS:
            raise DataError(f"a TIFF with color space {self.color}; {SAVE}")
        formats, bits = set(self.numbers(339, [1])), self.numbers(258, [1])
        if formats & {3, 6}:
            raise DataError("floating-point pixels, whose range is not defined; save it with 8 or 16 bits")
        if len(set(bits)) > 1 or not (1 <= bits[0] <= 16 or bits[0] == 32):
            raise DataError(f"a TIFF with samples of {', '.join(map(str, bits))} bits; {SAVE}")
        if not formats <= {1, 2, 4}:
            raise DataError(f"a TIFF whose samples are of kind {min(formats)}; {SAVE}")
        if (self.color == 3 and bits[0] > 8) or self.channels < _COLORS[self.color][1]:
            raise DataError(
                f"a TIFF of color space {self.color} with {self.channels} samples of {bits[0]} bits; {SAVE}"
            )

    def samples(self) -> Samples:
        """Decode the page.

        Raises:
            DataError: if it is cut off, or its channels are not defined.
        """
        self.check()
        mode, colors = _COLORS[self.color]
        alpha, keep = self._alpha(colors)
        bits = self.number(258, 1)
        pixels = self.stored(bits)[..., keep]
        pixels, top = self._unsigned(pixels, bits)
        if self.color == 3:
            pixels = self._palette(pixels, bits)
        return Samples(
            pixels=pixels,
            mode=mode,
            white=self.white,
            top=top,
            alpha=alpha,
            inverted=self.color == 0,
            icc=self._profile(),
            orientation=self.number(ORIENTATION, 1),
        )

    def _alpha(self, colors: int) -> tuple[Literal["", "straight", "premultiplied"], list[int]]:
        """Return the kind of alpha, and the positions of the color channels and of alpha."""
        extra = self.channels - colors
        kinds = self.numbers(338)[-extra:] if extra else []
        if extra == 1 and colors == 3 and not kinds and self.color == 2:
            kinds = [2]  # RGBA as older programs write it
        first = next((i for i, kind in enumerate(kinds) if kind in (1, 2, 999)), None)
        if first is not None and colors < 4:
            return "premultiplied" if kinds[first] == 1 else "straight", [*range(colors), colors + first]
        if extra and colors == 1:
            raise DataError(f"a gray TIFF with {extra} further channels of unknown meaning; {SAVE}")
        return "", list(range(colors))

    def _unsigned(self, pixels: np.ndarray, bits: int) -> tuple[np.ndarray, int]:
        """Return pixels as unsigned numbers of at most 16 bits, and the number that is white by default."""
        signed = 2 in self.numbers(339, [1])
        if signed and bits < 16:
            raise DataError(f"signed samples of {bits} bits, whose range is not defined; {SAVE}")
        if signed:
            pixels = pixels.view(f"i{pixels.dtype.itemsize}")
            if pixels.min() < 0:
                raise DataError(f"negative samples, whose range is not defined; {SAVE}")
        if pixels.max() > 65535:
            raise DataError("pixels of more than 16 bits, whose range is not defined; save it with 8 or 16 bits")
        return pixels.astype(np.uint16 if bits > 8 else np.uint8, copy=False), 32767 if signed and bits == 16 else 65535

    def _palette(self, pixels: np.ndarray, bits: int) -> np.ndarray:
        """Return the colors [H, W, 3], with alpha if there is any, of indices."""
        table = np.array(self.numbers(320)).reshape(3, -1).T
        table = table >> 8 if table.max() > 255 else table  # some programs write 8 bits
        colors = table.astype(np.uint8)[pixels[..., 0]]
        alpha = scaled_to_8_bits(pixels[..., 1:], (1 << bits) - 1)
        return np.concatenate([colors, alpha], 2)

    def _profile(self) -> bytes | None:
        profile: Any = self.tags.get(34675)
        return profile if isinstance(profile, bytes) else None
