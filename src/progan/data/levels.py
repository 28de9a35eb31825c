"""Levels of a store: the images themselves, and their box means in every smaller size that a growing network uses."""

import numpy as np

from progan.sizes import growable


def level_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Return heights and widths of all levels, largest first; a size that networks cannot grow to is the only level.

    >>> level_sizes(8, 16), level_sizes(28, 28)
    ([(8, 16), (4, 8)], [(28, 28)])
    """
    count = (min(height, width) // 4).bit_length() if growable(height, width) else 1
    return [(height >> k, width >> k) for k in range(count)]


def box_levels(top: np.ndarray) -> list[np.ndarray]:
    """Return a level and, if networks can grow to its size, its 2x2 box means down to a shorter side of 4.

    Every mean is computed from exact integer sums of the top level and rounded once, ties to even. With alpha, colors
    are weighted by alpha, so that invisible pixels do not count; where alpha is 0 everywhere, the mean is unweighted.

    Shape: uint8 [..., H, W, C] -> uint8 [..., H / 2^k, W / 2^k, C] for k = 0, 1, ...; C is 1, 3, or 4 with alpha.

    >>> [level.shape for level in box_levels(np.zeros((8, 16, 1), np.uint8))]
    [(8, 16, 1), (4, 8, 1)]
    """
    count = len(level_sizes(*top.shape[-3:-1]))
    levels, sums = [top], top
    for shift in range(2, 2 * count, 2):
        kind = np.uint16 if shift <= 8 else np.uint32  # 255 * 2^8 plus half fits 16 bits
        rows = np.add(sums[..., 0::2, :, :], sums[..., 1::2, :, :], dtype=kind)
        sums = np.empty((*rows.shape[:-2], rows.shape[-2] // 2, rows.shape[-1]), kind)
        for c in range(rows.shape[-1]):  # six times as fast as all at once: numpy's inner loop is then along the row
            np.add(rows[..., 0::2, c], rows[..., 1::2, c], out=sums[..., c])
        odd = (sums >> shift) & 1  # adding half - 1 + odd before the cut rounds half to even
        levels.append(((sums + ((1 << (shift - 1)) - 1) + odd) >> shift).astype(np.uint8))
    if top.shape[-1] == 4 and count > 1 and top[..., 3].min(initial=255) < 255:
        _weigh(levels)
    return levels


def _weigh(levels: list[np.ndarray]) -> None:
    """Replace the plain color means in all levels below the top by means weighted by alpha."""
    alpha = levels[0][..., 3].astype(np.uint16)
    planes = [*(levels[0][..., c] * alpha for c in range(3)), alpha]  # up to 255^2, which fits 16 bits
    for k, level in enumerate(levels[1:], 1):
        kind = np.uint32 if k <= 8 else np.uint64  # 255^2 * 4^8 fits 32 bits
        rows = [np.add(plane[..., 0::2, :], plane[..., 1::2, :], dtype=kind) for plane in planes]
        planes = [row[..., 0::2] + row[..., 1::2] for row in rows]
        weight = planes[3].astype(np.float64)
        seen = weight > 0
        for c in range(3):  # float64 is exact enough: what is no tie is at least 1 / (2 weight) away from one
            mean = np.divide(planes[c], weight, out=level[..., c].astype(np.float64), where=seen)
            level[..., c] = np.rint(mean, out=mean)
