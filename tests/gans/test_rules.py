"""The tricks of losses, images and steps against their definitions, written out plainly in float64."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golden_family import Fixed
from progan import draws
from progan.errors import ConfigError
from progan.gans import CGANConfig, DCGANConfig, DCGANMnistConfig, LSGANConfig, PointsConfig, WGANConfig, WGANGPConfig
from progan.gans.base import Batch, GANConfig, ImageSpec, Optimizer
from progan.gans.points import Points
from progan.gans.rules import History, Overfitting, Rules
from progan.gans.tricks import NetworkTricks, Tricks
from progan.gans.two_player import TwoPlayer
from progan.losses import ADVERSARIAL, gradient_penalty, relativistic, smoothed
from progan.presets.family import constant
from progan.training.loop import Trainer

N, SPEC = 6, ImageSpec(2, 1, 1)


def scores(seed: int) -> Tensor:
    return torch.from_numpy(2 * np.random.default_rng(seed).standard_normal(N))


REAL, FAKE = scores(0), scores(1)


def batch_of(images: Tensor, seen: int = 0) -> Batch:
    """Images of one source, with the package's own draws."""
    count = len(images)

    def drawn(kind: Any) -> Any:
        return lambda stream, *shape: torch.from_numpy(
            kind(0, stream, 0, count, int(np.prod(shape))).astype(np.float32)
        ).view(count, *shape)

    return Batch(
        level=0,
        alpha=None,
        positions=torch.arange(count),
        load=lambda source: images,
        load_labels=lambda source: None,
        normal=drawn(draws.normal),
        uniform=drawn(draws.uniform),
        step_uniform=lambda stream, *shape: torch.zeros(shape),
        images_seen=seen,
    )


def rules(loss: str = "non_saturating", logistic: bool = True, **tricks: Any) -> Rules:
    networks = {"generator": nn.Linear(2, 2), "discriminator": nn.Linear(2, 1)}
    return Rules(NetworkTricks(**tricks), ADVERSARIAL[loss], networks, logistic=logistic, compared=False)


def test_smoothed_logistic_loss_is_the_cross_entropy_with_smoothed_labels() -> None:
    """To 1e-12, against torch's; only the term of real images changes."""
    terms = smoothed(ADVERSARIAL["non_saturating"], 0.1).critic(REAL, FAKE)
    want = F.binary_cross_entropy_with_logits(REAL, torch.full_like(REAL, 0.9), reduction="none")
    torch.testing.assert_close(terms["real"], want, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(terms["fake"], F.softplus(FAKE), rtol=1e-12, atol=1e-12)


def test_smoothed_least_squares_have_the_gradient_of_the_smoothed_label() -> None:
    real = REAL.clone().requires_grad_(True)
    smoothed(ADVERSARIAL["least_squares"], 0.2).critic(real, FAKE)["real"].sum().backward()
    torch.testing.assert_close(real.grad, REAL - 0.8, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("non_saturating", lambda d: np.log1p(np.exp(-d))),
        ("hinge", lambda d: np.maximum(1 - d, 0)),
        ("least_squares", lambda d: (d - 1) ** 2 / 2),
        ("wgan", lambda d: -d),
    ],
)
def test_relativistic_losses_are_functions_of_the_difference(name: str, of: Any) -> None:
    """To 1e-12; G wants the opposite of D."""
    loss = relativistic(ADVERSARIAL[name])
    difference = (REAL - FAKE).numpy()
    np.testing.assert_allclose(loss.critic(REAL, FAKE)["pair"], of(difference), rtol=1e-12)
    np.testing.assert_allclose(loss.generator(FAKE, REAL)["pair"], of(-difference), rtol=1e-12)
    assert loss.relative


@pytest.mark.parametrize("loss", ["non_saturating", "hinge"])
def test_flipped_labels_swap_the_terms_of_some_images(loss: str) -> None:
    batch, share = batch_of(torch.zeros(N, 2, 1, 1)), 0.4
    got = rules(loss, label_flips=share).critic(batch, REAL, FAKE)
    as_real = {"non_saturating": lambda x: np.log1p(np.exp(-x)), "hinge": lambda x: np.maximum(1 - x, 0)}[loss]
    for name, x in (("real", REAL.numpy()), ("fake", -FAKE.numpy())):
        flipped = draws.uniform(0, f"flip_{name}", 0, N, 1)[:, 0] < share
        assert 0 < flipped.sum() < N
        np.testing.assert_allclose(got[name], np.where(flipped, as_real(-x), as_real(x)), rtol=1e-12)


