"""MNIST-1K's networks against numpy, the unrolled gradient against finite differences, and whole runs of every row."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from progan.data.store import Store
from progan.errors import ConfigError
from progan.gans.base import WHOLE_BATCH, Batch, ImageSpec
from progan.gans.mnist_1k import MNIST1K, Discriminator, MNIST1KConfig, _halved
from progan.ops import downscale2, upscale2
from progan.presets import mnist_1k
from progan.training import checkpoint
from progan.training.config import RunConfig, changes
from progan.training.loop import Trainer
from references import losses
from references import mnist_1k as reference
from small import batch_with
from training.test_resume import assert_same, trainer

SPEC = ImageSpec(3, 32, 32)
BATCH, IN_G, OURS = (MNIST1KConfig(normalization=norm) for norm in ("batch", "generator", "ours"))  # type: ignore[arg-type]
STDDEV = MNIST1KConfig(normalization="ours", stddev=True)


def made(config: MNIST1KConfig, spec: ImageSpec = SPEC) -> MNIST1K:
    """Both networks in float64, with biases and gains that are not 0 and 1."""
    torch.manual_seed(0)
    gan = config.make(spec)
    for p in gan.networks.parameters():
        p.data += 0.1 * torch.randn_like(p)
    gan.networks.double()
    return gan


def numbers(module: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in module.state_dict().items()}


# 3x3 weights, a gain and a bias or only a bias for each map, weights and bias of the score (SPEC: about 2000 and 500)
@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (BATCH, 3 * 4 * 9 + 4 * 8 * 9 + 8 * 16 * 9 + 4 + 2 * 24 + 256 + 1),  # 1857
        (IN_G, 1857 - 24),
        (OURS, 1857 - 24),
        (STDDEV, 1857 - 24 + 16),  # 1849, within 0.5 % of the first
        (replace(BATCH, shrink=4), 3 * 2 * 9 + 2 * 4 * 9 + 4 * 8 * 9 + 2 + 2 * 12 + 128 + 1),  # 569
        (replace(OURS, shrink=4), 569 - 12),
        (replace(STDDEV, shrink=4), 569 - 12 + 16),  # 573, within 0.8 %
    ],
)
def test_discriminators_have_as_many_parameters_as_the_paper_says(config: MNIST1KConfig, wanted: int) -> None:
    parameters = Discriminator(config, SPEC).named_parameters()
    assert sum(p.numel() for name, p in parameters if not name.startswith("from_rgb")) == wanted


@pytest.mark.parametrize("level", range(4))
@pytest.mark.parametrize("config", [BATCH, IN_G, STDDEV, replace(OURS, shrink=4)], ids=str)
def test_networks_equal_numpy(config: MNIST1KConfig, level: int) -> None:
    gan, z = made(config), torch.randn(4, 64, dtype=torch.float64)
    images = gan.generator(z, level)
    np.testing.assert_allclose(
        images.detach(), reference.generator(numbers(gan.generator), z.numpy(), level), atol=1e-12
    )
    scores = gan.discriminator(images.detach(), level).detach()
    kind = {"full": 3, "stddev": config.stddev, "equalized": config.normalization == "ours"}
    wanted = reference.discriminator(numbers(gan.discriminator), images.detach().numpy(), level, **kind)
    np.testing.assert_allclose(scores, wanted, atol=1e-12)


def test_halving_is_the_mean_of_2_by_2() -> None:
    x = torch.randn(2, 3, 8, 16, dtype=torch.float64)
    torch.testing.assert_close(_halved(x), downscale2(x), atol=1e-14, rtol=0)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_fade_leads_from_the_smaller_level_to_the_larger(level: int) -> None:
    gan, z = made(OURS), torch.randn(4, 64, dtype=torch.float64)
    images = gan.generator(z, level)
    small = downscale2(images)
    for alpha in (0.0, 0.25, 1.0):
        weight = torch.tensor(alpha, dtype=torch.float64)
        both = torch.lerp(upscale2(gan.generator(z, level - 1)), images, weight)
        torch.testing.assert_close(gan.generator(z, level, weight), both)
        if alpha in (0.0, 1.0):
            wanted = gan.discriminator(images, level) if alpha else gan.discriminator(small, level - 1)
            torch.testing.assert_close(gan.discriminator(images, level, weight), wanted)


def batch_of(n: int, spec: ImageSpec) -> Batch:
    """Fixed draws in float64."""
    generator = torch.Generator().manual_seed(3)

    def draw(stream: str, width: int) -> Tensor:
        seed = torch.Generator().manual_seed(len(stream) + width)
        return torch.randn(n, width, generator=seed, dtype=torch.float64)

    images = torch.rand(n, spec.channels, *spec.size(spec.levels - 1), generator=generator, dtype=torch.float64) * 2 - 1
    return batch_with(images, level=spec.levels - 1, normal=draw)


@pytest.mark.parametrize("config", [replace(IN_G, loss="wgan"), replace(STDDEV, loss="wgan")], ids=str)
@pytest.mark.parametrize(("level", "alpha"), [(0, None), (1, 0.25), (2, None)])
def test_terms_of_d_equal_numpy(config: MNIST1KConfig, level: int, alpha: float | None) -> None:
    """WGAN-GP's, whose penalty is 10 times that of images enlarged to the full size."""
    spec = ImageSpec(1, 16, 16)
    gan, batch = made(config, spec), batch_of(2, spec)
    images = F.adaptive_avg_pool2d(batch.images, spec.size(level))
    weight = None if alpha is None else torch.tensor(alpha, dtype=torch.float64)
    batch = replace(batch, level=level, alpha=weight, load=lambda source: images)
    terms = gan.discriminator_loss(batch)

    w, kind = numbers(gan.discriminator), {"stddev": config.stddev, "equalized": config.normalization == "ours"}

    def score(x: np.ndarray) -> np.ndarray:
        return reference.discriminator(w, x, level, full=2, alpha=alpha, **kind)

    real = images.numpy()
    if alpha is not None:
        real = reference.upscale(reference.downscale(real)) * (1 - alpha) + real * alpha
    fake = gan.generator(batch.normal("latent", 64), level, weight).detach().numpy()
    mix = batch.uniform("mix", 1).numpy()[:, 0]
    penalty = losses.penalty(score, real, fake, mix, missing=2 - level)
    for name, want in {"real": -score(real), "fake": score(fake), "penalty": 10 * penalty}.items():
        np.testing.assert_allclose(terms[name].detach(), want, rtol=1e-6, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("row", ["gan", "unrolled", *("wgan_gp", "normalization", "stddev", "growing")])
def test_every_row_runs_in_half_precision(row: str, dtype: torch.dtype) -> None:
    gan, batch = mnist_1k.PRESETS[f"mnist_1k_k4_{row}"]().gan.make(SPEC), batch_of(4, SPEC)
    alpha = torch.tensor(0.25) if row == "growing" else None
    batch = batch_with(
        batch.images.float(),
        level=3,
        alpha=alpha,
        normal=lambda stream, width: torch.randn(4, width),
        uniform=lambda stream, width: torch.rand(4, width),
    )
    with torch.autocast("cpu", dtype):
        terms = {**gan.discriminator_loss(batch), **gan.generator_loss(batch)}
    assert {term.dtype for term in terms.values()} == {torch.float32}
    assert all(term.isfinite().all() for term in terms.values())


def looking_ahead(gan: MNIST1K, batch: Batch) -> float:
    """G's loss against a D that really was trained for some steps on the same samples, by torch's own optimizer."""
    later = copy.deepcopy(gan.discriminator)
    optimizer = torch.optim.SGD(later.parameters(), lr=gan.config.unrolled_lr)
    fake = gan.generator(batch.normal("latent", 64), batch.level)
    for _ in range(gan.config.unrolled):
        optimizer.zero_grad()
        real_scores, fake_scores = later(batch.images, batch.level), later(fake.detach(), batch.level)
        (F.softplus(-real_scores).mean() + F.softplus(fake_scores).mean()).backward()
        optimizer.step()
    return float(F.softplus(-later(fake, batch.level)).mean().detach())


@pytest.mark.parametrize("normalization", ["batch", "ours"])
def test_unrolled_gradient_is_the_slope_of_the_loss_after_real_steps_of_d(normalization: str) -> None:
    spec = ImageSpec(3, 16, 16)
    gan = made(MNIST1KConfig(unrolled=3, unrolled_lr=0.05, normalization=normalization), spec)  # type: ignore[arg-type]
    batch, parameters = batch_of(5, spec), list(gan.generator.parameters())
    loss = sum(term.mean() for term in gan.generator_loss(batch).values())
    assert isinstance(loss, Tensor)
    slopes = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    assert float(loss.detach()) == pytest.approx(looking_ahead(gan, batch), rel=1e-10)
    frozen = replace(gan.config, unrolled=0)
    plain = torch.stack([term.mean() for term in replaced(gan, frozen).generator_loss(batch).values()]).sum()
    assert float(plain.detach()) != pytest.approx(float(loss.detach()), rel=1e-3)  # the steps matter
    for seed in range(3):
        generator, step = torch.Generator().manual_seed(seed), 1e-7
        way = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
        values = []
        for sign in (1, -1):
            moved = copy.deepcopy(gan)
            for p, direction in zip(moved.generator.parameters(), way, strict=True):
                p.data += sign * step * direction
            values.append(looking_ahead(moved, batch))
        wanted = (values[0] - values[1]) / (2 * step)
        assert sum(float((s * d).sum()) for s, d in zip(slopes, way, strict=True)) == pytest.approx(wanted, rel=1e-5)


def replaced(gan: MNIST1K, config: MNIST1KConfig) -> MNIST1K:
    other = copy.copy(gan)
    other.config = config
    return other


def test_looking_ahead_leaves_d_as_it_is() -> None:
    spec = ImageSpec(3, 16, 16)
    gan = made(MNIST1KConfig(unrolled=2), spec)
    before = copy.deepcopy(gan.discriminator.state_dict())
    torch.stack(list(gan.generator_loss(batch_of(4, spec)).values())).sum().backward()
    assert_same(before, dict(gan.discriminator.state_dict()))
    assert all(p.grad is None for p in gan.discriminator.parameters())


def small(config: RunConfig) -> RunConfig:
    """The same row at 16 pixels, batch 8; growing ones hold for 2 iterations and fade for 2."""
    kimg = 0.016 * config.gan.n_critic
    growing = config.schedule.start_resolution < config.schedule.resolution
    times = {"hold_kimg": kimg, "fade_kimg": kimg, "total_kimg": kimg * (5 if growing else 2)}
    start = 4 if growing else 16
    return replace(config, schedule=replace(config.schedule, resolution=16, start_resolution=start, batch=8, **times))


def finished(some: Trainer) -> Trainer:
    while some.images_seen < 1000 * some.config.schedule.total_kimg:
        some.iterate()
    return some


@pytest.mark.parametrize("name", mnist_1k.PRESETS)
def test_every_row_trains(name: str, store: Store) -> None:
    config = small(mnist_1k.PRESETS[name]())
    before, after = trainer(config, store), finished(trainer(config, store))
    steps = {k: int(s.torch.state[s.torch.param_groups[0]["params"][0]]["step"]) for k, s in after.steppers.items()}
    assert steps["discriminator"] == config.gan.n_critic * steps["generator"]
    assert all(np.isfinite(value) for value in after.take_statistics().values())
    for network in ("generator", "discriminator"):
        old, new = (some.gan.networks[network].state_dict() for some in (before, after))
        moved = {key for key in old if not torch.equal(old[key], new[key])}
        unused = {key for key in old if "from_rgb" in key or key.startswith(("to_rgb.0", "to_rgb.1"))}
        unused |= {"score.bias"} if config.gan.loss == "wgan" else set()  # its slope is zero
        assert moved >= old.keys() - unused


@pytest.mark.parametrize("row", ["gan", "unrolled", "wgan_gp", "growing"])
def test_resumed_run_equals_uninterrupted_run(row: str, store: Store, tmp_path: Path) -> None:
    config = small(mnist_1k.PRESETS[f"mnist_1k_k4_{row}"]())
    whole, first = finished(trainer(config, store)), trainer(config, store)
    while first.images_seen < 400 * config.schedule.total_kimg:
        first.iterate()
    checkpoint.save(tmp_path, first.state_dict())
    state, _ = checkpoint.load(tmp_path)
    assert state is not None
    second = trainer(config, store)
    second.load_state_dict(state)
    assert_same(whole.state_dict(), finished(second).state_dict())


ROWS = {
    "unrolled": {"gan.unrolled 0 -> 5"},
    "wgan_gp": {
        *("gan.loss non_saturating -> wgan", "gan.normalization batch -> generator", "gan.n_critic 1 -> 5"),
        *("beta1 0.5 -> 0.0", "beta2 0.999 -> 0.9"),
        *("schedule.lr 0.0002 -> 0.001", f"ema_decay {0.999**4} -> {0.999**20}"),
    },
    "normalization": {"gan.normalization generator -> ours"},
    "stddev": {"gan.stddev False -> True"},
    "growing": {"schedule.start_resolution 32 -> 4", "schedule.hold_kimg 600 -> 500", "schedule.fade_kimg 600 -> 2000"},
}
ABOVE = {
    "unrolled": "gan",
    "wgan_gp": "gan",
    "normalization": "wgan_gp",
    "stddev": "normalization",
    "growing": "stddev",
}


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("size", ["k2", "k4"])
def test_each_row_changes_one_thing(size: str, row: str) -> None:
    config, above = (mnist_1k.PRESETS[f"mnist_1k_{size}_{name}"]() for name in (row, ABOVE[row]))
    assert set(changes(above.to_dict(), config.to_dict())) == ROWS[row]
    assert config.schedule.total_kimg == (15_000 if row == "growing" else 10_000)
    assert (config.gan.shrink, config.schedule.batch, config.mirror) == (int(size[1:]), 64, False)


def test_networks_that_see_a_batch_say_so() -> None:
    assert [config.group for config in (BATCH, IN_G, OURS, STDDEV)] == [1, 1, 1, WHOLE_BATCH]
    assert [config.whole_share for config in (BATCH, IN_G, OURS, STDDEV)] == [True, True, False, False]
    assert (replace(BATCH, bn_group=4).group, replace(BATCH, bn_group=4).whole_share) == (4, False)


@pytest.mark.parametrize(
    ("bad", "message"),
    [({"shrink": 3}, "gan.shrink must be 1, 2, 4 or 8, got 3"), ({"unrolled": -1}, "gan.unrolled must be at least 0")],
)
def test_settings_that_make_no_sense(bad: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MNIST1KConfig(**bad)  # type: ignore[arg-type]
