"""Batch normalization over the batch of all ranks."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from progan.ops import at_least_float32, no_autocast, stddev_groups

Total = Callable[[Tensor], Tensor]
"""Differentiable function that sums a tensor over all ranks."""

_total: Total | None = None


@contextmanager
def batch_over_ranks(total: Total | None) -> Iterator[None]:
    """Context in which batch norm uses the batch of all ranks, summed by ``total``; None: of this rank only."""
    global _total
    before, _total = _total, total
    try:
        yield
    finally:
        _total = before


class _OverRanks(nn.modules.batchnorm._BatchNorm):
    """Batch norm with the statistics of the whole batch, whatever the number of ranks (Ioffe and Szegedy 2015).

    Its running statistics are equal on all ranks. On a single rank it is identical to torch's.

    Args:
        group: number of samples that share statistics, every M-th of N = M * group; 0: the whole batch.
    """

    def __init__(self, features: int, *, group: int = 0, **more: Any) -> None:
        super().__init__(features, **more)
        self.group = group

    def forward(self, input: Tensor) -> Tensor:
        own = self.training or self.running_mean is None
        if not own or (not self.group and _total is None):
            return super().forward(input)
        self._check_input_dim(input)
        size, groups = stddev_groups(len(input), self.group) if self.group else (len(input), 1)
        with no_autocast(input):
            x = at_least_float32(input).unflatten(0, (size, groups))  # [G, M, C, ...]
            mean, variance, count = self._statistics(x)
            if self.training:
                self._follow(mean.detach(), variance.detach() * (count / (count - 1).clamp(min=1)))
            shape = (groups, -1, *[1] * (input.ndim - 2))
            y = (x - mean.view(shape)) * (variance.view(shape) + self.eps).rsqrt()
        y = y.flatten(0, 1)
        if self.affine:
            per_map = (-1, *[1] * (input.ndim - 2))
            y = y * self.weight.view(per_map) + self.bias.view(per_map)
        return y.to(input.dtype)

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means and variances [M, C], and the count of values in each."""
        total = _total if _total is not None and not self.group else _alone
        axes = (0, *range(3, x.ndim))
        count = total(x.new_full((), math.prod(x.shape[axis] for axis in axes)))
        mean = total(x.sum(axes)) / count
        variance = total((x - mean.view(*mean.shape, *[1] * (x.ndim - 3))).square().sum(axes)) / count
        return mean, variance, count

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Update the running statistics with those of all groups of all ranks."""
        batches, means, variances = self.num_batches_tracked, self.running_mean, self.running_var
        if batches is None or means is None or variances is None:
            return
        batches += 1
        rate = batches.to(mean.dtype).reciprocal() if self.momentum is None else self.momentum
        now = torch.stack([mean.mean(0), variance.mean(0)])
        if self.group and _total is not None:
            now = _total(now) / _total(torch.ones_like(now))
        for running, value in zip((means, variances), now, strict=True):
            running.lerp_(value.to(running.dtype), rate)


def _alone(x: Tensor) -> Tensor:
    return x


class BatchNorm1d(_OverRanks, nn.BatchNorm1d):
    """Batch norm over all ranks for features [N, C] or [N, C, L]."""


class BatchNorm2d(_OverRanks, nn.BatchNorm2d):
    """Batch norm over all ranks for maps [N, C, H, W]."""


def whole_batch_norm(network: nn.Module, world: int = 1) -> bool:
    """Return whether a network has batch norm with the statistics of whole batches.

    Raises:
        ValueError: if it is torch's own and there are several ranks, whose statistics would differ.
    """
    found = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if world > 1 and any(not isinstance(module, _OverRanks) for module in found):
        raise ValueError("torch's batch norm differs between ranks; use that of progan.batchnorm")
    return any(not getattr(module, "group", 0) for module in found)
