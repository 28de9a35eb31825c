"""ProGAN's networks, loss terms and their gradients against numpy in float64, on batches made by hand."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from progan.errors import ConfigError
from progan.gans import ProGANConfig
from progan.gans.base import Batch, ImageSpec
from progan.gans.progressive import ProGAN
from progan.losses import ADVERSARIAL, Adversarial
from progan.ops import downscale2, fade_images, upscale2
from references import derivatives, losses
from references import networks as reference
from small import FIRST, batch_with


@dataclass
class Case:
    """A small GAN with random weights (biases too), and one batch for it."""

    height: int = 16
    width: int = 16
    channels: int = 3
    classes: int = 0
    level: int = 2
    alpha: float | None = None
    n: int = 4
    options: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def gan(self) -> ProGAN:
        options = {"fmap_base": 32, "fmap_max": 6, "latent_size": 5, "stddev_group": 2, **self.options}
        config = ProGANConfig(**options, conditional=self.classes > 0)
        gan = config.make(ImageSpec(self.channels, self.height, self.width, self.classes))
        rng = np.random.default_rng(0)
        for name, p in gan.networks.named_parameters():
            size = 0.2 if name.endswith("weight") and not config.equalized else 1
            p.data = torch.from_numpy(size * rng.standard_normal(p.shape)).float()
        if config.minibatch_discrimination:
            gan.discriminator.discrimination.log_length.data -= 2  # such that closeness is neither 0 nor 1
            gan.discriminator.discrimination.started.fill_(True)
        if config.adaptive_noise:
            gan.discriminator.noise.average.fill_(0.9)
        return gan

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """What the batch holds, rounded to float32 so that both sides see the same numbers."""
        rng, (height, width) = np.random.default_rng(1), self.gan.spec.size(self.level)
        arrays = {
            "images": rng.uniform(-1, 1, (self.n, self.channels, height, width)),
            "latent": rng.standard_normal((self.n, 5)),
            "mix": rng.uniform(0, 1, (self.n, 1)),
        }
        return {k: v.astype(np.float32).astype(np.float64) for k, v in arrays.items()}

    @property
    def labels(self) -> np.ndarray | None:
        return np.array([2, 0, 2, 1, 1, 0])[: self.n] if self.classes else None

    @property
    def alpha_tensor(self) -> Tensor | None:
        return None if self.alpha is None else torch.tensor(self.alpha)

    @property
    def batch(self) -> Batch:
        def draw(stream: str, width: int) -> Tensor:
            values = self.noise(stream, width) if stream.startswith("noise") else self.arrays[stream]
            values = torch.from_numpy(values).float()
            assert values.shape == (self.n, width)
            return values

        labels = None if self.labels is None else torch.from_numpy(self.labels)
        images = torch.from_numpy(self.arrays["images"]).float()
        return batch_with(images, labels, level=self.level, alpha=self.alpha_tensor, normal=draw)

    def noise(self, stream: str, width: int) -> np.ndarray:
        return np.random.default_rng(list(stream.encode())).standard_normal((self.n, width)).astype(np.float32)

    def weights(self, name: str) -> dict[str, np.ndarray]:
        return {k: v.detach().double().numpy() for k, v in self.gan.networks[name].named_parameters()}

    # The same in numpy.

    def images_of(self, weights: dict[str, np.ndarray]) -> np.ndarray:
        config, start, z = self.gan.config, self.gan.spec.start, self.arrays["latent"]
        options = {"norm": config.generator_norm, "activation": config.generator_activation, "tanh": config.tanh}
        options |= {"equalized": config.equalized, "normalize_latents": config.normalize_latents}
        options |= {"classes": self.classes, "start": start}
        return reference.generator(weights, z, self.level, self.alpha, self.labels, **options)

    def outputs_for(self, weights: dict[str, np.ndarray], x: np.ndarray, noise: str = "generator") -> np.ndarray:
        config = self.gan.config
        options = {"group": config.stddev_group, "fused": config.fused_downscale, "equalized": config.equalized}
        options |= {"kernels": config.minibatch_discrimination}
        if config.adaptive_noise:
            draw = lambda i, width: self.noise(f"noise_{noise}_{i}", width).astype(np.float64)  # noqa: E731
            options |= {"noise": draw, "average": 0.9}
        return reference.discriminator(weights, x, self.level, self.alpha, **options)

    @property
    def reals(self) -> np.ndarray:
        x = self.arrays["images"]
        return x if self.alpha is None else reference.fade(reference.upscale(reference.downscale(x)), x, self.alpha)

    def discriminator_terms(self, weights: dict[str, np.ndarray], fake: np.ndarray) -> dict[str, np.ndarray]:
        """All but the penalty."""
        config = self.gan.config
        on_real, on_fake = self.outputs_for(weights, self.reals, "real"), self.outputs_for(weights, fake, "fake")
        real, fake = losses.CRITIC[config.loss](on_real[:, 0], on_fake[:, 0])
        terms = {"real": real, "fake": fake, "drift": config.drift_weight * on_real[:, 0] ** 2}
        if self.classes:
            terms["class_real"] = losses.cross_entropy(on_real[:, 1:], self.labels)
            terms["class_fake"] = losses.cross_entropy(on_fake[:, 1:], self.labels)
        return terms

    def penalty(self, weights: dict[str, np.ndarray], fake: np.ndarray, missing: int) -> np.ndarray:
        config = self.gan.config
        options = {"target": config.penalty_target, "missing": missing}
        score = lambda x: self.outputs_for(weights, x, "penalty")[..., 0]  # noqa: E731
        return config.penalty_weight * losses.penalty(score, self.reals, fake, self.arrays["mix"], **options)

    def generator_terms(self, weights: dict[str, np.ndarray], fake: np.ndarray) -> dict[str, np.ndarray]:
        on_fake = self.outputs_for(weights, fake)
        terms = {"fake": losses.GENERATOR[self.gan.config.loss](on_fake[:, 0])}
        if self.classes:
            terms["class_fake"] = losses.cross_entropy(on_fake[:, 1:], self.labels)
        return terms


ROW_D = {"stddev_group": 0, "equalized": False, "generator_norm": "none"}
ROW_A = {
    **ROW_D,
    "generator_norm": "batch",
    "discriminator_norm": "layer",
    "generator_activation": "relu",
    "tanh": True,
    "normalize_latents": False,
}

CASES = {
    "full": Case(8, 8, level=1),
    "4x4_of_4x4": Case(4, 4, level=0),
    "4x4_of_8x8": Case(8, 8, level=0, channels=1),
    "4x4_of_16x16": Case(level=0, channels=1, n=2),
    "8x8_of_16x16_fading_in": Case(level=1, alpha=0.25, channels=1, n=2),
    "fading_in": Case(8, 8, level=1, alpha=0.25, channels=1, n=2),
    "fade_begins": Case(8, 8, level=1, alpha=0.0, channels=1),
    "fade_ends": Case(8, 8, level=1, alpha=1.0, channels=1),
    "rgba": Case(8, 8, level=1, channels=4, alpha=0.25, n=2),
    "wide": Case(8, 16, level=1, channels=1, alpha=0.25, n=2),
    "high_4x4_of_8x4": Case(24, 8, level=0, channels=1),
    "labels": Case(8, 8, level=1, classes=3, alpha=0.25),
    "labels_4x4": Case(8, 8, level=0, classes=3, channels=1, options={"stddev_group": 4}),
    "fused": Case(8, 8, level=1, alpha=0.25, channels=1, n=2, options={"fused_downscale": True}),
    "target_750": Case(8, 8, level=0, channels=1, options={"penalty_target": 750.0}),
    "whole_batch_group": Case(8, 8, level=1, n=6, channels=1, options={"stddev_group": 16}),
    "groups_of_3": Case(4, 4, level=0, n=6, options={"stddev_group": 3}),
    "no_stddev": Case(8, 8, level=1, channels=1, options={"stddev_group": 0}),
    "least_squares": Case(4, 4, level=0, options={"loss": "least_squares", "drift_weight": 0.3}),
    "non_saturating": Case(4, 4, level=0, options={"loss": "non_saturating", "penalty_weight": 2.0}),
    "hinge": Case(4, 4, level=0, options={"loss": "hinge"}),
    "table1_a": Case(8, 8, level=1, options=ROW_A),
    "table1_b_fading_in": Case(8, 8, level=1, alpha=0.25, channels=1, options=ROW_A),
    "table1_d": Case(8, 8, level=1, options=ROW_D),
    "table1_a_4x4": Case(4, 4, level=0, channels=1, n=2, options=ROW_A),
    "table1_e_star": Case(4, 4, level=0, channels=1, options={**ROW_D, "minibatch_discrimination": 3}),
    "table1_f": Case(8, 8, level=1, alpha=0.25, options={**ROW_D, "equalized": True, "stddev_group": 4}),
    "noise": Case(8, 8, level=1, alpha=0.25, channels=1, options={"adaptive_noise": True}),
    "noise_least_squares": Case(
        4, 4, level=0, channels=1, n=2, options={"adaptive_noise": True, "loss": "least_squares"}
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_loss_terms_are_those_of_the_reference(name: str) -> None:
    """Sample by sample, to 2e-5 of the largest; the penalty as the authors' programs take it, by final-size pixels."""
    case = CASES[name]
    g, d = case.weights("generator"), case.weights("discriminator")
    fake = case.images_of(g)
    want = case.discriminator_terms(d, fake)
    want["penalty"] = case.penalty(d, fake, case.gan.spec.levels - 1 - case.level)
    want_generator = case.generator_terms(d, fake)
    gan = case.gan
    results = {
        "discriminator": (gan.discriminator_loss(case.batch), want),
        "generator": (gan.generator_loss(case.batch), want_generator),
        "joint": (
            gan.joint_loss(case.batch),
            {f"discriminator_{k}": v for k, v in want.items()}
            | {f"generator_{k}": v for k, v in want_generator.items()},
        ),
    }
    for phase, (got, terms) in results.items():
        assert set(got) == set(terms), phase
        for key, value in terms.items():
            atol = 2e-5 * max(np.abs(value).max(), 1e-3)
            np.testing.assert_allclose(got[key].detach(), value, rtol=0, atol=atol, err_msg=f"{phase} {key}")


