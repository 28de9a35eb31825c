"""Smooth closed paths through the space of latents."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from progan import draws
from progan.errors import ConfigError

SIGMA_S = 0.75
"""Standard deviation of the Gaussian in time [seconds]: 45 frames at 60 Hz in the paper."""
LEAST_LENGTH = 8
"""Minimum recommended length of a loop [standard deviations]; shorter loops hardly move."""
_REACH = 4  # standard deviations beyond which the Gaussian is 0; it has fallen to 3e-4 there


@dataclass(frozen=True, kw_only=True)
class Walk:
    """Latents for every frame of a looping video: white noise smoothed in time, as in ProGAN's interpolations.

    Noise is N(0, 1) for each frame, cell and component. The Gaussian wraps around, so that the last frame precedes the
    first one like any other. Then every latent is scaled to length sqrt(components), like those of training. Frames are
    computed independently, so that a video of any length requires the same memory.
    """

    frames: int
    """Length of the loop [frames]."""
    cells: int
    """Number of walks side by side; each is the same whatever their number."""
    components: int
    """Number of components of a latent."""
    sigma: float
    """Standard deviation of the Gaussian [frames]; a loop much shorter than 8 times this hardly moves."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("frames", "cells", "components"):
            if getattr(self, name) < 1:
                raise ConfigError(f"walk: {name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.sigma < math.inf:
            raise ConfigError(f"walk: sigma must be greater than 0 frames, got {self.sigma}")

    def latents(self, first: int, count: int) -> np.ndarray:
        """Return latents of ``count`` frames of the endless loop from ``first``, float32 [count, cells, components]."""
        reach = math.ceil(_REACH * self.sigma)
        offsets = np.arange(count + 2 * reach) - np.arange(count)[:, None] - reach  # [count, count + 2 * reach]
        weights = np.where(np.abs(offsets) <= reach, np.exp(-0.5 * (offsets / self.sigma) ** 2), 0)
        smooth = [weights @ self._noise(cell, first - reach, count + 2 * reach) for cell in range(self.cells)]
        z = np.stack(smooth, 1)
        return (z / np.sqrt(np.square(z).mean(2, keepdims=True))).astype(np.float32)

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the latents of all frames in blocks, float32 [n, cells, components]."""
        size = max(32, math.ceil(2 * _REACH * self.sigma))  # as many as the noise needed on both sides
        for first in range(0, self.frames, size):
            yield self.latents(first, min(size, self.frames - first))

    def _noise(self, cell: int, first: int, count: int) -> np.ndarray:
        """White noise of ``count`` frames of the endless loop from number ``first`` on, float32 [count, components]."""
        parts = []
        while count:
            start = first % self.frames
            n = min(count, self.frames - start)
            parts.append(draws.normal(self.seed, f"walk/{cell}", start, n, self.components))
            first, count = first + n, count - n
        return np.concatenate(parts)
