"""Convolutions with stride 2 against torch's, with first and second derivatives, in float64 to 1e-9."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from progan import strided


def derivatives(y: Tensor, *inputs: Tensor) -> list[Tensor]:
    """The output, its gradients in a random direction, and gradients of their squares."""
    direction = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(3))
    first = torch.autograd.grad((y * direction).sum() + y.pow(3).sum(), inputs, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), inputs)  # type: ignore[arg-type]
    return [y, *first, *second]


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("height", "width"), [(4, 4), (6, 2)])
@pytest.mark.parametrize("kernel", [4, 5])
def test_they_are_torchs_convolutions(
    kernel: int, height: int, width: int, memory: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []
    gradient = strided._weight_gradient
    monkeypatch.setattr(strided, "_weight_gradient", lambda *args: used.append(1) or gradient(*args))
    padding, maps = (kernel - 1) // 2, strided._LEAST_MAPS
    large = torch.randn(3, maps, 2 * height, 2 * width, dtype=torch.float64).to(memory_format=memory).requires_grad_()
    small = torch.randn(3, maps + 1, height, width, dtype=torch.float64).to(memory_format=memory).requires_grad_()
    weight = torch.randn(maps + 1, maps, kernel, kernel, dtype=torch.float64).to(memory_format=memory).requires_grad_()
    halved = F.conv2d(large, weight, None, 2, padding)
    doubled = F.conv_transpose2d(small, weight, None, 2, padding, output_padding=kernel - 4)
    for got, want, x in ((strided.halve, halved, large), (strided.double, doubled, small)):
        for a, b in zip(derivatives(got(x, weight), x, weight), derivatives(want, x, weight), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-6)
    assert used


def test_large_images_few_maps_and_lower_precision_take_torchs_own() -> None:
    def used(x: Tensor, weight: Tensor) -> str:
        return type(strided.halve(x, weight).grad_fn).__name__

    weight = torch.randn(32, 32, 4, 4, requires_grad=True)
    assert used(torch.randn(1, 32, 16, 16), weight) == "_HalveBackward"
    assert used(torch.randn(1, 32, 32, 32), weight) == "ConvolutionBackward0"
    assert used(torch.randn(1, 32, 16, 16), torch.randn(31, 32, 4, 4, requires_grad=True)) == "ConvolutionBackward0"
    with torch.autocast("cpu", torch.bfloat16):
        assert used(torch.randn(1, 32, 16, 16), weight) == "ConvolutionBackward0"
