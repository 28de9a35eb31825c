"""TIFF files of any layout: planes, tiles, signs, byte orders, 1 to 16 bits and all kinds of alpha.

Pillow knows some of the layouts, and garbles planes of 16 bits. Here it only unpacks the compression: a strip is given
to it as a gray image whose width is the number of bytes of a row, so that it returns the bytes as they are.
"""

import io
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from progan.data.colors import ORIENTATION, Samples, scaled_to_8_bits
from progan.data.formats import check_size
from progan.errors import DataError

HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of TIFF and BigTIFF files."""
_BYTEWISE = {1: "none", 5: "LZW", 8: "Deflate", 32773: "PackBits", 32946: "Deflate", 34925: "LZMA", 50000: "Zstandard"}
_BY_PILLOW = {2, 3, 4, 6, 7, 32771, 50001}  # CCITT, JPEG, padded 16-bit rows, WebP: formats of their own
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
_SAVE = "save it as gray or RGB with 8 or 16 bits"


@dataclass(frozen=True, kw_only=True)
class Tiff:
    """First page of a TIFF file."""

    data: bytes
    tags: ImageFileDirectory_v2
    order: str
    """Byte order as in ``struct``."""

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

    def numbers(self, tag: int, default: Sequence[int] = ()) -> list[int]:
        """Return the values of a tag."""
        value: Any = self.tags.get(tag)
        if value is None:
            return list(default)
        return [int(number) for number in (value if isinstance(value, tuple) else (value,))]

    def number(self, tag: int, default: int) -> int:
        """Return the first value of a tag."""
        return next(iter(self.numbers(tag)), default)

    @property
    def width(self) -> int:
        return self.number(256, 0)

    @property
    def height(self) -> int:
        return self.number(257, 0)

    @property
    def color(self) -> int:
        """PhotometricInterpretation."""
        return self.number(262, 1)

    @property
    def channels(self) -> int:
        """Number of samples of a pixel, with alpha and others."""
        return self.number(277, 1)

    @property
    def planar(self) -> bool:
        return self.number(284, 1) == 2 and self.channels > 1

    @property
    def compression(self) -> int:
        return self.number(259, 1)

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
            raise DataError(f"a TIFF with compression {self.compression}, which is not supported; save it with another")
        if self.color in _OTHER_COLORS:
            raise DataError(f"a TIFF whose colors are {_OTHER_COLORS[self.color]}; {_SAVE}")
        if self.for_pillow:
            if self.planar:
                raise DataError(f"a TIFF with compression {self.compression} and separate planes; {_SAVE}")
            return
        if self.color not in _COLORS:
            raise DataError(f"a TIFF with color space {self.color}; {_SAVE}")
        formats, bits = set(self.numbers(339, [1])), self.numbers(258, [1])
        if formats & {3, 6}:
            raise DataError("floating-point pixels, whose range is not defined; save it with 8 or 16 bits")
        if len(set(bits)) > 1 or not (1 <= bits[0] <= 16 or bits[0] == 32):
            raise DataError(f"a TIFF with samples of {', '.join(map(str, bits))} bits; {_SAVE}")
        if not formats <= {1, 2, 4}:
            raise DataError(f"a TIFF whose samples are of kind {min(formats)}; {_SAVE}")
        if (self.color == 3 and bits[0] > 8) or self.channels < _COLORS[self.color][1]:
            raise DataError(
                f"a TIFF of color space {self.color} with {self.channels} samples of {bits[0]} bits; {_SAVE}"
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
        pixels = self._pixels(bits)[..., keep]
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
            raise DataError(f"a gray TIFF with {extra} further channels of unknown meaning; {_SAVE}")
        return "", list(range(colors))

    def _unsigned(self, pixels: np.ndarray, bits: int) -> tuple[np.ndarray, int]:
        """Return pixels as unsigned numbers of at most 16 bits, and the number that is white by default."""
        signed = 2 in self.numbers(339, [1])
        if signed and bits < 16:
            raise DataError(f"signed samples of {bits} bits, whose range is not defined; {_SAVE}")
        if signed:
            pixels = pixels.view(f"i{pixels.dtype.itemsize}")
            if pixels.min() < 0:
                raise DataError(f"negative samples, whose range is not defined; {_SAVE}")
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

    def _pixels(self, bits: int) -> np.ndarray:
        """Return all samples [H, W, C] as unsigned numbers."""
        planes = self.channels if self.planar else 1
        offsets, counts = self.numbers(324 if 324 in self.tags else 273), self.numbers(325 if 325 in self.tags else 279)
        each = len(offsets) // planes
        if not each or (len(counts) != len(offsets) and self.compression != 1):
            raise DataError("broken image (a TIFF without the places of its data)")
        counts = counts if len(counts) == len(offsets) else [len(self.data)] * len(offsets)
        parts = [slice(p * each, (p + 1) * each) for p in range(planes)]
        read = self._tiles if 324 in self.tags or 322 in self.tags else self._strips
        return np.concatenate([read(bits, offsets[part], counts[part]) for part in parts], 2)

    def _strips(self, bits: int, offsets: list[int], counts: list[int]) -> np.ndarray:
        """Return the samples of one plane [H, W, C]."""
        rows = min(self.number(278, self.height), self.height) or self.height
        if len(offsets) < math.ceil(self.height / rows):
            raise DataError("broken image (a TIFF with too few strips)")
        channels = 1 if self.planar else self.channels
        length = (self.width * channels * bits + 7) // 8
        strips = self._unpacked(offsets, counts, rows, length, self.height)
        return self._numbers(strips, bits, self.width, channels)

    def _tiles(self, bits: int, offsets: list[int], counts: list[int]) -> np.ndarray:
        """Return the samples of one plane [H, W, C]: tiles are unpacked as strips and put side by side."""
        width, height = self.number(322, 0), self.number(323, 0)
        if width < 1 or height < 1 or width * height > 4 * max(self.width, 16) * max(self.height, 16) + (1 << 24):
            raise DataError("broken image (a TIFF with tiles of an impossible size)")
        across, down = math.ceil(self.width / width), math.ceil(self.height / height)
        if len(offsets) < across * down:
            raise DataError("broken image (a TIFF with too few tiles)")
        channels, count = 1 if self.planar else self.channels, across * down
        length = (width * channels * bits + 7) // 8
        rows = self._unpacked(offsets[:count], counts[:count], height, length, count * height)
        tiles = self._numbers(rows, bits, width, channels).reshape(down, across, height, width, channels)
        whole = tiles.transpose(0, 2, 1, 3, 4).reshape(down * height, across * width, channels)
        return whole[: self.height, : self.width]

    def _unpacked(self, offsets: list[int], counts: list[int], rows: int, length: int, height: int) -> np.ndarray:
        """Return the bytes of strips of ``rows`` rows, uint8 [height, length]."""
        sizes = [length * min(rows, height - top) for top in range(0, height, rows)]
        places = list(zip(offsets, counts, sizes, strict=False))
        fill = self.number(266, 1)
        if self.compression == 1:
            parts = [self.data[offset : offset + min(count, size)] for offset, count, size in places]
            if [len(part) for part in parts] != sizes:
                raise DataError("broken image (a TIFF that is cut off)")
            found = np.frombuffer(b"".join(parts), np.uint8).reshape(height, length)
            return _REVERSED[found] if fill == 2 else found
        if any(offset >= len(self.data) or not count for offset, count, _ in places):
            raise DataError("broken image (a TIFF that is cut off)")
        packed = [self.data[offset : offset + count] for offset, count, _ in places]
        view = _view(packed, width=length, height=height, rows=rows, compression=self.compression, fill=fill)
        with Image.open(io.BytesIO(view), formats=["TIFF"]) as image:
            return np.asarray(image)

    def _numbers(self, rows: np.ndarray, bits: int, width: int, channels: int) -> np.ndarray:
        """Return the samples [rows, width, channels] of packed rows, uint8 [rows, bytes]."""
        if bits in (8, 16, 32):
            kind = np.dtype(f"{self.order}u{bits // 8}")
            numbers = np.ascontiguousarray(rows).view(kind).astype(kind.newbyteorder("="), copy=False)
        else:
            ones = np.unpackbits(rows, axis=1, count=width * channels * bits).reshape(len(rows), -1, bits)
            numbers = ones @ (1 << np.arange(bits, dtype=np.uint16)[::-1])
        numbers = numbers.reshape(len(rows), width, channels)
        if self.number(317, 1) == 2 and self.compression not in (1, 32773):
            if bits not in (8, 16, 32):
                raise DataError(f"a TIFF with differences of samples of {bits} bits; {_SAVE}")
            numbers = np.cumsum(numbers, axis=1, dtype=numbers.dtype)
        return numbers


_REVERSED = np.array([int(f"{i:08b}"[::-1], 2) for i in range(256)], np.uint8)


def _view(parts: list[bytes], *, width: int, height: int, rows: int, compression: int, fill: int) -> bytes:
    """Return a TIFF of 8-bit gray with the given compressed strips."""
    count, entries = len(parts), 11
    start = 8 + 2 + 12 * entries + 4  # of the places of the strips
    first = start + 8 * count
    offsets, at = [], first
    for part in parts:
        offsets.append(at)
        at += len(part)
    places = struct.pack(f"<{2 * count}I", *offsets, *map(len, parts))
    single = count == 1
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1)]
    tags += [(266, 3, 1, fill), (273, 4, count, offsets[0] if single else start), (277, 3, 1, 1), (278, 4, 1, rows)]
    tags += [(279, 4, count, len(parts[0]) if single else start + 4 * count), (284, 3, 1, 1)]
    table = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, entries) + table + bytes(4) + places + b"".join(parts)
