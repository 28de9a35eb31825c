"""GAN of points: losses and penalties against numpy, unrolled steps against real ones, clipping, resuming, messages."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from progan.errors import ConfigError
from progan.gans.base import Batch, ImageSpec
from progan.gans.points import Points, PointsConfig
from progan.presets.family import constant
from progan.toy.data import DISTRIBUTIONS
from progan.toy.data import Points as Data
from progan.toy.recipes import RECIPES
from progan.training.loop import Trainer
from restoring import flat
from small import batch_with

SPEC = ImageSpec(2, 1, 1)
SMALL = PointsConfig(width=6, latent_size=3)


def made(config: PointsConfig) -> Points:
    torch.manual_seed(0)
    gan = config.make(SPEC)
    gan.networks.double()
    return gan


def batch_of(count: int, mix: float = 0.3) -> Batch:
    draw = torch.Generator().manual_seed(1)
    real, z = (torch.randn(count, width, generator=draw, dtype=torch.float64) for width in (2, SMALL.latent_size))
    return batch_with(
        real.view(count, 2, 1, 1),
        normal=lambda *_: z,
        uniform=lambda *_: torch.full((count, 1), mix, dtype=torch.float64),
    )


def mean_sum(terms: dict[str, Tensor]) -> float:
    return sum(float(term.detach().mean()) for term in terms.values())


def layers(network: torch.nn.Module) -> list[np.ndarray]:
    return [p.detach().numpy() for p in network.parameters()]


def scores(x: np.ndarray, d: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Scores [N] of a ReLU network with two hidden layers, and their gradients [N, 2]."""
    a = x @ d[0].T + d[1]
    b = np.maximum(a, 0) @ d[2].T + d[3]
    slope = ((b > 0) * d[4] @ d[2] * (a > 0)) @ d[0]
    return np.maximum(b, 0) @ d[4][0] + d[5], slope


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


WANTED = {  # loss of D from scores of real and generated points, and of G
    "saturating": (lambda r, f: softplus(-r) + softplus(f), lambda f: -softplus(f)),
    "non_saturating": (lambda r, f: softplus(-r) + softplus(f), lambda f: softplus(-f)),
    "least_squares": (lambda r, f: (r - 1) ** 2 / 2 + f**2 / 2, lambda f: (f - 1) ** 2 / 2),
    "pearson": (lambda r, f: (r - 1) ** 2 / 2 + (f + 1) ** 2 / 2, lambda f: f**2 / 2),
    "hinge": (lambda r, f: np.maximum(1 - r, 0) + np.maximum(1 + f, 0), lambda f: -f),
    "wgan": (lambda r, f: f - r, lambda f: -f),
    "wgan_gp": (lambda r, f: f - r, lambda f: -f),
}


@pytest.mark.parametrize("loss", WANTED)
def test_losses_and_penalties_are_those_of_numpy(loss: str) -> None:
    """To 1e-12, relative."""
    gan, batch = made(replace(SMALL, loss=loss, r1=3.0, penalty_weight=0.7)), batch_of(7)  # type: ignore[arg-type]
    real, fake = batch.images.flatten(1).numpy(), gan.fakes(batch).detach().flatten(1).numpy()
    d = layers(gan.discriminator)
    (on_real, slope), (on_fake, _) = scores(real, d), scores(fake, d)
    wanted = WANTED[loss][0](on_real, on_fake).mean() + 3.0 / 2 * np.square(slope).sum(1).mean()
    if loss == "wgan_gp":
        between = np.linalg.norm(scores(0.7 * real + 0.3 * fake, d)[1], axis=1)
        wanted += 0.7 * np.square(between - 1).mean()
    terms = gan.discriminator_loss(batch)
    assert mean_sum(terms) == pytest.approx(wanted, rel=1e-12)
    assert mean_sum(gan.generator_loss(batch)) == pytest.approx(WANTED[loss][1](on_fake).mean(), rel=1e-12)


def ahead(gan: Points, batch: Batch) -> float:
    """G's loss against a D that really was trained on the same points, by torch's own optimizer."""
    later, fake = copy.deepcopy(gan.discriminator), gan.fakes(batch)
    optimizer = torch.optim.SGD(later.parameters(), lr=gan.config.unrolled_lr)
    for _ in range(gan.config.unrolled):
        optimizer.zero_grad()
        (F.softplus(-later(batch.images)).mean() + F.softplus(later(fake.detach())).mean()).backward()
        optimizer.step()
    return float(F.softplus(-later(fake)).mean().detach())


