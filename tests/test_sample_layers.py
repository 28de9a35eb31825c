"""Normalization, minibatch discrimination, noise and He's initialization against numpy in float64."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from progan.layers import AdaptiveNoise, EqualizedConv2d, EqualizedLinear, LayerNorm, MinibatchDiscrimination
from references import networks
from references import sample_layers as reference


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def randomize(layer: nn.Module) -> dict[str, np.ndarray]:
    """Random parameters, and the same for the reference."""
    for seed, p in enumerate(layer.parameters()):
        p.data = randn(*p.shape, seed=100 + seed)
    return {name: p.detach().double().numpy() for name, p in layer.named_parameters()}


def check_gradients(layer: nn.Module, x: Tensor, *others: object) -> None:
    """Finite differences in float64, once and twice: a gradient penalty goes through every layer of D."""
    layer, parameters = layer.double(), dict(layer.named_parameters())

    def run(x: Tensor, *values: Tensor) -> Tensor:
        return functional_call(layer, dict(zip(parameters, values, strict=True)), (x, *others))

    inputs = x.double().requires_grad_(True), *parameters.values()
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("shape", [(3, 5, 4, 6), (1, 2, 1, 1), (4, 7)], ids=str)
def test_layer_norm_has_one_gain_and_a_bias_a_map(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    layer, x = LayerNorm(shape[1]), 3 * randn(*shape) + 5
    x = x.contiguous(memory_format=layout) if x.ndim == 4 else x
    values = randomize(layer)
    assert {name: v.shape for name, v in values.items()} == {"gain": (1,), "bias": (shape[1],)}
    want = reference.layer_norm(x.double().numpy(), values["gain"], values["bias"], tuple(range(1 - x.ndim, 0)))
    np.testing.assert_allclose(layer(x).detach(), want, rtol=0, atol=1e-5)


def test_layer_norm_starts_as_normalization_and_passes_gradcheck_twice() -> None:
    layer, x = LayerNorm(2), 2 * randn(2, 2, 2, 2) + 1
    y = layer(x)
    np.testing.assert_allclose(y.mean((1, 2, 3)).detach(), 0, atol=1e-6)
    np.testing.assert_allclose(y.var((1, 2, 3), correction=0).detach(), 1, atol=1e-4)
    check_gradients(layer, x)


def test_torchs_batch_norm_is_the_references() -> None:
    layer, x = nn.BatchNorm2d(5), 3 * randn(4, 5, 2, 3) + 5
    values = randomize(layer)
    want = reference.batch_norm(x.double().numpy(), values["weight"], values["bias"], (-4, -2, -1))
    np.testing.assert_allclose(layer(x).detach(), want, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("n", "group"), [(6, 6), (6, 100), (6, 2), (8, 4), (3, 1), (1, 16)])
def test_minibatch_discrimination_is_that_of_the_reference(n: int, group: int) -> None:
    """To 1e-5, in groups that take turns as those of the minibatch deviation."""
    layer, x = MinibatchDiscrimination(7, kernels=4, dims=3).eval(), randn(n, 7)
    values = {k: v / 2 for k, v in randomize(layer).items()}
    layer.load_state_dict({k: torch.from_numpy(v) for k, v in values.items()}, strict=False)
    want = reference.minibatch_discrimination(x.double().numpy(), **values, group=group)
    got = layer(x, group).detach()
    assert got.shape == (n, 4)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


def test_minibatch_discrimination_passes_gradcheck_twice() -> None:
    layer = MinibatchDiscrimination(2, kernels=2, dims=2).eval()
    check_gradients(layer, randn(4, 2), 2)


def test_minibatch_discrimination_refuses_a_torn_group() -> None:
    with pytest.raises(ValueError, match="batch size 6 is not a multiple of the stddev group 4"):
        MinibatchDiscrimination(3)(torch.zeros(6, 3), 4)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_first_batch_sets_lengths_and_biases(size: float) -> None:
    """Whatever the size of the features; outputs have mean 0, and the nearest sample is at distance 2 on average."""
    torch.manual_seed(0)
    layer, x = MinibatchDiscrimination(7, kernels=4, dims=3), size * randn(12, 7)
    y = layer(x, 12).detach()
    values = {name: p.detach().double().numpy() for name, p in layer.named_parameters()}
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-5)
    assert (y.std(0) > 0.05).all()
    apart = reference.nearest(x.double().numpy(), values["weight"], values["log_length"])
    np.testing.assert_allclose(apart, 2, rtol=1e-4)
    want = reference.minibatch_discrimination(x.double().numpy(), **values, group=12)
    np.testing.assert_allclose(y, want, rtol=0, atol=1e-5)


def test_later_batches_leave_lengths_and_biases_as_does_a_resume() -> None:
    layer = MinibatchDiscrimination(7, kernels=4, dims=3)
    layer(randn(12, 7), 12)
    kept = {k: v.clone() for k, v in layer.state_dict().items()}
    again = MinibatchDiscrimination(7, kernels=4, dims=3)
    again.load_state_dict(kept)
    for some in (layer, again):
        some(5 * randn(12, 7, seed=1), 12)
        assert all(torch.equal(v, kept[k]) for k, v in some.state_dict().items())


def test_starting_waits_for_training_and_for_a_second_sample() -> None:
    layer = MinibatchDiscrimination(7, kernels=4)
    layer(randn(1, 7), 16)
    layer.eval()(randn(4, 7), 4)
    assert not layer.started
    layer.train()(torch.zeros(4, 7), 4)  # equal samples: as far apart as can be, but finite
    assert all(torch.isfinite(p).all() for p in layer.parameters())


def test_two_passes_of_one_step_share_the_started_weights() -> None:
    """The second pass writes the same values again; the first one's derivatives must not be refused for that."""
    layer, x = MinibatchDiscrimination(7, kernels=4), randn(6, 7)
    (layer(x, 6).square().sum() + layer(-x, 6).square().sum()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in layer.parameters())


