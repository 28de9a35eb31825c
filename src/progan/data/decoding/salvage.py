"""Pictures of PNG and JPEG files whose metadata are damaged or huge, or that lack nothing but their end mark."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

HEADS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
"""First bytes of PNG and JPEG files."""
_ICC_BYTES = 64 << 20  # largest color profile
_ADOBE_BYTES = 16  # with the marker
_END = b"\xff\xd9"


def cleaned(data: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    """Yield a PNG or JPEG with less and less metadata, each with its color profile; nothing for other files.

    Metadata that is damaged or very large makes Pillow refuse a whole picture, as does a missing end mark of a JPEG.
    """
    if data.startswith(HEADS[0]):
        yield _cleaned_png(data)
    elif data.startswith(HEADS[1]):
        tries = dict.fromkeys(_cleaned_jpeg(data, keep) for keep in (b"\xe1\xe2\xee", b"\xe1\xee", b"\xee"))
        yield from ((clean, None) for clean in tries if clean != data)
        if ended := _ended_jpeg(data):
            yield ended, None


def _cleaned_png(data: bytes) -> tuple[bytes, bytes | None]:
    """Keep the critical chunks as they are, and of the others those that change pixels and are intact."""
    kept, profile, at = [HEADS[0]], None, len(HEADS[0])
    while at + 8 <= len(data):
        (length,), name = struct.unpack_from(">I", data, at), data[at + 4 : at + 8]
        chunk = data[at : at + 12 + length]
        at += 12 + length
        critical = not name[0] & 32
        intact = len(chunk) == 12 + length and zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
        if critical or (intact and name in (b"tRNS", b"eXIf")):
            kept.append(chunk)
        elif intact and name == b"iCCP":
            profile = _profile(chunk[8:-4])
        if name == b"IEND":
            break
    return b"".join(kept), profile


def _profile(chunk: bytes) -> bytes | None:
    """Return the color profile of a chunk, without what follows it, or None if it is broken."""
    rest = chunk.partition(b"\0")[2]  # behind the name
    try:
        profile = zlib.decompressobj().decompress(rest[1:], _ICC_BYTES)
    except zlib.error:
        return None
    size = int.from_bytes(profile[:4], "big")
    return profile[:size] if 128 <= size <= len(profile) else None


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the markers and segments of a JPEG up to the first scan, and 0 with the rest."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA and not 0xD0 <= data[at + 1] <= 0xD9:
        if data[at + 1] == 0xFF:  # a fill byte
            at += 1
            continue
        segment = data[at : at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")]
        yield data[at + 1], segment
        at += len(segment)
    yield 0, data[at:]


def _cleaned_jpeg(data: bytes, keep: bytes) -> bytes:
    """Drop comments, and all application segments but those with these markers.

    Of these, EXIF is 0xE1, color profiles 0xE2, and 0xEE is Adobe's, which says what the colors are.
    """
    least = {0xEE: _ADOBE_BYTES}
    kept = [
        part
        for marker, part in _segments(data)
        if marker < 0xE0 or (marker in keep and len(part) >= least.get(marker, 0))
    ]
    return data[:2] + b"".join(kept)


def _ended_jpeg(data: bytes) -> bytes | None:
    """Return a JPEG with an end mark if nothing else is missing, or None.

    If anything was, it would be made up from what follows. So its pixels must not depend on that. Of a progressive
    JPEG or one of several scans, whole scans could be missing.
    """
    parts = dict(_segments(data))
    frame = parts.get(0xC0, parts.get(0xC1, b""))
    if not frame or frame[9:10] != parts[0][4:5]:  # numbers of components
        return None
    start = data.removesuffix(_END[:1])
    noise = np.random.default_rng(0).integers(0, 255, 256, np.uint8).tobytes()
    found = []
    for more in (b"", noise):
        try:
            with Image.open(io.BytesIO(start + more + _END), formats=["JPEG"]) as image:
                found.append(image.tobytes())
        except Exception:  # Pillow may raise almost anything
            return None
    return start + _END if found[0] == found[1] else None
