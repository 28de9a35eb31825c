"""CelebA-HQ's crop (ProGAN appendix C): from five landmarks of a face to a square, upright picture of it."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter

from progan.errors import DataError

_EYES, _EYES_TO_MOUTH, _DOWN = 4.0, 3.6, 0.1  # appendix C: s = max(4.0 |x'|, 3.6 |y'|), c = eyes - 0.1 y'
_SUPERSAMPLING = 4  # appendix C: 4096 samples for 1024 pixels
_BLOCK_SAMPLES = 1 << 20  # of the supersampled picture in memory at a time
_BLURS = ((0.01, 0.03), (0.02, 0.08), (0.04, 0.16))
"""Gaussian's sigma, and depth beyond the border where it alone is seen, both in sides of the square. The paper gives
no numbers; these are ours, chosen by eye."""
_MOST_PIXELS = 2e8  # of a part with what the blur reaches for: 3 GB
_LARGEST = 4  # sides of a square in longer sides of its picture: beyond, nearly all of it would be mirrored


@dataclass(frozen=True)
class CropSquare:
    """A rotated square in an image; coordinates are (x, y), and whole numbers are the centers of pixels."""

    center: np.ndarray
    """float64 [2], pixels."""
    side: float
    """Pixels of the image."""
    x: np.ndarray
    """Unit vector from its left to its right, float64 [2]."""

    @property
    def y(self) -> np.ndarray:
        """Unit vector from its bottom to its top, float64 [2]."""
        return rotate90(self.x)

    def to_image(self, places: np.ndarray) -> np.ndarray:
        """Places in the square, (0, 0) its top left corner and (1, 1) its bottom right one, as points of the image.

        Shape: float [..., 2] -> float64 [..., 2].
        """
        right, down = np.moveaxis(np.asarray(places, np.float64) - 0.5, -1, 0)[..., None]
        return self.center + self.side * (right * self.x - down * self.y)

    def from_image(self, points: np.ndarray) -> np.ndarray:
        """Inverse of ``to_image``."""
        away = (np.asarray(points, np.float64) - self.center) / self.side
        return np.stack([away @ self.x, -(away @ self.y)], -1) + 0.5

    @property
    def corners(self) -> np.ndarray:
        """Top left, top right, bottom right and bottom left, float64 [4, 2]."""
        return self.to_image(np.array([[0, 0], [1, 0], [1, 1], [0, 1]]))


def rotate90(vector: np.ndarray) -> np.ndarray:
    """(x, y) -> (y, -x): a quarter turn against the clock, as rows of an image go down.

    >>> rotate90(np.array([1.0, 0.0])).tolist()
    [0.0, -1.0]
    """
    return np.array([vector[1], -vector[0]])


def crop_square(points: np.ndarray) -> CropSquare:
    """Where the picture of a face is cut out (appendix C).

    Args:
        points: left eye, right eye, nose, left and right corner of the mouth as seen in the image, float [5, 2].

    Raises:
        DataError: if eyes and mouth coincide, so that there is no square.
    """
    e0, e1, _, m0, m1 = np.asarray(points, np.float64)
    across, up = e1 - e0, (e0 + e1) / 2 - (m0 + m1) / 2  # x' and y' of the paper
    side = max(_EYES * np.hypot(*across), _EYES_TO_MOUTH * np.hypot(*up))
    x = across - rotate90(up)
    length = np.hypot(*x)
    if not np.isfinite(length) or length < 1e-6 * side or side < 1:
        raise DataError(f"landmarks {np.asarray(points).tolist()} are no face: eyes and mouth give no square")
    return CropSquare((e0 + e1) / 2 - _DOWN * up, float(side), x / length)


def align(image: np.ndarray, square: CropSquare, resolution: int) -> np.ndarray:
    """The picture inside a square, sampled bilinearly at 4 or more times the resolution and shrunk by box means.

    Where the square is larger than those samples are dense, there are 8, 16, ... samples for a pixel, so that no pixel
    of the image is skipped. Where it reaches beyond the image, the image is mirrored and increasingly blurred.

    Args:
        image: uint8 [H, W, 3].
        square: from ``crop_square``.
        resolution: side of the result [pixels].

    Returns:
        uint8 [resolution, resolution, 3].

    Raises:
        DataError: if the square lies outside the image, or is far larger than it.
    """
    height, width = image.shape[:2]
    if not ((square.center >= 0) & (square.center < (width, height))).all() or (
        square.side > _LARGEST * max(width, height)
    ):
        raise DataError(
            f"the landmarks do not belong to this picture of {height}x{width} pixels (height x width): the face would "
            f"be a square of {square.side:.0f} pixels around x {square.center[0]:.0f}, y {square.center[1]:.0f}"
        )
    part, origin = _surroundings(image, square)
    factor = _SUPERSAMPLING
    while factor * resolution < square.side:
        factor *= 2
    return _sample(part, square, origin, resolution, factor)


def _sample(part: np.ndarray, square: CropSquare, origin: np.ndarray, resolution: int, factor: int) -> np.ndarray:
    """Bilinear samples and their box means, some rows at a time."""
    pixels = torch.tensor(part).permute(2, 0, 1)[None].float()
    size = np.array(part.shape[1::-1])
    at = (np.arange(resolution * factor) + 0.5) / (resolution * factor)
    # grid_sample's coordinates: -1 is the outer edge of the first pixel, 1 that of the last one
    start = (2 * (square.to_image(np.zeros(2)) - origin) + 1) / size - 1
    right = torch.from_numpy(start + np.outer(at, 2 * square.side * square.x / size)).float()
    down = torch.from_numpy(np.outer(at, -2 * square.side * square.y / size)).float()
    rows = max(1, _BLOCK_SAMPLES // (resolution * factor**2)) * factor
    blocks = []
    for block in down.split(rows):
        grid = (block[:, None] + right[None])[None]  # [1, rows, resolution * factor, 2]
        samples = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
        blocks.append(F.avg_pool2d(samples, factor).round_().clamp_(0, 255).to(torch.uint8))
    return torch.cat(blocks, 2)[0].permute(1, 2, 0).contiguous().numpy()


def _surroundings(image: np.ndarray, square: CropSquare) -> tuple[np.ndarray, np.ndarray]:
    """The part of the extended image that a square needs, uint8 [H, W, 3], and where its first pixel is, (x, y)."""
    corners = square.corners
    low, high = np.floor(corners.min(0)).astype(int) - 1, np.ceil(corners.max(0)).astype(int) + 2
    if (low >= 0).all() and (high <= image.shape[1::-1]).all():
        return image[low[1] : high[1], low[0] : high[0]], low
    margin = int(3 * _BLURS[-1][0] * square.side) + 1  # what a blur reaches for
    low, high = low - margin, high + margin
    if np.prod((high - low).astype(float)) > _MOST_PIXELS:
        raise DataError(f"a square of {square.side:.0f} pixels reaches too far beyond the picture; shrink it first")
    x, y = np.arange(low[0], high[0]), np.arange(low[1], high[1])
    height, width = image.shape[:2]
    part = image[_mirror(y, height)[:, None], _mirror(x, width)]
    depth = np.hypot(_beyond(x, width), _beyond(y, height)[:, None]) / np.float32(square.side)
    return _blur(part, depth, square.side, margin), low + margin


def _mirror(places: np.ndarray, length: int) -> np.ndarray:
    """Positions of any size folded into 0 ... length - 1; the first and the last one are not repeated.

    >>> _mirror(np.arange(-3, 7), 4).tolist()
    [3, 2, 1, 0, 1, 2, 3, 2, 1, 0]
    """
    period = max(1, 2 * (length - 1))
    folded = places % period
    return np.minimum(folded, period - folded)


def _beyond(places: np.ndarray, length: int) -> np.ndarray:
    """How far positions lie outside of 0 ... length - 1, float32."""
    return np.maximum(np.maximum(-places, places - (length - 1)), 0).astype(np.float32)


def _blur(part: np.ndarray, depth: np.ndarray, side: float, margin: int) -> np.ndarray:
    """Blur what is beyond the border, from not at all at the border to more and more; the image itself is kept.

    Args:
        part: uint8 [H, W, 3].
        depth: distance from the image in sides of the square, 0 inside it, [H, W].
        side: of the square [pixels].
        margin: pixels all around that only feed the blur and are cut off.
    """
    picture, inner = Image.fromarray(part), (slice(margin, -margin),) * 2
    part, depth = part[inner].copy(), depth[inner]
    outside = depth > 0
    depth = depth[outside][:, None].astype(np.float32)
    result, before = part[outside].astype(np.float32), 0.0
    for sigma, until in _BLURS:
        blurred = np.asarray(picture.filter(ImageFilter.GaussianBlur(sigma * side)))[inner][outside]
        share = np.clip((depth - before) / (until - before), 0, 1)
        result += (blurred - result) * share
        before = until
    part[outside] = result.round().astype(np.uint8)
    return part
