"""WGAN against the authors' numbers, and the rounds of its critic against a plain loop."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from golden_family import Fixed, Given, fill, golden, gradient_norms, images, trainer_of, weights
from progan.errors import ConfigError
from progan.gans import WGANConfig
from progan.gans.base import Batch, ImageSpec, Terms
from progan.gans.wgan import WGAN
from progan.presets import PRESETS
from progan.schedule import stage_at
from progan.training.config import RunConfig
from progan.training.loop import Trainer

GOLDEN = golden("wgan")
SIZE = GOLDEN["config"]
SPEC = ImageSpec(3, SIZE["isize"], SIZE["isize"])
ROUNDS = SIZE["outer"] * SIZE["Diters"]
SMALL = WGANConfig(maps=2, latent_size=8, long_rounds=0, long_every=0)


def run_of(gan: WGANConfig, batch: int) -> RunConfig:
    config = PRESETS["wgan_lsun_64"]()
    return replace(config, gan=gan, schedule=replace(config.schedule.resized(SPEC.height), batch=batch))


def golden_trainer(dtype: torch.dtype = torch.float64) -> Trainer:
    """The authors' program: the critic minimizes f(real) - f(fake), so that its last layer here is the negative."""
    gan = replace(SMALL, maps=SIZE["ngf"], latent_size=SIZE["nz"], n_critic=SIZE["Diters"], clip_moment="before")
    critic = replace(gan, maps=SIZE["ndf"]).make_discriminator(SPEC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WGANConfig, "make_discriminator", lambda *_: critic)
        trainer = trainer_of(
            run_of(gan, SIZE["N"]), SPEC, images(SIZE["sx"], ROUNDS * SIZE["N"], 3, *[SPEC.height] * 2).to(dtype)
        )
    fill(trainer.gan.networks["generator"], weights(GOLDEN["G_parameters"], SIZE["sG"]))
    values = weights(GOLDEN["D_parameters"], SIZE["sD"])
    fill(critic, [*values[:-1], -values[-1]])
    shape = ROUNDS + SIZE["outer"], SIZE["N"], SIZE["nz"]
    z = np.random.RandomState(SIZE["sz"]).randn(*shape, 1, 1)
    trainer.gan.latent = Given(*torch.from_numpy(z).to(dtype).view(shape))  # type: ignore[assignment]
    trainer.gan.networks.to(dtype)
    trainer.ema.network.to(dtype)
    return trainer


def test_critic_starts_as_the_authors_critic() -> None:
    """The mean before clipping to 1e-9, and the gradients after it to 1e-7, relative."""
    gan = golden_trainer().gan
    assert isinstance(gan, WGAN)
    n = SIZE["N"]
    real = images(SIZE["sx"], ROUNDS * n, 3, *[SPEC.height] * 2)[:n]
    mean = -gan.discriminator(real).mean().item()
    assert mean == pytest.approx(GOLDEN["unclipped_critic_mean_on_x0"], rel=1e-9)
    gan.clip()
    fake = gan.generator(gan.latent.draw(None, None)).detach()  # type: ignore[arg-type]
    terms = gan.rules.adversarial.critic(gan.discriminator(real), gan.discriminator(fake))
    sum(term.mean() for term in terms.values()).backward()  # type: ignore[union-attr]
    norms = GOLDEN["critic_grad_norms_first_step"].values()
    np.testing.assert_allclose(gradient_norms(gan.discriminator), list(norms), rtol=1e-7)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-4)])
def test_training_follows_the_authors_step_by_step(dtype: torch.dtype, tolerance: float) -> None:
    """Six steps of the critic and two of G in the library's own loop, to 1e-6, relative, and to 1e-4 in float32.

    Some of the critic's shifts have no gradient, because those of real and of generated images cancel. RMSprop's first
    step would turn a rounding error in their place into 10 times the rate, which is larger than this tolerance.
    """
    trainer, found = golden_trainer(dtype), []
    gan = trainer.gan
    assert isinstance(gan, WGAN)
    terms_of, loss_of = gan.discriminator_terms, gan.generator_loss

    def critic(batch: Batch, fake: Tensor) -> Terms:
        terms = terms_of(batch, fake)
        means = {name: float(term.mean().detach()) for name, term in terms.items()}
        found.append({"real": means["real"], "fake": -means["fake"], "loss": means["real"] + means["fake"]})
        assert means["distance"] == pytest.approx(-found[-1]["loss"], rel=1e-9 if dtype == torch.float64 else 1e-4)
        return terms

    def generator(batch: Batch) -> Terms:
        terms = loss_of(batch)
        found.append({"generator": float(terms["fake"].mean().detach())})
        return terms

    gan.discriminator_terms, gan.generator_loss = critic, generator  # type: ignore[method-assign]
    for _ in range(SIZE["outer"]):
        trainer.iterate()
    names = {"Loss_D_real": "real", "Loss_D_fake": "fake", "Loss_D": "loss", "Loss_G": "generator"}
    wanted = [{names[k]: v for k, v in step.items() if k in names} for step in GOLDEN["trajectory"]]
    assert found == [pytest.approx(step, rel=tolerance) for step in wanted]


