"""Convolutions with stride 2 whose weights' gradient is one matrix product where images are small.

oneDNN's own gradient of the weights takes up to three times as long as the convolution for maps of 8x8 pixels and less
on CPUs: most of the time of DCGAN's deep layers. Everything else is torch's.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_MOST_PIXELS = 64  # of the smaller maps, up to which the matrix product is faster
_LEAST_MAPS = 32  # below which unfolding costs more than it saves


def halve(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve with stride 2 and padding (K - 1) // 2, so that the size is halved.

    Shape: x [N, C, 2H, 2W], weight [O, C, K, K] with K 4 or 5 -> [N, O, H, W].
    """
    padding = (weight.shape[-1] - 1) // 2
    if _direct(x, weight, x.shape[2] * x.shape[3] // 4):
        return F.conv2d(x, weight, None, 2, padding)
    return _Halve.apply(x, weight, padding)  # type: ignore[return-value]


def double(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve transposed with stride 2 so that the size is doubled; the transpose of ``halve``.

    Shape: x [N, C, H, W], weight [C, O, K, K] with K 4 or 5 -> [N, O, 2H, 2W].
    """
    padding = (weight.shape[-1] - 1) // 2
    if _direct(x, weight, x.shape[2] * x.shape[3]):
        return _transposed(x, weight, padding)
    return _Double.apply(x, weight, padding)  # type: ignore[return-value]


def _direct(x: Tensor, weight: Tensor, pixels: int) -> bool:
    """Whether torch's own gradient is to be used."""
    small = pixels <= _MOST_PIXELS and min(weight.shape[:2]) >= _LEAST_MAPS
    return not (small and x.device.type == "cpu" and x.dtype == weight.dtype) or torch.is_autocast_enabled("cpu")


def _transposed(x: Tensor, weight: Tensor, padding: int) -> Tensor:
    return F.conv_transpose2d(x, weight, None, 2, padding, output_padding=weight.shape[-1] % 2)


def _weight_gradient(large: Tensor, small: Tensor, like: Tensor, padding: int) -> Tensor:
    """Sum over all samples and pixels of products of ``small`` with the pixels of ``large`` under the kernel.

    Shape: large [N, C, 2H, 2W], small [N, O, H, W] -> [O, C, K, K], in the memory format channels_last.
    """
    kernel = like.shape[-1]
    padded = F.pad(large.permute(0, 2, 3, 1), (0, 0, padding, kernel - 2 - padding, padding, kernel - 2 - padding))
    windows = padded.unfold(1, kernel, 2).unfold(2, kernel, 2)  # [N, H, W, C, K, K]
    rows = windows.permute(0, 1, 2, 4, 5, 3).reshape(-1, kernel * kernel * large.shape[1])
    product = small.permute(1, 0, 2, 3).flatten(1) @ rows
    return product.view(-1, kernel, kernel, large.shape[1]).permute(0, 3, 1, 2)


class _Halve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        return F.conv2d(x, weight, None, 2, padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (x, weight), (gradient,) = ctx.saved_tensors, gradients
        to_x = _transposed(gradient, weight, ctx.padding) if ctx.needs_input_grad[0] else None
        to_weight = _weight_gradient(x, gradient, weight, ctx.padding) if ctx.needs_input_grad[1] else None
        return to_x, to_weight, None


class _Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        return _transposed(x, weight, padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (x, weight), (gradient,) = ctx.saved_tensors, gradients
        to_x = F.conv2d(gradient, weight, None, 2, ctx.padding) if ctx.needs_input_grad[0] else None
        to_weight = _weight_gradient(gradient, x, weight, ctx.padding) if ctx.needs_input_grad[1] else None
        return to_x, to_weight, None
