"""3x3 convolutions with a quarter of the multiplications, as matrix products between linear transforms.

On the CPU, the library's direct convolution already runs at the speed of its matrix product, so only fewer
multiplications can be faster. These filters need the following number per output pixel and pair of maps, instead of 9:

- ``CONV``: 2.25, by Winograd's minimal filtering F(4x4, 3x3). The usual loss of accuracy of large tiles is avoided by
  interpolating at 0, +-1/sqrt(2), +-sqrt(2) and infinity, so that the error against float64 is about that of a direct
  float32 convolution (tests/test_winograd.py).
- ``SMALL``: 4, by F(2x2, 3x3); for images of 4 pixels, where transforming the weights is most of the work.
- ``UPSCALE``: 2.25, after nearest-neighbor upscaling by two. For a row w0 w1 w2 with sum s, the two output pixels
  at x_i are s x_i - w0 (x_i - x_(i-1)) and s x_i + w2 (x_(i+1) - x_i): three products for two pixels.

Every step is a linear map whose derivative is its adjoint, so derivatives of any order are exact and equally fast.
Winograd, Arithmetic Complexity of Computations, 1980; Lavin and Gray, Fast Algorithms for Convolutional Neural
Networks, 2016.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_FEWEST = 32 * 64  # maps of the input times maps of the output, below which the transforms cost more than they save


@dataclass(frozen=True, eq=False)
class Filter:
    """Algorithm for a 3x3 convolution by tiles: transform windows and weights, multiply, transform back."""

    tile: int
    """Side of the output tiles [pixels]."""
    stride: int
    """Distance between input windows [pixels]."""
    output: Tensor
    """Transform of the products along one dimension, [tile, window]."""
    weight: Tensor
    """Transform of the weights along both dimensions, [window^2, 9]."""
    input: Tensor
    """Transform of the input along one dimension, [window, window]."""

    @property
    def window(self) -> int:
        """Side of the input windows and of the grid of products."""
        return self.stride + 2

    @property
    def products(self) -> int:
        """Number of products per tile and pair of maps."""
        return self.window**2


def _tensors(output: np.ndarray, weight: np.ndarray, into: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Convert one-dimensional transforms to those of a ``Filter``."""

    def tensor(matrix: np.ndarray) -> Tensor:
        return torch.from_numpy(matrix.astype(np.float32))

    return tensor(output), tensor(np.kron(weight, weight)), tensor(into)


def _cook_toom(tile: int, points: list[float]) -> tuple[Tensor, Tensor, Tensor]:
    """Transforms that multiply polynomials by their values at some points and at infinity, and interpolate."""
    at, window = np.array(points), tile + 2
    output, weight, into = np.zeros((tile, window)), np.zeros((window, 3)), np.zeros((window, window))
    for i, point in enumerate(at):
        rest = np.delete(at, i)
        output[:, i] = point ** np.arange(tile)
        weight[i] = point ** np.arange(3) / np.prod(point - rest)
        into[i, :-1] = np.poly(rest)[::-1]
    output[-1, -1] = weight[-1, -1] = 1
    into[-1] = np.poly(at)[::-1]
    return _tensors(output, weight, into)


CONV = Filter(4, 4, *_cook_toom(4, [0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5)]))
SMALL = Filter(2, 2, *_cook_toom(2, [0, 1, -1]))
UPSCALE = Filter(
    2,
    1,
    *_tensors(
        np.array([[1, -1, 0], [1, 0, 1]]),
        np.array([[1, 1, 1], [1, 0, 0], [0, 0, 1]]),
        np.array([[0, 1, 0], [-1, 1, 0], [0, -1, 1]]),
    ),
)


def choose(x: Tensor, weight: Tensor, *, upscale: bool = False) -> Filter | None:
    """Return the fastest filter for a 3x3 convolution of ``x``, or None if the library's convolution is faster."""
    half = torch.is_autocast_enabled("cpu")
    if x.device.type != "cpu" or x.dtype != torch.float32 or half or weight.shape[2:] != (3, 3):
        return None
    if weight.shape[0] * weight.shape[1] < _FEWEST:
        return None
    height, width = x.shape[2:]
    how = UPSCALE if upscale else CONV if min(height, width) > 4 else SMALL
    return how if not height % how.stride and not width % how.stride else None


def transform_weight(weight: Tensor, scale: float = 1.0, how: Filter = CONV) -> Tensor:
    """Transform ``scale`` times weights [O, C, 3, 3] to matrices [products, C, O] for any calls of ``convolve``."""
    out, into = weight.shape[:2]
    taps = weight.permute(0, 2, 3, 1).reshape(out, 9, into)  # no copy, if the weight is in channels_last format
    return torch.matmul(how.weight * scale, taps).permute(1, 2, 0)


