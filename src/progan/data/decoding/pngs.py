"""PNG files beyond what Pillow does: exact keys of transparency, and 16-bit colors."""

import io
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from progan.data.decoding.colors import ORIENTATION, Samples

_GREY_BITS = {"L;2": 2, "L;4": 4, "L": 8}
_LOW_BYTES = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L", "LA;16B": "RGBA"}  # what unpacks them instead of the high


def rawmode(image: ImageFile) -> str:
    """Return how the pixels of a PNG that is not loaded yet are stored, in Pillow's terms."""
    args = image.tile[0][3] if image.tile else ""
    return args if isinstance(args, str) else ""


class DeepRows:
    """All 16 bits of the samples of a PNG, made when some rows are asked for.

    Pillow keeps the high bytes of colors only; a second pass that takes the file for little-endian gets the low ones.

    Args:
        image: opened image.
        raw: how its pixels are stored, which Pillow forgets when it loads them.
        file: the PNG.
        key: transparent color, which becomes an alpha channel.
    """

    def __init__(self, image: ImageFile, raw: str, file: Path | bytes, key: int | tuple[int, ...] | None) -> None:
        self._raw, self._key = raw, key
        self._images = [image] if raw == "I;16B" else [_unpacked(file, "RGBA")] if raw == "LA;16B" else []
        self._images = self._images or [image, _unpacked(file, _LOW_BYTES[raw])]
        channels = {"I;16B": 1, "LA;16B": 2, "RGB;16B": 3, "RGBA;16B": 4}[raw] + (key is not None)
        self.shape = (image.height, image.width, channels)

    def __getitem__(self, rows: slice) -> np.ndarray:
        top, end, _ = rows.indices(self.shape[0])
        parts = [np.asarray(image.crop((0, top, self.shape[1], end))).astype(np.uint16) for image in self._images]
        if self._raw == "LA;16B":  # high and low byte of gray, then of alpha
            parts = [parts[0][..., ::2], parts[0][..., 1::2]]
        pixels = parts[0] << 8 | parts[1] if len(parts) == 2 else parts[0][..., None]
        if self._key is None:
            return pixels
        seen = (pixels != np.ravel(self._key)).any(2, keepdims=True)
        return np.concatenate([pixels, seen * np.uint16(65535)], 2)


def deep_samples(image: ImageFile, raw: str, file: Path | bytes) -> Samples:
    """Return all 16 bits of the samples of an opened PNG that was stored like ``raw``."""
    own_alpha = raw in ("LA;16B", "RGBA;16B")
    key = None if own_alpha else image.info.get("transparency")
    facts = {"icc": image.info.get("icc_profile"), "orientation": image.getexif().get(ORIENTATION, 1)}
    alpha: Literal["", "straight", "key"] = "straight" if own_alpha else "key" if key is not None else ""
    mode = "RGB" if raw.startswith("RGB") else "L"
    return Samples(pixels=DeepRows(image, raw, file, key), mode=mode, alpha=alpha, **facts)


def _unpacked(file: Path | bytes, raw: str) -> ImageFile:
    with Image.open(file if isinstance(file, Path) else io.BytesIO(file), formats=["PNG"]) as image:
        image.tile = [tile._replace(args=raw) for tile in image.tile]
        image.load()
        return image


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
