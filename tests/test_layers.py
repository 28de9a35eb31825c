"""Equalized layers against numpy in float64, and against torch's own convolution where fast algorithms set in."""

import contextlib
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from progan.layers import EqualizedConv2d, EqualizedLinear, leaky, shared_weights
from references import networks as reference


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def make_conv(inputs: int, outputs: int, kernel: int, **options) -> EqualizedConv2d:
    layer = EqualizedConv2d(inputs, outputs, kernel, **options)
    layer.weight.data, layer.bias.data = randn(*layer.weight.shape, seed=1), randn(outputs, seed=2)
    return layer


@pytest.mark.parametrize("upscale", [False, True], ids=["", "upscale"])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1), (2, 1, 4, 4), (3, 5, 7, 3), (1, 4, 1, 9), (2, 17, 4, 8), (2, 3, 16, 5)]
)
@pytest.mark.parametrize("outputs", [1, 6])
def test_conv_is_that_of_the_reference(shape: tuple[int, ...], outputs: int, kernel: int, upscale: bool) -> None:
    """To 5e-6 of the norm; odd and single-pixel sides, one channel in or out, higher than wide and the reverse."""
    layer, x = make_conv(shape[1], outputs, kernel, gain=1.3, upscale=upscale), randn(*shape)
    wide = reference.upscale(x.double().numpy()) if upscale else x.double().numpy()
    weight, bias = (p.detach().double().numpy() for p in (layer.weight, layer.bias))
    want = reference.conv(wide, weight, bias, gain=1.3)
    with torch.no_grad():
        got = layer(x).numpy()
    assert got.shape == want.shape
    assert np.linalg.norm(got - want) <= 5e-6 * np.linalg.norm(want)


FAST = [  # inputs, outputs, height, width, batch, upscale: with shapes that training has, and some that it has not
    (64, 64, 4, 4, 4, False),
    (64, 64, 8, 8, 4, False),
    (64, 64, 16, 16, 2, False),
    (64, 64, 32, 32, 1, False),
    (128, 64, 16, 16, 2, False),
    (64, 128, 8, 16, 2, False),
    (65, 64, 4, 4, 4, False),  # the layer behind the minibatch deviation
    (513, 128, 4, 4, 2, False),
    (64, 96, 9, 15, 2, False),  # odd sides
    (96, 64, 6, 10, 1, False),  # even, not a multiple of 4
    (64, 64, 4, 4, 4, True),
    (128, 64, 8, 8, 2, True),
    (64, 64, 16, 16, 1, True),
    (64, 70, 5, 7, 2, True),
]


