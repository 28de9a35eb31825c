"""Distributions of points of the plane whose modes are known. All lie in about [-1, 1]^2."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from progan import draws

_SHOWN = 1 << 40  # number of points, each of which is shown once: there is no end
_FINE = 50  # points of a curve in each of its segments, to which distances are measured


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """Points ``place(u) + noise * N(0, 1)`` with u uniform in [0, 1), and ``modes`` parts of equal probability.

    Part m belongs to u from m / modes to (m + 1) / modes. It is a Gaussian, or a segment of a curve.
    """

    title: str
    place: Callable[[np.ndarray], np.ndarray]
    """Function from u [N] to points [N, 2]."""
    noise: float
    """Standard deviation of each coordinate."""
    modes: int
    """Number of Gaussians, or of segments of the curve."""
    curve: bool = False
    """Whether the parts are segments of a curve."""

    @property
    def part(self) -> str:
        """Word for a part, in the plural."""
        return "segments" if self.curve else "modes"

    def draw(self, seed: int, first: int, count: int) -> np.ndarray:
        """Return points ``first`` to ``first + count - 1``, float32 [count, 2]; each is a function of its number."""
        u = draws.uniform(seed, "toy/place", first, count, 1)[:, 0]
        return (self.place(u) + self.noise * draws.normal(seed, "toy/noise", first, count, 2)).astype(np.float32)

    def middle(self) -> tuple[np.ndarray, np.ndarray]:
        """Return points without noise [S, 2], which are dense on a curve, and the number of the part of each [S]."""
        fine = _FINE if self.curve else 1
        u = (np.arange(self.modes * fine) + 0.5) / (self.modes * fine)
        return self.place(u), np.arange(self.modes).repeat(fine)


class Points:
    """Points of a distribution as images [N, 2, 1, 1] for the training loop; see ``training.loop.Data``."""

    def __init__(self, distribution: Distribution, seed: int) -> None:
        self.distribution, self.seed = distribution, seed

    def __len__(self) -> int:
        return _SHOWN

    def images(self, position: int, count: int, resolution: int, *, offset: int = 0, stride: int = 1) -> Tensor:
        """Return the points at positions ``position + offset``, + stride, ... < ``position + count``."""
        points = self.distribution.draw(self.seed, position, count)[offset::stride]
        return torch.from_numpy(points).view(-1, 2, 1, 1)

    def labels(self, position: int, count: int, *, offset: int = 0, stride: int = 1) -> Tensor | None:
        """Return None: there are no labels."""
        return None


def _plane(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.stack([x, y], 1)


def _ring(u: np.ndarray) -> np.ndarray:
    angle = 2 * np.pi / 8 * np.floor(8 * u)
    return _plane(np.cos(angle), np.sin(angle))


def _grid(u: np.ndarray) -> np.ndarray:
    number = np.floor(25 * u)
    return _plane(number % 5 - 2, number // 5 - 2) / 2


def _moons(u: np.ndarray) -> np.ndarray:
    """Two half circles of radius 1, the second around (1, 0.5) and open to the top, moved to the middle."""
    second, angle = u >= 0.5, np.pi * (2 * u % 1)
    x = np.where(second, 1 - np.cos(angle), np.cos(angle))
    y = np.where(second, 0.5 - np.sin(angle), np.sin(angle))
    return _plane(x - 0.5, y - 0.25) / 1.5


def _roll(u: np.ndarray) -> np.ndarray:
    angle = 1.5 * np.pi * (1 + 2 * u)
    return _plane(angle * np.cos(angle), angle * np.sin(angle)) / 15


def _spiral(u: np.ndarray) -> np.ndarray:
    """Two arms of 1.5 turns; the root spreads the points evenly."""
    radius = np.sqrt(2 * u % 1)
    angle = 3 * np.pi * radius + np.pi * (u >= 0.5)
    return _plane(radius * np.cos(angle), radius * np.sin(angle))


DISTRIBUTIONS = {
    "ring": Distribution(title="8 Gaussians on a ring", place=_ring, noise=0.02, modes=8),
    "grid": Distribution(title="25 Gaussians on a grid", place=_grid, noise=0.02, modes=25),
    "moons": Distribution(title="two moons", place=_moons, noise=0.03, modes=20, curve=True),
    "roll": Distribution(title="swiss roll", place=_roll, noise=0.02, modes=20, curve=True),
    "spiral": Distribution(title="spiral", place=_spiral, noise=0.02, modes=20, curve=True),
}
"""By the names in 'progan toy'. The ring is that of Metz et al. (2017: radius 2, deviation 0.02) and the grid that of
VEEGAN (Srivastava et al. 2017: distance 2, deviation 0.05) at other scales, and with about twice the deviation, so that
short runs suffice. Moons and roll are scikit-learn's."""