def total(terms: dict[str, Any]) -> Any:
    return sum(t.mean() for t in terms.values())


def gradients(network: nn.Module) -> dict[str, np.ndarray]:
    values = {k: p.grad for k, p in network.named_parameters()}
    shapes = {k: p.shape for k, p in network.named_parameters()}
    return {k: np.zeros(shapes[k]) if v is None else v.double().numpy() for k, v in values.items()}


def check_gradients(
    got: dict[str, np.ndarray],
    loss: Callable[[dict[str, np.ndarray]], np.ndarray],
    weights: dict[str, np.ndarray],
    rough: Callable[[dict[str, np.ndarray]], np.ndarray] | None = None,
) -> None:
    """Every parameter tensor's gradient along one random direction: a complex step, for ``rough`` a real one.

    To 1e-4 of the product of the norms of gradient (at least a tenth of the largest tensor's) and direction: float32
    loses that much where reals and fakes cancel.
    """
    rng, largest = np.random.default_rng(2), max(np.linalg.norm(g) for g in got.values())
    for name, weight in weights.items():
        direction = rng.standard_normal(weight.shape)

        def along(f: Callable, step: complex, name: str = name, direction: np.ndarray = direction) -> np.ndarray:
            return f({**weights, name: weights[name] + step * direction})

        want = along(loss, 1j * derivatives.STEP).imag / derivatives.STEP
        if rough is not None:
            h = 1e-6
            want = want + (along(rough, h) - along(rough, -h)) / (2 * h)
        size = max(np.linalg.norm(got[name]), largest / 10) * np.linalg.norm(direction)
        np.testing.assert_allclose((got[name] * direction).sum() / size, want / size, rtol=0, atol=1e-4, err_msg=name)