def test_flipped_pairs_are_compared_the_other_way_round() -> None:
    got = rules(label_flips=0.4, relativistic=True).critic(batch_of(torch.zeros(N, 2, 1, 1)), REAL, FAKE)["pair"]
    flipped = draws.uniform(0, "flip_pair", 0, N, 1)[:, 0] < 0.4
    difference = np.where(flipped, FAKE - REAL, REAL - FAKE)
    assert 0 < flipped.sum() < N
    np.testing.assert_allclose(got, np.log1p(np.exp(-difference)), rtol=1e-12)


def test_penalties_are_those_of_a_critic_with_known_slopes() -> None:
    """D(x) = |x|^2 has the gradient 2x: R1 and R2 are gamma/2 |2x|^2, to 1e-12."""
    real, fake = (torch.from_numpy(np.random.default_rng(s).standard_normal((N, 2, 1, 1))) for s in (2, 3))
    batch = batch_of(real)
    terms = rules(r1=3.0, r2=0.5, gradient_penalty=2.0).penalties(
        batch, lambda x: x.flatten(1).square().sum(1), real, fake
    )
    square = {name: 4 * x.flatten(1).square().sum(1) for name, x in (("real", real), ("fake", fake))}
    torch.testing.assert_close(terms["r1"], 1.5 * square["real"], rtol=1e-12, atol=0)
    torch.testing.assert_close(terms["r2"], 0.25 * square["fake"], rtol=1e-12, atol=0)
    mix = torch.from_numpy(draws.uniform(0, "penalty_mix", 0, N, 1).astype(np.float32)).double().view(-1, 1, 1, 1)
    slopes = 2 * torch.lerp(real, fake, mix).flatten(1).norm(dim=1)
    torch.testing.assert_close(terms["gradient_penalty"], 2 * (slopes - 1).square(), rtol=1e-9, atol=1e-12)


def test_one_sided_penalty_ignores_gentle_slopes() -> None:
    x = torch.tensor([[0.1], [2.0]], dtype=torch.float64)
    got = gradient_penalty(lambda x: x.square().sum(1), x, x, torch.zeros(2, 1, dtype=x.dtype), one_sided=True)
    torch.testing.assert_close(got, torch.tensor([0.0, 9.0], dtype=torch.float64))


def test_instance_noise_has_its_deviation_and_falls_to_zero() -> None:
    """Mean and deviation within 3 standard errors of 40,000 numbers; real and generated images get the same."""
    images = torch.zeros(40, 1000, 1, 1)
    tricks = rules(instance_noise=0.5, instance_noise_kimg=1.0)
    noise = tricks.shown(batch_of(images), images)
    assert abs(float(noise.mean())) < 3 * 0.5 / 200
    assert float(noise.std()) == pytest.approx(0.5, abs=3 * 0.5 / 2**0.5 / 200)
    assert torch.equal(tricks.shown(batch_of(images), images + 1), noise + 1)
    quarter = tricks.shown(batch_of(images, seen=750), images)
    torch.testing.assert_close(quarter, noise / 4)
    assert torch.equal(tricks.shown(batch_of(images, seen=1000), images), images)


@pytest.mark.parametrize("by_sign", [True, False])
def test_probability_of_augmentation_follows_overfitting(by_sign: bool) -> None:
    """r by hand: signs of real scores, or the share of the distance that held-out images do not keep."""
    follows = Overfitting(Tricks(augment="adaptive", augment_p=0.3, augment_kimg=0.1), by_sign=by_sign)
    real, fake, held = torch.tensor([1.0, 3.0, -1.0, 2.0]), torch.tensor([-2.0, 0.0]), torch.tensor([0.25, 0.25])
    follows.add(real[:2], fake)
    follows.add(real[2:], fake)
    follows.add_held_out(held)
    want = 2 / 4 if by_sign else (1.25 - 0.25) / (1.25 + 1)
    assert float(follows.r) == pytest.approx(want)
    follows.update()  # below the target of 0.6: less, by 4 of 100 images
    assert float(follows.p) == pytest.approx(0.3 - 0.04)
    assert not torch.isfinite(follows.r)
    follows.update()  # nothing is known, so nothing changes
    assert float(follows.p) == pytest.approx(0.26)


