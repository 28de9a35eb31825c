"""Damage that Pillow does not notice in a PNG: wrong checksums of pixels, and pixels that are missing."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from progan.errors import DataError

FORMATS = frozenset({"PNG", "ICO", "ICNS"})
"""Formats, in Pillow's terms, that are PNG or contain it."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS = (b"IHDR", b"PLTE", b"IDAT")
_PALETTE = 3  # kind of colors
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""First row and column, and their steps, in each pass of an interlaced PNG."""
_BLOCK = 1 << 20


def check(file: Path | bytes, image: Image.Image) -> None:
    """Check that all pixels of a loaded image are those that were written.

    Args:
        file: PNG, or an icon that may contain some.
        image: what Pillow made of it. Where pixels are missing, it leaves zeros.

    Raises:
        DataError: if a chunk that the pixels depend on has a wrong checksum, or pixels are missing.
    """
    data = file.read_bytes() if isinstance(file, Path) else file
    start = data.find(_SIGNATURE)
    while start >= 0:
        _check(data, start, image)
        start = data.find(_SIGNATURE, start + 8) if image.format != "PNG" else -1


def _check(data: bytes, start: int, image: Image.Image) -> None:
    header, packed, colors = b"", [], 0
    for name, body, sound in _chunks(data, start + len(_SIGNATURE)):
        if (name == b"IHDR") == bool(header) or (name == b"fdAT" and not packed):
            raise DataError("broken image (its parts are in the wrong order)")
        if not sound and name != b"fdAT":
            raise DataError(f"broken image (wrong checksum of {name.decode()})")
        header = header or body
        packed += [body] if name == b"IDAT" else []
        colors = colors or (len(body) // 3 if name == b"PLTE" else 0)
    if len(header) != 13 or header[10:12] != bytes(2) or header[12] > 1:
        raise DataError("broken image (unknown compression, filters or order of rows)")
    if header[9] == _PALETTE and (not colors or (image.mode == "P" and _extrema(image)[0][1] >= colors)):
        raise DataError("broken image (colors that are not in its palette)")
    last = image.crop((0, image.height - 1, image.width, image.height))
    ended = any(high for _, high in _extrema(last))  # the last row is not black
    if header[12] or not ended or image.format != "PNG":
        _count(packed, _expected(header))


def _extrema(image: Image.Image) -> list[tuple[float, float]]:
    found = image.getextrema()
    return list(found) if isinstance(found[0], tuple) else [found]  # pyright: ignore[reportReturnType]


def _chunks(data: bytes, at: int) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yield name, content and whether the checksum is right of the chunks that pixels depend on."""
    first = True
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if name in (*_PIXELS, b"fdAT") or first:
            checksum = zlib.crc32(memoryview(data)[at + 4 : end])
            yield name, data[at + 8 : end], checksum == int.from_bytes(data[end : end + 4], "big")
        if name == b"IEND":
            return
        first = False
        at = end + 4


def _expected(header: bytes) -> int:
    """Return how many bytes the pixels have when they are unpacked."""
    width, height, depth, kind, _, _, interlaced = struct.unpack(">2I5B", header)
    bits, size = depth * _CHANNELS.get(kind, 1), 0
    for row, column, down, right in _PASSES if interlaced else ((0, 0, 1, 1),):
        rows, columns = -(-(height - row) // down), -(-(width - column) // right)
        if rows > 0 and columns > 0:
            size += rows * (1 + (columns * bits + 7) // 8)
    return size


def _count(packed: list[bytes], expected: int) -> None:
    """Raise a DataError if the chunks unpack to fewer bytes than expected."""
    unpacker, found = zlib.decompressobj(), 0
    try:
        for body in packed:
            while body and found < expected:
                found += len(unpacker.decompress(body, _BLOCK))
                body = unpacker.unconsumed_tail
    except zlib.error as error:
        raise DataError(f"broken image ({error})") from None
    if found < expected:
        raise DataError(f"broken image ({expected - found} bytes of its pixels are missing)")