def products(outputs: Tensor, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Value, gradients, and gradients of the squared input gradient (what a gradient penalty needs)."""
    cotangent = randn(*outputs.shape, seed=5).to(outputs.dtype).requires_grad_(True)
    first = torch.autograd.grad((outputs * cotangent).sum(), inputs, create_graph=True)
    direction = randn(*inputs[0].shape, seed=6).to(outputs.dtype)
    # A penalty on the input's gradient, and a contraction of the weight's one: all second derivatives there are.
    penalty = (first[0] * direction).sum() + first[0].square().sum()
    by_penalty = torch.autograd.grad(penalty, (inputs[1], cotangent), retain_graph=True)
    contraction = (first[1] * randn(*inputs[1].shape, seed=7).to(outputs.dtype)).sum()
    by_contraction = torch.autograd.grad(contraction, (inputs[0], cotangent))
    named = [outputs, *first, *by_penalty, *by_contraction]
    names = ["y", "dx", "dw", "db", "dx->w", "dx->dy", "dw->x", "dw->dy"]
    return dict(zip(names, (t.detach().double() for t in named), strict=True))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("case", FAST, ids=str)
def test_wide_conv_is_torchs_in_float64_up_to_second_derivatives(case: tuple, layout: torch.memory_format) -> None:
    """To 5e-6 of the norm of each."""
    inputs, outputs, height, width, batch, upscale = case
    layer = make_conv(inputs, outputs, 3, upscale=upscale).to(memory_format=layout)
    x = randn(batch, inputs, height, width).contiguous(memory_format=layout).requires_grad_(True)
    got = products(layer(x), (x, layer.weight, layer.bias))
    x, w, b = (t.detach().double().requires_grad_(True) for t in (x, layer.weight, layer.bias))
    wide = x.repeat_interleave(2, 2).repeat_interleave(2, 3) if upscale else x
    want = products(F.conv2d(wide, w * math.sqrt(2 / (9 * inputs)), b, padding=1), (x, w, b))
    errors = {name: ((got[name] - want[name]).norm() / want[name].norm()).item() for name in want}
    assert max(errors.values()) <= 5e-6, errors


@pytest.mark.parametrize("case", [(64, 64, 16, 16, 2, False), (64, 64, 8, 8, 2, True)], ids=str)
def test_wide_conv_takes_any_strides_and_leaves_its_input(case: tuple) -> None:
    inputs, outputs, height, width, batch, upscale = case
    layer = make_conv(inputs, outputs, 3, upscale=upscale)
    big = randn(batch, inputs + 3, height + 2, width + 1)
    view = big[:, 3:, 1:-1, 1:]
    kept = view.clone()
    flipped = view.flip(3).transpose(2, 3)
    with torch.no_grad():
        np.testing.assert_allclose(layer(view), layer(kept), rtol=0, atol=2e-5)
        np.testing.assert_allclose(layer(flipped), layer(flipped.contiguous()), rtol=0, atol=2e-5)
        samples = torch.cat([layer(sample[None]) for sample in kept])
        np.testing.assert_allclose(layer(kept), samples, rtol=0, atol=2e-5)
    assert torch.equal(view, kept)


@pytest.mark.parametrize("upscale", [False, True], ids=["", "upscale"])
@pytest.mark.parametrize(("inputs", "outputs", "kernel", "side"), [(2, 3, 3, 4), (1, 2, 1, 3), (64, 64, 3, 8)])
def test_weight_changes_show_at_once(inputs: int, outputs: int, kernel: int, side: int, upscale: bool) -> None:
    """A layer that keeps transformed weights must notice optimizer steps, in-place and through .data."""
    layer, x = make_conv(inputs, outputs, kernel, upscale=upscale), randn(2, inputs, side, side)
    with torch.no_grad():
        before = layer(x)
        layer.weight.mul_(2)
        layer.bias.mul_(2)
        np.testing.assert_allclose(layer(x), 2 * before, rtol=0, atol=1e-4)
        layer.weight.data, layer.bias.data = layer.weight.data / 2, layer.bias.data / 2
        np.testing.assert_allclose(layer(x), before, rtol=0, atol=1e-4)


@pytest.mark.parametrize("upscale", [False, True], ids=["", "upscale"])
@pytest.mark.parametrize("kernel", [1, 3])
def test_conv_passes_gradcheck_twice(kernel: int, upscale: bool) -> None:
    """Finite differences in float64, of the input, the weight and the bias."""
    layer = make_conv(2, 3, kernel, upscale=upscale).double()
    x = randn(2, 2, 3, 4).double().requires_grad_(True)

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    inputs = x, layer.weight, layer.bias
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


def test_linear_is_that_of_the_reference_and_passes_gradcheck_twice() -> None:
    layer = EqualizedLinear(7, 5, gain=0.3)
    layer.bias.data = randn(5, seed=2)
    x = randn(4, 7)
    weight, bias = (p.detach().double().numpy() for p in (layer.weight, layer.bias))
    want = reference.linear(x.double().numpy(), weight, bias, gain=0.3)
    np.testing.assert_allclose(layer(x).detach().numpy(), want, rtol=0, atol=2e-6)

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    layer.double()
    inputs = x.double().requires_grad_(True), layer.weight, layer.bias
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


def test_linear_without_bias_has_none() -> None:
    layer = EqualizedLinear(7, 5, bias=False)
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    assert torch.equal(layer(torch.zeros(2, 7)), torch.zeros(2, 5))


@pytest.mark.parametrize(("shape", "linear", "relu"), [((3, 4, 5, 6), 0.1290994, 0.1825742)])
def test_he_constant_of_the_tensorflow_example(shape: tuple[int, ...], linear: float, relu: float) -> None:
    """Their 3x4 kernel of 5 maps has a fan-in of 60, as a dense layer of 60 features has."""
    fan_in = math.prod(shape[:3])
    for gain, want in ((1.0, linear), (math.sqrt(2), relu)):
        layer = EqualizedLinear(fan_in, 1, gain=gain, bias=False)
        layer.weight.data.fill_(1)
        x = torch.zeros(1, fan_in)
        x[0, 7] = 1
        assert layer(x).item() == pytest.approx(want, abs=1e-7)


def test_dense_layer_of_the_tensorflow_example() -> None:
    x = torch.tensor([[*range(1, 13)], [0, 0, 0, -1, -2, -3, 1, -2, 2, 2, 5, 3]], dtype=torch.float32)
    layer = EqualizedLinear(12, 1, gain=1)
    layer.weight.data.fill_(3)
    layer.bias.data.fill_(1)
    assert layer(x).flatten().tolist() == pytest.approx([68.5499815, 5.3301270], abs=1e-5)


@pytest.mark.parametrize("upscale", [False, True], ids=["", "upscale"])
def test_outputs_keep_unit_variance_and_weights_start_standard_normal(upscale: bool) -> None:
    """He's constant: with gain 1, unit variance in is unit variance out; statistics to 4 standard errors."""
    torch.manual_seed(0)
    layer = EqualizedConv2d(64, 96, 3, gain=1, upscale=upscale)
    weights = layer.weight.detach()
    assert abs(weights.mean()) < 4 / math.sqrt(weights.numel())
    assert abs(weights.std() - 1) < 4 / math.sqrt(2 * weights.numel())
    assert not layer.bias.any()
    if not upscale:
        y = layer(randn(4, 64, 16, 16))[:, :, 1:-1, 1:-1]
        assert y.detach().std().item() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("kernel", [0, -1, 2, 4])
def test_conv_refuses_even_kernels(kernel: int) -> None:
    with pytest.raises(ValueError, match=f"kernel must be odd and at least 1, got {kernel}"):
        EqualizedConv2d(3, 3, kernel)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_leaky_slope_and_its_gradient(dtype: torch.dtype) -> None:
    x = torch.tensor([-10.0, -1, 1, 10], dtype=dtype, requires_grad=True)
    y = leaky(x * 1)
    y.sum().backward()
    assert y.tolist() == pytest.approx([-2, -0.2, 1, 10])
    assert x.grad.tolist() == pytest.approx([0.2, 0.2, 1, 1])


@pytest.mark.parametrize(("inputs", "side", "upscale"), [(3, 5, False), (64, 16, False), (64, 8, True)])
def test_conv_under_bfloat16_autocast(inputs: int, side: int, upscale: bool) -> None:
    """To 1 %, with the input that a layer behind another one has there."""
    layer, x = make_conv(inputs, 64, 3, upscale=upscale), randn(2, inputs, side, side)
    with torch.no_grad():
        want = layer(x)
        with torch.autocast("cpu", torch.bfloat16):
            got = layer(x.bfloat16()).float()
    assert (got - want).norm() <= 0.01 * want.norm()


@pytest.mark.parametrize("case", [(64, 64, 8, 8, 2, False), (64, 64, 4, 4, 2, True), (5, 7, 4, 6, 2, True)], ids=str)
def test_sharing_weights_between_calls_changes_no_derivative(case: tuple) -> None:
    """Two calls and the gradient of a penalty, to 1e-6 of the norm; and nothing is kept behind the block's end."""
    inputs, outputs, height, width, batch, upscale = case
    layer, x = make_conv(inputs, outputs, 3, upscale=upscale), randn(batch, inputs, height, width)

    def weight_gradient() -> Tensor:
        between = (x * 2).requires_grad_(True)
        scores = layer(x).square().sum() + layer(-x).sum()
        (slope,) = torch.autograd.grad(layer(between).square().sum(), between, create_graph=True)
        return torch.autograd.grad(scores + slope.square().sum(), layer.weight)[0]

    want = weight_gradient()
    for _ in range(2):
        with shared_weights():
            got = weight_gradient()
        assert (got - want).norm() <= 1e-6 * want.norm()
    with contextlib.suppress(ZeroDivisionError), shared_weights():
        layer(x)
        1 / 0  # noqa: B018
    before = layer(x)
    layer.weight.data.mul_(2)
    assert not torch.equal(layer(x), before)
