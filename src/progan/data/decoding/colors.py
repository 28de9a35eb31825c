"""Conversion of all color spaces and bit depths of image files to 8-bit sRGB."""

import functools
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from PIL import Image, ImageCms

from progan.errors import DataError

GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"})
"""Pillow's grayscale modes."""
ORIENTATION = 0x0112
"""Number of the tag in EXIF data."""
_SAME_COLOR = 2  # profiles of sRGB differ by this much in rounding [of 255]
_PART = 1 << 22  # samples that are converted at a time
_CHANNELS = {"L": 1, "RGB": 3, "CMYK": 4}


class Rows(Protocol):
    """An array [H, W, C] that need not be in memory as a whole."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __getitem__(self, rows: slice, /) -> np.ndarray: ...


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Numbers of an image file as they are stored, for what Pillow does not convert, or not exactly."""

    pixels: Rows
    """Color channels, then alpha if there is any; uint8 or uint16 [H, W, C]."""
    mode: str = "L"
    """Pillow's mode of the colors: L, RGB or CMYK."""
    white: int | None = None
    """Number of full intensity, or None if the file does not say which part of 16 bits it uses."""
    top: int = 65535
    """Number of full intensity where neither the file nor the set says it."""
    alpha: Literal["", "straight", "premultiplied", "key"] = ""
    """Kind of the last channel, if that is alpha; a key is all or nothing, and not in the file."""
    inverted: bool = False
    """Whether 0 is white."""
    icc: bytes | None = None
    """Color profile."""
    orientation: int = 1
    """Orientation as in EXIF data."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width [pixels]."""
        height, width, _ = self.pixels.shape
        return height, width

    @property
    def largest(self) -> int:
        """Largest number in the file."""
        last = -1 if self.alpha == "key" else None
        return max(int(part[..., :last].max(initial=0)) for _, part in self._parts())

    def _parts(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield some rows at a time, each with the number of the first one, so that large images fit into memory."""
        height, width, channels = self.pixels.shape
        step = max(1, _PART // (width * channels))
        for top in range(0, height, step):
            yield top, self.pixels[top : top + step]

    def _eight(self, pixels: np.ndarray, most: int) -> np.ndarray:
        """Scale some rows to 8 bits."""
        if self.alpha == "premultiplied":
            alpha = pixels[..., -1:].astype(np.float64)
            straight = pixels[..., :-1] * (most / np.maximum(alpha, 1))
            pixels = np.concatenate([np.rint(straight), alpha], 2).clip(0, most).astype(np.uint16)
        if pixels.shape[2] > 1 and most == 65535:
            eight = (pixels >> 8).astype(np.uint8)
        else:
            eight = scaled_to_8_bits(pixels, most)
        if self.inverted:
            eight[..., : _CHANNELS[self.mode]] ^= 255
        return eight

    def image(self, white: int | None = None) -> Image.Image:
        """Return an image of 8 bits per channel, with its profile and orientation.

        Numbers are scaled to the nearest of 0 ... 255, and what exceeds white becomes white; 16-bit colors, and
        16-bit gray with alpha, lose their lower byte.

        Args:
            white: number of full intensity if the file does not say; by default ``top``.
        """
        most = self.white or white or self.top
        height, width, channels = self.pixels.shape
        mode = {"L": "LA", "RGB": "RGBA"}[self.mode] if self.alpha else self.mode
        image = Image.new(mode, (width, height))
        for top, part in self._parts():
            eight = self._eight(part, most)
            image.paste(Image.frombytes(mode, eight.shape[1::-1], eight[..., :channels].tobytes()), (0, top))
        if self.icc:
            image.info["icc_profile"] = self.icc
        if self.orientation != 1:
            image.getexif()[ORIENTATION] = self.orientation
        return image


def scaled_to_8_bits(pixels: np.ndarray, white: int) -> np.ndarray:
    """Scale whole numbers to the nearest of 0 ... 255; numbers beyond white become white."""
    if white == 255:
        return np.minimum(pixels, 255).astype(np.uint8)
    table = ((np.arange(white + 1, dtype=np.uint32) * 255 + white // 2) // white).astype(np.uint8)
    return table[np.minimum(pixels, white)]


def to_srgb(image: Image.Image) -> Image.Image:
    """Convert an image of 8 bits per channel to mode L, LA, RGB or RGBA, in the colors of sRGB.

    Raises:
        DataError: if the range of the pixels is not defined.
    """
    profile = image.info.get("icc_profile")
    if image.mode != "CMYK":
        image = _to_simple_mode(image)
    if profile:
        alpha = image.getchannel("A") if image.mode == "LA" else None
        color = image.convert("L") if alpha else image
        if transform := _transform(profile, color.mode):
            color = transform.apply(color)
            color = color.getchannel("G") if alpha or image.mode == "L" else color  # red, green and blue are equal
            return Image.merge("LA", (color, alpha)) if alpha else color
    return _to_simple_mode(image)


@functools.lru_cache(maxsize=16)  # the pictures of one camera or program share their profile
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from a color profile to sRGB.

    None if the profile is broken, does not apply to this mode, or changes the colors by no more than rounding.
    """
    try:
        source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, target, mode, "RGBA" if mode == "RGBA" else "RGB")
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None
    if mode == "CMYK":
        return transform
    ramp = np.linspace(0, 255, 6).round().astype(np.uint8)  # 0, 51, ... 255
    colors = Image.fromarray(np.stack(np.meshgrid(ramp, ramp, ramp), -1).reshape(-1, 6, 3))  # [36, 6, 3]
    colors = Image.fromarray(ramp[None]) if mode == "L" else colors
    found = transform.apply(colors.convert(mode)).convert("RGB")
    change = np.asarray(found).astype(int) - np.asarray(colors.convert("RGB"))
    return transform if np.abs(change).max() > _SAME_COLOR else None


def _to_simple_mode(image: Image.Image) -> Image.Image:
    transparent = "transparency" in image.info
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if transparent or image.mode == "PA" else "RGB")
    if image.mode in ("1", "L"):
        return image.convert("L" if not transparent else "LA")
    if image.mode == "RGB":
        return image.convert("RGBA") if transparent else image
    if image.mode in ("LA", "RGBA"):
        return image
    if image.mode in ("La", "RGBa"):
        return image.convert(image.mode.upper())
    if image.mode == "F":
        raise DataError("floating-point pixels, whose range is not defined; save it with 8 or 16 bits")
    return image.convert("RGB")
