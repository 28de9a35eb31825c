"""From an encoded image to the uint8 pixels of every level; the part of 'prepare' that worker processes run.

It must not import torch, or every worker would take seconds to start.
"""

import io
import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from progan.data.colors import GREY_MODES, grey_range, to_srgb
from progan.data.levels import box_levels
from progan.data.records import Payload, Record, image_kind
from progan.errors import DataError
from progan.transparency import over_white

_FILTERS = {"lanczos": Image.Resampling.LANCZOS, "box": Image.Resampling.BOX}
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM")  # others could start programs, like EPS
_ORIENTATION = 0x0112  # number of the tag in EXIF data


class ImageError(DataError):
    """One image that cannot be used; the message begins with its name."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What becomes of every image: ``PrepareOptions`` with nothing left on 'auto'."""

    height: int
    width: int
    channels: int
    """1 grey, 3 RGB, 4 RGBA."""
    box: tuple[int, int, int, int] | None
    """X, Y, W, H of the part to take first [pixels]."""
    center: bool
    """Whether the centre at the aspect ratio of the store is taken next."""
    fit: str
    """'crop', 'pad' or 'stretch'."""
    filter: str
    """'lanczos' or 'box'."""
    upscale: bool


@dataclass
class Chunk:
    """Some consecutive images of a source, finished."""

    levels: list[np.ndarray]
    """uint8 [N, H, W, C] for each level, largest first."""
    labels: list[int | None] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    """Height and width of each original [pixels]."""
    skipped: list[str] = field(default_factory=list)
    """Name and reason of each image left out."""
    left_out: list[int] = field(default_factory=list)
    """Positions of these among the records that the chunk was made of."""


def make_chunk(records: Sequence[Record], plan: Plan, skip: bool) -> Chunk:
    """All levels of some images.

    Args:
        records: the images.
        plan: what becomes of them.
        skip: leave out what cannot be used, instead of failing.

    Raises:
        ImageError: if an image cannot be used.
    """
    chunk = Chunk([])
    top = np.empty((len(records), plan.height, plan.width, plan.channels), np.uint8)
    for i, record in enumerate(records):
        try:
            image = decode(record.data)
            top[len(chunk.labels)] = to_pixels(image, plan)
        except DataError as error:
            if not skip:
                raise ImageError(f"{record.name}: {error}") from None
            chunk.skipped.append(f"{record.name}: {error}")
            chunk.left_out.append(i)
            continue
        chunk.labels.append(record.label)
        chunk.sizes.append((image.height, image.width))
    chunk.levels = box_levels(top[: len(chunk.labels)])
    return chunk


def peek(data: Payload) -> tuple[bool, tuple[int, int]]:
    """Whether an image is grey, and its height and width [pixels], from its header alone.

    Palette images count as colour.

    Raises:
        DataError: if it cannot be read.
    """
    if isinstance(data, np.ndarray):
        return image_kind(data.shape)
    with _open(data) as image:
        return image.mode in GREY_MODES, (image.height, image.width)


def decode(data: Payload) -> Image.Image:
    """An upright image of mode L, LA, RGB or RGBA with 8 bits per channel, in the colors of sRGB.

    Of several pages or frames it is the first.

    Raises:
        DataError: if it cannot be read to its end.
    """
    with _open(data) as image:
        try:
            image.load()
            return to_srgb(_upright(image), grey_range(image))
        except DataError:
            raise
        except Exception as error:  # a broken file makes Pillow raise almost anything
            raise DataError(f"broken image ({error})") from None


