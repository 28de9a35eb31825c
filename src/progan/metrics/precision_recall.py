"""Improved precision and recall (Kynkaanniemi et al. 2019) and nearest neighbors, computed in tiles of distances."""

from collections.abc import Callable, Iterator
from itertools import count

import torch
from torch import Tensor

from progan.devices import float64_device
from progan.errors import ConfigError
from progan.metrics.bank import FeatureBank

_TILE = 2048  # rows; a tile of distances is 32 MiB, however large the sets are
_NOISE = torch.finfo(torch.float32).eps ** 2  # of |x|^2 + |y|^2: float32 rows as close as that are not told apart


def precision_recall(
    fake: FeatureBank,
    real: FeatureBank,
    *,
    seed: int = 0,
    k: int = 3,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Return the share of each set in the other's manifold, the union of balls up to each row's k-th nearest neighbor.

    Kynkaanniemi et al. 2019, section 2. Precision is the share of generated images in a ball of a real one, recall the
    share of real images in a ball of a generated one.

    Args:
        seed: not used, because nothing is drawn; part of the common interface.
        k: the neighbor in its own set, not counting itself, at which a row's ball ends.
        progress: called with the number of tiles done and their total.

    Returns:
        {"precision", "recall"}.

    Raises:
        ConfigError: if a set has too few rows for a k-th neighbor.
    """
    if k < 1 or min(fake.count, real.count) < k + 1:
        raise ConfigError(
            f"precision and recall with k = {k} require at least {max(k, 1) + 1} images of each set and k >= 1, "
            f"got {fake.count} and {real.count}"
        )
    x, y = fake.rows, real.rows.to(fake.rows.device)
    m, n = (-(-len(rows) // _TILE) for rows in (x, y))
    total, steps = m * (m + 1) // 2 + n * (n + 1) // 2 + m * n, count(1)

    def tick() -> None:
        done = next(steps)
        if progress:
            progress(done, total)

    fake_radius, real_radius = _radii(x, k, tick), _radii(y, k, tick)
    precise = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    recalled = torch.zeros(len(y), dtype=torch.bool, device=x.device)
    for i, j, squared in _tiles(x, y):
        precise[i] |= (squared <= real_radius[j]).any(1)
        recalled[j] |= (squared <= fake_radius[i, None]).any(0)
        tick()
    return {"precision": float(precise.double().mean()), "recall": float(recalled.double().mean())}


def nearest(queries: Tensor, bank: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    """Find the k rows of ``bank`` nearest to each query, nearest first: Euclidean distances and indices of the rows.

    Shape: queries [Q, F], bank [N, F] -> distances [Q, k] float32, rows [Q, k] int64, on the device of the bank.

    Raises:
        ConfigError: if the bank has fewer than k rows.
    """
    if not 1 <= k <= len(bank):
        raise ConfigError(f"{k} nearest neighbors require a bank of at least as many images, got {len(bank)}")
    device = float64_device(str(bank.device))
    best = torch.full((len(queries), k), torch.inf, dtype=torch.float64, device=device)
    rows = torch.zeros((len(queries), k), dtype=torch.int64, device=device)
    for i, j, squared in _tiles(queries.to(device), bank.to(device)):
        found, columns = squared.topk(min(k, squared.shape[1]), largest=False)
        best[i], order = torch.cat([best[i], found], 1).topk(k, largest=False)
        rows[i] = torch.cat([rows[i], columns + j.start], 1).gather(1, order)
    return best.sqrt().float().to(bank.device), rows.to(bank.device)


def _radii(rows: Tensor, k: int, tick: Callable[[], None]) -> Tensor:
    """Squared distance of each row to its k-th nearest other row, float64 [N]."""
    best = torch.full((len(rows), k + 1), torch.inf, dtype=torch.float64, device=rows.device)

    def keep(i: slice, squared: Tensor) -> None:
        found = squared.topk(min(k + 1, squared.shape[1]), largest=False).values
        best[i] = torch.cat([best[i], found], 1).topk(k + 1, largest=False).values

    for i, j, squared in _tiles(rows, rows, half=True):
        keep(i, squared)
        if i != j:
            keep(j, squared.T)
        tick()
    return best[:, k]  # the nearest of all, at 0, is the row itself


def _tiles(x: Tensor, y: Tensor, *, half: bool = False) -> Iterator[tuple[slice, slice, Tensor]]:
    """Rows of x, rows of y and their squared distances, float64; with ``half`` only where y's are not before x's."""
    origin = y[0].double()
    for first in range(0, len(x), _TILE):
        i = slice(first, min(first + _TILE, len(x)))
        a = x[i] - origin  # float64
        for second in range(first if half else 0, len(y), _TILE):
            j = slice(second, min(second + _TILE, len(y)))
            yield i, j, _squared_distances(a, y[j] - origin)


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """|a|^2 + |b|^2 - 2 ab, with 0 where that is all rounding, so that copies of an image are at distance 0."""
    a2, b2 = a.square().sum(1, keepdim=True), b.square().sum(1)
    squared = torch.addmm(b2, a, b.T, alpha=-2).add_(a2)  # [A, B]
    return squared.masked_fill_(squared < _NOISE * (a2 + b2), 0)