@pytest.mark.parametrize(
    "name",
    [
        "4x4_of_8x8",
        "fading_in",
        "labels_4x4",
        "fused",
        "target_750",
        "hinge",
        "table1_a_4x4",
        "table1_e_star",
        "noise_least_squares",
    ],
)
def test_gradients_of_d_are_those_of_the_reference(name: str) -> None:
    """The penalty's by finite differences of its exact value: double backward through all of D."""
    case = CASES[name]
    case.gan.networks.zero_grad()
    total(case.gan.discriminator_loss(case.batch)).backward()
    assert all(p.grad is None for p in case.gan.generator.parameters())
    fake, missing = case.images_of(case.weights("generator")), case.gan.spec.levels - 1 - case.level
    check_gradients(
        gradients(case.gan.discriminator),
        lambda w: total(case.discriminator_terms(w, fake)),
        case.weights("discriminator"),
        lambda w: case.penalty(w, fake, missing).mean(),
    )


@pytest.mark.parametrize(
    "name",
    [
        *("full", "8x8_of_16x16_fading_in", "rgba", "wide", "labels", "fused", "least_squares"),
        *("table1_b_fading_in", "table1_d", "table1_e_star", "noise"),
    ],
)
def test_gradients_of_g_are_those_of_the_reference(name: str) -> None:
    case = CASES[name]
    case.gan.networks.zero_grad()
    total(case.gan.generator_loss(case.batch)).backward()
    d = case.weights("discriminator")
    check_gradients(
        gradients(case.gan.generator),
        lambda w: total(case.generator_terms(d, case.images_of(w))),
        case.weights("generator"),
    )


