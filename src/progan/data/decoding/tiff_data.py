"""Stored numbers of a TIFF page: strips and tiles, planes, byte orders, and any number of bits.

Pillow only unpacks the compression: strips are given to it as a gray image whose width is the number of bytes of a
row, so that it returns the bytes as they are.
"""

import io
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from progan.errors import DataError

SAVE = "save it as gray or RGB with 8 or 16 bits"
"""What to do about a TIFF of another layout."""


@dataclass(frozen=True, kw_only=True)
class TiffPage:
    """Tags of a page, and the file."""

    data: bytes
    tags: ImageFileDirectory_v2
    order: str
    """Byte order as in ``struct``."""

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
    def channels(self) -> int:
        """Number of samples of a pixel, with alpha and others."""
        return self.number(277, 1)

    @property
    def planar(self) -> bool:
        return self.number(284, 1) == 2 and self.channels > 1

    @property
    def compression(self) -> int:
        return self.number(259, 1)

    def stored(self, bits: int) -> np.ndarray:
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
                raise DataError(f"a TIFF with differences of samples of {bits} bits; {SAVE}")
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
