"""The images of a data set that are nearest to generated ones: does a generator repeat what it was shown?"""

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
"""Images uint8 [N, 1 or 3, H, W] -> what distances are measured between, float [N, F]."""
_PART, _PIXELS = 256, 1 << 24  # most images of the data set in memory at once, and most numbers of their pixels
_TILE = 128  # shorter side to which small images are enlarged [pixels]
_RED = (230, 30, 30)


@dataclass(frozen=True)
class Neighbours:
    """The nearest real images of each of M generated ones, nearest first."""

    index: np.ndarray
    """Numbers of the real images, int64 [M, k]."""
    distance: np.ndarray
    """Root of the mean squared difference of features, float32 [M, k]."""
    mirrored: np.ndarray
    """Whether the real image is nearer when it is mirrored, bool [M, k]."""


@dataclass(frozen=True)
class Crop:
    """The middle of an image, which leaves the background out (ProGAN figure 10)."""

    fraction: float = 0.5
    """Of each side."""

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ConfigError(f"crop must be more than 0 and at most 1, got {self.fraction}")

    def box(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns; what is left out is as much on both sides, so that mirroring leaves it in place.

        >>> Crop(0.5).box(64, 64), Crop(0.3).box(8, 8)
        ((slice(16, 48, None), slice(16, 48, None)), (slice(3, 5, None), slice(3, 5, None)))
        """
        margins = [min(round(side * (1 - self.fraction) / 2), (side - 1) // 2) for side in (height, width)]
        return slice(margins[0], height - margins[0]), slice(margins[1], width - margins[1])

    def __call__(self, images: Tensor) -> Tensor:
        """Images [..., H, W] -> [..., h, w]."""
        rows, columns = self.box(*images.shape[-2:])
        return images[..., rows, columns]


def pixels(images: Tensor) -> Tensor:
    """Pixels themselves as features, 0 ... 255. Shape: [N, C, H, W] -> float32 [N, C * H * W]."""
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
    """The ``count`` real images nearest to each generated one, in one pass over the reals.

    Distances are those between features of the middle. A real image also counts mirrored, as training shows it; instead
    of all reals, the few generated images are mirrored, which is the same for pixels and costs nothing.

    Args:
        fakes: uint8 [M, C, H, W].
        reals: uint8 [N, H, W, C], may be a memory map; some images are in memory at a time.
        features: as ``pixels``, or those of a network.
        crop: what is compared.
        count: neighbours of each; all reals if there are fewer.
        mirror: whether reals also count mirrored.
        progress: whether to show a progress bar.

    Raises:
        ConfigError: if fakes and reals differ in size or channels, or there are none.
    """
    n, height, width, channels = reals.shape
    if tuple(fakes.shape[1:]) != (channels, height, width) or not n or not len(fakes) or count < 1:
        raise ConfigError(
            f"fakes {list(fakes.shape)} [M, C, H, W] and reals {list(reals.shape)} [N, H, W, C] must be at least one "
            f"of each, of one size, and count at least 1, got {count}"
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
    """float32 [1 or 2, M, N]; plain, then mirrored. Equal features are exactly 0 apart, as sums of products are not."""
    far = torch.cdist(queries, features, compute_mode="donot_use_mm_for_euclid_dist") / features.shape[1] ** 0.5
    return far.unflatten(0, (-1, fakes)).float().cpu().numpy()


def _merged(best: Neighbours, far: np.ndarray, first: int, count: int) -> Neighbours:
    """The nearest of those found before and of the images from number ``first`` on; of equals the first."""
    m, n = far.shape[1:]
    index = np.concatenate([best.index, np.broadcast_to(np.arange(first, first + n), (m, n))], 1)
    distance = np.concatenate([best.distance, far.min(0)], 1)
    mirrored = np.concatenate([best.mirrored, far.argmin(0) == 1], 1)
    order = np.argsort(distance, 1, kind="stable")[:, :count]
    return Neighbours(*(np.take_along_axis(part, order, 1) for part in (index, distance, mirrored)))


def neighbours_sheet(fakes: Tensor, reals: np.ndarray, found: Neighbours, crop: Crop) -> Image.Image:
    """A picture with a generated image in each row, its crop outlined, and its neighbours beside it, nearest first.

    Args:
        fakes: uint8 [M, C, H, W].
        reals: uint8 [N, H, W, C].
        found: neighbours; mirrored ones are shown mirrored.
        crop: what was compared.
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