def test_unrolled_loss_and_slope_are_those_of_real_steps_of_d() -> None:
    gan, batch, step = made(replace(SMALL, unrolled=3, unrolled_lr=0.5)), batch_of(9), 1e-6
    parameters = list(gan.generator.parameters())
    (loss,) = gan.generator_loss(batch).values()
    assert float(loss.mean().detach()) == pytest.approx(ahead(gan, batch), rel=1e-12)
    assert float(loss.mean().detach()) != pytest.approx(ahead(made(SMALL), batch), rel=1e-3)
    slopes = torch.autograd.grad(loss.mean(), parameters)
    way: list[Tensor] = [torch.randn_like(p) for p in parameters]
    values = []
    for sign in (1, -1):
        moved = copy.deepcopy(gan)
        for p, direction in zip(moved.generator.parameters(), way, strict=True):
            p.data += sign * step * direction
        values.append(ahead(moved, batch))
    got = sum(float((s * w).sum()) for s, w in zip(slopes, way, strict=True))
    assert got == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


@pytest.mark.parametrize("minibatch", ["stddev", "discrimination"])
def test_d_compares_a_point_with_those_of_its_group_only(minibatch: str) -> None:
    """Groups of 3 in a batch of 6 are every second point."""
    d = made(replace(SMALL, minibatch=minibatch, minibatch_group=3)).discriminator.eval()  # type: ignore[arg-type]
    x = batch_of(6).images
    moved = x.clone()
    moved[1] += 1
    changed = (d(x) != d(moved)).tolist()
    assert changed == [False, True, False, True, False, True]


def trainer(config: PointsConfig, **rates: float) -> Trainer:
    run = constant(config, 1, batch=64, lr=0.01, total_kimg=10, **rates)
    return Trainer(run, SPEC, Data(DISTRIBUTIONS["ring"], 0), device=torch.device("cpu"))


@pytest.mark.parametrize("name", RECIPES)
def test_resumed_run_equals_uninterrupted_run(name: str) -> None:
    config = replace(RECIPES[name].gan, width=8, latent_size=3)
    whole, first, second = trainer(config), trainer(config), trainer(config)
    for some in (whole, first):
        for _ in range(2):
            some.iterate()
    whole.iterate()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    second.iterate()
    a, b = flat(whole.state_dict()), flat(second.state_dict())
    assert a.keys() == b.keys()
    assert [key for key in a if not torch.equal(torch.as_tensor(a[key]), torch.as_tensor(b[key]))] == []


def test_clipping_bounds_all_parameters_of_d_and_no_others() -> None:
    some = trainer(replace(SMALL, loss="wgan", clip=0.02, optimizer="rmsprop", n_critic=2))
    some.iterate()
    bounds = {n: max(float(p.detach().abs().max()) for p in net.parameters()) for n, net in some.gan.networks.items()}
    assert bounds["discriminator"] == pytest.approx(0.02)
    assert bounds["generator"] > 0.1


def test_d_may_have_another_learning_rate_than_g() -> None:
    some = trainer(replace(SMALL, d_lr=0.25))
    some.iterate()
    rates = [some.steppers[name].torch.param_groups[0]["lr"] for name in ("generator", "discriminator")]
    assert rates == [0.01, 0.0025]


def test_networks_have_the_layers_of_their_settings() -> None:
    gan = made(PointsConfig(width=16, layers=3, latent_size=5, orthogonal=0.8, activation="tanh"))
    sizes = [tuple(p.shape) for p in gan.generator.parameters() if p.ndim == 2]
    assert sizes == [(16, 5), (16, 16), (16, 16), (2, 16)]
    square = list(gan.discriminator.parameters())[2]
    np.testing.assert_allclose((square @ square.T).detach(), 0.64 * np.eye(16), atol=1e-6)
    assert [type(layer).__name__ for layer in gan.discriminator.features[1::2]] == ["Tanh"] * 3
    shown = PointsConfig(width=4).make(ImageSpec(3, 5, 4))
    assert shown.generator(torch.zeros(2, 16)).shape == (2, 3, 5, 4)
    assert shown.discriminator(torch.zeros(2, 3, 5, 4)).shape == (2,)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0}, "gan.width must be at least 1, got 0"),
        ({"clip": 0.0}, "gan.clip must be above 0, got 0.0"),
        ({"r1": float("nan")}, "gan.r1 must be at least 0, got nan"),
        ({"loss": "wgn"}, "gan.loss must be one of saturating, .*; got 'wgn'"),
        ({"minibatch": "all"}, "gan.minibatch must be one of none, stddev, discrimination; got 'all'"),
        ({"unrolled": 2, "loss": "wgan_gp"}, "gan.unrolled does not work with gan.loss wgan_gp"),
        ({"unrolled": 2, "r1": 1.0}, "gan.unrolled does not work with gan.r1"),
        ({"unrolled": 2, "minibatch": "discrimination"}, "gan.unrolled does not work with gan.minibatch"),
    ],
)
def test_settings_that_are_wrong_or_contradict_each_other(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PointsConfig(**settings)