def test_generator_loss_leaves_no_gradient_on_a_frozen_d() -> None:
    case = CASES["full"]
    case.gan.networks.zero_grad()
    case.gan.discriminator.requires_grad_(False)
    total(case.gan.generator_loss(case.batch)).backward()
    case.gan.discriminator.requires_grad_(True)
    assert all(p.grad is None for p in case.gan.discriminator.parameters())
    assert sum(p.grad is not None for p in case.gan.generator.parameters()) > 0


@pytest.mark.parametrize("name", ["full", "8x8_of_16x16_fading_in", "labels", "target_750", "non_saturating"])
def test_joint_gradients_are_those_of_the_separate_phases(name: str) -> None:
    """At the same weights with the same latents: neither network sees the other's terms."""
    case = CASES[name]
    networks = case.gan.networks
    want = {}
    for own, other, loss in (
        ("discriminator", "generator", case.gan.discriminator_loss),
        ("generator", "discriminator", case.gan.generator_loss),
    ):
        networks.zero_grad()
        networks[other].requires_grad_(False)
        total(loss(case.batch)).backward()
        networks[other].requires_grad_(True)
        want[own] = gradients(networks[own])
    networks.zero_grad()
    total(case.gan.joint_loss(case.batch)).backward()
    for own, values in want.items():
        got = gradients(networks[own])
        for key, value in values.items():
            np.testing.assert_allclose(got[key], value, rtol=1e-5, atol=1e-6 * np.abs(value).max(), err_msg=key)
    assert all(p.requires_grad for p in networks.parameters())


def test_simultaneous_is_one_phase_and_otherwise_d_comes_first() -> None:
    spec = ImageSpec(3, 8, 8)
    (phase,) = ProGANConfig(fmap_max=4, simultaneous=True).make(spec).phases(FIRST)
    assert set(phase.trains) == {"discriminator", "generator"}
    assert phase.shows_images
    d, g = ProGANConfig(fmap_max=4, n_critic=3).make(spec).phases(FIRST)
    assert (d.trains, d.repeats, d.shows_images) == (("discriminator",), 3, True)
    assert (g.trains, g.repeats, g.shows_images) == (("generator",), 1, False)


SIZES = {"square": (16, 16, 3), "grey": (16, 16, 1), "rgba": (16, 16, 4), "wide": (16, 32, 3), "high": (48, 16, 1)}


