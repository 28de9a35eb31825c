"""How well generated points cover the modes of a known distribution."""

from dataclasses import dataclass

import numpy as np

from progan.toy.data import Distribution

REACH = 3.0
"""Largest distance of a point from a mode to which it belongs [standard deviations] (VEEGAN section 4.1)."""
COUNT = 2500
"""Number of generated points (VEEGAN section 4.1)."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Modes that points cover. A point within 3 standard deviations of a mode, or of a curve, is of high quality."""

    counts: tuple[int, ...]
    """Number of points of high quality at each mode, or on each segment of a curve; each point counts once."""
    points: int
    """Number of all points."""

    @property
    def covered(self) -> int:
        """Number of modes with at least one point of high quality."""
        return sum(count > 0 for count in self.counts)

    @property
    def quality(self) -> float:
        """Share of points of high quality."""
        return sum(self.counts) / self.points

    @property
    def kl(self) -> float | None:
        """KL divergence of the points of high quality over the modes from equal shares [nats]; None without any.

        It is 0 if all modes get equal shares, and log(modes) if one mode gets everything.
        """
        total, modes = sum(self.counts), len(self.counts)
        if not total:
            return None
        shares = [count / total for count in self.counts if count]
        return float(sum(share * np.log(share * modes) for share in shares))


def coverage(points: np.ndarray, distribution: Distribution) -> Coverage:
    """Return which modes of a distribution are covered by points [N, 2]; points that are not finite are at none."""
    middle, parts = distribution.middle()
    offsets = points[:, None].astype(np.float64) - middle  # [N, S, 2]
    distances = np.sqrt(np.square(offsets).sum(2))
    near = distances.min(1) <= REACH * distribution.noise
    counts = np.bincount(parts[distances.argmin(1)[near]], minlength=distribution.modes)
    return Coverage(counts=tuple(counts.tolist()), points=len(points))
