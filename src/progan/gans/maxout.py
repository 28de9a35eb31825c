"""Maxout layers (Goodfellow et al. 2013): each unit is the largest of several linear pieces."""

import torch.nn.functional as F
from torch import Tensor, nn


class Maxout(nn.Module):
    """Dense layer whose unit u is the largest of the linear functions u * pieces ... u * pieces + pieces - 1.

    Args:
        features: number of features of the input.
        units: number of features of the output.
        pieces: number of linear functions of each unit.

    Shape: x [N, features] -> [N, units].
    """

    def __init__(self, features: int, units: int, pieces: int) -> None:
        super().__init__()
        self.linear, self.pieces = nn.Linear(features, units * pieces), pieces

    def forward(self, x: Tensor) -> Tensor:
        return largest(self.linear(x)[:, :, None, None], self.pieces).flatten(1)


class MaxoutConv2d(nn.Module):
    """Convolution whose map u is the largest of maps u * pieces ... u * pieces + pieces - 1, then max pooling.

    Windows of the pooling may reach over the lower and right edge, so that no pixel is left out.

    Args:
        into: number of feature maps of the input.
        maps: number of feature maps of the output.
        pieces: number of convolutions of each map.
        kernel: side of the kernels [pixels].
        padding: number of zeros around the input [pixels].
        pool: side of the windows of the pooling [pixels], which are 2 pixels apart.

    Shape: x [N, into, H, W] -> [N, maps, H', W'].
    """

    def __init__(self, into: int, maps: int, pieces: int, *, kernel: int, padding: int, pool: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(into, maps * pieces, kernel, padding=padding)
        self.pieces, self.pool = pieces, pool

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(largest(self.convolution(x), self.pieces), self.pool, 2, ceil_mode=True)


def largest(x: Tensor, pieces: int) -> Tensor:
    """Return the largest of every ``pieces`` consecutive feature maps.

    Shape: x [N, units * pieces, H, W] -> [N, units, H, W].
    """
    return x.unflatten(1, (-1, pieces)).amax(2)


def start_uniform(layer: nn.Module, reach: float) -> None:
    """Draw the weights of a layer from [-reach, reach], and set its biases to zero."""
    for name, parameter in layer.named_parameters():
        if name.endswith("weight"):
            nn.init.uniform_(parameter, -reach, reach)
        else:
            nn.init.zeros_(parameter)