def sized(name: str, **options) -> Case:
    height, width, channels = SIZES[name]
    return Case(height, width, channels, **options)


@pytest.mark.parametrize("alpha", [None, 0.0, 0.25, 1.0])
@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("classes", [0, 3])
def test_networks_are_those_of_the_reference(size: str, level: int, alpha: float | None, classes: int) -> None:
    """To 2e-5 of the largest output."""
    case = sized(size, level=level, alpha=alpha, classes=classes, n=2)
    height, width, channels = SIZES[size]
    labels = torch.from_numpy(case.labels) if classes else None
    z, x = (torch.from_numpy(case.arrays[k]).float() for k in ("latent", "images"))
    with torch.no_grad():
        image = case.gan.generator(z, level, case.alpha_tensor, labels)
        outputs = case.gan.discriminator(x, level, case.alpha_tensor)
    assert image.shape == (2, channels, height >> (2 - level), width >> (2 - level))
    assert outputs.shape == (2, 1 + classes)
    for got, want in (
        (image, case.images_of(case.weights("generator"))),
        (outputs, case.outputs_for(case.weights("discriminator"), case.arrays["images"])),
    ):
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-5 * np.abs(want).max())


@pytest.mark.parametrize("size", ["square", "wide"])
def test_fade_goes_from_the_lower_level_to_the_full_path(size: str) -> None:
    case = sized(size, level=2)
    g, d = case.gan.generator, case.gan.discriminator
    z, x = (torch.from_numpy(case.arrays[k]).float() for k in ("latent", "images"))
    zero, quarter, one = torch.tensor(0.0), torch.tensor(0.25), torch.tensor(1.0)
    close = {"rtol": 0, "atol": 1e-5}
    with torch.no_grad():
        low, full = upscale2(g(z, 1)), g(z, 2)
        np.testing.assert_allclose(g(z, 2, zero), low, **close)
        np.testing.assert_allclose(g(z, 2, quarter), 0.75 * low + 0.25 * full, **close)
        np.testing.assert_allclose(g(z, 2, one), full, **close)
        np.testing.assert_allclose(d(x, 2, zero), d(downscale2(x), 1), **close)
        np.testing.assert_allclose(d(x, 2, one), d(x, 2), **close)
        # A real image that fades in looks to D, at alpha 0, like its smaller version.
        np.testing.assert_allclose(d(fade_images(x, zero), 2, zero), d(downscale2(x), 1), **close)


@pytest.mark.parametrize(("alpha", "trained"), [(0.0, 1), (0.25, 2), (1.0, 2), (None, 2)])
def test_newest_block_learns_from_the_first_step_above_alpha_0(alpha: float | None, trained: int) -> None:
    """TensorFlow-GAN's behavioral test (PEERS 4.2), for both networks; older blocks learn all the time."""
    case = Case(16, 16, level=2, alpha=alpha)
    for loss, network in ((case.gan.discriminator_loss, "discriminator"), (case.gan.generator_loss, "generator")):
        case.gan.networks.zero_grad()
        total(loss(case.batch)).backward()
        blocks = case.gan.networks[network].blocks
        moved = [all(p.grad is not None and p.grad.abs().sum() > 0 for p in block.parameters()) for block in blocks]
        assert moved == [True] * trained + [False] * (2 - trained)


def test_discriminator_sees_a_fake_among_its_own_group_only() -> None:
    """Scores of reals do not depend on the fakes of the batch, nor the other way round."""
    case = Case(8, 8, level=1, channels=1, options={"stddev_group": 4})
    before = case.gan.discriminator_loss(case.batch)
    case.arrays["latent"] = case.arrays["latent"][::-1] * 3
    after = case.gan.discriminator_loss(case.batch)
    np.testing.assert_allclose(before["real"].detach(), after["real"].detach(), rtol=0, atol=1e-5)
    assert (before["fake"] - after["fake"]).abs().max() > 1e-3


