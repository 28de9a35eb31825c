"""BiGAN (2017) against numbers of its definition, a step written out, and where images and codes meet in D."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from golden_family import Given, golden, trainer_of, weights
from progan.errors import ConfigError
from progan.gans import BiGANConfig
from progan.gans.base import ImageSpec
from progan.gans.bigan import BiGAN, Pair
from progan.presets import PRESETS
from progan.presets.family import constant
from progan.schedule import stage_at

GOLDEN = golden("bigan")
SIZE = GOLDEN["config"]
EXACT = {"rtol": 1e-9, "atol": 0}
HIDDEN = {"E": "encoder.body", "G": "generator.hidden", "D": "discriminator.hidden"}
OUTPUT = {"E": "encoder.code", "G": "generator.image", "D": "discriminator.score"}
TINY: dict[str, Any] = {"latent_size": 3, "hidden": (6, 5)}


def tiny() -> tuple[BiGAN, dict[str, nn.Parameter]]:
    """The golden networks: a row of pixels, one hidden layer, no batch norm, and the code beside the pixels in D."""
    hidden = (SIZE["nh"],)
    config = BiGANConfig(latent_size=SIZE["nz"], hidden=hidden, d_join="first", code="linear", bias=True, norm=False)
    gan = config.make(ImageSpec(1, 1, SIZE["nx"]))
    gan.networks.double()
    every, found = dict(gan.networks.named_parameters()), {}
    for fact, value in zip(GOLDEN["parameters"], weights(GOLDEN["parameters"], SIZE["s"]), strict=True):
        network, layer, kind = fact["name"].split(".")
        part = f"{HIDDEN[network]}.layers.{layer}.dense" if layer == "0" else OUTPUT[network]
        p = found[fact["name"]] = every.pop(f"{part}.{'weight' if kind == 'W' else 'bias'}")
        assert p.shape == value.T.shape
        p.data = torch.from_numpy(value.T.copy())
    assert not every
    return gan, found


@pytest.mark.parametrize("update", ["simultaneous", "alternating"])
def test_networks_losses_and_gradients_are_those_of_the_definition(update: str) -> None:
    """To 1e-9, relative, in float64; images are in [0, 1] within the networks."""
    gan, found = tiny()
    rs = np.random.RandomState(SIZE["s"] + 1)
    x = torch.from_numpy(2 * rs.rand(SIZE["N"], SIZE["nx"]) - 1)
    batch: Any = SimpleNamespace(images=x.view(-1, 1, 1, SIZE["nx"]), normal=None, uniform=None)
    z = torch.from_numpy(rs.uniform(-1, 1, (SIZE["N"], SIZE["nz"])))
    gan.latent = Given(z, z)  # type: ignore[assignment]
    codes, fake = gan.sampler.encode(batch.images), gan.sampler(z)  # type: ignore[operator]
    np.testing.assert_allclose(codes.detach(), GOLDEN["E_x"], **EXACT)
    np.testing.assert_allclose((fake.detach().flatten(1) + 1) / 2, GOLDEN["G_z"], **EXACT)
    for name, pair in (("D_xE", (batch.images, codes)), ("D_Gz", (fake, z))):
        np.testing.assert_allclose(gan.discriminator(*pair).detach(), GOLDEN[name], **EXACT)
    if update == "simultaneous":
        terms = {name: term.mean() for name, term in gan.joint_loss(batch).items()}
        sum(terms.values()).backward()  # type: ignore[union-attr]
        d_loss = terms["discriminator_real"] + terms["discriminator_fake"]
        eg_loss = terms["encoder"] + terms["generator"]
    else:
        gan.freeze_all_but(("discriminator",))
        d_loss = torch.stack(list(gan.discriminator_loss(batch).values())).sum(0).mean()
        d_loss.backward()
        gan.freeze_all_but(("generator", "encoder"))
        eg_loss = torch.stack(list(gan.generator_loss(batch).values())).sum(0).mean()
        eg_loss.backward()
    assert d_loss.item() == pytest.approx(GOLDEN["D_loss_half"], rel=1e-9)
    assert eg_loss.item() == pytest.approx(GOLDEN["EG_loss_half"], rel=1e-9)
    for name, norm in (GOLDEN["D_grad_norms"] | GOLDEN["EG_grad_norms"]).items():
        assert float(found[name].grad.norm()) == pytest.approx(norm, rel=1e-9), name  # type: ignore[union-attr]


def test_parameter_counts_are_those_of_the_authors_networks() -> None:
    """No biases; the latent enters the second hidden layer of G as well, and the code that of D."""
    networks = PRESETS["bigan_mnist"]().gan.make(ImageSpec(1, 28, 28)).networks
    counts = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
    assert counts == {
        "generator": 50 * 1024 + (1024 + 50) * 1024 + 1024 * 784,
        "encoder": 784 * 1024 + 1024 * 1024 + 1024 * 50,
        "discriminator": 784 * 1024 + (1024 + 50) * 1024 + 1024,
    }


def normed(x: np.ndarray) -> np.ndarray:
    """Batch norm without gain and shift, by its formula."""
    return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-8)


def leaky(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0.2 * x)


def filled(**more: Any) -> tuple[BiGAN, dict[str, np.ndarray]]:
    """Networks in float64 with weights far from zero, and these weights."""
    torch.manual_seed(0)
    gan = BiGANConfig(**{**TINY, **more}).make(ImageSpec(1, 2, 4))
    gan.networks.double()
    for p in gan.networks.parameters():
        p.data.normal_(0, 0.7)
    return gan, {name: p.detach().numpy() for name, p in gan.networks.named_parameters()}


def test_projections_of_codes_are_added_before_batch_norm() -> None:
    """The published networks in numpy, to 1e-9 in float64: the columns of a layer for z are a projection of its own."""
    gan, w = filled()
    x, z = np.random.default_rng(0).uniform(-1, 1, (7, 8)), np.random.default_rng(1).uniform(-1, 1, (7, 3))
    images, latents = torch.from_numpy(x).view(7, 1, 2, 4), torch.from_numpy(z)
    pixels = (x + 1) / 2
    first, last = (w[f"discriminator.hidden.layers.{i}.dense.weight"] for i in (0, 1))
    h = leaky(normed(leaky(pixels @ first.T) @ last[:, :6].T + z @ last[:, 6:].T))
    want = (h @ w["discriminator.score.weight"].T)[:, 0]
    np.testing.assert_allclose(gan.discriminator(images, latents).detach(), want, rtol=0, atol=1e-9)
    first, last = (w[f"generator.hidden.layers.{i}.dense.weight"] for i in (0, 1))
    h = np.maximum(normed(np.maximum(normed(z @ first.T), 0) @ last[:, :6].T + z @ last[:, 6:].T), 0)
    want = 2 / (1 + np.exp(-h @ w["generator.image.weight"].T)) - 1
    np.testing.assert_allclose(gan.generator(latents).detach().flatten(1), want, rtol=0, atol=1e-9)
    first, last = (w[f"encoder.body.layers.{i}.dense.weight"] for i in (0, 1))
    h = leaky(normed(leaky(pixels @ first.T) @ last.T))
    np.testing.assert_allclose(gan.sampler.features(images).detach(), h, rtol=0, atol=1e-9)  # type: ignore[operator]
    want = np.tanh(h @ w["encoder.code.weight"].T / 2)  # a sigmoid, stretched to the range of the latents
    np.testing.assert_allclose(gan.sampler.encode(images).detach(), want, rtol=0, atol=1e-9)  # type: ignore[operator]


def test_real_and_generated_pairs_are_normalized_apart() -> None:
    """A pair's score depends on the pairs of its own kind."""
    gan, _ = filled(hidden=(6, 5))
    x, z = torch.rand(7, 1, 2, 4, dtype=torch.float64), torch.rand(7, 3, dtype=torch.float64)
    score = gan.discriminator(x, z)
    assert not torch.allclose(gan.discriminator(x[:3], z[:3]), score[:3])
    seen: list[Tensor] = []
    gan.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    batch: Any = SimpleNamespace(images=x, normal=None, uniform=lambda _, size: torch.rand(7, size).double())
    gan.joint_loss(batch)
    assert [len(images) for images in seen] == [7, 7, 7, 7]
    assert [torch.equal(images, x) for images in seen] == [True, False, False, True]


