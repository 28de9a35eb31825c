"""CelebA-HQ's crop from the formulas of ProGAN appendix C, pixel by pixel in float64; imports nothing of progan."""

import math

import numpy as np


def corners(points: np.ndarray) -> np.ndarray:
    """Top left, top right, bottom right, bottom left of the crop; the paper's y axis points up in the image."""
    (e0x, e0y), (e1x, e1y), _, (m0x, m0y), (m1x, m1y) = points.tolist()
    xx, xy = e1x - e0x, e1y - e0y
    yx, yy = (e0x + e1x) / 2 - (m0x + m1x) / 2, (e0y + e1y) / 2 - (m0y + m1y) / 2
    cx, cy = (e0x + e1x) / 2 - 0.1 * yx, (e0y + e1y) / 2 - 0.1 * yy
    s = max(4.0 * math.hypot(xx, xy), 3.6 * math.hypot(yx, yy))
    ax, ay = xx - yy, xy + yx  # x' - rotate90(y'), where rotate90 of (a, b) is (b, -a)
    norm = math.hypot(ax, ay)
    ax, ay = ax / norm, ay / norm
    bx, by = ay, -ax
    h = s / 2
    return np.array(
        [[cx + h * (i * ax + j * bx), cy + h * (i * ay + j * by)] for i, j in [(-1, 1), (1, 1), (1, -1), (-1, -1)]]
    )


def warp(image: np.ndarray, quad: np.ndarray, resolution: int, factor: int = 4) -> np.ndarray:
    """Bilinear at factor times the resolution, then box means, float64; the square must lie inside the image."""
    n = resolution * factor
    big = np.zeros((n, n, 3))
    for row in range(n):
        for column in range(n):
            u, v = (column + 0.5) / n, (row + 0.5) / n
            x, y = quad[0] + u * (quad[1] - quad[0]) + v * (quad[3] - quad[0])
            i, j = math.floor(y), math.floor(x)
            p, q = y - i, x - j
            block = image[i : i + 2, j : j + 2].astype(np.float64)
            big[row, column] = (1 - p) * ((1 - q) * block[0, 0] + q * block[0, 1]) + p * (
                (1 - q) * block[1, 0] + q * block[1, 1]
            )
    return big.reshape(resolution, factor, resolution, factor, 3).mean((1, 3))
