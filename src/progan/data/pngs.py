"""PNG files beyond what Pillow does: exact keys of transparency, and 16-bit colors."""

import io
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from progan.data.colors import Samples

_GREY_BITS = {"L;2": 2, "L;4": 4, "L": 8}
_LOW_BYTES = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L", "LA;16B": "RGBA"}  # what unpacks them instead of the high


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
    alpha: Literal["", "straight", "key"] = "straight" if raw in ("LA;16B", "RGBA;16B") else ""
    if key is not None and not alpha:
        seen = (pixels != np.ravel(key)).any(2, keepdims=True)
        pixels, alpha = np.concatenate([pixels, seen * np.uint16(65535)], 2), "key"
    return Samples(pixels=pixels, mode="RGB" if raw.startswith("RGB") else "L", alpha=alpha, **facts)


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