def test_labels_change_images_and_are_needed() -> None:
    case = Case(8, 8, level=1, classes=3)
    z = torch.from_numpy(case.arrays["latent"]).float()
    one, other = (case.gan.generator(z, 1, None, torch.full((4,), k)) for k in (0, 1))
    assert (one - other).abs().max() > 1e-3
    with pytest.raises(ValueError, match=r"a generator of 3 classes requires labels \[N\]"):
        case.gan.generator(z, 1)


@pytest.mark.parametrize("alpha", [None, 0.25])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_losses_and_gradients_are_near_those_of_float32(dtype: torch.dtype, alpha: float | None) -> None:
    """Wide enough for fast convolutions, which meet both arithmetics here: the penalty stays float32.

    Terms to 5 %, gradients to 30 % of their norm: half precision flips leaky ReLUs, a lost term would be all of it.
    """
    case = Case(16, 16, level=2, alpha=alpha, options={"fmap_base": 1024, "fmap_max": 64})
    networks = case.gan.networks
    results = []
    for enabled in (False, True):
        networks.zero_grad()
        with torch.autocast("cpu", dtype, enabled=enabled):
            terms = case.gan.joint_loss(case.batch)
        (total(terms) * 2**8).backward()  # a loss scale, for fp16
        results.append((terms, {k: v / 2**8 for k, v in gradients(networks).items()}))
    (want, want_gradients), (got, got_gradients) = results
    for key, value in want.items():
        assert (got[key] - value).abs().max() <= 0.05 * max(value.abs().max(), 0.2), key
    distance = sum(((got_gradients[k] - v) ** 2).sum() for k, v in want_gradients.items())
    assert distance <= 0.3**2 * sum((v**2).sum() for v in want_gradients.values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_network_runs_in_half_precision(name: str, dtype: torch.dtype) -> None:
    case = CASES[name]
    with torch.autocast("cpu", dtype):
        terms = {**case.gan.discriminator_loss(case.batch), **case.gan.generator_loss(case.batch)}
    assert {term.dtype for term in terms.values()} == {torch.float32}
    assert all(term.isfinite().all() for term in terms.values())


@pytest.mark.parametrize("weight", ["penalty_weight", "drift_weight"])
def test_terms_without_weight_are_left_out(weight: str) -> None:
    case = Case(4, 4, level=0, options={weight: 0.0})
    assert weight.split("_")[0] not in case.gan.discriminator_loss(case.batch)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"simultaneous": True, "n_critic": 2}, "gan.simultaneous requires gan.n_critic 1, got 2"),
        ({"fmap_base": 0}, "gan.fmap_base must be at least 1, got 0"),
        ({"fmap_max": 0}, "gan.fmap_max must be at least 1, got 0"),
        ({"n_critic": 0}, "gan.n_critic must be at least 1, got 0"),
        ({"penalty_target": 0.0}, "gan.penalty_target must be positive, got 0.0"),
    ],
)
def test_settings_that_make_no_gan_are_named(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ProGANConfig(**options)


@pytest.mark.parametrize("classes", [0, 1])
def test_conditional_gan_needs_classes(classes: int) -> None:
    with pytest.raises(ConfigError, match=f"requires labels of at least 2 classes, but the data has {classes}"):
        ProGANConfig(conditional=True).make(ImageSpec(3, 8, 8, classes))


def test_a_relative_loss_sees_reals_in_the_step_of_g(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = Adversarial(
        critic=ADVERSARIAL["wgan"].critic,
        generator=lambda fake, real: {"pair": F.softplus(real - fake)},
        relative=True,
    )
    monkeypatch.setitem(ADVERSARIAL, "wgan", pairs)
    gan = ProGANConfig(fmap_base=16, fmap_max=4, stddev_group=2).make(ImageSpec(3, 8, 8))
    images, z = torch.rand(4, 3, 8, 8) * 2 - 1, torch.randn(4, 4)
    batch = batch_with(images, level=1, normal=lambda stream, *shape: z)
    on_real, on_fake = (gan.discriminator(x, 1)[:, 0] for x in (images, gan.generator(z, 1)))
    torch.testing.assert_close(gan.generator_loss(batch), {"pair": F.softplus(on_real - on_fake)})
