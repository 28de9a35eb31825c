"""Alignment of faces for CelebA-HQ (ProGAN appendix C): from five landmarks to a square, upright image of the face."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter

from progan.errors import DataError

_EYES, _EYES_TO_MOUTH, _DOWN = 4.0, 3.6, 0.1  # appendix C: s = max(4.0 |x'|, 3.6 |y'|), c = eyes - 0.1 y'
_SUPERSAMPLING = 4  # appendix C: 4096 samples for 1024 pixels
_BLOCK_SAMPLES = 1 << 20  # samples of the supersampled image in memory at a time
_BLURS = ((0.01, 0.03), (0.02, 0.08), (0.04, 0.16))
"""Sigma of each Gaussian, and the depth beyond the border where only it is seen, in sides of the square. The paper
gives no numbers; these were chosen by eye."""
_MOST_PIXELS = 2e8  # of a region including the reach of the blur: 3 GB
_LARGEST = 4  # largest side of a square in longer sides of its image; beyond, nearly all of it would be mirrored


@dataclass(frozen=True)
class CropSquare:
    """Rotated square in an image. Coordinates are (x, y); integer coordinates are the centers of pixels."""

    center: np.ndarray
    """Center of the square [pixels], float64 [2]."""
    side: float
    """Side of the square [pixels of the image]."""
    x: np.ndarray
    """Unit vector from left to right of the square, float64 [2]."""

    @property
    def y(self) -> np.ndarray:
        """Unit vector from bottom to top of the square, float64 [2]."""
        return rotate90(self.x)

    def to_image(self, places: np.ndarray) -> np.ndarray:
        """Map places in the square, from (0, 0) at the top left to (1, 1) at the bottom right, to points of the image.

        Shape: float [..., 2] -> float64 [..., 2].
        """
        right, down = np.moveaxis(np.asarray(places, np.float64) - 0.5, -1, 0)[..., None]
        return self.center + self.side * (right * self.x - down * self.y)

    def from_image(self, points: np.ndarray) -> np.ndarray:
        """Map points of the image to places in the square, the inverse of ``to_image``."""
        away = (np.asarray(points, np.float64) - self.center) / self.side
        return np.stack([away @ self.x, -(away @ self.y)], -1) + 0.5

    @property
    def corners(self) -> np.ndarray:
        """Corners in the image: top left, top right, bottom right and bottom left, float64 [4, 2]."""
        return self.to_image(np.array([[0, 0], [1, 0], [1, 1], [0, 1]]))


def rotate90(vector: np.ndarray) -> np.ndarray:
    """Rotate (x, y) to (y, -x): a quarter turn counterclockwise, because rows of an image run downward.

    >>> rotate90(np.array([1.0, 0.0])).tolist()
    [0.0, -1.0]
    """
    return np.array([vector[1], -vector[0]])


def crop_square(points: np.ndarray) -> CropSquare:
    """Return the square to crop for a face (appendix C).

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
        raise DataError(f"landmarks {np.asarray(points).tolist()} are not a face: eyes and mouth define no square")
    return CropSquare((e0 + e1) / 2 - _DOWN * up, float(side), x / length)


def align(image: np.ndarray, square: CropSquare, resolution: int) -> np.ndarray:
    """Resample the contents of a square, with bilinear samples at 4 or more times the resolution and box means of them.

    For a square with more pixels than samples, their number is doubled until no pixel of the image is skipped. Beyond
    its border, the image is mirrored and increasingly blurred.

    Args:
        image: uint8 [H, W, 3].
        square: square to resample, from ``crop_square``.
        resolution: side of the result [pixels].

    Returns:
        uint8 [resolution, resolution, 3].

    Raises:
        DataError: if the square is outside the image or far larger than it.
    """
    height, width = image.shape[:2]
    if not ((square.center >= 0) & (square.center < (width, height))).all() or (
        square.side > _LARGEST * max(width, height)
    ):
        raise DataError(
            f"the landmarks do not match this image of {height}x{width} pixels (height x width): the face would be a "
            f"square with a side of {square.side:.0f} pixels around x {square.center[0]:.0f}, y {square.center[1]:.0f}"
        )
    part, origin = _surroundings(image, square)
    factor = _SUPERSAMPLING
    while factor * resolution < square.side:
        factor *= 2
    return _sample(part, square, origin, resolution, factor)


def _sample(part: np.ndarray, square: CropSquare, origin: np.ndarray, resolution: int, factor: int) -> np.ndarray:
    """Take bilinear samples and their box means, some rows at a time."""
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
    """Return the region of the extended image that a square needs, uint8 [H, W, 3], and its first pixel (x, y)."""
    corners = square.corners
    low, high = np.floor(corners.min(0)).astype(int) - 1, np.ceil(corners.max(0)).astype(int) + 2
    if (low >= 0).all() and (high <= image.shape[1::-1]).all():
        return image[low[1] : high[1], low[0] : high[0]], low
    margin = int(3 * _BLURS[-1][0] * square.side) + 1  # reach of the blur
    low, high = low - margin, high + margin
    if np.prod((high - low).astype(float)) > _MOST_PIXELS:
        raise DataError(f"a face of {square.side:.0f} pixels extends too far beyond the image; shrink the image first")
    x, y = np.arange(low[0], high[0]), np.arange(low[1], high[1])
    height, width = image.shape[:2]
    part = image[_mirror(y, height)[:, None], _mirror(x, width)]
    depth = np.hypot(_beyond(x, width), _beyond(y, height)[:, None]) / np.float32(square.side)
    return _blur(part, depth, square.side, margin), low + margin


def _mirror(places: np.ndarray, length: int) -> np.ndarray:
    """Reflect positions into 0 ... length - 1 without repeating the first and the last one.

    >>> _mirror(np.arange(-3, 7), 4).tolist()
    [3, 2, 1, 0, 1, 2, 3, 2, 1, 0]
    """
    period = max(1, 2 * (length - 1))
    folded = places % period
    return np.minimum(folded, period - folded)


def _beyond(places: np.ndarray, length: int) -> np.ndarray:
    """Return how far positions are outside 0 ... length - 1, float32."""
    return np.maximum(np.maximum(-places, places - (length - 1)), 0).astype(np.float32)


def _blur(part: np.ndarray, depth: np.ndarray, side: float, margin: int) -> np.ndarray:
    """Blur the region beyond the border of the image, increasingly with the distance; the image itself is not changed.

    Args:
        part: uint8 [H, W, 3].
        depth: distance from the image in sides of the square, 0 inside it, [H, W].
        side: side of the square [pixels].
        margin: width of the border that is only input of the blur and is cut off [pixels].
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
