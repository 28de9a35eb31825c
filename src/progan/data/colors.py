"""Conversion of all color spaces and bit depths of image files to 8-bit sRGB."""

import functools
import io

import numpy as np
from PIL import Image, ImageCms

from progan.errors import DataError

GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"})
"""Pillow's grayscale modes."""
_SAME_COLOR = 2  # profiles of sRGB differ by this much in rounding [of 255]


_BITS, _PHOTOMETRIC, _MAXIMUM = 258, 262, 281  # numbers of TIFF's tags


def grey_range(image: Image.Image) -> tuple[int, int]:
    """Return the black and white levels of an opened grayscale image of more than 8 bits.

    They are 0 and 65535 unless TIFF tags say otherwise. White is the maximum of BitsPerSample, or MaxSampleValue if
    that is 2^k - 1 for fewer bits k, as written by cameras of 10 to 14 bits; other maxima are mere statistics. Black
    and white are swapped if zero means white.

    Raises:
        DataError: if a color image uses fewer bits than its samples have, because only their upper bytes are read.
    """
    tags = getattr(image, "tag_v2", {})
    bits, maximum = (min(np.ravel(tags[tag]).tolist()) if tags.get(tag) else 16 for tag in (_BITS, _MAXIMUM))
    white = (1 << min(bits, 16)) - 1
    if 255 <= maximum < white and maximum & (maximum + 1) == 0:
        white = maximum
        if bits > 8 and image.mode not in GREY_MODES:
            raise DataError(f"{bits}-bit colors with a maximum of only {maximum}; save it with 8 or 16 bits")
    return (white, 0) if tags.get(_PHOTOMETRIC) == 0 else (0, white)


def to_srgb(image: Image.Image, ends: tuple[int, int] = (0, 65535)) -> Image.Image:
    """Convert an image to mode L, LA, RGB or RGBA with 8 bits per channel, in the colors of sRGB.

    Args:
        image: loaded image of any mode.
        ends: black and white levels of a grayscale image of more than 8 bits.

    Raises:
        DataError: if the range of the pixels is not defined.
    """
    profile = image.info.get("icc_profile")
    if image.mode != "CMYK":
        image = _to_simple_mode(image, ends)
    if profile:
        alpha = image.getchannel("A") if image.mode == "LA" else None
        color = image.convert("L") if alpha else image
        if transform := _transform(profile, color.mode):
            color = transform.apply(color)
            color = color.getchannel("G") if alpha or image.mode == "L" else color  # red, green and blue are equal
            return Image.merge("LA", (color, alpha)) if alpha else color
    return _to_simple_mode(image, ends)


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


def _to_simple_mode(image: Image.Image, ends: tuple[int, int]) -> Image.Image:
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
    if image.mode.startswith("I"):
        return _to_8_bit(image, *ends)
    if image.mode == "F":
        raise DataError("floating-point pixels, whose range is not defined; save it with 8 or 16 bits")
    return image.convert("RGB")


def _to_8_bit(image: Image.Image, black: int, white: int) -> Image.Image:
    """Scale grayscale of more than 8 bits to the nearest of 0 ... 255; values beyond white become white."""
    pixels = np.asarray(image).astype(np.int64)
    if pixels.min(initial=0) < 0 or pixels.max(initial=0) > 65535:
        raise DataError("pixels of more than 16 bits, whose range is not defined; save it with 8 or 16 bits")
    most = max(black, white)
    pixels = pixels.clip(max=most) if white else most - pixels.clip(max=most)
    return Image.fromarray(((pixels * 255 + most // 2) // most).astype(np.uint8))