def convolve(x: Tensor, transformed: Tensor, bias: Tensor | None, how: Filter = CONV) -> Tensor:
    """Return the cross-correlation with zero padding 1, plus ``bias`` [O] if it is given.

    Args:
        x: input [N, C, H, W], H and W multiples of the filter's stride; fastest in channels_last memory format.
        transformed: weights after ``transform_weight``.

    Shape: -> [N, O, H, W], or [N, O, 2H, 2W] for UPSCALE, in channels_last memory format.
    """
    n, _, height, width = x.shape
    grid = n, height // how.stride, width // how.stride
    tiles = _linear(x, lambda x: _to_tiles(x, how), lambda tiles: _from_tiles(tiles, grid, how))
    products = torch.bmm(tiles, transformed)  # [products, L, O]
    image = _linear(products, lambda y: _to_image(y, grid, how), lambda image: _from_image(image, grid, how))
    image = image.permute(0, 3, 1, 2)
    # Not in place: in-place operations on a view, such as the leaky ReLU after this, cost copies in its derivative.
    return image if bias is None else image + bias.view(-1, 1, 1)


class _Linear(torch.autograd.Function):
    """Linear map, given with its adjoint: the derivative of each is the other."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, map_: Callable[[Tensor], Tensor], adjoint: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.maps = adjoint, map_
        return map_(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _linear(gradients[0], *ctx.maps), None, None


def _linear(x: Tensor, map_: Callable[[Tensor], Tensor], adjoint: Callable[[Tensor], Tensor]) -> Tensor:
    return _Linear.apply(x, map_, adjoint)  # type: ignore[return-value]


def _twice(matrix: Tensor, x: Tensor) -> Tensor:
    """Apply a matrix [a, b] along both dimensions of squares: [b^2, ...] -> [a^2, K]."""
    a, b = matrix.shape
    return torch.matmul(matrix, (matrix @ x.reshape(b, -1)).view(a, b, -1)).view(a * a, -1)


Grid = tuple[int, int, int]
"""Number of samples, and of rows and columns of tiles."""


def _to_tiles(x: Tensor, how: Filter) -> Tensor:
    """Transform windows, one row per output tile: [N, C, H, W] -> [products, L, C]."""
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))  # [N, H + 2, W + 2, C]
    grid = x.shape[0], x.shape[2] // how.stride, x.shape[3] // how.stride
    windows = _windows(padded, grid, how.stride, (0, how.window), (0, how.window))
    return _twice(how.input, windows).view(how.products, -1, x.shape[1])


def _from_tiles(tiles: Tensor, grid: Grid, how: Filter) -> Tensor:
    """Adjoint of ``_to_tiles``: add up overlapping windows."""
    n, rows, columns = grid
    values = _twice(how.input.t(), tiles).view(how.window, how.window, *grid, tiles.shape[2])
    step = how.stride
    # Room for whole windows; parts of step x step pixels do not overlap, so that each is added at once.
    padded = values.new_zeros(n, (rows - 1) * step + how.window, (columns - 1) * step + how.window, tiles.shape[2])
    parts = [(first, min(first + step, how.window)) for first in range(0, how.window, step)]
    for down in parts:
        for right in parts:
            _windows(padded, grid, step, down, right).add_(values[slice(*down), slice(*right)])
    return padded[:, 1 : rows * step + 1, 1 : columns * step + 1].permute(0, 3, 1, 2)


def _windows(padded: Tensor, grid: Grid, step: int, down: tuple[int, int], right: tuple[int, int]) -> Tensor:
    """View of a part of all windows: [N, H, W, C] -> [part, part, N, rows, columns, C]."""
    along = padded.stride()
    return padded.as_strided(
        (down[1] - down[0], right[1] - right[0], *grid, padded.shape[3]),
        (along[1], along[2], along[0], step * along[1], step * along[2], along[3]),
        padded.storage_offset() + down[0] * along[1] + right[0] * along[2],
    )


def _to_image(products: Tensor, grid: Grid, how: Filter) -> Tensor:
    """Transform products to output pixels: [products, L, O] -> [N, H, W, O]."""
    n, rows, columns = grid
    tiles = _twice(how.output, products).view(how.tile, how.tile, *grid, products.shape[2])
    return tiles.permute(2, 3, 0, 4, 1, 5).reshape(n, rows * how.tile, columns * how.tile, -1)


def _from_image(image: Tensor, grid: Grid, how: Filter) -> Tensor:
    """Adjoint of ``_to_image``."""
    n, rows, columns = grid
    tiles = image.reshape(n, rows, how.tile, columns, how.tile, -1).permute(2, 4, 0, 1, 3, 5)
    return _twice(how.output.t(), tiles).view(how.products, -1, image.shape[3])
