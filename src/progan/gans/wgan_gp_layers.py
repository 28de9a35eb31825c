"""Layers of WGAN-GP's networks: initial weights, norms, and layers whose second derivatives cost less."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from progan import winograd
from progan.batchnorm import BatchNorm2d
from progan.layers import EqualizedConv2d


def convolution(
    into: int, out: int, kernel: int, *, he: bool = True, bias: bool = True, upscale: bool = False
) -> nn.Module:
    """Convolution that preserves the size, or doubles it first, with initial weights."""
    layer = _Convolution(into, out, kernel, bias=bias, upscale=upscale, equalized=False)
    _uniform(layer.weight, into * kernel**2, out * kernel**2, he=he)
    return layer


class _Convolution(EqualizedConv2d):
    """The library's convolution, without the zeros of its second derivative (see ``convolve``)."""

    def forward(self, x: Tensor) -> Tensor:
        if self.upscale or winograd.choose(x, self.weight) is not None:
            return super().forward(x)
        return convolve(x, self.weight, self.bias, padding=self.weight.shape[-1] // 2)


def initialize(layer: nn.Module | None, *, stdev: float | None = None) -> None:
    """Initialize a layer as the authors' programs do by default: He for convolutions, Glorot for dense layers."""
    if isinstance(layer, nn.Linear):
        _uniform(layer.weight, layer.in_features, layer.out_features, he=False, stdev=stdev)
    elif isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        into, out = (count * math.prod(layer.kernel_size) for count in (layer.in_channels, layer.out_channels))
        strides = math.prod(layer.stride)
        fans = (into / strides, out) if isinstance(layer, nn.ConvTranspose2d) else (into, out / strides)
        _uniform(layer.weight, *fans, he=True, stdev=stdev)
    else:
        return
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


@torch.no_grad()
def _uniform(weight: Tensor, fan_in: float, fan_out: float, *, he: bool, stdev: float | None = None) -> None:
    """Draw from a uniform distribution of standard deviation sqrt(4 / (fan_in + fan_out)), sqrt(2 / ...) without He."""
    bound = math.sqrt(3) * (stdev or math.sqrt((4 if he else 2) / (fan_in + fan_out)))
    weight.uniform_(-bound, bound)


def layer_norm(maps: int) -> nn.Module:
    """Layer norm over all maps and pixels of a sample, with a gain and a bias for each map."""
    return nn.GroupNorm(1, maps)


class ClassBatchNorm(nn.Module):
    """Batch norm whose gains and biases depend on the class of the sample.

    Shape: x [N, C, H, W], labels int64 [N] -> [N, C, H, W].
    """

    def __init__(self, maps: int, classes: int, group: int = 0) -> None:
        super().__init__()
        self.norm = BatchNorm2d(maps, affine=False, group=group)
        self.bias = nn.Parameter(torch.zeros(classes, maps))
        self.gain = nn.Parameter(torch.ones(classes, maps))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        bias, gain = self.bias[labels][:, :, None, None], self.gain[labels][:, :, None, None]
        return torch.addcmul(bias, self.norm(x), gain)


def rectified(x: Tensor, leak: float = 0.0) -> Tensor:
    """Apply (leaky) ReLU, whose second derivative is zero.

    Together with ``convolve``, it leaves out the zeros of second derivatives, which torch sends through the whole
    network below: a third of the work of a gradient penalty where there is no norm.
    """
    return _Rectified.apply(x, leak)  # type: ignore[return-value]


@contextmanager
def slopes_only() -> Iterator[None]:
    """Context in which ``convolve`` computes derivatives by its input only, for the slopes of a gradient penalty."""
    global _slopes_only
    before, _slopes_only = _slopes_only, True
    try:
        yield
    finally:
        _slopes_only = before


_slopes_only = False


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int = 1, padding: int = 0) -> Tensor:
    """Return the cross-correlation like ``F.conv2d``; its second derivative by the input, which is 0, is left out."""
    if torch.is_autocast_enabled(x.device.type):  # never in a gradient penalty
        return F.conv2d(x, weight, bias, stride=stride, padding=padding)
    return _Convolved.apply(x, weight, bias, stride, padding)  # type: ignore[return-value]


class _Convolved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.where = [stride] * 2, [padding] * 2
        return F.conv2d(x, weight, bias, stride=stride, padding=padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), (stride, padding), gradient = ctx.saved_tensors, ctx.where, gradients[0]
        needed = [need and not (_slopes_only and which) for which, need in enumerate(ctx.needs_input_grad[:3])]

        def by(x: Tensor, weight: Tensor, which: int) -> Tensor | None:
            if not needed[which]:
                return None
            more = None, stride, padding, [1, 1], False, [0, 0], 1, [which == 0, which == 1, False]
            return torch.ops.aten.convolution_backward(gradient, x, weight, *more)[which]

        on_bias = gradient.sum((0, 2, 3)) if needed[2] else None
        return by(x.detach(), weight, 0), by(x, weight.detach(), 1), on_bias, None, None


class _Rectified(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, leak: float) -> Tensor:
        y = F.leaky_relu(x, leak) if leak else F.relu(x)
        ctx.save_for_backward(y)
        ctx.leak = leak
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        y = ctx.saved_tensors[0].detach()
        return torch.ops.aten.leaky_relu_backward(gradients[0], y, ctx.leak, True), None
