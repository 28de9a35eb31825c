"""Changes of any discriminator: order of its layers, dropout, features, minibatch discrimination, frozen layers."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from discriminators import CASES, inputs_of, network_of
from golden_family import golden
from progan.gans import DCGANConfig
from progan.gans.base import ImageSpec
from progan.gans.mnist_1k import MNIST1KConfig
from progan.gans.network_tricks import (
    add_minibatch_discrimination,
    dropping,
    features,
    freeze_first,
    layers_of,
    spectral_norm,
)
from progan.layers import MinibatchDiscrimination


def applied(network: nn.Module, *inputs: Any) -> list[nn.Module]:
    """Layers in the order in which a pass applies them."""
    order: list[nn.Module] = []
    handles = [m.register_forward_pre_hook(lambda m, args: order.append(m)) for m in layers_of(network)]
    network(*inputs)
    for handle in handles:
        handle.remove()
    return order


@pytest.mark.parametrize("name", CASES)
def test_layers_are_registered_in_the_order_in_which_they_are_applied(name: str) -> None:
    network = network_of(name)
    assert applied(network, *inputs_of(name)) == layers_of(network)
    weights = [p for p in network.parameters() if p.ndim >= 2]
    branches = sum(isinstance(module, MinibatchDiscrimination) for module in network.modules())
    listed = sum(max(p.ndim for p in layer.parameters(recurse=False)) >= 2 for layer in layers_of(network))
    assert listed == len(layers_of(network)) == len(weights) - branches * 2


@pytest.mark.parametrize(("level", "first"), [(3, "convs.2"), (1, "from_rgb.1")])
def test_a_network_that_grows_is_the_exception(level: int, first: str) -> None:
    """Dropout and features follow the pass."""
    spec = ImageSpec(3, 32, 32)
    network = MNIST1KConfig(normalization="generator").make(spec).networks["discriminator"]
    x = torch.rand(4, 3, 4 << level, 4 << level)
    order = applied(network, x, level)
    assert order[0] is network.get_submodule(first)
    assert order[0] is not layers_of(network)[0]
    assert order[-1] is layers_of(network)[-1] is network.score
    seen: list[int] = []
    with dropping(network, lambda x: seen.append(x.shape[1]) or x):  # type: ignore[func-returns-value]
        network(x, level)
    assert len(seen) == len(order) - 1


# Dropout and features


@pytest.mark.parametrize("name", CASES)
def test_dropout_changes_the_input_of_every_layer_but_the_first_and_ends(name: str) -> None:
    network, inputs = network_of(name).eval(), inputs_of(name)
    want, seen = network(*inputs), []

    def drop(x: Tensor) -> Tensor:
        seen.append(x.shape)
        return 0 * x

    before = [len(m._forward_pre_hooks) + len(m._forward_hooks) for m in network.modules()]
    left = 2 if name == "lsgan_labels" else 1  # its first layer takes labels
    with dropping(network, drop):
        for passes in (1, 2):
            got = network(*inputs)
            assert len(seen) == passes * (len(layers_of(network)) - left)
    with pytest.raises(TypeError), dropping(network, drop):
        network()
    bias = layers_of(network)[-1].bias if not name.startswith("wgan_gp_cifar") else None
    if bias is not None and got.ndim == 1:
        torch.testing.assert_close(got, bias.expand_as(got))  # type: ignore[operator]
    assert [len(m._forward_pre_hooks) + len(m._forward_hooks) for m in network.modules()] == before
    assert torch.equal(network(*inputs), want)


def test_dropout_is_that_of_a_network_written_out() -> None:
    network, x = network_of("points"), torch.randn(5, 2, 1, 1)
    a, b, c = layers_of(network)
    y = F.linear(torch.relu(a(x.flatten(1))) / 2, b.weight, b.bias)  # type: ignore[arg-type]
    want = F.linear(torch.relu(y) / 2, c.weight, c.bias)[:, 0]  # type: ignore[arg-type]
    with dropping(network, lambda x: x / 2):
        torch.testing.assert_close(network(x), want)


@pytest.mark.parametrize("name", CASES)
def test_features_are_the_inputs_of_the_last_layer(name: str) -> None:
    """Its output is that of the network; every pass has its own, with a graph, before dropout."""
    network, inputs = network_of(name), inputs_of(name)
    with torch.no_grad():
        network(*inputs)  # starts minibatch discrimination
    with dropping(network, lambda x: x * 1), features(network) as passes:
        output = network(*inputs)
        network(*(x[:2] for x in inputs))
        assert [len(x) for x in passes] == [4, 2]
    network(*inputs)
    assert len(passes) == 2
    assert passes[0].ndim == 2
    last: nn.Linear = layers_of(network)[-1]  # type: ignore[assignment]
    scores = F.linear(passes[0], last.weight, last.bias)
    torch.testing.assert_close(scores, output.reshape(len(scores), -1)[:, -scores.shape[1] :])
    passes[0].sum().backward()
    assert layers_of(network)[0].weight.grad.abs().sum() > 0  # type: ignore[union-attr, operator]


def test_features_are_those_before_dropout_whichever_comes_first() -> None:
    network, x = network_of("points"), torch.randn(5, 2, 1, 1)
    with features(network) as outside, dropping(network, lambda x: 0 * x):
        network(x)
    with dropping(network, lambda x: 0 * x), features(network) as inside:
        network(x)
    layer = layers_of(network)[1]
    for got in (*outside, *inside):
        torch.testing.assert_close(got, torch.relu(layer.bias).expand_as(got))  # type: ignore[arg-type, operator]


# Minibatch discrimination


def test_minibatch_discrimination_has_the_golden_numbers() -> None:
    """To 1e-9, relative. The paper's form is ours without a bias and with the lengths of the weights themselves; the
    bias of the authors' code is larger by 1, since there a sample is not compared with itself."""
    want, layer = golden("minibatch_discrimination"), golden_discrimination()
    x = golden_features()
    with torch.no_grad():
        layer.log_length.copy_(layer.weight.norm(dim=2).log())
        layer.bias.zero_()
        np.testing.assert_allclose(layer(x, 5), want["paper_form_sum_over_all_j_including_self"], rtol=1e-9)
        layer.bias.fill_(-1)
        np.testing.assert_allclose(layer(x, 5), want["paper_form_excluding_self"], rtol=1e-9)
    layer, x = golden_discrimination(), golden_features().requires_grad_(True)
    output = torch.cat([x, layer(x, 5)], 1)
    np.testing.assert_allclose(output.detach(), want["salimans_code_output"], rtol=1e-9)
    output.square().sum().backward()
    found = {"x": x, "theta": layer.weight, "log_weight_scale": layer.log_length, "b": layer.bias}
    norms = {name: float(p.grad.norm()) for name, p in found.items()}  # type: ignore[union-attr]
    assert norms == pytest.approx(want["salimans_code_sum_of_squares_grad_norms"], rel=1e-9)


