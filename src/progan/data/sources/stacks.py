"""Images that are rows of arrays of numbers: their orientation, their common range, and sources of them."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from progan.data.ranges import Extent, Scale, array_scale
from progan.data.records import Payload, Source, image_kind, numbered
from progan.data.sources.rows import Rows
from progan.errors import DataError

_CHANNELS = (1, 3, 4)


def is_stack(shape: Sequence[int], dtype: np.dtype) -> bool:
    """Return whether an array can be images: numbers [N, H, W], [N, H, W, C] or [N, C, H, W] with C = 1, 3 or 4.

    What could also be a single image [H, W, C] is not, and neither are single numbers or rows of them.

    >>> [is_stack(shape, np.dtype("u1")) for shape in ((9, 28, 28), (9, 3, 8, 8), (9, 784), (64, 64, 3), (9, 1, 1, 1))]
    [True, True, False, False, False]
    """
    if dtype.kind not in "uifb" or 0 in shape:
        return False
    if len(shape) == 3:
        return 1 not in shape[1:] and not (shape[2] in _CHANNELS and shape[1] > 2 * shape[2])
    if len(shape) != 4 or not (shape[3] in _CHANNELS or shape[1] in _CHANNELS):
        return False
    return 1 not in (shape[1:3] if shape[3] in _CHANNELS else shape[2:])


def upright(row: np.ndarray) -> np.ndarray:
    """Return an image [H, W], [H, W, C] or [C, H, W] as [H, W] or [H, W, 3 or 4]; if both are possible, C is last."""
    if row.ndim == 3:
        row = row if row.shape[2] in _CHANNELS else row.transpose(1, 2, 0)
        return row[..., 0] if row.shape[2] == 1 else row
    return row


def oriented(where: str, images: Rows) -> Rows:
    """Return images as [N, H, W] or [N, H, W, C].

    Raises:
        DataError: if the array cannot be images.
    """
    if not is_stack(images.shape, images.dtype):
        raise DataError(
            f"{where}: not an array of images\n"
            f"  found: {images.dtype} of shape {list(images.shape)}\n"
            f"  fix:   save an array of shape [N, H, W], [N, H, W, C] or [N, C, H, W] with C = 1, 3 or 4 (N = 1 for a "
            f"single image)"
        )
    if len(images.shape) == 3:
        return images
    n, *one = images.shape
    *plane, channels = one if one[2] in _CHANNELS else (*one[1:], one[0])
    shape = (n, *plane) if channels == 1 else (n, *plane, channels)

    def read(positions: Sequence[int]) -> Iterator[np.ndarray | DataError]:
        for row in images.read(positions):
            yield row if isinstance(row, DataError) else upright(row)

    return Rows(shape=shape, dtype=images.dtype, read=read)


def stack_sources(named: Sequence[tuple[str, Rows]]) -> list[Source]:
    """Return sources of arrays of images [N, H, W] or [N, H, W, C], by name, scaled to 0 ... 255 by a common range.

    Raises:
        DataError: if the range of the numbers is not defined.
    """
    kinds = {images.dtype for _, images in named}
    scales = {kind: common_scale([(name, images) for name, images in named if images.dtype == kind]) for kind in kinds}
    return [stack_source(name, images, scales[images.dtype]) for name, images in named]


def stack_source(name: str, images: Rows, scale: Scale) -> Source:
    """Return a source of images whose range is known."""

    def read(positions: Sequence[int]) -> Iterator[Payload]:
        for row in images.read(positions):
            yield row if isinstance(row, DataError) else scale.to_uint8(row)

    notes = (f"{name}: {scale.note}",) if scale.note else ()
    alike = image_kind(images.shape[1:]) if len(images.shape) > 1 else None
    return numbered(name, len(images), read, alike=alike, notes=notes)


def common_scale(named: Sequence[tuple[str, Rows]]) -> Scale:
    """Return the range of all arrays, which have one type, so that they keep their brightness to each other.

    Raises:
        DataError: if not all numbers are finite, or their range is not defined.
    """
    extent, kind = Extent(), named[0][1].dtype
    if kind == np.uint8:
        return Scale()
    for name, images in named:
        for i, row in enumerate(images.read(range(len(images)))):
            if isinstance(row, DataError):  # reported, or skipped, when its turn comes
                continue
            extent = extent.with_array(row)
            if not np.isfinite([extent.low, extent.high]).all():
                raise DataError(
                    f"{name}: not all pixels are numbers\n"
                    f"  found: NaN or infinity in image {i} (counted from 0)\n"
                    f"  fix:   save the array again without this image"
                )
    if math.isinf(extent.low):  # nothing can be read
        return Scale()
    if scale := array_scale(kind, extent):
        return scale
    raise DataError(
        f"{named[0][0]}: pixels with an unknown range\n"
        f"  found: {kind} from {extent.low:.8g} to {extent.high:.8g}; expected 0 ... 1, -1 ... 1 or 0 ... 255, "
        f"or integers of up to 16 bits\n"
        f"  fix:   scale the array to one of these ranges, or save it as uint8"
    )