def test_probability_of_augmentation_stays_between_its_limits() -> None:
    follows = Overfitting(Tricks(augment="adaptive", augment_kimg=0.001), by_sign=True)
    for score, want in ((1.0, 0.8), (1.0, 0.8), (-1.0, 0.0), (-1.0, 0.0)):
        follows.add(torch.full((4,), score), torch.zeros(4))
        follows.update()
        assert float(follows.p) == pytest.approx(want)


def test_history_keeps_the_mean_of_all_parameters_so_far() -> None:
    """Mean to 1e-6, float32; the gradient is twice the distance from it."""
    network = nn.Linear(3, 2)
    history, seen = History(network), []
    assert history.distance().item() == 0
    for step in range(4):
        with torch.no_grad():
            network.weight += 0.5 * step
        history.add()
        seen.append(network.weight.detach().clone())
    mean = torch.stack(seen).mean(0)
    history.distance().backward()
    torch.testing.assert_close(network.weight.grad, 2 * (network.weight.detach() - mean))
    want = (network.weight.detach() - mean).square().sum().item()
    assert history.distance().item() == pytest.approx(want)


def test_rates_and_decay_are_those_of_the_tricks() -> None:
    found = rules(d_lr=4.0, g_lr=0.5, weight_decay=1e-3).optimizers({"discriminator": Optimizer(lr=0.5, kind="sgd")})
    assert found["discriminator"] == Optimizer(lr=2.0, kind="sgd", weight_decay=1e-3)
    assert found["generator"] == Optimizer(lr=0.5, weight_decay=1e-3)
    assert rules().optimizers({"generator": Optimizer(weight_decay=0.1)})["generator"] == Optimizer(weight_decay=0.1)


