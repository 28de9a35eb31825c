"""Forms of image formats."""

import re
import zlib
from collections.abc import Iterator
from random import Random

from fuzz.damage import damaged
from fuzz.form import Field, Form, Hurt, words

PNG = b"\x89PNG\r\n\x1a\n"


def _chunks(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield the position, length and type of every chunk that ends inside the data."""
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if at + 12 + length > len(data):
            return
        yield at, length, data[at + 4 : at + 8]
        at += 12 + length


def _png_fields(data: bytes) -> Iterator[Field]:
    for at, length, kind in _chunks(data):
        yield at, 4, "big"
        if kind == b"IHDR":
            yield from ((at + 8, 4, "big"), (at + 12, 4, "big"), *((at + 16 + i, 1, "big") for i in range(5)))
        elif kind != b"IDAT":
            yield from ((at + 8 + i, 1, "big") for i in range(min(length, 8)))


def _png_parts(data: bytes) -> list[bytes]:
    return [data[:8], *(data[at : at + 12 + length] for at, length, _ in _chunks(data))]


def _png_mend(data: bytes) -> bytes:
    whole = bytearray(data)
    for at, length, _ in _chunks(data):
        whole[at + 8 + length : at + 12 + length] = zlib.crc32(data[at + 4 : at + 8 + length]).to_bytes(4, "big")
    return bytes(whole)


def _png_inner(rng: Random, data: bytes, _: Hurt) -> bytes:
    """Other pixels or filters under right checksums, in one or several chunks."""
    parts, packed = [PNG], b""
    for at, length, kind in _chunks(data):
        if kind == b"IDAT":
            packed += data[at + 8 : at + 8 + length]
        elif kind == b"IEND":
            raw = damaged(rng, zlib.decompress(packed))
            packed = zlib.compress(raw, rng.choice((0, 1, 9)))
            step = rng.choice((7, 100, len(packed)))
            parts += [png_chunk(b"IDAT", packed[i : i + step]) for i in range(0, len(packed), step)]
            parts.append(png_chunk(b"IEND", b""))
        else:
            parts.append(data[at : at + 12 + length])
    return b"".join(parts)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG with its length and checksum."""
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def _jpeg_parts(data: bytes) -> list[bytes]:
    """Split at markers; the entropy-coded data is part of the last segment."""
    parts, at = [data[:2]], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xDA:
            following = re.search(rb"\xff[\xc0-\xcf\xda-\xfe]", data[end:])
            end = end + following.start() if following else len(data) - 2
        parts.append(data[at:end])
        at = end
    return [*parts, data[at:]]


def _jpeg_fields(data: bytes) -> Iterator[Field]:
    at = 0
    for part in _jpeg_parts(data):
        if len(part) > 4 and part[0] == 0xFF:
            yield at + 2, 2, "big"
            if part[1] in (0xC0, 0xC1, 0xC2):
                yield from ((at + 5, 2, "big"), (at + 7, 2, "big"))
            yield from ((at + i, 1, "big") for i in range(4, min(len(part), 20)))
        at += len(part)


def _riff_parts(data: bytes) -> list[bytes]:
    parts, at = [data[:12]], 12
    while at + 8 <= len(data):
        end = at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        end += end % 2
        parts.append(data[at:end])
        at = end
    return parts


def _riff_fields(data: bytes) -> Iterator[Field]:
    yield 4, 4, "little"
    at = 12
    for part in _riff_parts(data)[1:]:
        yield at + 4, 4, "little"
        yield from ((at + 8 + i, 1, "little") for i in range(min(12, len(part) - 8)))
        at += len(part)


def _tiff_fields(data: bytes) -> Iterator[Field]:
    order = "little" if data[:2] == b"II" else "big"
    yield 4, 4, order
    at, seen = int.from_bytes(data[4:8], order), set()
    while 0 < at < len(data) - 2 and at not in seen:
        seen.add(at)
        count = int.from_bytes(data[at : at + 2], order)
        yield at, 2, order
        for i in range(min(count, 40)):
            entry = at + 2 + 12 * i
            yield from ((entry, 2, order), (entry + 2, 2, order), (entry + 4, 4, order), (entry + 8, 4, order))
            yield entry + 8, 2, order
        yield at + 2 + 12 * count, 4, order
        at = int.from_bytes(data[at + 2 + 12 * count : at + 6 + 12 * count], order)


def _gif_fields(data: bytes) -> Iterator[Field]:
    yield from ((6, 2, "little"), (8, 2, "little"), *((i, 1, "little") for i in range(10, 13)))
    for found in re.finditer(rb",", data):
        yield from ((found.start() + 1 + i, 2, "little") for i in range(0, 8, 2))
        yield from ((found.start() + 9 + i, 1, "little") for i in range(3))
    for found in re.finditer(rb"!", data):
        yield from ((found.start() + i, 1, "little") for i in range(1, 7))


_BOXES = (b"moov", b"meta", b"iprp", b"ipco", b"jp2h", b"iinf", b"dinf", b"trak", b"mdia", b"minf", b"stbl", b"iloc")


def _box_fields(data: bytes, start: int = 0, end: int | None = None, depth: int = 0) -> Iterator[Field]:
    """Boxes of ISO files (AVIF, JPEG 2000), and the size marker of JPEG 2000."""
    at, end = start, min(len(data) if end is None else end, len(data))
    while at + 8 <= end:
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        yield at, 4, "big"
        yield from ((i, 1, "big") for i in range(at + 8, min(at + 8 + length, at + 24, end)))
        if kind in _BOXES and depth < 4:
            yield from _box_fields(
                data, at + (12 if kind in (b"meta", b"iinf", b"iloc") else 8), at + length, depth + 1
            )
        at += max(8, length)
    siz = data.find(b"\xff\x51") if depth == 0 else -1
    if siz > 0:
        yield from ((siz + 6 + 4 * i, 4, "big") for i in range(8))
        yield from ((siz + 38 + i, 1, "big") for i in range(6))


def _box_parts(data: bytes) -> list[bytes]:
    parts, at = [], 0
    while at + 8 <= len(data):
        end = at + max(8, int.from_bytes(data[at : at + 4], "big") or len(data))
        parts.append(data[at:end])
        at = end
    return parts


IMAGE_FORMS = (
    Form(lambda d: d.startswith(PNG), _png_fields, _png_parts, _png_mend, _png_inner),
    Form(lambda d: d.startswith(b"\xff\xd8"), _jpeg_fields, _jpeg_parts),
    Form(lambda d: d.startswith(b"RIFF"), _riff_fields, _riff_parts),
    Form(lambda d: d[:4] in (b"II*\0", b"MM\0*"), _tiff_fields),
    Form(lambda d: d.startswith(b"GIF8"), _gif_fields),
    Form(lambda d: d.startswith(b"BM"), words((2, 26, 4), (26, 30, 2), (30, 74, 4))),
    Form(lambda d: d[4:8] in (b"ftyp", b"jP  "), _box_fields, _box_parts),
    Form(lambda d: d.startswith(b"\xff\x4f\xff\x51"), words((4, 60, 4), (4, 60, 2), order="big")),
    Form(lambda d: d.startswith(b"\0\0\1\0"), words((4, 38, 2), (6, 22, 1), (12, 20, 4))),
)
"""Image formats that are told by their first bytes."""
TGA = (
    Form(
        lambda d: d[:1] == b"\0" and d[2:3] in (b"\1", b"\2", b"\3", b"\x09", b"\x0a", b"\x0b"),
        words((0, 18, 1), (8, 16, 2)),
    ),
)
"""The format that is told by nothing, and comes last."""
