"""Conversion of decoded images to the uint8 pixels of every level, which the worker processes of 'prepare' run.

It must not import torch, or every worker would take seconds to start.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from progan.data.decoding import AS_THEY_ARE, Ranges, decode
from progan.data.decoding import peek as peek
from progan.data.levels import box_levels
from progan.data.records import Record
from progan.errors import DataError
from progan.transparency import over_white

_PART = 1 << 20  # pixels that are composited at a time
_FILTERS = {"lanczos": Image.Resampling.LANCZOS, "box": Image.Resampling.BOX}


class ImageError(DataError):
    """One image that cannot be used; the message begins with its name."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How every image is converted: ``PrepareOptions`` with all 'auto' settings resolved."""

    height: int
    width: int
    channels: int
    """Number of channels: 1 (grayscale), 3 (RGB) or 4 (RGBA)."""
    box: tuple[int, int, int, int] | None
    """X, Y, W, H of the box to crop first, or None [pixels]."""
    center: bool
    """Whether to crop the center with the aspect ratio of the store next."""
    fit: str
    """How the aspect ratio is reached: 'crop', 'pad' or 'stretch'."""
    filter: str
    """Resize filter: 'lanczos' or 'box'."""
    upscale: bool
    ranges: Ranges = AS_THEY_ARE
    """What is white, if that follows from the whole set."""
    notes: tuple[str, ...] = ()
    """What was decided about the pixels, a sentence each, for the summary."""


@dataclass
class Chunk:
    """Some consecutive images of a source, converted."""

    levels: list[np.ndarray]
    """Images of each level, largest first; uint8 [N, H, W, C]."""
    labels: list[int | None] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    """Height and width of each original [pixels]."""
    skipped: list[str] = field(default_factory=list)
    """Name and reason of each skipped image."""
    left_out: list[int] = field(default_factory=list)
    """Positions of the skipped images among the records of the chunk."""


def make_chunk(records: Sequence[Record], plan: Plan, skip: bool) -> Chunk:
    """Convert some images to all levels.

    Args:
        records: images to convert.
        plan: how each image is converted.
        skip: whether to omit images that cannot be used, instead of failing.

    Raises:
        ImageError: if an image cannot be used.
    """
    chunk = Chunk([])
    top = np.empty((len(records), plan.height, plan.width, plan.channels), np.uint8)
    for i, record in enumerate(records):
        try:
            image = decode(record.data, plan.ranges)
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


def to_pixels(image: Image.Image, plan: Plan) -> np.ndarray:
    """Crop, convert and fit a decoded image as planned.

    Shape: a decoded image -> uint8 [H, W, C].

    Raises:
        DataError: if the image is too small.
    """
    if plan.box:
        image = _crop_box(image, plan.box)
    if plan.center or plan.fit == "crop":
        image = _crop_center(image, plan.height, plan.width)
    if not (wider := len(image.getbands()) < plan.channels and image.mode in ("L", "RGB")):
        image = to_channels(image, plan.channels)
    if image.size != (plan.width, plan.height):
        image = _pad(image, plan) if plan.fit == "pad" else _resize(image, (plan.width, plan.height), plan)
    if wider:  # the same as before, and it needs less memory
        image = to_channels(image, plan.channels)
    return np.asarray(image).reshape(plan.height, plan.width, plan.channels)


