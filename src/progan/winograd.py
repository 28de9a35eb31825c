"""3x3 convolution with a quarter of the multiplications: Winograd's minimal filtering F(4x4, 3x3) as matrix products.

On the CPU the library's direct convolution already runs at the speed of its matrix product, so only fewer
multiplications can be faster. Every 4x4 tile of the output needs 36 of them for each pair of maps instead of 144.
The result equals the direct one up to rounding, and the usual loss of accuracy of large tiles is avoided by
interpolating at 0, +-1/sqrt(2), +-sqrt(2) and infinity: the error against float64 is that of a direct float32
convolution (tests/test_winograd.py).

Every step is a linear map whose derivative is its adjoint, so derivatives of any order are exact and equally fast.
Winograd, Arithmetic Complexity of Computations, 1980; Lavin and Gray, Fast Algorithms for Convolutional Neural
Networks, 2016.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

TILE = 4  # side of an output tile [pixels]
_SIDE = TILE + 2  # of the input tile that it depends on
_FEWEST = 48  # maps, below which the transforms cost more than they save


def pays(x: Tensor, weight: Tensor) -> bool:
    """Whether ``conv3x3`` is possible here and faster than the library's convolution."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or weight.shape[2:] != (3, 3):
        return False
    height, width = x.shape[2:]
    return min(weight.shape[:2]) >= _FEWEST and height >= 8 and width >= 8 and not height % TILE and not width % TILE


def transform_weight(weight: Tensor) -> Tensor:
    """Weights [O, C, 3, 3] as 36 matrices [36, C, O], which several calls of ``conv3x3`` can share."""
    out, into = weight.shape[:2]
    taps = weight.permute(2, 3, 1, 0).reshape(9, into * out)
    return (_matrices()[1] @ taps).view(_SIDE**2, into, out)


def conv3x3(x: Tensor, transformed: Tensor, bias: Tensor) -> Tensor:
    """Cross-correlation with zero padding 1, plus ``bias`` [O].

    Args:
        x: [N, C, H, W] with H and W multiples of 4; fastest in channels_last memory format.
        transformed: weights after ``transform_weight``.

    Shape: -> [N, O, H, W] in channels_last memory format.
    """
    n, _, height, width = x.shape
    tiles = _linear(x, _to_tiles, lambda g: _from_tiles(g, n, height, width))  # [36, L, C]
    products = torch.bmm(tiles, transformed)  # [36, L, O]
    image = _linear(products, lambda y: _to_image(y, n, height, width), _from_image)  # [N, H, W, O]
    return image.add_(bias).permute(0, 3, 1, 2)


class _Linear(torch.autograd.Function):
    """A linear map, given with its adjoint: the derivative of each is the other."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, map_: Callable[[Tensor], Tensor], adjoint: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.maps = adjoint, map_
        return map_(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _linear(gradients[0], *ctx.maps), None, None


def _linear(x: Tensor, map_: Callable[[Tensor], Tensor], adjoint: Callable[[Tensor], Tensor]) -> Tensor:
    return _Linear.apply(x, map_, adjoint)  # type: ignore[return-value]


@cache
def _matrices() -> tuple[Tensor, Tensor, Tensor]:
    """Two-dimensional transforms of output [16, 36], weight [36, 9] and input [36, 36] tiles.

    Cook and Toom: multiply polynomials by their values at _SIDE - 1 points and at infinity, and interpolate.
    """
    points = np.array([0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5)])
    others = [np.delete(points, i) for i in range(len(points))]
    out, weight, into = np.zeros((TILE, _SIDE)), np.zeros((_SIDE, 3)), np.zeros((_SIDE, _SIDE))
    for i, (point, rest) in enumerate(zip(points, others, strict=True)):
        out[:, i] = point ** np.arange(TILE)
        weight[i] = point ** np.arange(3) / np.prod(point - rest)
        into[i, :-1] = np.poly(rest)[::-1]
    out[-1, -1] = weight[-1, -1] = 1
    into[-1] = np.poly(points)[::-1]
    return tuple(torch.from_numpy(np.kron(m, m).astype(np.float32)) for m in (out, weight, into))  # type: ignore[return-value]


def _to_tiles(x: Tensor) -> Tensor:
    """Transformed input tiles, one row for each tile of the output: [N, C, H, W] -> [36, L, C]."""
    channels = x.shape[1]
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))  # [N, H + 2, W + 2, C]
    tiles = _windows(padded, 0, 0, _SIDE, _SIDE).reshape(_SIDE**2, -1)
    return (_matrices()[2] @ tiles).view(_SIDE**2, -1, channels)


def _from_tiles(tiles: Tensor, n: int, height: int, width: int) -> Tensor:
    """The adjoint of ``_to_tiles``: overlapping tiles are added up."""
    channels = tiles.shape[2]
    values = (_matrices()[2].t() @ tiles.reshape(_SIDE**2, -1)).view(
        _SIDE, _SIDE, n, height // TILE, width // TILE, channels
    )
    padded = values.new_zeros(n, height + TILE, width + TILE, channels)
    _windows(padded, 0, 0, TILE, TILE).copy_(values[:TILE, :TILE])
    _windows(padded, TILE, 0, 2, TILE).add_(values[TILE:, :TILE])
    _windows(padded, 0, TILE, TILE, 2).add_(values[:TILE, TILE:])
    _windows(padded, TILE, TILE, 2, 2).add_(values[TILE:, TILE:])
    return padded[:, 1 : height + 1, 1 : width + 1].permute(0, 3, 1, 2)


def _windows(padded: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """View of equal windows at every TILE-th pixel: [N, H, W, C] -> [height, width, N, rows, columns, C]."""
    n, h, w, channels = padded.shape
    rows, columns = (h - 2) // TILE, (w - 2) // TILE  # of H + 2 and of H + 4 pixels alike
    along = padded.stride()
    return padded.as_strided(
        (height, width, n, rows, columns, channels),
        (along[1], along[2], along[0], TILE * along[1], TILE * along[2], along[3]),
        top * along[1] + left * along[2],
    )


def _to_image(products: Tensor, n: int, height: int, width: int) -> Tensor:
    """Output pixels of the products: [36, L, O] -> [N, H, W, O]."""
    tiles = _matrices()[0] @ products.reshape(_SIDE**2, -1)  # [16, L * O]
    tiles = tiles.view(TILE, TILE, n, height // TILE, width // TILE, products.shape[2])
    return tiles.permute(2, 3, 0, 4, 1, 5).reshape(n, height, width, -1)


def _from_image(image: Tensor) -> Tensor:
    """The adjoint of ``_to_image``."""
    n, height, width, out = image.shape
    tiles = image.reshape(n, height // TILE, TILE, width // TILE, TILE, out)
    return (_matrices()[0].t() @ tiles.permute(2, 4, 0, 1, 3, 5).reshape(TILE**2, -1)).view(_SIDE**2, -1, out)
