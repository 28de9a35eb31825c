"""What the classic family starts from: initial weights, latents, and the masks of dropout."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from golden_family import Fixed
from progan.gans import CGANConfig, ConditionalDCGANConfig, DCGANConfig, LSGANConfig, OriginalGANConfig, WGANGPConfig
from progan.gans.base import GANConfig, ImageSpec
from progan.gans.two_player import dropout
from progan.presets import PRESETS
from progan.training.loop import Trainer

SPEC = ImageSpec(3, 32, 32, classes=10)


def uniform(reach: float) -> Callable[[Tensor], bool]:
    """A test of weights for a uniform distribution from -reach to reach."""

    def fits(x: Tensor) -> bool:
        ends = torch.stack([-x.min(), x.max()])
        return bool((ends <= reach * (1 + 1e-6)).all() and (ends > 0.9 * reach).all()) and near(x, reach / 3**0.5)

    return fits


def normal(deviation: float, mean: float = 0.0) -> Callable[[Tensor], bool]:
    """A test of weights for a normal distribution, whose largest values are beyond 2.5 deviations."""

    def fits(x: Tensor) -> bool:
        rest = x - mean
        far = float(rest.abs().max()) > (2.5 if x.numel() > 500 else 1.5) * deviation
        return far and near(x, deviation) and abs(float(rest.mean())) < deviation / 3

    return fits


def near(x: Tensor, deviation: float) -> bool:
    """Whether the standard deviation is the given one, within 5 standard errors of that of a normal distribution."""
    return float(x.std()) == pytest.approx(deviation, rel=5 / (2 * x.numel()) ** 0.5)


def glorot(into: float, out: float, factor: float = 2) -> Callable[[Tensor], bool]:
    """Uniform, of standard deviation sqrt(factor / (into + out)); 4 is He's factor."""
    return uniform((3 * factor / (into + out)) ** 0.5)


GAN = OriginalGANConfig(g_hidden=(40,), d_units=(40,), g_output_range=0.5, pixel_bias=False)
CIFAR = WGANGPConfig(body="cifar", maps=32, conditional=True)
STARTS: dict[str, tuple[GANConfig, dict[str, Callable[[Tensor], bool]]]] = {
    "gan": (
        GAN,
        {
            "generator.hidden.0.weight": uniform(0.05),
            "generator.image.weight": uniform(0.5),
            "discriminator.dense.0.linear.weight": uniform(0.005),
            "discriminator.score.weight": uniform(0.005),
        },
    ),
    "cgan": (
        CGANConfig(g_joint_features=50, d_image_units=20),
        {
            "generator.of_latent.weight": uniform(0.05),
            "generator.image.weight": uniform(0.05),
            "discriminator.of_image.linear.weight": uniform(0.005),
        },
    ),
    "dcgan": (
        DCGANConfig(maps=32, most_maps=64),
        {
            "generator.dense.weight": normal(0.02),
            "generator.first.weight": normal(0.02, mean=1),
            "generator.body.0.weight": normal(0.02),
            "generator.image.weight": normal(0.02),
            "discriminator.body.0.weight": normal(0.02),
            "discriminator.body.3.weight": normal(0.02, mean=1),
            "discriminator.score.weight": normal(0.02),
        },
    ),
    "dcgan_conditional": (
        ConditionalDCGANConfig(maps=4, dense=32),
        {
            "generator.first.weight": normal(0.02),
            "generator.image.weight": normal(0.02),
            "discriminator.second.weight": normal(0.02),
            "discriminator.third.weight": normal(0.02),
        },
    ),
    "wgan_gp_resnet": (
        WGANGPConfig(maps=8),
        {
            "generator.dense.weight": glorot(128, 64 * 16),
            "generator.blocks.0.conv1.weight": glorot(64 * 9, 32 * 9, 4),
            "generator.blocks.0.shortcut.weight": glorot(64, 32),
            "generator.image.weight": glorot(8 * 9, 3 * 9, 4),
            "discriminator.score.weight": glorot(64 * 16, 1),
        },
    ),
    "wgan_gp_cifar": (
        CIFAR,
        {
            "generator.dense.weight": glorot(128, 32 * 16),
            "generator.blocks.1.conv2.weight": glorot(32 * 9, 32 * 9, 4),
            "generator.image.weight": glorot(32 * 9, 3 * 9),
            "discriminator.blocks.0.conv1.weight": glorot(3 * 9, 32 * 9, 4),
            "discriminator.logits.weight": glorot(32, 10),
        },
    ),
    "wgan_gp_dcgan": (
        WGANGPConfig(body="dcgan", maps=8),
        {name: uniform(0.02 * 3**0.5) for name in ("generator.dense.weight", "discriminator.convs.1.weight")}
        | {"discriminator.score.weight": uniform(0.02 * 3**0.5)},
    ),
}
"""By GAN, the authors' distributions of some weights. Convolutions count their kernel's pixels."""


@pytest.mark.parametrize("name", STARTS)
def test_weights_start_as_in_the_authors_programs(name: str) -> None:
    torch.manual_seed(0)
    config, wanted = STARTS[name]
    networks = config.make(SPEC).networks
    wrong = [key for key, fits in wanted.items() if not fits(networks.get_parameter(key).detach())]
    assert wrong == []
    biases = [p for n, p in networks.named_parameters() if n.endswith("bias")]
    assert all(float(p.detach().abs().max()) == 0 for p in biases)