def _crop_box(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    x, y, width, height = box
    if x + width > image.width or y + height > image.height:
        raise DataError(
            f"only {image.height}x{image.width} pixels (height x width), "
            f"but --crop {x},{y},{width},{height} requires at least {y + height}x{x + width}"
        )
    return image.crop((x, y, x + width, y + height))


def _crop_center(image: Image.Image, height: int, width: int) -> Image.Image:
    """Crop the largest centered area with the aspect ratio of height x width."""
    part_width = min(image.width, (2 * image.height * width + height) // (2 * height) or 1)  # nearest whole number
    part_height = min(image.height, (2 * image.width * height + width) // (2 * width) or 1)
    if (part_width, part_height) == image.size:
        return image
    x, y = (image.width - part_width) // 2, (image.height - part_height) // 2
    return image.crop((x, y, x + part_width, y + part_height))


def to_channels(image: Image.Image, channels: int) -> Image.Image:
    """Convert an image to grayscale (1), RGB (3) or RGBA (4); alpha that is dropped is composited over white."""
    if channels == 4:
        return image.convert("RGBA")
    if image.mode in ("LA", "RGBA"):
        image = _on_white(image)
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _on_white(image: Image.Image) -> Image.Image:
    """Composite an image of mode LA or RGBA over white, some rows at a time to save memory."""
    found = Image.new(image.mode[:-1], image.size)
    step = max(1, _PART // image.width)
    for top in range(0, image.height, step):
        pixels = np.asarray(image.crop((0, top, image.width, min(top + step, image.height)))).astype(np.uint16)
        flat = over_white(pixels[:, :, :-1], pixels[:, :, -1:]).astype(np.uint8)
        found.paste(Image.fromarray(flat[:, :, 0] if flat.shape[2] == 1 else flat), (0, top))
    return found


def _resize(image: Image.Image, size: tuple[int, int], plan: Plan) -> Image.Image:
    if not plan.upscale and (image.width < size[0] or image.height < size[1]):
        raise DataError(
            f"its usable area is {image.height}x{image.width} pixels (height x width), "
            f"smaller than the requested {plan.height}x{plan.width}; add --upscale or lower --resolution"
        )
    return _scaled(image, size, plan)


def _pad(image: Image.Image, plan: Plan) -> Image.Image:
    """Center the whole image on black; it is reduced only if it is too large."""
    scale = min(plan.height / image.height, plan.width / image.width)
    if scale < 1 or plan.upscale:
        size = (round(image.width * scale) or 1, round(image.height * scale) or 1)
        image = _scaled(image, size, plan)
    canvas = Image.new(image.mode, (plan.width, plan.height), (0, 0, 0, 255) if image.mode == "RGBA" else 0)
    canvas.paste(image, ((plan.width - image.width) // 2, (plan.height - image.height) // 2))
    return canvas


def _scaled(image: Image.Image, size: tuple[int, int], plan: Plan) -> Image.Image:
    """Resize an image to another width and height. Colors are weighted by alpha, or equally where alpha is 0.

    Pillow does this for RGBA with 8 bits for color times alpha, which is off by up to 255 / (2 alpha); this function
    uses floats.
    """
    resample = _FILTERS[plan.filter]
    if image.mode != "RGBA" or image.getchannel("A").getextrema()[0] == 255:
        return image.resize(size, resample)
    planes = _narrowed(image, size[0], resample)
    *color, alpha = (np.asarray(plane.resize(size, resample)) for plane in planes)
    unseen = alpha < 0.5  # becomes alpha 0
    if unseen.any():
        plain = [np.asarray(image.getchannel(c).resize(size, resample)) for c in range(3)]
        color = [np.where(unseen, plain[c], color[c]) for c in range(3)]
    color = [plane / np.where(unseen, np.float32(1), alpha) for plane in color]
    return Image.fromarray(np.rint(np.stack([*color, alpha], 2)).clip(0, 255).astype(np.uint8))


def _narrowed(image: Image.Image, width: int, resample: Image.Resampling) -> list[Image.Image]:
    """Return colors times alpha, and alpha, of an RGBA image as floats, resized to another width only.

    Pillow resizes rows first and columns second, so the result does not depend on how many rows are done at a time.
    """
    step, parts = max(1, _PART // image.width), []
    for top in range(0, image.height, step):
        part = np.asarray(image.crop((0, top, image.width, min(top + step, image.height))), np.float32)
        planes = [part[:, :, c] * part[:, :, 3] for c in range(3)] + [part[:, :, 3]]
        parts.append([np.asarray(Image.fromarray(p).resize((width, len(part)), resample)) for p in planes])
    return [Image.fromarray(np.concatenate([part[c] for part in parts])) for c in range(4)]
