"""Augmentation as Karras et al. (2020, appendix B) describe it, image by image in numpy and scipy; no progan."""

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation
from scipy.stats import norm


def normal(u: float) -> float:
    return float(norm.ppf(np.clip(u, 1e-6, 1 - 1e-6)))


def whole_pixels(u: float, side: int) -> int:
    values = np.arange(-(side // 8), side // 8 + 1)
    return int(values[int(u * len(values))])


def geometry(u: np.ndarray, chosen: set[str], height: int, width: int) -> np.ndarray:
    """The matrix [3, 3] from a place in the image to its place afterwards.

    Places are (x, y, 1) in pixels from the center, x to the right and y down.
    """
    total = np.eye(3)
    if "flip" in chosen and u[1] < 0.5:
        total = np.diag([-1.0, 1, 1]) @ total
    if "turn" in chosen:
        once = np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])  # right becomes up
        times = int(4 * u[3]) if height == width else 2 * int(2 * u[3])
        total = np.linalg.matrix_power(once, times) @ total
    if "translate" in chosen:
        total = np.array([[1, 0, whole_pixels(u[5], width)], [0, 1, whole_pixels(u[6], height)], [0, 0, 1]]) @ total
    if "scale" in chosen:
        factor = 2 ** (0.2 * normal(u[8]))
        total = np.diag([factor, factor, 1]) @ total
    return total


def resample(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Bilinear resampling of an image [C, H, W], reflected at its edges."""
    _, height, width = image.shape
    y, x = np.mgrid[:height, :width]
    center_y, center_x = (height - 1) / 2, (width - 1) / 2
    places = np.stack([(x - center_x).ravel(), (y - center_y).ravel(), np.ones(x.size)])
    from_x, from_y, _ = np.linalg.inv(matrix) @ places
    where = np.stack([from_y + center_y, from_x + center_x])
    return np.stack([map_coordinates(c, where, order=1, mode="reflect").reshape(height, width) for c in image])


def recolor(color: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Brightness, contrast, and of color images saturation and hue, of [1 or 3, H, W]."""
    color = (color + 0.2 * normal(u[0])) * 2 ** (0.5 * normal(u[1]))
    if len(color) == 1:
        return color
    gray = color.mean(0)
    color = gray + (color - gray) * 2 ** normal(u[2])
    turn = Rotation.from_rotvec(2 * np.pi * u[3] * np.ones(3) / np.sqrt(3))
    return turn.apply(color.reshape(3, -1).T).T.reshape(color.shape)


def cut_out(image: np.ndarray, u: np.ndarray) -> np.ndarray:
    _, height, width = image.shape
    image = image.copy()
    for i in range(height):
        for j in range(width):
            if abs((j + 0.5) / width - u[0]) < 0.25 and abs((i + 0.5) / height - u[1]) < 0.25:
                image[:, i, j] = 0
    return image


SELECTS = {"flip": 0, "turn": 2, "translate": 4, "scale": 7, "color": 9, "cutout": 14}
"""Columns that decide whether a kind is applied."""


def augment(images: np.ndarray, draws: np.ndarray, p: float, kinds: tuple[str, ...]) -> np.ndarray:
    """Augmented images, float64 [N, C, H, W]."""
    out = []
    for image, u in zip(images.astype(np.float64), draws.astype(np.float64), strict=True):
        chosen = {kind for kind in kinds if u[SELECTS[kind]] < p}
        image = resample(image, geometry(u, chosen, *image.shape[1:]))
        if "color" in chosen:
            colors = 1 if len(image) < 3 else 3
            image = np.concatenate([recolor(image[:colors], u[10:14]), image[colors:]])
        if "cutout" in chosen:
            image = cut_out(image, u[15:17])
        out.append(image)
    return np.stack(out)