def test_minibatch_discrimination_starts_as_the_golden_one() -> None:
    """To 1e-9, relative."""
    want, layer, x = golden("minibatch_discrimination"), golden_discrimination().train(), golden_features()
    with torch.no_grad():
        output = torch.cat([x, layer(x, 5)], 1)
        np.testing.assert_allclose(output, want["salimans_code_init_output"], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(layer.log_length, want["salimans_code_init_new_log_weight_scale"], rtol=1e-9)
        np.testing.assert_allclose(layer.bias + 1, want["salimans_code_init_new_b"], rtol=1e-9)


def golden_features() -> Tensor:
    config = golden("minibatch_discrimination")["config"]
    return torch.from_numpy(np.random.RandomState(config["sx"]).randn(config["N"], config["F"]) * config["xs"])


def golden_discrimination() -> MinibatchDiscrimination:
    """The golden layer; its bias of the authors' code is that of ours + 1."""
    config = golden("minibatch_discrimination")["config"]
    features, kernels, dims = (config[key] for key in ("F", "K", "dim"))
    layer = MinibatchDiscrimination(features, kernels, dims).double().eval()
    theta = np.random.RandomState(config["st"]).randn(features, kernels, dims)
    layer.weight.data = torch.from_numpy(theta).permute(1, 2, 0).contiguous()
    layer.log_length.data = torch.from_numpy(0.2 * np.random.RandomState(config["sl"]).randn(kernels, dims))
    layer.bias.data = torch.from_numpy(0.1 * np.random.RandomState(config["sb"]).randn(kernels) - 1) - 1
    return layer


@pytest.mark.parametrize("name", [name for name in CASES if name != "points_discrimination"])
def test_added_discrimination_is_a_last_layer_of_the_concatenated_features(name: str) -> None:
    """To 1e-5; the shape of the output stays as it was."""
    network, inputs = network_of(name).eval(), inputs_of(name)
    shape = network(*inputs).shape
    add_minibatch_discrimination(network, 3, 2, group=2)
    network.train()(*inputs)
    network.eval()
    with features(network) as passes:
        output = network(*inputs)
    assert output.shape == shape
    distances = next(m for m in network.modules() if isinstance(m, MinibatchDiscrimination))
    assert distances.started
    comparing = next(m for m in network.modules() if distances in m.children())
    weight = torch.cat([comparing.layer.weight, comparing.closeness.weight], 1)  # type: ignore[list-item, union-attr]
    x = torch.cat([passes[0], distances(passes[0], 2)], 1)
    want = F.linear(x, weight, comparing.layer.bias)  # type: ignore[arg-type, union-attr]
    torch.testing.assert_close(output.reshape(4, -1)[:, : want.shape[1]], want, rtol=1e-5, atol=1e-5)
    again = copy.deepcopy(network)
    assert torch.equal(again(*inputs), output)
    with torch.device("meta"):
        outline = network_of(name)
        add_minibatch_discrimination(outline, 3, 2, group=2)
    assert outline.state_dict().keys() == network.state_dict().keys()


def test_discrimination_is_added_to_a_last_convolution() -> None:
    """To 1e-12; [N, 1, 1, 1] in float64, and the spread of the new weights is that of a dense layer of all inputs."""
    network = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(5, 1, 4, bias=False)).double()
    x = torch.randn(6, 3, 4, 4, dtype=torch.float64)
    plain, inner = network(x), network[:2](x).flatten(1)
    add_minibatch_discrimination(network, 400, 2, group=6)
    assert all(p.dtype == torch.float64 for p in network.parameters())
    distances, closeness = (
        next(m for m in network.modules() if isinstance(m, kind)) for kind in (MinibatchDiscrimination, nn.Linear)
    )
    with features(network) as passes:
        output = network(x)
    assert torch.equal(passes[0], inner)
    want = plain + (distances(inner, 6) @ closeness.weight.T)[:, :, None, None]
    assert output.shape == (6, 1, 1, 1)
    torch.testing.assert_close(output, want, rtol=0, atol=1e-12)
    reach = closeness.weight.abs().max().item() * math.sqrt(5 * 16 + 400)
    assert 0.9 < reach <= 1
    assert closeness.bias is None
    assert layers_of(network)[-1] is network[2].layer