@pytest.mark.parametrize(
    ("config", "lowest", "highest", "deviation"),
    [
        (GAN, -(3**0.5), 3**0.5, 1),
        (replace(GAN, latent="normal"), -9, 9, 1),
        (CGANConfig(latent="uniform"), -(3**0.5), 3**0.5, 1),
        (DCGANConfig(maps=1), -9, 9, 1),
        (DCGANConfig(maps=1, latent="uniform"), -1, 1, 3**-0.5),
        (ConditionalDCGANConfig(maps=1, dense=1), -1, 1, 3**-0.5),
        (LSGANConfig(maps=1), -1, 1, 3**-0.5),
        (WGANGPConfig(maps=1), -9, 9, 1),
    ],
)
def test_latents_have_the_authors_distribution(
    config: GANConfig, lowest: float, highest: float, deviation: float
) -> None:
    torch.manual_seed(0)
    latent = config.make_sampler(SPEC).latent  # type: ignore[attr-defined]
    z = latent.draw(lambda _, size: torch.randn(300, size), lambda _, size: torch.rand(300, size))
    assert float(z.std()) == pytest.approx(deviation, rel=0.02)
    assert abs(float(z.mean())) < 0.05
    assert lowest <= float(z.min()) < -0.98 * deviation * 3**0.5
    assert 0.98 * deviation * 3**0.5 < float(z.max()) <= highest


def batch_of(count: int) -> Any:
    config = PRESETS["gan_mnist"]()
    gan = OriginalGANConfig(g_hidden=(2,), d_units=(2,))
    run = replace(config, gan=gan, schedule=replace(config.schedule.resized(4), batch=count))
    trainer = Trainer(run, ImageSpec(1, 4, 4), Fixed(torch.zeros(1, 1, 4, 4)), device=torch.device("cpu"))
    return trainer._batch("both", trainer.stage, 0, count, 0, 1)


@pytest.mark.parametrize("keep", [0.8, 0.5])
@pytest.mark.parametrize("whole_maps", [False, True])
def test_what_dropout_keeps_is_divided_by_the_probability_of_keeping_it(keep: float, whole_maps: bool) -> None:
    """The share that is kept within 5 standard errors; other layers, streams and samples have other masks."""
    x, batch = torch.ones(200, 30, 2, 2), batch_of(200)
    drop = dropout(batch, "real", whole_maps=whole_maps)
    first, second = drop(x, keep), drop(x, keep)
    for y in (first, second):
        assert y.unique().tolist() == pytest.approx([0, 1 / keep])
        count = 6000 if whole_maps else 24_000
        share = float((y > 0).float().mean())
        assert share == pytest.approx(keep, abs=5 * (keep * (1 - keep) / count) ** 0.5)
        assert torch.equal((y > 0).all(3).all(2), (y > 0).any(3).any(2)) == whole_maps
    independent = keep**2 + (1 - keep) ** 2  # share of features with which two independent masks do the same
    others = (second, dropout(batch, "fake", whole_maps=whole_maps)(x, keep), first.roll(1, 0), first.roll(1, 1))
    for other in others:
        assert float(((first > 0) == (other > 0)).float().mean()) == pytest.approx(independent, abs=0.05)
    assert torch.equal(dropout(batch, "real", whole_maps=whole_maps)(x, keep), first)


def test_running_statistics_follow_as_in_the_authors_programs() -> None:
    """A tenth of the way at each step in LSGAN."""
    gan = LSGANConfig(networks="labels", maps=1, latent_size=2).make(SPEC)
    z, labels = torch.randn(4, 2), torch.tensor([0, 1, 2, 3])
    inputs: list[Tensor] = []
    norm = gan.generator.body[0]
    norm.register_forward_pre_hook(lambda _, given: inputs.append(given[0].detach()))
    gan.generator(z, labels=labels)
    torch.testing.assert_close(norm.running_mean, 0.1 * inputs[0].mean((0, 2, 3)))


@pytest.mark.parametrize(
    "config",
    [
        DCGANConfig(maps=1),
        ConditionalDCGANConfig(maps=1, dense=2),
        LSGANConfig(networks="scenes", maps=1),
        LSGANConfig(networks="labels", maps=1),
    ],
)
def test_batch_norm_of_discriminators_keeps_no_statistics(config: GANConfig) -> None:
    norms = [m for m in config.make(SPEC).discriminator.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]  # type: ignore[attr-defined]
    assert [m.running_mean for m in norms] == [None, None]


def test_cgan_may_drop_pixels_as_gan_does() -> None:
    config, kept = CGANConfig(d_keep_input=0.7, d_image_units=2, d_condition_units=3, d_joint_units=4), []

    def drop(x: Tensor, keep: float) -> Tensor:
        kept.append((x.shape[1], keep))
        return x

    discriminator = config.make(ImageSpec(1, 2, 3, classes=2)).discriminator
    discriminator(torch.zeros(2, 1, 2, 3), torch.tensor([0, 1]), drop=drop)
    assert kept == [(6, 0.7), (5, 0.5), (4, 0.5)]