def trained(gan: WGANConfig) -> Trainer:
    """After two iterations."""
    reals = Fixed(images(0, 40, 3, *[SPEC.height] * 2).float())
    trainer = Trainer(run_of(gan, 4), SPEC, reals, device=torch.device("cpu"))
    trainer.iterate()
    trainer.iterate()
    return trainer


def extremes(gan: WGANConfig) -> dict[str, float]:
    """The largest absolute value of each of the critic's parameters after some iterations."""
    trainer = trained(gan)
    return {name: float(p.abs().max()) for name, p in trainer.gan.networks["discriminator"].named_parameters()}


def test_clipping_after_the_step_leaves_no_parameter_outside() -> None:
    """Not even those of batch norm, whose gains are 1 at first."""
    after = extremes(SMALL)
    assert max(after.values()) <= SMALL.clip
    assert after["body.3.weight"] == pytest.approx(SMALL.clip)  # a gain


def test_clipping_before_the_step_leaves_the_last_step_unclipped() -> None:
    before = extremes(replace(SMALL, clip_moment="before"))
    assert SMALL.clip < max(before.values()) < SMALL.clip + 10.1 * 5e-5  # RMSprop's first step is 10 times the rate
    assert before["body.3.weight"] > SMALL.clip


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"long_rounds": 0},
        {"long_every": 0},
        {"long_rounds": 0, "long_every": 0},
        {"long_rounds": 7, "long_every": 3},
        {"long_rounds": 3, "long_every": 7, "n_critic": 1, "long_critic": 2},
        {"long_rounds": 30, "long_every": 10, "long_critic": 5},
    ],
    ids=str,
)
def test_rounds_are_those_of_a_plain_loop(change: dict[str, int]) -> None:
    """The authors' loop counts its iterations; here they follow from the images seen."""
    config, batch, seen = WGANConfig(maps=2, **change), 3, 0  # type: ignore[arg-type]
    gan = config.make(SPEC)
    schedule = replace(run_of(config, batch).schedule, total_kimg=1e6)
    for iteration in range(1100):
        first = iteration < config.long_rounds
        every = config.long_every > 0 and iteration % config.long_every == 0
        steps = config.long_critic if first or every else config.n_critic
        if iteration < 60 or 450 < iteration < 550 or iteration > 990:
            phases = gan.phases(stage_at(schedule, seen))
            assert [phase.repeats for phase in phases] == [steps, 1], iteration
        seen += steps * batch


@pytest.mark.parametrize(
    ("preset", "g", "d"), [("wgan_lsun_64", 3_576_704, 2_765_568), ("wgan_mlp_lsun_64", 6_880_768, 6_817_793)]
)
def test_parameter_counts_of_the_published_networks(preset: str, g: int, d: int) -> None:
    networks = PRESETS[preset]().gan.make(ImageSpec(3, 64, 64)).networks
    counts = [sum(p.numel() for p in networks[name].parameters()) for name in ("generator", "discriminator")]
    assert counts == [g, d]


@pytest.mark.parametrize("bodies", [("mlp", "dcgan"), ("dcgan", "mlp"), ("mlp", "mlp")])
def test_dense_networks_go_with_convolutional_ones(bodies: tuple[Any, Any]) -> None:
    config = replace(SMALL, generator=bodies[0], critic=bodies[1], hidden=8)
    gan = config.make(ImageSpec(1, 28, 28))
    fake = gan.generator(torch.randn(3, 8))
    assert (fake.shape, gan.discriminator(fake).shape) == ((3, 1, 28, 28), (3,))
    assert config.whole_share is (bodies != ("mlp", "mlp"))
    assert replace(config, bn_group=4).group == (1 if bodies == ("mlp", "mlp") else 4)


def test_dense_networks_take_images_that_convolutional_ones_cannot_take() -> None:
    odd = ImageSpec(3, 12, 15)
    fake = replace(SMALL, generator="mlp").make_sampler(odd)(torch.randn(3, 8))
    assert fake.shape == (3, 3, 12, 15)
    with pytest.raises(ConfigError, match="require images of at least 16x16"):
        SMALL.make(ImageSpec(3, 8, 8))
    with pytest.raises(ConfigError, match="must be multiples of 4"):
        SMALL.make(ImageSpec(3, 30, 30))


def test_batch_norm_may_be_omitted() -> None:
    names = {"both": "gd", "generator": "g", "discriminator": "d", "none": ""}
    for norm, normed in names.items():
        networks = replace(SMALL, norm=norm).make(SPEC).networks  # type: ignore[arg-type]
        found = [n[0] for n in networks if any("BatchNorm" in type(m).__name__ for m in networks[n].modules())]
        assert "".join(found) == normed


def test_adam_takes_the_settings_of_the_run() -> None:
    trainer = trained(replace(SMALL, optimizer="adam"))
    assert trainer.steppers["generator"].torch.param_groups[0]["betas"] == (0.5, 0.999)
    first = trainer.steppers["generator"].torch.state_dict()["state"][0]
    assert first["exp_avg"].abs().max() > 0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"clip": 0.0}, "gan.clip must be above 0, got 0"),
        ({"clip": float("nan")}, "gan.clip must be above 0, got nan"),
        ({"n_critic": 0}, "gan.n_critic must be at least 1, got 0"),
        ({"long_rounds": -1}, "gan.long_rounds must be at least 0, got -1"),
    ],
)
def test_settings_that_make_no_sense(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WGANConfig(**bad)