@pytest.mark.parametrize("name", ["points", "points_discrimination"])
def test_a_second_discrimination_is_refused(name: str) -> None:
    network = network_of(name)
    if name == "points":
        add_minibatch_discrimination(network, 3, 2, group=2)
    with pytest.raises(ValueError, match="Discriminator already has minibatch discrimination"):
        add_minibatch_discrimination(network, 3, 2, group=2)


@pytest.mark.parametrize("name", ["dcgan", "lsgan", "wgan_dense", "wgan_gp_cifar", "points"])
def test_spectral_norm_and_discrimination_work_together_in_either_order(name: str) -> None:
    inputs = inputs_of(name)
    for order in (True, False):
        network = network_of(name)
        (spectral_norm if order else lambda n: add_minibatch_discrimination(n, 3, 2, 4))(network)
        (spectral_norm if not order else lambda n: add_minibatch_discrimination(n, 3, 2, 4))(network)
        with features(network) as passes, dropping(network, lambda x: x):
            network(*inputs).sum().backward()
        assert len(passes) == 1
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters() if p.ndim > 1)


# FreezeD


def frozen(network: nn.Module) -> set[str]:
    return {name for name, p in network.named_parameters() if not p.requires_grad}


@pytest.mark.parametrize(
    ("name", "count", "want"),
    [
        ("dcgan", 0, set()),
        ("dcgan", 1, {"body.0.weight"}),
        ("points", 2, {f"features.{i}.{p}" for i in (0, 2) for p in ("weight", "bias")}),
        ("lsgan_labels", 1, {"first.0.weight", "first.0.bias"}),
        ("cgan", 2, {f"{m}.linear.{p}" for m in ("of_image", "joint") for p in ("weight", "bias")}),
        (
            "wgan_gp_resnet",
            2,
            {f"{m}.{p}" for m in ("image", "blocks.0.norm1") for p in ("weight", "bias")} | {"blocks.0.conv1.weight"},
        ),
    ],
)
def test_layers_nearest_to_the_image_and_the_norms_between_them_are_frozen(
    name: str, count: int, want: set[str]
) -> None:
    network = network_of(name)
    state = copy.deepcopy(network.state_dict())
    freeze_first(network, count, *inputs_of(name))
    assert frozen(network) == want
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_norms_between_frozen_convolutions_are_frozen_wherever_they_are_registered() -> None:
    """Those of WGAN-GP's critic come after all convolutions, so that only a pass shows where they belong."""
    gan, x = CASES["wgan_gp_dcgan"].gan, torch.rand(2, 3, 28, 28)
    for inputs, norms in (((x,), {"norms.1.weight", "norms.1.bias"}), ((), set())):
        network = gan.make(ImageSpec(3, 28, 28)).networks["discriminator"]
        freeze_first(network, 3, *inputs)
        assert frozen(network) == {f"convs.{i}.{p}" for i in range(3) for p in ("weight", "bias")} | norms


