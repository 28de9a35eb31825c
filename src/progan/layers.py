"""Modules with parameters that more than one network uses."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from progan import winograd
from progan.ops import upscale2

_sharing: dict[tuple[int, str, bool], Tensor] | None = None


@contextmanager
def shared_weights() -> Iterator[None]:
    """Inside, every layer scales and transforms its weights once, however often it is called.

    All calls must belong to one backward pass; weights must not change in between.
    """
    global _sharing
    before, _sharing = _sharing, {}
    try:
        yield
    finally:
        _sharing = before


def _shared(layer: nn.Module, kind: str, make: Callable[[], Tensor]) -> Tensor:
    """What ``make`` returns, kept for the layer's next call inside ``shared_weights``."""
    if _sharing is None:
        return make()
    key = id(layer), kind, torch.is_grad_enabled()  # what is made without a graph has no derivative
    if key not in _sharing:
        _sharing[key] = make()
    return _sharing[key]


LEAK = 0.2  # slope of every leaky ReLU (ProGAN table 2)


class EqualizedConv2d(nn.Module):
    """Convolution whose He constant is applied at run time instead of at initialization.

    Weights start as N(0, 1); every forward pass multiplies them by gain / sqrt(fan_in), so
    that Adam sees all layers at one scale (ProGAN section 4.1).

    Args:
        in_channels: feature maps of the input.
        out_channels: feature maps of the output.
        kernel: side of the square kernel [pixels]; odd, so that H x W is kept.
        gain: sqrt(2) in front of a leaky ReLU, 1 in front of a linear output.
        upscale: repeat every pixel 2 x 2 first (nearest neighbour).

    Shape: x [N, in_channels, H, W] -> [N, out_channels, H, W], or 2H, 2W with ``upscale``.

    Raises:
        ValueError: if ``kernel`` is even or smaller than 1.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, gain: float = math.sqrt(2), upscale: bool = False
    ) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel must be odd and at least 1, got {kernel}")
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.scale = gain / math.sqrt(in_channels * kernel**2)
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
        bias: False where the caller adds a bias of another shape.

    Shape: x [N, in_features] -> [N, out_features].
    """

    def __init__(self, in_features: int, out_features: int, *, gain: float = math.sqrt(2), bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        self.scale = gain / math.sqrt(in_features)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x * self.scale, self.weight, self.bias)


def leaky(x: Tensor) -> Tensor:
    """Leaky ReLU in place: the layer in front of it does not need its output."""
    return F.leaky_relu(x, LEAK, inplace=True)