@pytest.mark.parametrize("update", ["simultaneous", "alternating"])
def test_steps_are_those_of_adam_with_weight_decay(update: str) -> None:
    """Two iterations against plain Adam: either all networks at the same point, or D first; to 1e-10 in float64."""
    config = BiGANConfig(**TINY, update=update, weight_decay=0.1)  # type: ignore[arg-type]
    run = constant(config, 2, batch=4, lr=0.01, total_kimg=1, beta1=0.5, beta2=0.999)
    pixels = torch.rand(8, 1, 2, 4, dtype=torch.float64) * 2 - 1
    trainer = trainer_of(run, ImageSpec(1, 2, 4), pixels)
    gan, drawn = trainer.gan, torch.rand(4, 4, 3, dtype=torch.float64) * 2 - 1
    assert isinstance(gan, BiGAN)
    torch.manual_seed(0)
    mine = config.make(ImageSpec(1, 2, 4))
    mine.networks.double().load_state_dict(gan.networks.state_dict())
    gan.latent = Given(*drawn)  # type: ignore[assignment]
    trainer.iterate()
    trainer.iterate()
    options: dict[str, Any] = {"lr": 0.01, "betas": (0.5, 0.999), "weight_decay": 0.1}
    eg = torch.optim.Adam([*mine.generator.parameters(), *mine.encoder.parameters()], **options)
    d = torch.optim.Adam(mine.discriminator.parameters(), **options)
    left = list(drawn)
    bce = nn.functional.binary_cross_entropy_with_logits

    def loss(x: Tensor, z: Tensor, real: float) -> Tensor:
        scores = mine.discriminator(x, mine.encoder(x)), mine.discriminator(mine.generator(z), z)
        labels = [torch.full_like(s, y) for s, y in zip(scores, (real, 1 - real), strict=True)]
        return (bce(scores[0], labels[0]) + bce(scores[1], labels[1])) / 2

    for x in pixels.split(4):
        z = left.pop(0)
        d_gradients = torch.autograd.grad(loss(x, z, 1.0), list(mine.discriminator.parameters()))
        steps = [(d, list(mine.discriminator.parameters()), d_gradients)]
        ours = [*mine.generator.parameters(), *mine.encoder.parameters()]
        if update == "simultaneous":
            steps.append((eg, ours, torch.autograd.grad(loss(x, z, 0.0), ours)))
        for optimizer, parameters, gradients in steps:
            for p, gradient in zip(parameters, gradients, strict=True):
                p.grad = gradient
            optimizer.step()
        if update == "alternating":
            for p, gradient in zip(ours, torch.autograd.grad(loss(x, left.pop(0), 0.0), ours), strict=True):
                p.grad = gradient
            eg.step()
    for name, p in mine.networks.named_parameters():
        torch.testing.assert_close(dict(gan.networks.named_parameters())[name], p, rtol=0, atol=1e-10, msg=name)


