"""Layers that several networks use."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from progan import winograd
from progan.ops import at_least_float32, no_autocast, stddev_groups, upscale2

_sharing: dict[tuple[int, str, bool], Tensor] | None = None


@contextmanager
def shared_weights() -> Iterator[None]:
    """Context in which every layer scales and transforms its weights once, however often it is called.

    All calls must belong to one backward pass, and weights must not change in between.
    """
    global _sharing
    before, _sharing = _sharing, {}
    try:
        yield
    finally:
        _sharing = before


def _shared(layer: nn.Module, kind: str, make: Callable[[], Tensor]) -> Tensor:
    """Return the result of ``make``, kept for the layer's next call inside ``shared_weights``."""
    if _sharing is None:
        return make()
    key = id(layer), kind, torch.is_grad_enabled()  # what is made without a graph has no derivative
    if key not in _sharing:
        _sharing[key] = make()
    return _sharing[key]


LEAK = 0.2  # slope of every leaky ReLU (ProGAN table 2)


class EqualizedConv2d(nn.Module):
    """Convolution whose He constant is applied at run time instead of at initialization.

    Weights are initialized from N(0, 1), and every forward pass multiplies them by gain / sqrt(fan_in), so that Adam
    sees all layers at the same scale (ProGAN section 4.1).

    Args:
        in_channels: number of feature maps of the input.
        out_channels: number of feature maps of the output.
        kernel: side of the square kernel [pixels]; odd, so that height and width are preserved.
        gain: sqrt(2) before a leaky ReLU, 1 before a linear output.
        upscale: whether to repeat every pixel 2x2 first (nearest neighbor).
        bias: whether to add a bias; False before a normalization, which has its own.
        equalized: whether to apply the constant at run time; False applies it at initialization (He et al. 2015).

    Shape: x [N, in_channels, H, W] -> [N, out_channels, H, W], or 2H, 2W with ``upscale``.

    Raises:
        ValueError: if ``kernel`` is even or smaller than 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        gain: float = math.sqrt(2),
        upscale: bool = False,
        bias: bool = True,
        equalized: bool = True,
    ) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel must be odd and at least 1, got {kernel}")
        he = gain / math.sqrt(in_channels * kernel**2)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel) * (1 if equalized else he))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.scale = he if equalized else 1.0
        self.upscale = upscale

    def forward(self, x: Tensor) -> Tensor:
        how = winograd.choose(x, self.weight, upscale=self.upscale)
        if how is not None:
            weight = _shared(self, "winograd", lambda: winograd.transform_weight(self.weight, self.scale, how))
            return winograd.convolve(x, weight, self.bias, how)
        if self.upscale:
            x = upscale2(x)
        weight = _shared(self, "direct", lambda: self.weight * self.scale)
        return F.conv2d(x, weight, self.bias, padding=self.weight.shape[-1] // 2)


class EqualizedLinear(nn.Module):
    """Dense layer with the He constant applied at run time (see EqualizedConv2d).

    Args:
        in_features: number of features of the input.
        out_features: number of features of the output.
        gain: sqrt(2) before a leaky ReLU, 1 before a linear output.
        bias: whether to add a bias; False if the caller adds one of another shape.
        equalized: whether to apply the constant at run time; False applies it at initialization (He et al. 2015).

    Shape: x [N, in_features] -> [N, out_features].
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        gain: float = math.sqrt(2),
        bias: bool = True,
        equalized: bool = True,
    ) -> None:
        super().__init__()
        he = gain / math.sqrt(in_features)
        self.weight = nn.Parameter(torch.randn(out_features, in_features) * (1 if equalized else he))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        self.scale = he if equalized else 1.0

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x * self.scale, self.weight, self.bias)


def leaky(x: Tensor) -> Tensor:
    """Apply leaky ReLU in place; the layer before it does not need its output."""
    return F.leaky_relu(x, LEAK, inplace=True)


def relu(x: Tensor) -> Tensor:
    """Apply ReLU in place."""
    return F.relu(x, inplace=True)


def normalized(
    layer: Callable[..., nn.Module],
    norm: Callable[[int], nn.Module] | None,
    into: int,
    out: int,
    *args: Any,
    **more: Any,
) -> nn.Module:
    """Return ``layer(into, out, ...)`` or, if ``norm`` is given, that layer without bias, followed by ``norm(out)``."""
    if norm is None:
        return layer(into, out, *args, **more)
    return nn.Sequential(layer(into, out, *args, **more, bias=False), norm(out))


