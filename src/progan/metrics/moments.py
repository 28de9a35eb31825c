"""Frechet distance of two sets of features (FID where the features are Inception's), from streaming moments."""

from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from torch import Tensor

from progan.devices import float64_device
from progan.errors import ConfigError, DataError
from progan.metrics.base import Setup


class Moments:
    """Count, mean and covariance of the rows of one set in float64; the result does not depend on the batches.

    Means are stored as differences from the first row, and squares as sums around the current mean (Chan et al. 1983),
    because sums of squares far from zero cancel.
    """

    def __init__(self, setup: Setup) -> None:
        self._device = float64_device(setup.device)
        self.count = 0
        self._origin = torch.empty(0, dtype=torch.float64, device=self._device)  # first row [F]
        self._offset = torch.empty_like(self._origin)  # mean - origin, [F]
        self._scatter = self._origin.new_empty(0, 0)  # sum of (x - mean) (x - mean)^T, [F, F]

    @property
    def features(self) -> int:
        """Number of features; 0 before the first row."""
        return len(self._origin)

    @property
    def mean(self) -> Tensor:
        """Mean of the rows, float64 [F]."""
        return self._origin + self._offset

    @property
    def covariance(self) -> Tensor:
        """Covariance of the rows, float64 [F, F]: the sum of squares divided by N - 1."""
        return self._scatter / (self.count - 1)

    def update(self, rows: Tensor) -> Self:
        """Add rows [N, F] of any float dtype."""
        x = rows.detach().to(self._device).double()
        if len(x) == 0:
            return self
        if self.count == 0:
            self._origin, self._offset = x[0].clone(), torch.zeros_like(x[0])
            self._scatter = x.new_zeros(x.shape[1], x.shape[1])
        x = x - self._origin
        offset = x.mean(0)
        x -= offset
        self._scatter.addmm_(x.T, x)
        self._move(len(x), offset)
        return self

    def merge(self, other: Self) -> Self:
        if self.count == 0:
            return self.load(other.arrays())
        if other.count:
            self._scatter += other._scatter.to(self._device)
            self._move(other.count, other._offset.to(self._device) + (other._origin.to(self._device) - self._origin))
        return self

    def _move(self, count: int, offset: Tensor) -> None:
        """Add ``count`` rows with mean ``offset`` to the mean; their own squares have been added already."""
        total, step = self.count + count, offset - self._offset
        self._scatter.addr_(step, step, alpha=self.count * count / total)
        self._offset += step * (count / total)
        self.count = total

    def arrays(self) -> dict[str, np.ndarray]:
        state = {"origin": self._origin, "offset": self._offset, "scatter": self._scatter}
        return {"count": np.array(self.count)} | {name: value.cpu().numpy().copy() for name, value in state.items()}

    def load(self, arrays: Mapping[str, np.ndarray]) -> Self:
        self.count = int(arrays["count"])
        self._origin, self._offset, self._scatter = (
            torch.tensor(arrays[name], dtype=torch.float64, device=self._device)
            for name in ("origin", "offset", "scatter")
        )
        return self


def frechet_distance(a: Moments, b: Moments) -> float:
    """Return |mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)) for covariances A, B (Heusel et al. 2017, eq. 6).

    With A = S S^T, the eigenvalues of A B are those of the symmetric S^T B S and zeros, so that no matrix square root
    is required. S has the rank of the set with fewer rows, so that there are no rounded zeros to take roots of.

    Raises:
        ConfigError: if a set has fewer than 2 rows.
        DataError: if a feature is not finite.
        ValueError: if the rows differ in length.
    """
    if min(a.count, b.count) < 2:
        raise ConfigError(f"a Frechet distance requires at least 2 images of each set, got {a.count} and {b.count}")
    if a.features != b.features:
        raise ValueError(f"a Frechet distance requires rows of one length, got {a.features} and {b.features} features")
    small, large = sorted((a, b), key=lambda moments: moments.count)
    offset = (small.mean - large.mean.to(small.mean.device)).square().sum()
    first, second = small.covariance, large.covariance.to(small.mean.device)
    if not torch.isfinite(offset + first.sum() + second.sum()):
        raise DataError("a Frechet distance requires finite features, got some that are infinite or NaN")
    factor = _factor(first, rank=min(small.features, small.count - 1))
    root = torch.linalg.eigvalsh(factor.T @ second @ factor).clamp(min=0).sqrt().sum()
    return max(float(offset + first.trace() + second.trace() - 2 * root), 0.0)


def _factor(covariance: Tensor, *, rank: int) -> Tensor:
    """S with S S^T = covariance.

    Shape: [F, F] -> [F, F], or [F, rank] if the covariance is singular.
    """
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if not failed:
        return factor
    values, vectors = torch.linalg.eigh(covariance)  # 10 times slower
    return vectors[:, -rank:] * values[-rank:].clamp(min=0).sqrt()


def frechet(fake: Moments, real: Moments, *, seed: int = 0) -> dict[str, float]:
    """Return {"frechet": distance}; ``seed`` is not used, because nothing is drawn."""
    return {"frechet": frechet_distance(fake, real)}