def test_norms_between_registered_layers_are_frozen_without_a_pass() -> None:
    network = DCGANConfig(maps=2).make(ImageSpec(3, 32, 32)).networks["discriminator"]
    freeze_first(network, 3)
    assert frozen(network) == {"body.0.weight", "body.2.weight", "body.3.weight", "body.3.bias", "body.5.weight"}


@pytest.mark.parametrize("name", CASES)
def test_at_least_one_layer_must_be_left(name: str) -> None:
    network, known = network_of(name), len(layers_of(network_of(name))) - CASES[name].of_labels
    for count in (known, -1):
        with pytest.raises(ValueError, match=f"the discriminator has {known}, and one must be left"):
            freeze_first(network, count, *inputs_of(name))
    assert not frozen(network)
    freeze_first(network, known - 1, *inputs_of(name))
    assert len(frozen(network)) >= known - 1
    with pytest.raises(ValueError, match=f"the discriminator has {known + CASES[name].of_labels}, and"):
        freeze_first(network, known + CASES[name].of_labels)
    assert any(p.requires_grad for p in layers_of(network)[-1].parameters())


def test_frozen_layers_stay_frozen_in_a_gan_and_with_spectral_norm_and_on_meta() -> None:
    gan = CASES["dcgan"].gan.make(CASES["dcgan"].spec)
    network = gan.networks["discriminator"]
    spectral_norm(network)
    freeze_first(network, 1, *inputs_of("dcgan"))
    assert frozen(network) == {"body.0.parametrizations.weight.original"}
    gan.freeze_all_but(["discriminator"])
    assert frozen(network) == {"body.0.parametrizations.weight.original"}
    with torch.device("meta"):
        outline = network_of("dcgan")
        freeze_first(outline, 1, torch.zeros(2, 3, 16, 16))
    assert frozen(outline) == {"body.0.weight"}