def test_learning_rate_is_constant_for_half_the_run_and_then_falls_to_a_hundredth() -> None:
    schedule = PRESETS["bigan_mnist"]().schedule
    epochs = [0, 199.9, 250, 300, 399.999, 400]
    rates = [stage_at(schedule, round(epoch * 60_000)).lr for epoch in epochs]
    assert rates == pytest.approx([2e-4, 2e-4, 2e-4 * 10**-0.5, 2e-5, 2e-6, 2e-6], rel=1e-4)


@pytest.mark.parametrize("networks", ["dense", "conv"])
@torch.no_grad()
def test_encoders_keep_the_statistics_of_training_and_discriminators_do_not(networks: str) -> None:
    """After training an image has the same code in any batch, to 3 %; a pair's score is that of its batch."""
    gan = BiGANConfig(**TINY, networks=networks, maps=2).make(ImageSpec(1, 16, 16))  # type: ignore[arg-type]
    x, z = torch.rand(40, 1, 16, 16) * 2 - 1, torch.rand(10, 3)
    codes = torch.stack([gan.encoder(x) for _ in range(300)])[-1]  # nothing is left of the initial statistics
    pair = gan.sampler.eval()
    assert isinstance(pair, Pair)
    torch.testing.assert_close(pair.encode(x)[:2], pair.encode(x[:2]))
    torch.testing.assert_close(pair.features(x)[:2], pair.features(x[:2]))
    assert (pair.encode(x) - codes).abs().max().item() < 0.03 * codes.abs().max().item()
    score = gan.discriminator(x[:10], z)
    assert torch.equal(gan.discriminator.eval()(x[:10], z), score)
    assert not torch.allclose(gan.discriminator(x[:5], z[:5]), score[:5], atol=1e-3)


@pytest.mark.parametrize("size", [(28, 28), (32, 32), (32, 48)])
def test_convolutional_networks_take_the_sizes_of_dcgan(size: tuple[int, int]) -> None:
    config = BiGANConfig(networks="conv", latent_size=4, maps=2)
    gan = config.make(ImageSpec(3, *size))
    x = gan.sampler(torch.rand(6, 4))
    assert x.shape == (6, 3, *size)
    assert gan.sampler.encode(x).shape == (6, 4)  # type: ignore[operator]
    assert gan.sampler.features(x).shape[1] == gan.encoder.code.in_features  # type: ignore[operator, union-attr]
    z = torch.rand(6, 4)
    moved = gan.discriminator(x, z) - gan.discriminator(x, z.flip(0))
    assert moved.abs().max().item() > 0.01  # D is not blind to codes before it has learned


def test_wrong_settings_and_sizes_are_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^gan.hidden must be numbers of at least 1, such as 256 256; got \(\)$"):
        BiGANConfig(hidden=())
    with pytest.raises(ConfigError, match=r"^gan.latent_size must be at least 1, got 0$"):
        BiGANConfig(latent_size=0)
    with pytest.raises(ConfigError, match=r"^gan.weight_decay must be a number of at least 0, got -1$"):
        BiGANConfig(weight_decay=-1)
    with pytest.raises(ConfigError, match=r"^gan.kernel must be 4 or 5, got 3$"):
        BiGANConfig(kernel=3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"^DCGAN's networks require images of at least 16x16, .* has 8x8; use "):
        BiGANConfig(networks="conv").make(ImageSpec(1, 8, 8))
    assert replace(BiGANConfig(), hidden=[3, 4]).hidden == (3, 4)  # type: ignore[arg-type]  # as files have it
