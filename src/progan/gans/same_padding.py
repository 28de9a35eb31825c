"""Convolutions padded as TensorFlow's SAME, whose padding is larger after an image than before it if it is odd.

Networks that were published in TensorFlow need it: with stride 2, and kernels of 5 pixels on an even size, one pixel is
added before and two after. ``padding=2`` would shift each layer by half a pixel.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding.

    Args:
        into: feature maps of the input.
        out: feature maps of the output.
        kernel: side of the kernel [pixels].
        stride: factor by which the size shrinks.
        bias: whether to add a bias.

    Shape: x [N, into, H, W] -> [N, out, ceil(H / stride), ceil(W / stride)].
    """

    def __init__(self, into: int, out: int, kernel: int, stride: int = 1, *, bias: bool = True) -> None:
        super().__init__(into, out, kernel, stride, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        (top, bottom), (left, right) = (self._padding(side) for side in input.shape[-2:])
        if (top, left) == (bottom, right):
            return F.conv2d(input, self.weight, self.bias, self.stride, (top, left))
        return super().forward(F.pad(input, (left, right, top, bottom)))

    def _padding(self, side: int) -> tuple[int, int]:
        """Pixels that are added before and after a side."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        return total // 2, total - total // 2


class SameConvTranspose2d(nn.ConvTranspose2d):
    """Transposed convolution with TensorFlow's SAME padding: the transpose of ``SameConv2d`` on the larger size.

    Args:
        into: feature maps of the input.
        out: feature maps of the output.
        kernel: side of the kernel [pixels], not below the stride.
        stride: factor by which the size grows.
        bias: whether to add a bias.

    Shape: x [N, into, H, W] -> [N, out, H * stride, W * stride].
    """

    def __init__(self, into: int, out: int, kernel: int, stride: int = 1, *, bias: bool = True) -> None:
        super().__init__(into, out, kernel, stride, padding=(kernel - stride) // 2, bias=bias)

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        height, width = (side * self.stride[0] for side in input.shape[-2:])
        return super().forward(input)[..., :height, :width]  # cuts the pixel that only the end has, if any
