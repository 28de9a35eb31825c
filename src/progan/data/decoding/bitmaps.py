"""BMP files with masks of any width, and netpbm files of any depth: pixels that Pillow refuses or rounds."""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from progan.data.decoding.colors import Samples, scaled_to_8_bits
from progan.data.decoding.formats import check_size
from progan.errors import DataError

_BI_RGB, _BI_RLE8, _BI_RLE4, _BI_BITFIELDS, _BI_ALPHABITFIELDS = 0, 1, 2, 3, 6
_MASKS = {16: (0x7C00, 0x3E0, 0x1F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}
_CUT = "broken image (the file is cut off)"


def read_bmp(data: bytes) -> Samples | None:
    """Return the pixels of a BMP file, or None if they are compressed, which Pillow unpacks.

    Raises:
        DataError: if the file is broken, or its layout is not supported.
    """
    start, size = struct.unpack_from("<II", data, 10)
    if size == 12:
        width, height, bits = struct.unpack_from("<HHxxH", data, 18)
        packing, used, entry = _BI_RGB, 0, 3
    elif size in (16, 40, 52, 56, 64, 108, 124):
        width, height, bits = struct.unpack_from("<iixxH", data, 18)
        packing, used = (struct.unpack_from("<I", data, at)[0] if size > 16 else 0 for at in (30, 46))
        entry = 4
    else:
        raise DataError(f"a BMP with a header of {size} bytes, which is not supported; save it as PNG")
    if packing in (_BI_RLE8, _BI_RLE4):
        return None
    known = packing == _BI_RGB or (packing in (_BI_BITFIELDS, _BI_ALPHABITFIELDS) and bits in (16, 32) and size != 64)
    if not known or bits not in (1, 2, 4, 8, 16, 24, 32):
        raise DataError(f"a BMP with compression {packing} and {bits} bits, which is not supported; save it as PNG")
    if width < 1 or height == 0:
        raise DataError("broken image (a BMP without pixels)")
    check_size(width, abs(height))
    rows = _rows(data, start, (width * bits + 31) // 32 * 4, abs(height), (width * bits + 7) // 8)
    rows = rows if height < 0 else rows[::-1]
    if bits <= 8:
        colors = data[14 + size : 14 + size + entry * min(used or 1 << bits, 1 << bits)]
        return _with_palette(rows, width, bits, colors, entry)
    if bits == 24:
        return Samples(pixels=rows.reshape(-1, width, 3)[..., ::-1], mode="RGB", white=255)
    return _with_masks(rows.view(f"<u{bits // 8}"), _masks(data, size, bits, packing))


def _rows(data: bytes, start: int, stride: int, height: int, length: int) -> np.ndarray:
    """Return the bytes of the rows, uint8 [height, length]; the padding of the last one may be missing."""
    if len(data) - start < stride * (height - 1) + length:
        raise DataError(_CUT)
    if len(data) - start < stride * height:
        data += bytes(stride)
    found = np.frombuffer(data, np.uint8, stride * height, start).reshape(height, stride)
    return found if stride == length else np.ascontiguousarray(found[:, :length])


@dataclass(frozen=True, kw_only=True)
class _Unpacked:
    """Pixels that are made of stored rows when they are asked for, so that large images fit into memory."""

    stored: np.ndarray
    shape: tuple[int, ...]
    """Height, width and channels."""
    make: Callable[[np.ndarray], np.ndarray]
    """Makes pixels [h, W, C] of stored rows."""

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self.make(self.stored[rows])


def _with_palette(rows: np.ndarray, width: int, bits: int, colors: bytes, entry: int) -> Samples:
    """Return pixels by their colors, which are gray if they are the ramp from black to white."""
    table = np.zeros((1 << bits, 3), np.uint8)  # what has no color is black
    given = np.frombuffer(colors, np.uint8)[: len(colors) // entry * entry].reshape(-1, entry)[:, 2::-1]
    table[: len(given)] = given
    ramp = np.rint(np.linspace(0, 255, max(len(given), 2)))[: len(given), None]
    grey = bool((given == ramp).all())
    table = table[:, :1] if grey else table
    powers = 1 << np.arange(bits, dtype=np.uint8)[::-1]

    def make(part: np.ndarray) -> np.ndarray:
        if bits < 8:
            part = np.unpackbits(part, axis=1).reshape(len(part), -1, bits) @ powers
        return table[part[:, :width]]

    pixels = _Unpacked(stored=rows, shape=(len(rows), width, 1 if grey else 3), make=make)
    return Samples(pixels=pixels, mode="L" if grey else "RGB", white=255)


def _masks(data: bytes, size: int, bits: int, packing: int) -> tuple[int, ...]:
    """Return the bits of red, green, blue and alpha."""
    if packing == _BI_RGB:
        return _MASKS[bits]
    masks = list(struct.unpack_from("<4I", data.ljust(70, b"\0"), 54))
    if size < 56 and packing == _BI_BITFIELDS:
        masks[3] = 0
    return tuple(masks) if any(masks[:3]) else _MASKS[bits]


def _with_masks(values: np.ndarray, masks: tuple[int, ...]) -> Samples:
    """Return each channel scaled to 0 ... 255; alpha that is 0 everywhere is none, as such files are meant."""
    lows = [(mask & -mask).bit_length() - 1 if mask else 0 for mask in masks]
    mosts = [mask >> low for mask, low in zip(masks, lows, strict=True)]
    for mask, most in zip(masks, mosts, strict=True):
        if most & (most + 1) or most > 0xFFFF:
            raise DataError(f"a BMP with the mask 0x{mask:X}, which is not supported; save it as PNG")
    alpha = bool(masks[3]) and any((row & values.dtype.type(masks[3])).any() for row in values)

    def make(part: np.ndarray) -> np.ndarray:
        wide = part.astype(np.uint32)
        pairs = zip(lows[: 3 + alpha], mosts, strict=False)
        channels = [scaled_to_8_bits((wide >> np.uint32(low)) & np.uint32(most), most or 1) for low, most in pairs]
        return np.stack(channels, 2)

    pixels = _Unpacked(stored=values, shape=(*values.shape, 3 + alpha), make=make)
    return Samples(pixels=pixels, mode="RGB", white=255, alpha="straight" if alpha else "")


def read_netpbm(data: bytes) -> Samples | None:
    """Return the pixels of a binary PGM, PPM or PAM file, or None if it is another netpbm file.

    Raises:
        DataError: if the file is broken, or its channels are not supported.
    """
    if data[:2] == b"P7":
        return _read_pam(data)
    if data[:2] not in (b"P5", b"P6"):
        return None
    gap = rb"(?:\s|#[^\n\r]*[\n\r])"
    match = re.match(rb"P[56]" + (gap + rb"+(\d{1,9})") * 3 + rb"\s", data)
    if not match:
        raise DataError("broken image (the header of a netpbm file)")
    width, height, most = map(int, match.groups())
    return _netpbm(data, match.end(), width, height, 1 if data[:2] == b"P5" else 3, most)


def _read_pam(data: bytes) -> Samples:
    end = data.find(b"ENDHDR", 0, 1 << 16)
    lines = [line.split(None, 1) for line in data[2:end].splitlines() if line.strip() and line.lstrip()[:1] != b"#"]
    facts = {line[0]: line[-1].strip() for line in lines}
    try:
        width, height, depth, most = (int(facts[key]) for key in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL"))
    except (KeyError, ValueError):
        raise DataError("broken image (the header of a PAM file)") from None
    if not 1 <= depth <= 4 or end < 0:
        raise DataError(f"a PAM file with {depth} channels; save it as PNG with 1 to 4")
    return _netpbm(data, data.index(b"\n", end) + 1, width, height, depth, most)


def _netpbm(data: bytes, start: int, width: int, height: int, channels: int, most: int) -> Samples:
    if not (0 < most < 65536 and width and height):
        raise DataError("broken image (a netpbm file without pixels)")
    kind = np.dtype(">u2" if most > 255 else "u1")
    check_size(width, height)
    length = width * height * channels * kind.itemsize
    if len(data) < start + length:
        raise DataError(_CUT)
    pixels = np.frombuffer(data, kind, width * height * channels, start).reshape(height, width, channels)
    pixels = pixels.astype(kind.newbyteorder("="), copy=False)
    white = most if most < 65535 else None
    return Samples(
        pixels=pixels, mode="L" if channels < 3 else "RGB", white=white, alpha="straight" if channels in (2, 4) else ""
    )
