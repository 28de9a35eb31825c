"""Nearest neighbors of generated images in a data set, which show whether a generator repeats training images."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from progan.errors import ConfigError
from progan.images import opaque, scaled, sheet

Features = Callable[[Tensor], Tensor]
"""Images uint8 [N, 1 or 3, H, W] -> features that distances compare, float [N, F]."""
_PART, _PIXELS = 256, 1 << 24  # most images of the data set in memory at once, and most numbers of their pixels
_TILE = 128  # shorter side to which small images are enlarged [pixels]
_RED = (230, 30, 30)


@dataclass(frozen=True)
class Neighbours:
    """The nearest real images of each of M generated ones, nearest first."""

    index: np.ndarray
    """Numbers of the real images, int64 [M, k]."""
    distance: np.ndarray
    """Root mean squared difference of features, float32 [M, k]."""
    mirrored: np.ndarray
    """Whether the real image is nearer when mirrored, bool [M, k]."""


@dataclass(frozen=True)
class Crop:
    """The center of an image, which excludes the background (ProGAN figure 10)."""

    fraction: float = 0.5
    """Fraction of each side."""

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ConfigError(f"crop must be greater than 0 and at most 1, got {self.fraction}")

    def box(self, height: int, width: int) -> tuple[slice, slice]:
        """Return the rows and columns of the crop, with equal margins on both sides, so that mirroring keeps its place.

        >>> Crop(0.5).box(64, 64), Crop(0.3).box(8, 8)
        ((slice(16, 48, None), slice(16, 48, None)), (slice(3, 5, None), slice(3, 5, None)))
        """
        margins = [min(round(side * (1 - self.fraction) / 2), (side - 1) // 2) for side in (height, width)]
        return slice(margins[0], height - margins[0]), slice(margins[1], width - margins[1])

    def __call__(self, images: Tensor) -> Tensor:
        """Crop images [..., H, W] -> [..., h, w]."""
        rows, columns = self.box(*images.shape[-2:])
        return images[..., rows, columns]


def pixels(images: Tensor) -> Tensor:
    """Return the pixels themselves as features, 0 ... 255. Shape: [N, C, H, W] -> float32 [N, C * H * W]."""
    return images.flatten(1).float()


def nearest(
    fakes: Tensor,
    reals: np.ndarray,
    *,
    features: Features = pixels,
    crop: Crop = Crop(),
    count: int = 5,
    mirror: bool = True,
    progress: bool = False,
) -> Neighbours:
    """Find the ``count`` real images nearest to each generated one, in one pass over the real images.

    Distances are between features of the crops. Real images are also compared mirrored, as training shows them. The few
    generated images are mirrored instead of all real ones, which is equivalent for pixels and costs nothing.

    Args:
        fakes: generated images, uint8 [M, C, H, W].
        reals: real images, uint8 [N, H, W, C]; may be a memory map, of which a part is in memory at a time.
        features: function that extracts features, such as ``pixels`` or a network.
        crop: part of the images that is compared.
        count: number of neighbors of each image; all real images if there are fewer.
        mirror: whether real images are also compared mirrored.
        progress: whether to show a progress bar.

    Raises:
        ConfigError: if the two sets differ in size or channels, or one is empty.
    """
    n, height, width, channels = reals.shape
    if tuple(fakes.shape[1:]) != (channels, height, width) or not n or not len(fakes) or count < 1:
        raise ConfigError(
            f"generated images {list(fakes.shape)} [M, C, H, W] and real images {list(reals.shape)} [N, H, W, C] must "
            f"be of one size, with at least one of each and count at least 1, got {count}"
        )
    middle = crop(opaque(fakes))
    queries = features(torch.cat([middle, middle.flip(3)]) if mirror else middle)  # [M or 2M, F]
    best = Neighbours(*(np.empty((len(fakes), 0), kind) for kind in (np.int64, np.float32, bool)))
    part = max(1, min(_PART, _PIXELS // (height * width * channels)))
    with tqdm(total=n, unit=" images", unit_scale=True, desc="compare", disable=None if progress else True) as bar:
        for i in range(0, n, part):
            images = opaque(torch.from_numpy(np.array(reals[i : i + part])).permute(0, 3, 1, 2))
            best = _merged(best, _distances(queries, features(crop(images)), len(fakes)), i, count)
            bar.update(len(images))
    return best


def _distances(queries: Tensor, features: Tensor, fakes: int) -> np.ndarray:
    """float32 [1 or 2, M, N]; plain, then mirrored. Without products, so that equal features are at exactly 0."""
    far = torch.cdist(queries, features, compute_mode="donot_use_mm_for_euclid_dist") / features.shape[1] ** 0.5
    return far.unflatten(0, (-1, fakes)).float().cpu().numpy()


def _merged(best: Neighbours, far: np.ndarray, first: int, count: int) -> Neighbours:
    """The nearest of those found before and of the images from number ``first`` on; of equal distances, the first."""
    m, n = far.shape[1:]
    index = np.concatenate([best.index, np.broadcast_to(np.arange(first, first + n), (m, n))], 1)
    distance = np.concatenate([best.distance, far.min(0)], 1)
    mirrored = np.concatenate([best.mirrored, far.argmin(0) == 1], 1)
    order = np.argsort(distance, 1, kind="stable")[:, :count]
    return Neighbours(*(np.take_along_axis(part, order, 1) for part in (index, distance, mirrored)))


def neighbours_sheet(fakes: Tensor, reals: np.ndarray, found: Neighbours, crop: Crop) -> Image.Image:
    """Draw one row for each generated image: the image with its crop outlined, then its neighbors, nearest first.

    Args:
        fakes: generated images, uint8 [M, C, H, W].
        reals: real images, uint8 [N, H, W, C].
        found: neighbors; mirrored ones are drawn mirrored.
        crop: part of the images that was compared.
    """
    factor = max(1, _TILE // min(fakes.shape[2:]))
    size = (fakes.shape[2] * factor, fakes.shape[3] * factor)
    rows = []
    for fake, indices, mirrored in zip(fakes, found.index, found.mirrored, strict=True):
        images = torch.from_numpy(reals[indices]).permute(0, 3, 1, 2)
        images[mirrored] = images[mirrored].flip(3)
        tiles = scaled(opaque(torch.cat([fake[None], images])), size)
        tiles = tiles.expand(-1, 3, -1, -1).clone()
        _outline(tiles[0], [slice(s.start * factor, s.stop * factor) for s in crop.box(*fakes.shape[2:])])
        rows.append(tiles)
    return sheet(torch.cat(rows), found.index.shape[1] + 1, enlarge=1)


def _outline(image: Tensor, box: list[slice]) -> None:
    """Draw a red frame of 1 pixel just inside a box of an RGB image, in place."""
    inside = torch.zeros(image.shape[1:], dtype=torch.bool)
    inside[box[0], box[1]] = True
    inside[box[0].start + 1 : box[0].stop - 1, box[1].start + 1 : box[1].stop - 1] = False
    image[:, inside] = torch.tensor(_RED, dtype=image.dtype)[:, None]
