"""Plain numpy versions of what prepare and the loader compute; nothing here is imported from progan."""

from fractions import Fraction

import numpy as np


def box_level(top: np.ndarray, factor: int) -> np.ndarray:
    """Means of factor x factor blocks of uint8 [H, W, C] in exact fractions, rounded once with ties to even."""
    height, width, channels = (top.shape[0] // factor, top.shape[1] // factor, top.shape[2])
    level = np.empty((height, width, channels), np.uint8)
    for y, x, c in np.ndindex(height, width, channels):
        block = top[y * factor : (y + 1) * factor, x * factor : (x + 1) * factor, c]
        level[y, x, c] = round(Fraction(sum(int(v) for v in block.flat), factor * factor))  # Python rounds half to even
    return level


def over_white(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Color [H, W, C] and alpha [H, W] in 0 ... 255 on a white ground, in float64."""
    share = alpha[:, :, None] / 255
    return np.rint(color * share + 255 * (1 - share)).astype(np.uint8)


def eight_bit(grey: np.ndarray) -> np.ndarray:
    """Grey of 16 bits scaled to 8, in float64."""
    return np.rint(grey / 65535 * 255).astype(np.uint8)


def center_crop(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """The largest centred part of pixels [H, W, C] with the given aspect ratio, for ratios that divide evenly."""
    h, w = pixels.shape[:2]
    part_h, part_w = (h, h * width // height) if w * height >= h * width else (w * height // width, w)
    y, x = (h - part_h) // 2, (w - part_w) // 2
    return pixels[y : y + part_h, x : x + part_w]


def pad_center(pixels: np.ndarray, side: int) -> np.ndarray:
    """Pixels [H, W, C] in the middle of a black square."""
    h, w = pixels.shape[:2]
    top, left = (side - h) // 2, (side - w) // 2
    return np.pad(pixels, ((top, side - h - top), (left, side - w - left), (0, 0)))


def loader_batch(level: np.ndarray, orders: list[np.ndarray], mirrored: np.ndarray, positions: list[int]) -> np.ndarray:
    """uint8 [n, C, H, W] of the images at positions, one after the other.

    ``orders`` are the epochs' permutations, ``mirrored`` says for each position from 0 on whether it is mirrored.
    """
    images = []
    for p in positions:
        image = level[orders[p // len(level)][p % len(level)]]
        images.append(np.transpose(image[:, ::-1] if mirrored[p] else image, (2, 0, 1)))
    return np.stack(images)