def _open(data: Payload) -> Image.Image:
    if isinstance(data, DataError):
        raise data
    if isinstance(data, np.ndarray):
        return Image.fromarray(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(data if isinstance(data, Path) else io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError:
        empty = not (data.stat().st_size if isinstance(data, Path) else len(data))
        raise DataError("an empty file" if empty else f"not an image of {', '.join(_FORMATS)}") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"too large to be opened: {error} Shrink it to fewer pixels") from None
    except PermissionError:
        raise DataError("may not be read by this user; chmod u+r, or ask its owner") from None
    except Exception as error:  # a broken header makes Pillow raise almost anything
        raise DataError(f"cannot be opened ({error})") from None


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its camera says; metadata that cannot be read are as good as none."""
    try:
        return ImageOps.exif_transpose(image) if image.getexif().get(_ORIENTATION, 1) != 1 else image
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, IndexError, struct.error):
        return image


def to_pixels(image: Image.Image, plan: Plan) -> np.ndarray:
    """The image cropped, converted and fitted as planned.

    Shape: a decoded image -> uint8 [H, W, C].

    Raises:
        DataError: if the image is too small.
    """
    if plan.box:
        image = _crop_box(image, plan.box)
    if plan.center or plan.fit == "crop":
        image = _crop_center(image, plan.height, plan.width)
    image = to_channels(image, plan.channels)
    if image.size != (plan.width, plan.height):
        image = _pad(image, plan) if plan.fit == "pad" else _resize(image, (plan.width, plan.height), plan)
    return np.asarray(image).reshape(plan.height, plan.width, plan.channels)


def _crop_box(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    x, y, width, height = box
    if x + width > image.width or y + height > image.height:
        raise DataError(
            f"has {image.height}x{image.width} pixels (height x width), "
            f"but --crop {x},{y},{width},{height} needs at least {y + height}x{x + width}"
        )
    return image.crop((x, y, x + width, y + height))


def _crop_center(image: Image.Image, height: int, width: int) -> Image.Image:
    """The largest centred part with the aspect ratio of height x width."""
    part_width = min(image.width, (2 * image.height * width + height) // (2 * height))  # nearest whole number
    part_height = min(image.height, (2 * image.width * height + width) // (2 * width))
    if (part_width, part_height) == image.size:
        return image
    x, y = (image.width - part_width) // 2, (image.height - part_height) // 2
    return image.crop((x, y, x + part_width, y + part_height))


def to_channels(image: Image.Image, channels: int) -> Image.Image:
    """The image as grey (1), RGB (3) or RGBA (4); where that drops alpha, it stands before white."""
    if channels == 4:
        return image.convert("RGBA")
    if image.mode in ("LA", "RGBA"):
        pixels = np.asarray(image).astype(np.uint16)
        flat = over_white(pixels[:, :, :-1], pixels[:, :, -1:]).astype(np.uint8)
        image = Image.fromarray(flat[:, :, 0] if flat.shape[2] == 1 else flat)
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _resize(image: Image.Image, size: tuple[int, int], plan: Plan) -> Image.Image:
    if not plan.upscale and (image.width < size[0] or image.height < size[1]):
        raise DataError(
            f"its part to use has {image.height}x{image.width} pixels (height x width), "
            f"fewer than the wanted {plan.height}x{plan.width}; add --upscale or lower --resolution"
        )
    return _scaled(image, size, plan)


def _pad(image: Image.Image, plan: Plan) -> Image.Image:
    """The whole image, shrunk only if it is too large, in the middle of black."""
    scale = min(plan.height / image.height, plan.width / image.width)
    if scale < 1 or plan.upscale:
        size = (round(image.width * scale) or 1, round(image.height * scale) or 1)
        image = _scaled(image, size, plan)
    canvas = Image.new(image.mode, (plan.width, plan.height), (0, 0, 0, 255) if image.mode == "RGBA" else 0)
    canvas.paste(image, ((plan.width - image.width) // 2, (plan.height - image.height) // 2))
    return canvas


def _scaled(image: Image.Image, size: tuple[int, int], plan: Plan) -> Image.Image:
    """The image of another width and height. Colors count by their alpha; where nothing is to be seen, alike.

    Pillow does that to RGBA with 8 bits for color times alpha, which is off by up to 255 / (2 alpha); we take floats.
    """
    resample = _FILTERS[plan.filter]
    if image.mode != "RGBA" or image.getchannel("A").getextrema()[0] == 255:
        return image.resize(size, resample)
    *color, alpha = (np.asarray(band, np.float32) for band in image.split())
    planes = [Image.fromarray(plane) for plane in (*(plane * alpha for plane in color), alpha)]
    *color, alpha = (np.asarray(plane.resize(size, resample)) for plane in planes)
    unseen = alpha < 0.5  # becomes alpha 0
    if unseen.any():
        plain = np.asarray(image.convert("RGB").resize(size, resample))
        color = [np.where(unseen, plain[:, :, c], color[c]) for c in range(3)]
    color = [plane / np.where(unseen, np.float32(1), alpha) for plane in color]
    return Image.fromarray(np.rint(np.stack([*color, alpha], 2)).clip(0, 255).astype(np.uint8))
