"""Spectral norm of any discriminator: golden numbers, numpy's singular values, derivatives, copies and states."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from discriminators import CASES, CRITICS, POINTS, inputs_of, network_of
from golden_family import golden
from progan.gans.base import ImageSpec
from progan.gans.dcgan_networks import Doubling
from progan.gans.maxout import Maxout
from progan.gans.mnist_1k import MNIST1KConfig
from progan.gans.network_tricks import layers_of, spectral_norm
from progan.gans.points import PointsConfig
from progan.gans.same_padding import SameConv2d
from references import network_tricks as reference
from small import batch_with


def test_spectral_norm_is_that_of_the_golden_power_iteration() -> None:
    """To 1e-9, relative (README)."""
    want, rs = golden("spectral_norm"), np.random.RandomState(651)
    layer = nn.Conv2d(3, 5, 3, bias=False).double()
    layer.weight.data = torch.from_numpy(rs.randn(5, 3, 3, 3))
    original = layer.weight.detach().clone()
    spectral_norm(layer)
    norm: Any = layer.parametrizations["weight"][0]  # type: ignore[index]
    norm.u.copy_(torch.from_numpy(rs.randn(5)))
    for step in want["iterations"]:
        layer(torch.zeros(1, 3, 3, 3, dtype=torch.float64))
        np.testing.assert_allclose(norm.u, step["u"], rtol=1e-9)
        np.testing.assert_allclose(norm.v[:4], step["v_first"], rtol=1e-9)
        assert float(layer.weight.detach().norm()) == pytest.approx(step["W_sn_norm"], rel=1e-9)
        assert float(original.norm() / layer.weight.detach().norm()) == pytest.approx(step["sigma"], rel=1e-9)
    assert reference.largest_singular_value(original.numpy()) == pytest.approx(want["true_sigma_max"], rel=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_largest_singular_value_of_every_layer_tends_to_1(name: str) -> None:
    """To 1e-3 after 200 passes of the power method, and below 1.1 from the first one on, in every network."""
    network = network_of(name)
    spectral_norm(network)
    for passes, tolerance in ((1, 0.1), (200, 1e-3)):
        for layer in layers_of(network):
            norm, original = (getattr(layer.parametrizations["weight"], key) for key in ("0", "original"))  # type: ignore[index]
            norm.iterate(original, passes)
            sigma = reference.largest_singular_value(layer.weight.detach().numpy())  # type: ignore[operator, union-attr]
            assert sigma == pytest.approx(1, abs=tolerance)


LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "doubling": (lambda: Doubling(3, 5, 4), (2, 3, 4, 4)),
    "doubling_by_matrices": (lambda: Doubling(32, 33, 4), (2, 32, 4, 4)),
    "same": (lambda: SameConv2d(3, 5, 5, 2), (2, 3, 7, 7)),
    "maxout": (lambda: Maxout(6, 4, 3), (2, 6)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_with_their_own_forward_are_those_with_divided_weights(name: str) -> None:
    """To 1e-4: W / sigma from numpy's singular values in a plain copy."""
    make, shape = LAYERS[name]
    plain = make()
    normed = copy.deepcopy(plain)
    spectral_norm(normed)
    x = torch.randn(shape)
    for layer in layers_of(normed):
        weights = layer.parametrizations["weight"]  # type: ignore[index]
        weights[0].iterate(weights.original, 300)  # type: ignore[index, operator, union-attr]
    got = normed(x)
    for layer in layers_of(plain):
        weight: Tensor = layer.weight.data  # type: ignore[assignment]
        layer.weight.data /= reference.largest_singular_value(weight.numpy(), transposed=isinstance(layer, Doubling))  # type: ignore[operator, union-attr]
    torch.testing.assert_close(got, plain(x), rtol=0, atol=1e-4)


