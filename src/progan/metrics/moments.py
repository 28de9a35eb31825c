"""Frechet distance of two sets of features (FID where the features are Inception's), from streaming moments."""

from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from torch import Tensor

from progan.errors import ConfigError, DataError
from progan.metrics.bank import float64_device
from progan.metrics.base import Setup


class Moments:
    """Count, mean and covariance of the rows of one set; float64 sums, so that any split gives one result.

    The sums are those of the differences to the first row: sums of squares far from zero would cancel.
    """

    def __init__(self, setup: Setup) -> None:
        self._device = float64_device(setup.device)
        self.count = 0
        self._origin = torch.empty(0, dtype=torch.float64, device=self._device)  # first row [F]
        self._total = self._origin  # sum of x - origin, [F]
        self._outer = self._origin  # sum of (x - origin) (x - origin)^T, [F, F]

    @property
    def features(self) -> int:
        """Length of a row; 0 before the first."""
        return len(self._origin)

    @property
    def rank_deficient(self) -> bool:
        """Whether the set has too few rows for a covariance of full rank; Frechet distances are then far too large."""
        return self.count <= self.features

    @property
    def mean(self) -> Tensor:
        """Float64 [F]."""
        return self._origin + self._total / self.count

    @property
    def covariance(self) -> Tensor:
        """Float64 [F, F], the sum of squares divided by N - 1."""
        return (self._outer - torch.outer(self._total, self._total) / self.count) / (self.count - 1)

    def update(self, rows: Tensor) -> Self:
        """Add rows [N, F] of any float dtype."""
        x = rows.detach().to(self._device).double()
        if self.count == 0 and len(x):
            self._origin = x[0].clone()
            self._total, self._outer = torch.zeros_like(x[0]), x.new_zeros(x.shape[1], x.shape[1])
        if len(x):
            x = x - self._origin
            self.count += len(x)
            self._total += x.sum(0)
            self._outer.addmm_(x.T, x)
        return self

    def merge(self, other: Self) -> Self:
        if self.count == 0:
            return self.load(other.arrays())
        if other.count:
            shift = other._origin.to(self._device) - self._origin
            total = other._total.to(self._device)
            self._outer += other._outer.to(self._device)
            self._outer += torch.outer(shift, total) + torch.outer(total + other.count * shift, shift)
            self._total += total + other.count * shift
            self.count += other.count
        return self

    def arrays(self) -> dict[str, np.ndarray]:
        sums = {"origin": self._origin, "total": self._total, "outer": self._outer}
        return {"count": np.array(self.count)} | {name: value.cpu().numpy().copy() for name, value in sums.items()}

    def load(self, arrays: Mapping[str, np.ndarray]) -> Self:
        self.count = int(arrays["count"])
        self._origin, self._total, self._outer = (
            torch.tensor(arrays[name], dtype=torch.float64, device=self._device)
            for name in ("origin", "total", "outer")
        )
        return self


def frechet_distance(a: Moments, b: Moments) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)) of the means and covariances (Heusel et al. 2017, equation 6).

    With A = S S^T, the product A B has the eigenvalues of the symmetric S^T B S and zeros, so that no square root of a
    matrix is needed. S has the rank of the set with fewer rows, which leaves no rounded zeros to take roots of.

    Raises:
        ConfigError: if a set has fewer than 2 rows.
        DataError: if a feature is not finite.
        ValueError: if the rows differ in length.
    """
    if min(a.count, b.count) < 2:
        raise ConfigError(f"a Frechet distance needs 2 images of each set or more, got {a.count} and {b.count}")
    if a.features != b.features:
        raise ValueError(f"a Frechet distance needs rows of one length, got {a.features} and {b.features} features")
    small, large = sorted((a, b), key=lambda moments: moments.count)
    offset = (small.mean - large.mean.to(small.mean.device)).square().sum()
    first, second = small.covariance, large.covariance.to(small.mean.device)
    if not torch.isfinite(offset + first.sum() + second.sum()):
        raise DataError("a Frechet distance needs finite features, got some that are infinite or NaN")
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
    """{"frechet": distance}; nothing is drawn, ``seed`` is there for the sake of one interface."""
    return {"frechet": frechet_distance(fake, real)}