def trainer(gan: GANConfig, **more: Any) -> Trainer:
    """A trainer on 64 points, of which it has taken no step; 16 further points are held out."""
    config = constant(gan, 1, batch=8, lr=1e-3, total_kimg=1.0)
    points = torch.randn(80, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    held_out = Fixed(points[64:]) if gan.held_out else None
    return Trainer(config, SPEC, Fixed(points[:64]), held_out=held_out, device=torch.device("cpu"), **more)


POINTS = PointsConfig(width=8, latent_size=4)


def with_tricks(**tricks: Any) -> PointsConfig:
    return replace(POINTS, tricks=NetworkTricks(**tricks))


def test_without_tricks_nothing_is_added_to_the_steps() -> None:
    gan = trainer(POINTS).gan
    assert gan.memory.state_dict() == {}
    stage = trainer(POINTS).stage
    plain = Points.steps(gan, stage)  # type: ignore[arg-type]
    assert gan.phases(stage) == plain


def test_numbers_of_steps() -> None:
    gan = trainer(with_tricks(d_steps=3, g_steps=2))
    assert {p.name: p.repeats for p in gan.gan.phases(gan.stage)} == {"discriminator": 3, "generator": 2}
    gan.iterate()
    assert gan.images_seen == 24


@pytest.mark.parametrize("trick", [{"d_steps": 2}, {"g_steps": 2}])
def test_simultaneous_steps_cannot_be_repeated(trick: dict[str, int]) -> None:
    gan = CGANConfig(tricks=NetworkTricks(**trick))
    with pytest.raises(ConfigError, match=f"gan.tricks.{next(iter(trick))} requires that D and G take turns"):
        Trainer(
            constant(gan, 4, batch=8, lr=0.1, total_kimg=1.0),
            ImageSpec(1, 4, 4, classes=2),
            Fixed(torch.zeros(8, 1, 4, 4), torch.zeros(8, dtype=torch.int64)),
            device=torch.device("cpu"),
        )


def test_parameters_of_d_are_clipped_after_its_steps() -> None:
    run = trainer(with_tricks(clip=0.05))
    run.iterate()
    largest = max(float(p.abs().max()) for p in run.gan.networks["discriminator"].parameters())
    assert largest == pytest.approx(0.05)
    assert max(float(p.detach().abs().max()) for p in run.gan.networks["generator"].parameters()) > 0.05


def test_feature_matching_has_the_value_and_the_gradient_of_the_distance_of_means() -> None:
    """To 1e-6, against the distance written out with the layers of D; D keeps its loss."""
    run = trainer(with_tricks(feature_matching=0.5))
    gan: TwoPlayer = run.gan  # type: ignore[assignment]
    batch = run._batch("generator", run.stage, 0, 8, 0, 1)
    gan.freeze_all_but(["generator"])
    terms = gan.generator_loss(batch)
    assert list(terms) == ["features"]
    terms["features"].mean().backward()
    got = [p.grad.clone() for p in gan.generator.parameters()]  # type: ignore[union-attr]
    gan.generator.zero_grad()
    of = gan.discriminator.features
    want = (
        0.5
        * (of(gan.generator(gan.latents(batch)).flatten(1)).mean(0) - of(batch.images.flatten(1)).mean(0))
        .square()
        .sum()
    )
    want.backward()
    torch.testing.assert_close(terms["features"].mean(), want, rtol=1e-5, atol=1e-6)
    for one, p in zip(got, gan.generator.parameters(), strict=True):
        torch.testing.assert_close(one, p.grad, rtol=1e-5, atol=1e-6)
    assert set(gan.discriminator_loss(batch)) == {"real", "fake"}


def test_real_images_with_wrong_classes_are_refused() -> None:
    """Each term of D against its scores, to 1e-6; wrong classes are never the right ones, and all others occur."""
    gan = CGANConfig(tricks=NetworkTricks(wrong_labels=0.25), half_d_loss=False, d_keep_hidden=1.0, g_keep_hidden=1.0)
    spec, labels = ImageSpec(1, 4, 4, classes=3), torch.arange(64) % 3
    pixels = torch.randn(64, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    run = Trainer(
        constant(gan, 4, batch=64, lr=0.1, total_kimg=1.0), spec, Fixed(pixels, labels), device=torch.device("cpu")
    )
    batch, game = run._batch("both", run.stage, 0, 64, 0, 1), run.gan
    wrong = game._mismatched(batch).labels  # type: ignore[attr-defined]
    assert not (wrong == labels).any()
    assert {tuple(pair) for pair in torch.stack([labels, wrong], 1).tolist()} == {
        (a, b) for a in range(3) for b in range(3) if a != b
    }
    fake = torch.zeros(64, 1, 4, 4)
    terms, judge = game.discriminator_terms(batch, fake), game.discriminator  # type: ignore[attr-defined]
    torch.testing.assert_close(terms["real"], F.softplus(-judge(pixels, labels)))
    torch.testing.assert_close(terms["fake"], 0.75 * F.softplus(judge(fake, labels)))
    torch.testing.assert_close(terms["wrong"], 0.25 * F.softplus(judge(pixels, wrong)))
    for config, one in ((gan, ImageSpec(1, 4, 4, classes=1)), (with_tricks(wrong_labels=0.5), SPEC)):
        with pytest.raises(ConfigError, match="requires a conditional GAN and more than a single class"):
            config.make(one)
    with pytest.raises(ConfigError, match="requires a critic that takes classes"):
        WGANGPConfig(body="cifar", conditional=True, tricks=NetworkTricks(wrong_labels=0.5))


def test_wrong_attributes_are_those_of_other_images() -> None:
    gan = CGANConfig(tricks=NetworkTricks(wrong_labels=0.25))
    labels = torch.arange(64.0).view(64, 1)
    run = Trainer(
        constant(gan, 4, batch=64, lr=0.1, total_kimg=1.0),
        ImageSpec(1, 4, 4, attributes=1),
        Fixed(torch.zeros(64, 1, 4, 4), labels),
        device=torch.device("cpu"),
    )
    wrong = run.gan._mismatched(run._batch("both", run.stage, 0, 64, 0, 1)).labels  # type: ignore[operator]
    assert wrong.shape == labels.shape
    assert not (wrong == labels).any()
    assert len(wrong.unique()) > 32


def test_scores_of_held_out_images_are_logged_and_the_images_are_not_shown() -> None:
    run = trainer(with_tricks(held_out=0.2))
    shown: list[Tensor] = []
    load = run.data[0].images
    run.data[0].images = lambda *args, **more: shown.append(load(*args, **more)) or shown[-1]  # type: ignore[method-assign, func-returns-value]
    for _ in range(8):
        run.iterate()
    stats = run.take_statistics()
    assert {"discriminator/score_real", "discriminator/score_fake", "discriminator/score_held_out"} <= set(stats)
    held = run.held_out.images(0, 16, 1).flatten(1)  # type: ignore[union-attr]
    assert not any((image == held).all(1).any() for image in torch.cat(shown).flatten(1))


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 8])
def test_held_out_images_are_scored_every_four_batches(steps: int) -> None:
    run = trainer(with_tricks(held_out=0.2, d_steps=steps))
    scored = [
        "score_held_out" in run.gan.phases(run.stage)[0].loss(run._batch("d", run.stage, run.images_seen, 8, 0, 1))
        for _ in range(12)
        if run.iterate()
    ]
    assert sum(scored) == min(12, 12 * steps // 4)


def test_adaptive_augmentation_moves_and_is_logged() -> None:
    run = trainer(
        with_tricks(augment="adaptive", augment_p=0.5, augment_kimg=0.32, augment_target=0.0, augment_kinds=("cutout",))
    )
    for _ in range(4):
        run.iterate()
    assert abs(float(run.gan.memory.augment.p) - 0.5) == pytest.approx(0.1)  # of 32 images
    assert run.take_statistics()["discriminator/augment_p"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("config", "share"),
    [
        (DCGANConfig(), 0.0),
        (DCGANConfig(tricks=NetworkTricks(augment="adaptive")), 0.0),
        (DCGANConfig(tricks=NetworkTricks(augment="adaptive", relativistic=True)), 0.05),
        (DCGANConfig(loss="hinge", tricks=NetworkTricks(augment="adaptive")), 0.05),
        (LSGANConfig(tricks=NetworkTricks(augment="adaptive")), 0.05),
        (WGANConfig(tricks=NetworkTricks(augment="adaptive", held_out=0.1)), 0.1),
        (WGANGPConfig(tricks=NetworkTricks(augment="fixed", augment_p=0.3)), 0.0),
        (DCGANMnistConfig(tricks=NetworkTricks(held_out=0.2)), 0.2),
    ],
)
def test_images_are_held_out_where_they_are_needed(config: GANConfig, share: float) -> None:
    assert config.held_out == share


@pytest.mark.parametrize(
    ("tricks", "message"),
    [
        ({"label_smoothing": 0.6}, "label_smoothing must be 0 ... 0.5, got 0.6"),
        ({"r1": -1.0}, "r1 must be at least 0, got -1.0"),
        ({"d_lr": 0.0}, "d_lr must be above 0, got 0.0"),
        ({"augment": "some"}, "augment must be one of none, fixed, adaptive; got 'some'"),
        ({"augment": "fixed"}, "augment fixed requires a probability, such as --gan.tricks.augment-p 0.3"),
        ({"augment_p": 0.3}, "augment_p requires --gan.tricks.augment fixed or adaptive"),
        ({"augment": "fixed", "augment_p": 0.9}, "would teach G to generate flipped or turned images; use at most 0.8"),
        ({"augment": "fixed", "augment_p": 0.3, "augment_kinds": ("blur",)}, "got 'blur'"),
        ({"augment": "fixed", "augment_p": 0.3, "augment_kinds": ()}, "requires at least one of flip"),
        ({"augment_kinds": ("flip", "flip")}, "contains a kind twice"),
        ({"instance_noise_kimg": 5.0}, "requires --gan.tricks.instance-noise, such as 0.1"),
        ({"d_dropout": 1.0}, "must be below 1"),
        ({"one_sided": True}, "one_sided requires --gan.tricks.gradient-penalty, such as 10"),
        ({"feature_matching": 1.0, "relativistic": True}, "excludes relativistic"),
    ],
)
def test_what_cannot_be_done_is_said(tricks: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=r"gan\.tricks") as error:
        NetworkTricks(**tricks)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "config",
    [
        WGANConfig(tricks=NetworkTricks(label_smoothing=0.1)),
        replace(POINTS, loss="hinge", tricks=NetworkTricks(label_smoothing=0.1)),
    ],
)
def test_label_smoothing_requires_labels(config: GANConfig) -> None:
    with pytest.raises(ConfigError, match="label_smoothing requires a loss with labels"):
        config.make(ImageSpec(3, 16, 16))


def test_settings_of_tricks_are_read_from_files() -> None:
    values: dict[str, Any] = {"tricks": {"r1": 1.0, "augment_kinds": ["flip"]}}
    config = DCGANConfig(**values)
    assert config.tricks == NetworkTricks(r1=1.0, augment_kinds=("flip",))