class LayerNorm(nn.Module):
    """Layer normalization over all features and pixels of a sample, with a single gain and one bias per map.

    The layer norm in rows a-c of table 1 has a single gain (Ba et al. 2016 and torch have one per feature).

    Shape: [N, channels, ...], unchanged.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        normal = F.group_norm(x, 1)  # one group: over all of [C, H, W]
        return (normal * self.gain + self.bias.view(-1, *[1] * (x.ndim - 2))).to(x.dtype)


class MinibatchDiscrimination(nn.Module):
    """Minibatch discrimination: features of the distances to other samples (Salimans et al. 2016, section 3.2).

    Kernel k projects the features of sample i to a point m_ik; its output is ``sum_j exp(-|m_ik - m_jk|_1) + b_k``
    over all samples j of the group. Projections are weight-normalized (direction and length). The first batch sets the
    lengths so that the nearest other sample is at distance ``NEAREST`` on average, and the biases so that the mean is
    zero. Otherwise, the exponentials could all be 0 or all be 1.

    Args:
        features: number of features of the input.
        kernels: number of outputs.
        dims: dimensions of the space that a kernel projects to.

    Shape: x [N, features] -> float32 [N, kernels].
    """

    NEAREST = 2.0
    started: Tensor

    def __init__(self, features: int, kernels: int = 100, dims: int = 5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(kernels, dims, features))
        self.log_length = nn.Parameter(torch.zeros(kernels, dims))
        self.bias = nn.Parameter(torch.zeros(kernels))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def forward(self, x: Tensor, group: int) -> Tensor:
        """Compare each sample with those of its group; groups are the same as in ``minibatch_stddev``."""
        size, groups = stddev_groups(len(x), group)
        if self.training and size > 1:
            self._start(x, size, groups)
        closeness = torch.exp(-self._distances(x, size, groups)).sum(1)  # [G, M, K]
        return closeness.flatten(0, 1) + self.bias

    def _distances(self, x: Tensor, size: int, groups: int) -> Tensor:
        """Distances between all samples of each group, [G, G, M, K]."""
        weight = F.normalize(self.weight, dim=2) * self.log_length.exp().unsqueeze(2)
        with no_autocast(x):
            points = torch.einsum("nf,kdf->nkd", at_least_float32(x), weight)
        points = points.unflatten(0, (size, groups))  # [G, M, K, D]
        return (points.unsqueeze(0) - points.unsqueeze(1)).abs().sum(-1)

    @torch.no_grad()
    def _start(self, x: Tensor, size: int, groups: int) -> None:
        """Set lengths and biases from the first batch, without a branch, which would make the host wait."""
        distances = self._distances(x, size, groups)
        itself = torch.eye(size, dtype=torch.bool, device=x.device).view(size, size, 1, 1)
        nearest = distances.masked_fill(itself, torch.inf).amin(1).mean((0, 1))  # [K]
        factor = self.NEAREST / nearest.clamp(min=1e-6)
        length = self.log_length + factor.log().unsqueeze(1)
        bias = -torch.exp(-distances * factor).sum(1).mean((0, 1))
        self.log_length.copy_(torch.where(self.started, self.log_length, length))
        self.bias.copy_(torch.where(self.started, self.bias, bias))
        self.started.fill_(True)


class AdaptiveNoise(nn.Module):
    """Multiplicative noise of strength 0.2 max(0, d - 0.5)^2, where d is D's score of real images (ProGAN appendix B).

    It keeps the least-squares loss from spiraling out of control when D finds its task too easy. The moving average of
    d, to which each batch contributes a tenth, and the sums of the current batch are buffers, so checkpoints have them.
    """

    average: Tensor
    batch_sum: Tensor
    batch_count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("average", torch.zeros(()))
        self.register_buffer("batch_sum", torch.zeros(()))
        self.register_buffer("batch_count", torch.zeros(()))

    @property
    def strength(self) -> Tensor:
        """Strength of the noise, a scalar in 0 ... 0.05."""
        return 0.2 * F.relu(self.average - 0.5).square()

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Multiply each map of each sample by ``1 + noise * strength * sqrt(C)``.

        Args:
            noise: draws from N(0, 1), [N, C].

        Shape: x [N, C, ...], unchanged.
        """
        factor = 1 + noise * (self.strength * math.sqrt(x.shape[1]))
        return x * factor.to(x.dtype).view(*x.shape[:2], *[1] * (x.ndim - 2))

    @torch.no_grad()
    def add(self, scores: Tensor) -> None:
        """Add D's scores of some real images of a batch, [N]."""
        self.batch_sum += scores.sum()
        self.batch_count += len(scores)

    @torch.no_grad()
    def update(self) -> None:
        """Update the average after a batch, with scores clamped to [0, 1]; scores that are not finite are ignored."""
        mean = self.batch_sum / self.batch_count
        moved = torch.lerp(self.average, mean.clamp(0, 1), 0.1)
        self.average.copy_(torch.where(torch.isfinite(mean), moved, self.average))
        self.batch_sum.zero_()
        self.batch_count.zero_()
