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


def alpha_level(top: np.ndarray, factor: int) -> np.ndarray:
    """The same of uint8 [H, W, 4] with alpha: colors are weighted by it, unless it is 0 all over a block."""
    level = box_level(top, factor)
    for y, x, c in np.ndindex(*level.shape[:2], 3):
        block = top[y * factor : (y + 1) * factor, x * factor : (x + 1) * factor].reshape(-1, 4).tolist()
        if weight := sum(pixel[3] for pixel in block):
            level[y, x, c] = round(Fraction(sum(pixel[c] * pixel[3] for pixel in block), weight))
    return level


def composited(pixels: np.ndarray) -> np.ndarray:
    """RGBA [..., 4] on a white ground, not rounded, float64 [..., 3]."""
    share = pixels[..., 3:].astype(np.float64) / 255
    return pixels[..., :3] * share + 255 * (1 - share)


def resized(pixels: np.ndarray, height: int, width: int, kernel: str) -> np.ndarray:
    """Pixels [H, W, C] shrunk by a filter, not rounded, float64: 'box' or 'lanczos' with three lobes."""
    return np.einsum(
        "yh,xw,hwc->yxc", _weights(len(pixels), height, kernel), _weights(pixels.shape[1], width, kernel), pixels
    )


def _weights(size: int, count: int, kernel: str) -> np.ndarray:
    """How much each of ``size`` pixels counts in each of ``count`` [count, size]."""
    scale = size / count
    x = (np.arange(size) + 0.5 - (np.arange(count)[:, None] + 0.5) * scale) / scale
    weights = (np.abs(x) < 0.5) * 1.0 if kernel == "box" else (np.abs(x) < 3) * np.sinc(x) * np.sinc(x / 3)
    return weights / weights.sum(1, keepdims=True)


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


def loader_batch(
    level: np.ndarray,
    orders: list[np.ndarray],
    mirrored: np.ndarray,
    positions: list[int],
    corners: np.ndarray | None = None,
    size: tuple[int, int] = (0, 0),
) -> np.ndarray:
    """uint8 [n, C, H, W] of the images at positions, one after the other.

    ``orders`` are the epochs' permutations, ``mirrored`` says for each position from 0 on whether it is mirrored, and
    ``corners`` [..., 2] in [0, 1) where the part of that ``size`` begins, from one end to the other.
    """
    images = []
    for p in positions:
        image = level[orders[p // len(level)][p % len(level)]]
        if corners is not None:
            y, x = (int(u * (whole - part + 1)) for u, whole, part in zip(corners[p], image.shape, size, strict=False))
            image = image[y : y + size[0], x : x + size[1]]
        images.append(np.transpose(image[:, ::-1] if mirrored[p] else image, (2, 0, 1)))
    return np.stack(images)


def one_hot(values: np.ndarray, classes: int) -> np.ndarray:
    """Values [n] or [n, K] as [n, K]; with classes, each value as so many numbers of 0 or 1."""
    values = values.reshape(len(values), -1)
    if not classes:
        return values
    rows = [[1 if value == k else 0 for value in row for k in range(classes)] for row in values.tolist()]
    return np.array(rows)