@pytest.mark.parametrize("average", [0.0, 0.4, 0.75, 1.0])
@pytest.mark.parametrize("shape", [(3, 5, 4, 6), (4, 7)], ids=str)
def test_noise_is_that_of_the_reference(shape: tuple[int, ...], average: float) -> None:
    layer, x, noise = AdaptiveNoise(), randn(*shape), randn(*shape[:2], seed=1)
    layer.average.fill_(average)
    want = reference.multiply_noise(x.double().numpy(), noise.double().numpy(), average)
    np.testing.assert_allclose(layer(x, noise), want, rtol=0, atol=1e-6)
    assert torch.equal(layer(x, noise), x) == (average <= 0.5)


@pytest.mark.parametrize("parts", [1, 3])
def test_average_of_scores_is_that_of_whole_batches_for_any_parts(parts: int) -> None:
    layer, batches = AdaptiveNoise(), [0.2 + randn(6), 0.9 + randn(6, seed=1), 5 + randn(6, seed=2), -9 + randn(6)]
    for batch in batches:
        for part in range(parts):
            layer.add(batch[part::parts])
        layer.update()
    assert layer.average.item() == pytest.approx(reference.score_average(b.numpy() for b in batches), abs=1e-6)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_scores_that_are_not_finite_leave_the_average(bad: float) -> None:
    layer = AdaptiveNoise()
    for scores in (torch.ones(4), torch.tensor([1.0, bad])):
        layer.add(scores)
        layer.update()
    assert layer.average.item() == pytest.approx(0.1)


@pytest.mark.parametrize("upscale", [False, True], ids=["", "upscale"])
@pytest.mark.parametrize("maps", [5, 64])
def test_he_initialization_gives_the_equalized_function(maps: int, upscale: bool) -> None:
    """The same seed gives the same outputs; only Adam sees other weights."""
    x, outputs = randn(2, maps, 8, 8), []
    for equalized in (False, True):
        torch.manual_seed(0)
        layer = EqualizedConv2d(maps, maps, 3, gain=1.3, upscale=upscale, equalized=equalized)
        dense = EqualizedLinear(maps * 64, 3, gain=0.5, equalized=equalized)
        y = x if upscale else layer(x)
        outputs.append((layer(x).detach(), dense(y.flatten(1)).detach()))
        he = 1.3 / np.sqrt(9 * maps)
        assert layer.weight.std().item() == pytest.approx(1 if equalized else he, rel=0.1)
    for got, want in zip(*outputs, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-5)


@pytest.mark.parametrize("maps", [3, 64])
def test_conv_without_bias_has_none(maps: int) -> None:
    """Both for few maps and for the fast algorithm of many."""
    layer, x = EqualizedConv2d(maps, maps, 3, bias=False), randn(2, maps, 8, 8)
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    want = networks.conv(x.double().numpy(), layer.weight.detach().double().numpy(), np.zeros(maps))
    np.testing.assert_allclose(layer(x).detach(), want, rtol=0, atol=2e-5)
