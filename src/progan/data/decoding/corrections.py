"""Corrections of what Pillow's plug-ins for less common formats leave out or get wrong."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile

from progan.data.decoding.colors import ORIENTATION, Samples
from progan.errors import DataError

_UNUSED_ALPHA = ("DIB", "ICO", "CUR")  # formats in which alpha that is 0 everywhere means none
_SIZ = b"\xff\x4f\xff\x51"  # begins the codestream of JPEG 2000
_TGA_FOOTER = b"TRUEVISION-XFILE.\0"


def loaded(image: ImageFile, data: Path | bytes) -> Image.Image | Samples:
    """Return the pixels of an image that Pillow has opened, in 8 bits unless it is gray.

    Raises:
        DataError: if Pillow does not read this kind of image rightly.
    """
    area = image.tile[0][1] if image.format == "GIF" and image.tile else None
    if image.format == "JPEG2000":
        return _jpeg_2000(image, data)
    image.load()
    if image.mode.startswith("I"):
        return _deep(image)
    if image.format == "GIF":
        return _on_background(image, area)
    if image.format == "TGA":
        return _tga(image, data)
    if image.format == "PSD" and image.mode == "RGBA":
        return _psd(image, data)
    if image.format == "XBM":  # set bits are ink, as in X11 and in ffmpeg
        return ImageOps.invert(image.convert("L"))
    if image.format == "JXL":
        return _jpeg_xl(image)
    return _without_unused_alpha(image) if image.format in _UNUSED_ALPHA else image


def _deep(image: ImageFile) -> Samples:
    pixels = np.asarray(image)
    if pixels.min(initial=0) < 0 or pixels.max(initial=0) > 65535:
        raise DataError("pixels of more than 16 bits, whose range is not defined; save it with 8 or 16 bits")
    facts = {"icc": image.info.get("icc_profile"), "orientation": image.getexif().get(ORIENTATION, 1)}
    return Samples(pixels=pixels.astype(np.uint16)[..., None], white=65535, **facts)


def _without_unused_alpha(image: Image.Image) -> Image.Image:
    unused = image.mode == "RGBA" and image.getchannel("A").getextrema()[1] == 0
    return image.convert("RGB") if unused else image


def _on_background(image: ImageFile, area: tuple[int, int, int, int] | None) -> Image.Image:
    """Return the first frame of a GIF; if that is smaller, the rest is the background color (GIF89a, section 18)."""
    palette, index = getattr(image, "global_palette", None), image.info.get("background")
    if area in (None, (0, 0, *image.size)) or "transparency" in image.info or not palette or index is None:
        return image
    color = bytes(palette.palette[3 * index : 3 * index + 3])
    canvas = Image.new("RGB", image.size, tuple(color) if len(color) == 3 else 0)
    canvas.paste(image.convert("RGB").crop(area), area)
    return canvas


def _tga(image: ImageFile, data: Path | bytes) -> Image.Image | Samples:
    """Return a TGA with its alpha, as its header and its extension area describe it.

    The highest of 16 bits is not alpha, although Pillow uses its inverse as such.
    """
    whole = data.read_bytes() if isinstance(data, Path) else data
    if image.mode == "P":
        image.info.pop("transparency", None)
        kind = "RGBA" if whole[7] == 32 else "RGB"
        return _without_unused_alpha(image.convert(kind))
    if image.mode != "RGBA" or whole[16] == 16:
        return image.convert("RGB") if image.mode == "RGBA" else image
    at = int.from_bytes(whole[-26:-22], "little") if whole.endswith(_TGA_FOOTER) else 0
    kind = whole[at + 494] if 18 <= at < len(whole) - 494 else 3
    if kind in (0, 1, 2):  # no alpha, or other data
        return image.convert("RGB")
    if kind == 4:
        return Samples(pixels=np.asarray(image), mode="RGB", white=255, alpha="premultiplied")
    return _without_unused_alpha(image)


def _psd(image: ImageFile, data: Path | bytes) -> Image.Image:
    """Return the merged image of a PSD; a fourth channel is its transparency if the number of layers is negative.

    Photoshop stores the colors on white (Adobe's specification, "Layer info").
    """
    whole = data.read_bytes() if isinstance(data, Path) else data
    at = 26
    for _ in range(2):  # color mode data, image resources
        at += 4 + int.from_bytes(whole[at : at + 4], "big")
    if not any(whole[at : at + 4]) or not any(whole[at + 4 : at + 8]) or not whole[at + 8] & 128:
        return image.convert("RGB")
    pixels = np.asarray(image).astype(np.float32)
    alpha = pixels[..., 3:]
    color = 255 - (255 - pixels[..., :3]) * 255 / np.maximum(alpha, 1)
    return Image.fromarray(np.rint(np.concatenate([color, alpha], 2)).clip(0, 255).astype(np.uint8))


def _jpeg_2000(image: ImageFile, data: Path | bytes) -> Image.Image | Samples:
    """Return a JPEG 2000 of any precision, except colors of more than 8 bits, whose white Pillow turns into black."""
    whole = data.read_bytes() if isinstance(data, Path) else data
    start = whole.find(_SIZ)
    channels = int.from_bytes(whole[start + 40 : start + 42], "big")
    depths = whole[start + 42 : start + 42 + 3 * channels : 3]
    if start < 0 or not depths or max(depths) > 127:
        raise DataError("a JPEG 2000 with signed samples; save it as PNG or TIFF")
    bits = {depth + 1 for depth in depths}
    if max(bits) > 8 and channels > 1:
        raise DataError(f"a JPEG 2000 with colors of {max(bits)} bits; save it as PNG, TIFF or with 8 bits")
    image.load()
    if image.mode.startswith("I"):
        return _deep(image)
    if max(bits) < 8 and len(bits) == 1 and image.mode != "P":  # Pillow shifts, so that white is less than 255
        most = 256 - (1 << (8 - max(bits)))
        return image.point([min(255, (value * 255 + most // 2) // most) for value in range(256)] * channels)
    if len(bits) > 1 and image.mode != "P":
        raise DataError("a JPEG 2000 whose channels have different numbers of bits; save it as PNG or TIFF")
    return image


def _jpeg_xl(image: ImageFile) -> Image.Image:
    """Return a JPEG XL, which its decoder has turned upright, unless it is a JPEG in another wrapping."""
    pixels = getattr(image, "_data", b"")
    if image.mode == "LA" and len(pixels) != 2 * image.width * image.height:
        raise DataError("a JPEG XL with gray of more than 8 bits and alpha; save it as PNG or TIFF")
    if not getattr(image, "jpeg", False):
        image.info.pop("exif", None)
        image.getexif().pop(ORIENTATION, None)
    return image