def test_an_equalized_learning_rate_is_undone() -> None:
    network = MNIST1KConfig(normalization="ours").make(ImageSpec(3, 32, 32)).networks["discriminator"]
    spectral_norm(network)
    assert {layer.scale for layer in layers_of(network)} == {1.0}


def test_a_pass_takes_one_step_however_often_a_layer_reads_its_weights() -> None:
    """Two passes in training, none in evaluation; reading changes nothing."""
    network = network_of("wgan_gp_resnet")
    spectral_norm(network)
    expected = copy.deepcopy(network)
    for layer in layers_of(expected):
        weights = layer.parametrizations["weight"]  # type: ignore[index]
        weights[0].iterate(weights.original, 2)  # type: ignore[index, operator, union-attr]
    network(*inputs_of("wgan_gp_resnet"))
    network(*inputs_of("wgan_gp_resnet"))
    network.eval()(*inputs_of("wgan_gp_resnet"))
    for layer in layers_of(network):
        _ = layer.weight
    torch.testing.assert_close(network.state_dict(), expected.state_dict(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_spectral_norm_survives_copies_states_freezing_and_meta(name: str) -> None:
    network, inputs = network_of(name), inputs_of(name)
    spectral_norm(network)
    network(*inputs).sum().backward()
    twin = copy.deepcopy(network)
    other = network_of(name)
    spectral_norm(other)
    other.load_state_dict(network.state_dict())
    with torch.device("meta"):
        outline = network_of(name)
        spectral_norm(outline)
    assert all(p.is_meta for p in outline.state_dict().values())
    outline.load_state_dict(copy.deepcopy(network.state_dict()), assign=True)
    with torch.no_grad():
        want = network(*inputs)
        for same in (twin, other, outline):
            assert torch.equal(same(*inputs), want)
    network.requires_grad_(False)
    images = inputs[0].requires_grad_(True)
    before = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network(*inputs).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    after = [p.grad for p in network.parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_derivative_by_the_weights_is_that_of_finite_differences_twice() -> None:
    """Also those of a gradient penalty; u and v are constants, as in the paper (equation 12)."""
    layer = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double().eval()
    spectral_norm(layer)
    names, values = zip(*layer.named_parameters(), strict=True)

    def run(x: Tensor, *values: Tensor) -> Tensor:
        return functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (x, *values))
    assert torch.autograd.gradgradcheck(run, (x, *values))


@pytest.mark.parametrize("name", CRITICS)
def test_gradient_penalty_reaches_every_weight_after_two_passes(name: str) -> None:
    network = network_of(name)
    spectral_norm(network)
    first = network(*inputs_of(name))
    images = inputs_of(name, seed=2)[0].requires_grad_(True)
    (slope,) = torch.autograd.grad(network(images).sum(), images, create_graph=True)
    (first.sum() + slope.square().sum()).backward()
    for layer in layers_of(network):
        gradient = layer.parametrizations["weight"].original.grad  # type: ignore[index, union-attr]
        assert gradient is not None
        assert torch.isfinite(gradient).all()


def test_sixteen_bit_passes_divide_by_the_singular_value_in_float32() -> None:
    network, inputs = network_of("dcgan"), inputs_of("dcgan")
    spectral_norm(network)
    network.eval()
    layer = layers_of(network)[1]
    want = layer.weight
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.weight, want)  # type: ignore[arg-type]
        network.train()(*inputs)
    assert layer.parametrizations["weight"][0].u.norm().item() == pytest.approx(1, abs=1e-5)  # type: ignore[index, operator, union-attr]


def test_unrolled_steps_go_through_the_singular_values() -> None:
    gan = PointsConfig(width=6, latent_size=3, unrolled=2, unrolled_lr=0.5).make(POINTS)
    spectral_norm(gan.discriminator)
    batch = batch_with(torch.randn(8, 2, 1, 1), normal=lambda stream, *shape: torch.randn(8, *shape))
    gan.generator_loss(batch)["fake"].mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in gan.generator.parameters())
