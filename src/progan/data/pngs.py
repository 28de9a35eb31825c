"""PNG and JPEG files beyond what Pillow does: exact keys of transparency, 16-bit colors, and damaged metadata."""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from progan.data.colors import Samples

HEADS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
"""First bytes of PNG and JPEG files."""
_GREY_BITS = {"L;2": 2, "L;4": 4, "L": 8}
_LOW_BYTES = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L", "LA;16B": "RGBA"}  # what unpacks them instead of the high
_ICC_BYTES = 64 << 20  # largest color profile


def rawmode(image: ImageFile) -> str:
    """Return how the pixels of a PNG that is not loaded yet are stored, in Pillow's terms."""
    args = image.tile[0][3] if image.tile else ""
    return args if isinstance(args, str) else ""


def is_deep(image: ImageFile) -> bool:
    """Return whether a PNG that is not loaded yet has 16 bits per sample."""
    return rawmode(image).endswith(";16B")


def deep_samples(image: ImageFile, file: Path | bytes) -> Samples:
    """Return all 16 bits of the samples of a PNG that is not loaded yet.

    Pillow keeps the high bytes of colors only; a second pass that takes the file for little-endian gets the low ones.
    """
    raw, key = rawmode(image), image.info.get("transparency")
    facts = {"icc": image.info.get("icc_profile"), "orientation": image.getexif().get(0x0112, 1)}
    if raw == "I;16B":
        pixels = np.asarray(image).astype(np.uint16)[..., None]
    elif raw == "LA;16B":
        four = _unpacked(file, "RGBA").astype(np.uint16)  # high and low byte of gray, then of alpha
        pixels = four[..., ::2] << 8 | four[..., 1::2]
    else:
        pixels = np.asarray(image).astype(np.uint16) << 8 | _unpacked(file, _LOW_BYTES[raw])
    alpha = raw in ("LA;16B", "RGBA;16B")
    if key is not None and not alpha:
        seen = (pixels != np.ravel(key)).any(2, keepdims=True)
        pixels, alpha = np.concatenate([pixels, seen * np.uint16(65535)], 2), True
    return Samples(
        pixels=pixels, mode="RGB" if raw.startswith("RGB") else "L", alpha="straight" if alpha else "", **facts
    )


def _unpacked(file: Path | bytes, raw: str) -> np.ndarray:
    with Image.open(file if isinstance(file, Path) else io.BytesIO(file), formats=["PNG"]) as image:
        image.tile = [tile._replace(args=raw) for tile in image.tile]
        return np.asarray(image)


def with_key(image: Image.Image, raw: str) -> Image.Image:
    """Make the transparent color of a loaded PNG of up to 8 bits fit its pixels, which Pillow has scaled."""
    key = image.info.get("transparency")
    if key is None or image.mode not in ("1", "L", "RGB"):
        return image
    if image.mode == "1":
        del image.info["transparency"]
        image = image.convert("L")
        image.info["transparency"] = 255 if key else 0
    elif raw in _GREY_BITS:
        most = (1 << _GREY_BITS[raw]) - 1  # higher bits of the key do not count
        image.info["transparency"] = (key & most) * (255 // most)
    elif isinstance(key, tuple):
        image.info["transparency"] = tuple(number & 255 for number in key)
    return image


def cleaned(data: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    """Yield a PNG or JPEG with less and less metadata, each with its color profile; nothing for other files.

    Metadata that is damaged or very large makes Pillow refuse a whole picture.
    """
    if data.startswith(HEADS[0]):
        yield _cleaned_png(data)
    elif data.startswith(HEADS[1]):
        tries = dict.fromkeys(_cleaned_jpeg(data, keep) for keep in (b"\xe1\xe2\xee", b"\xe1\xee", b"\xee"))
        yield from ((clean, None) for clean in tries if clean != data)


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


def _cleaned_jpeg(data: bytes, keep: bytes) -> bytes:
    """Drop comments, and all application segments but those with these markers.

    Of these, EXIF is 0xE1, color profiles 0xE2, and 0xEE is Adobe's, which says what the colors are.
    """
    kept, at = [data[:2]], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xDA or 0xD0 <= marker <= 0xD9:
            break
        segment = data[at : at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")]
        if marker in keep or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(segment)
        at += len(segment)
    return b"".join(kept) + data[at:]
