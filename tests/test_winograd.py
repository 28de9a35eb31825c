"""Winograd's convolution against the direct one in float64, with first and second derivatives."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from progan import winograd

TOLERANCE = 3e-6
"""Relative error in norm; a direct float32 convolution has 0.4e-6 to 1.2e-6 here."""

SHAPES = [(2, 48, 64, 8, 8), (3, 96, 64, 8, 16), (4, 256, 256, 8, 8), (1, 64, 48, 32, 20)]


FILTERS = {"conv": winograd.CONV, "small": winograd.SMALL, "upscale": winograd.UPSCALE}


def winograd_conv(x: Tensor, weight: Tensor, bias: Tensor, kind: str) -> Tensor:
    transformed = winograd.transform_weight(weight, 0.5, FILTERS[kind])
    return winograd.convolve(x, transformed, bias, FILTERS[kind])


def direct_conv(x: Tensor, weight: Tensor, bias: Tensor, kind: str) -> Tensor:
    if kind == "upscale":
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    return F.conv2d(x, 0.5 * weight, bias, padding=1)


def derivatives(conv, x: Tensor, weight: Tensor, bias: Tensor, v: Tensor, kind: str) -> dict[str, Tensor]:  # type: ignore[no-untyped-def]
    """Output, gradients of a quadratic function of it, and gradients of the squared length of the input's gradient."""
    y = conv(x, weight, bias, kind)
    loss = (y * v).sum() + y.square().sum() / 2
    first = torch.autograd.grad(loss, (x, weight, bias), create_graph=True)
    second = torch.autograd.grad(first[0].square().sum(), (x, weight, bias))
    names = [f"{order} {of}" for order in ("first", "second") for of in ("x", "weight", "bias")]
    return {"output": y.detach(), **dict(zip(names, (*first, *second), strict=True))}


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_direct_convolution_with_its_derivatives(shape: tuple[int, ...], kind: str) -> None:
    n, into, out, height, width = shape
    torch.manual_seed(0)
    x = torch.randn(n, into, height, width).to(memory_format=torch.channels_last)
    weight, bias = torch.randn(out, into, 3, 3) / (9 * into) ** 0.5, torch.randn(out)
    v = torch.randn(n, out, *(side * (2 if kind == "upscale" else 1) for side in (height, width)))
    ours = derivatives(winograd_conv, *(t.clone().requires_grad_() for t in (x, weight, bias)), v, kind)
    want = derivatives(direct_conv, *(t.double().requires_grad_() for t in (x, weight, bias)), v.double(), kind)
    errors = {name: ((ours[name].double() - want[name]).norm() / want[name].norm()).item() for name in want}
    assert max(errors.values()) < TOLERANCE, errors


@pytest.mark.parametrize(
    ("size", "maps", "dtype", "why"),
    [
        ((10, 8), 64, torch.float32, "no multiple of the tile"),
        ((5, 4), 64, torch.float32, "no multiple of the small tile"),
        ((8, 8), 32, torch.float32, "transforms cost more than they save"),
        ((8, 8), 64, torch.float64, "float32 constants"),
    ],
)
def test_direct_convolution_is_left_to_the_library(size, maps: int, dtype: torch.dtype, why: str) -> None:  # type: ignore[no-untyped-def]
    x, weight = torch.zeros(1, maps, *size, dtype=dtype), torch.zeros(maps, maps, 3, 3, dtype=dtype)
    assert winograd.choose(x, weight) is None, why


def test_filter_is_chosen_by_size() -> None:
    weight = torch.zeros(64, 64, 3, 3)
    sizes = {(4, 4): winograd.SMALL, (4, 8): winograd.SMALL, (8, 8): winograd.CONV, (8, 16): winograd.CONV}
    assert {size: winograd.choose(torch.zeros(1, 64, *size), weight) for size in sizes} == sizes
    assert winograd.choose(torch.zeros(1, 64, 5, 7), weight, upscale=True) is winograd.UPSCALE
