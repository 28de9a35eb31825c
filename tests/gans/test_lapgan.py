"""LAPGAN (2015) against its definition written out, and what its levels share: nothing but the real images."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from golden_family import Fixed
from progan.cli import main
from progan.errors import ConfigError
from progan.evaluation.sets import open_images
from progan.gans import LAPGANConfig
from progan.gans.base import ImageSpec
from progan.gans.lapgan import LAPGAN
from progan.presets import PRESETS
from progan.presets.family import constant
from progan.snapshot import Snapshot
from progan.training.loop import Trainer

NARROW: dict[str, Any] = {
    "base_g_hidden": (7, 6),
    "base_d_hidden": (16, 12),
    "g_maps": 3,
    "d_maps": 2,
    "latent_size": 4,
}
SIDES = (8, 14, 28)
SPEC = ImageSpec(3, 28, 28)
EXACT = {"rtol": 1e-9, "atol": 1e-12}


def pixels(count: int = 8, spec: ImageSpec = SPEC) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.rand(count, spec.channels, spec.height, spec.width, generator=draw, dtype=torch.float64) * 2 - 1


def looked(images: Tensor, **settings: Any) -> LAPGAN:
    """A narrow pyramid in float64 that has looked at images."""
    gan = LAPGANConfig(**NARROW | settings).make(replace(SPEC, classes=3))
    gan.networks.double()
    gan.memory.double()
    gan.look(iter([SimpleNamespace(images=some) for some in images.split(3)]))  # type: ignore[arg-type]
    return gan


def batch_of(images: Tensor, labels: Tensor | None = None) -> Any:
    def uniform(stream: str, size: int) -> Tensor:
        draw = torch.Generator().manual_seed(len(stream) + size)
        return torch.rand(len(images), size, generator=draw, dtype=torch.float64)

    return SimpleNamespace(images=images, labels=labels, uniform=uniform, level=2)


def weights_of(side: int, to: int) -> np.ndarray:
    """Matrix [to, side] of linear interpolation between the centers of pixels."""
    matrix = np.zeros((to, side))
    for i in range(to):
        place = min(max((i + 0.5) * side / to - 0.5, 0), side - 1)
        below = int(place)
        matrix[i, below] += 1 - (place - below)
        matrix[i, min(below + 1, side - 1)] += place - below
    return matrix


def bilinear(images: np.ndarray, to: int) -> np.ndarray:
    matrix = weights_of(images.shape[-1], to)
    return matrix @ images @ matrix.T


def levels_of(images: Tensor) -> list[np.ndarray]:
    fine = images.numpy()
    middle = bilinear(fine, 14)
    return [bilinear(middle, 8), middle, fine]


def test_half_the_size_is_the_mean_of_four_pixels() -> None:
    images = pixels()
    np.testing.assert_allclose(
        looked(images).reduced(images)[1], images.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5)), **EXACT
    )


def test_scales_are_mean_and_deviation_of_every_pixel_of_every_level() -> None:
    images = pixels()
    images[:, 0, 3, 5] = 0.25  # as in the black borders of digits
    gan = looked(images)
    for scale, level in zip(gan.pyramid.scales, levels_of(images), strict=True):
        np.testing.assert_allclose(scale.mean, level.mean(0), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(scale.deviation, np.maximum(level.std(0), 2 / 255), rtol=1e-6, atol=0)
    assert gan.pyramid.scales[2].deviation[0, 3, 5].item() == pytest.approx(2 / 255)  # type: ignore[index]


def test_coarse_image_and_residual_give_the_image_exactly() -> None:
    """To 1e-9, relative, in float64; the reference interpolates with matrices."""
    images = pixels()
    gan, levels = looked(images), levels_of(images)
    for level, side in enumerate(SIDES):
        residual, coarse = gan.real(batch_of(images), level)
        scale = gan.pyramid.scales[level]
        mean, deviation = scale.mean.numpy(), scale.deviation.numpy()  # type: ignore[operator]
        whole = residual if coarse is None else residual + coarse
        np.testing.assert_allclose(whole, (levels[level] - mean) / deviation, **EXACT)
        assert (coarse is None) == (level == 0)
        if coarse is not None:
            below = bilinear(levels[level - 1], side)
            np.testing.assert_allclose(coarse, (below - mean) / deviation, **EXACT)


def test_sampling_is_the_pyramid_written_out() -> None:
    """To 1e-9, relative, in float64, from one latent: the base's, and a plane of noise for each further level."""
    gan = looked(pixels())
    p = {name: value.detach() for name, value in gan.sampler.state_dict().items()}
    z = torch.rand(2, 4 + 14**2 + 28**2, dtype=torch.float64) * 2 - 1
    assert gan.pyramid.latent.size == z.shape[1]
    x = z[:, :4]
    for name in ("hidden.0", "hidden.1"):
        x = (x @ p[f"generators.0.{name}.weight"].T + p[f"generators.0.{name}.bias"]).clamp(min=0)
    x = (x @ p["generators.0.image.weight"].T + p["generators.0.image.bias"]).view(2, 3, 8, 8)
    wanted, used = [x * p["scales.0.deviation"] + p["scales.0.mean"]], 4
    for level, side in ((1, 14), (2, 28)):
        noise = z[:, used : used + side**2].view(2, 1, side, side)
        used += side**2
        mean, deviation = p[f"scales.{level}.mean"], p[f"scales.{level}.deviation"]
        coarse = (torch.from_numpy(bilinear(wanted[-1].numpy(), side)) - mean) / deviation
        x = torch.cat([noise, coarse], 1)
        for name, padding in (("body.0", 3), ("body.2", 3), ("residual", 2)):
            weight, bias = (p[f"generators.{level}.{name}.{kind}"] for kind in ("weight", "bias"))
            x = F.conv2d(x, weight, bias, padding=padding)
            x = x.clamp(min=0) if name != "residual" else x
        wanted.append((coarse + x) * deviation + mean)
    with torch.no_grad():
        found = gan.pyramid.pyramid(z)
        for level in range(3):
            torch.testing.assert_close(found[level], wanted[level], rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(gan.pyramid(z, level), wanted[level], rtol=1e-9, atol=1e-12)


def test_discriminators_see_the_sum_of_residual_and_coarse_image() -> None:
    images = pixels()
    gan = looked(images)
    p = {name: value.detach() for name, value in gan.discriminators[1].state_dict().items()}
    residual, coarse = gan.real(batch_of(images), 1)
    assert coarse is not None
    x = F.conv2d(residual + coarse, p["body.0.weight"], p["body.0.bias"], padding=2).clamp(min=0)
    x = F.conv2d(x, p["body.2.weight"], p["body.2.bias"], stride=2, padding=2).clamp(min=0)
    assert x.shape[2:] == (7, 7)
    wanted = x.flatten(1) @ p["score.weight"][0] + p["score.bias"]
    found = gan.discriminators[1](residual, coarse)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(gan.discriminators[1](residual + 1, coarse - 1), wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_each_half_of_the_loss_is_half_of_the_cross_entropy(level: int) -> None:
    images = pixels()
    gan = looked(images, d_keep=1.0)
    batch = batch_of(images)
    residual, coarse = gan.real(batch, level)
    noise = batch.uniform("latent", gan.pyramid.noise_sizes[level]) * 2 - 1
    fake = gan.pyramid.generators[level](noise, coarse)
    real_share, fake_share = (torch.sigmoid(gan.discriminators[level](x, coarse)) for x in (residual, fake))
    terms = gan.discriminator_loss(batch, level)
    assert set(terms) == {"real", "fake"}
    torch.testing.assert_close(terms["real"], -real_share.log() / 2, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(terms["fake"], -(1 - fake_share).log() / 2, rtol=1e-9, atol=1e-12)
    (terms["real"] + terms["fake"]).sum().backward()
    assert all(p.grad is None for p in gan.pyramid.parameters())
    assert all(p.grad is not None for p in gan.discriminators[level].parameters())
    torch.testing.assert_close(gan.generator_loss(batch, level)["fake"], -fake_share.log(), rtol=1e-9, atol=1e-12)


def test_dropout_is_between_the_convolutions_and_the_score() -> None:
    images = pixels()
    gan = looked(images)
    seen: list[tuple[int, float]] = []

    def drop(x: Tensor, keep: float) -> Tensor:
        seen.append((x.shape[1], keep))
        return x

    for level in range(3):
        gan.discriminators[level](*gan.real(batch_of(images), level), None, drop)
    assert seen == [(16, 0.5), (12, 0.5), (2 * 7 * 7, 0.5), (2 * 14 * 14, 0.5)]
    terms = gan.discriminator_loss(batch_of(images), 2)
    plain = F.softplus(-gan.discriminators[2](*gan.real(batch_of(images), 2))) / 2
    assert not torch.allclose(terms["real"], plain, atol=1e-6)


def test_generators_are_given_coarse_images_of_real_ones_in_training() -> None:
    images = pixels()
    gan = looked(images)
    before = [gan.generator_loss(batch_of(images), level)["fake"] for level in (1, 2)]
    with torch.no_grad():
        for p in gan.pyramid.generators[0].parameters():
            p.add_(1.0)
    after = [gan.generator_loss(batch_of(images), level)["fake"] for level in (1, 2)]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    seen: list[Tensor] = []
    gan.pyramid.generators[2].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    gan.generator_loss(batch_of(images), 2)
    gan.discriminator_loss(batch_of(images), 2)
    scale = gan.pyramid.scales[2]
    wanted = (bilinear(levels_of(images)[1], 28) - scale.mean.numpy()) / scale.deviation.numpy()  # type: ignore[operator]
    assert len(seen) == 2
    for coarse in seen:
        np.testing.assert_allclose(coarse, wanted, **EXACT)


def trainer(**settings: Any) -> Trainer:
    config = constant(LAPGANConfig(**NARROW | settings), 28, batch=4, lr=0.02, total_kimg=1)
    return Trainer(config, SPEC, Fixed(pixels(12).float()), device=torch.device("cpu"))


def changed(one: Trainer, before: dict[str, Tensor]) -> set[str]:
    after = one.gan.networks.state_dict()
    return {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}


def test_levels_in_turn_leave_those_before_and_after_as_they_are() -> None:
    """Turns of two iterations; the last level is trained until the end."""
    one = trainer(order="in_turn", turn_kimg=0.008)
    for side in (8, 8, 14, 14, 28, 28, 28):
        before = {name: value.clone() for name, value in one.gan.networks.state_dict().items()}
        one.iterate()
        assert changed(one, before) == {f"generator_{side}", f"discriminator_{side}"}
    assert one.images_seen == 7 * 4


def test_levels_at_once_are_all_trained_on_the_same_images() -> None:
    one = trainer()
    before = {name: value.clone() for name, value in one.gan.networks.state_dict().items()}
    seen: list[tuple[int, Tensor]] = []
    reduced = one.gan.reduced  # type: ignore[union-attr]
    one.gan.reduced = lambda images: seen.append((0, images)) or reduced(images)  # type: ignore[union-attr, func-returns-value]
    one.iterate()
    one.iterate()
    assert changed(one, before) == set(one.gan.networks)
    assert one.images_seen == 2 * 4
    images = [images for _, images in seen][3:]  # the first look at all 12 images took three batches
    assert len(images) == 2 * 5  # D of three levels and G of two
    assert all(torch.equal(image, pixels(12).float()[:4]) for image in images[:5])
    assert all(torch.equal(image, pixels(12).float()[4:8]) for image in images[5:])


def test_scales_are_in_snapshots_and_averages_from_the_first_step(tmp_path: Path) -> None:
    one = trainer()
    stage = one.iterate()
    images = pixels(12).float()
    Snapshot(one.ema.network, "lapgan", one.config.gan, SPEC, stage.level).save(tmp_path / "a.safetensors")
    loaded = Snapshot.load(tmp_path / "a.safetensors").sampler
    for sampler in (one.ema.network, loaded):
        for scale, level in zip(sampler.scales, levels_of(images.double()), strict=True):  # type: ignore[arg-type]
            np.testing.assert_allclose(scale.mean, level.mean(0), rtol=1e-5, atol=1e-6)


def test_labels_reach_all_networks_of_a_conditional_pyramid() -> None:
    images, labels = pixels(6), torch.arange(6) % 3
    gan = looked(images, conditional=True)
    z = torch.rand(6, gan.pyramid.latent.size, dtype=torch.float64) * 2 - 1
    one, other = gan.pyramid.pyramid(z, labels), gan.pyramid.pyramid(z, labels.flip(0))
    assert all((a - b).abs().max().item() > 1e-3 for a, b in zip(one, other, strict=True))
    for level in range(3):
        residual, coarse = gan.real(batch_of(images), level)
        a, b = (gan.discriminators[level](residual, coarse, y) for y in (labels, labels.flip(0)))
        assert (a - b).abs().max().item() > 1e-4
        noise = z[:, : gan.pyramid.noise_sizes[level]]
        a, b = (gan.pyramid.generators[level](noise, coarse, y) for y in (labels, labels.flip(0)))
        assert (a - b).abs().max().item() > 1e-4
        batch = batch_of(images, labels)
        given = gan.score(batch, level, residual, coarse, "real")
        assert given.shape == (6,)
    with pytest.raises(ConfigError, match="this GAN is conditional, but the data has no labels"):
        LAPGANConfig(conditional=True).make_sampler(SPEC)


def test_parameter_counts_of_the_authors_networks() -> None:
    with torch.device("meta"):
        gan = PRESETS["lapgan_cifar10"]().gan.make(SPEC)
    generator = (4 * 49 * 64 + 64) + (64 * 49 * 64 + 64) + (64 * 25 * 3 + 3)
    convolutions = (3 * 25 * 64 + 64) + (64 * 25 * 64 + 64)
    assert {name: sum(p.numel() for p in network.parameters()) for name, network in gan.networks.items()} == {
        "generator_8": 101 * 8000 + 8001 * 8000 + 8001 * 192,
        "discriminator_8": 193 * 1600 + 1601 * 1600 + 1601,
        "generator_14": generator,
        "discriminator_14": convolutions + 64 * 7 * 7 + 1,
        "generator_28": generator,
        "discriminator_28": convolutions + 64 * 14 * 14 + 1,
    }


def test_presets_step_as_the_authors_code() -> None:
    row = PRESETS["lapgan_cifar10"]()
    gan = replace(row.gan, **NARROW).make(SPEC)
    for how in gan.optimizers.values():
        assert how.kind == "sgd"
        assert how.beta1.at(45_000 * 10) == pytest.approx(0.508)  # type: ignore[union-attr]
        assert how.beta1.at(45_000 * 300) == pytest.approx(0.7)  # type: ignore[union-attr]
    assert set(gan.optimizers) == set(gan.networks)
    shares = [row.schedule.decay.share(45.0 * epoch, row.schedule.total_kimg) for epoch in (0, 1, 100)]
    assert shares == pytest.approx([1, 1 / 1.000004, 1.000004**-100], rel=1e-12)
    assert (row.schedule.batch, row.schedule.lr, row.load_size, row.schedule.resolution) == (64, 0.02, 32, 28)
    assert PRESETS["lapgan_lsun_64"]().gan.sizes_of(ImageSpec(3, 64, 64)) == [(s, s) for s in (4, 8, 16, 32, 64)]
    small = PRESETS["lapgan_cifar10_small"]().gan.make(SPEC)
    assert {how.kind for how in small.optimizers.values()} == {"adam"}


@pytest.mark.parametrize(
    ("size", "levels"),
    [
        ((28, 28), [(8, 8), (14, 14), (28, 28)]),
        ((32, 32), [(8, 8), (16, 16), (32, 32)]),
        ((64, 96), [(4, 6), (8, 12), (16, 24), (32, 48), (64, 96)]),
        ((30, 20), [(8, 5), (15, 10), (30, 20)]),
        ((6, 6), [(3, 3), (6, 6)]),
    ],
)
def test_levels_follow_from_the_size_of_the_data(size: tuple[int, int], levels: list[tuple[int, int]]) -> None:
    assert LAPGANConfig().sizes_of(ImageSpec(3, *size)) == levels


MESSAGES: dict[str, tuple[dict[str, Any], str]] = {
    "one": ({"levels": (28,)}, r"gan.levels must be at least two sides, .* such as 8 14 28; got 28"),
    "jump": ({"levels": (4, 16)}, r"gan.levels must be at least two sides, each larger .*; got 4 16"),
    "order": ({"levels": (16, 8)}, r"gan.levels must be .*; got 16 8"),
    "size": (
        {"levels": (8, 16)},
        r"gan.levels end at 16 pixels, but the data has 28x28; use 'progan prepare SOURCE STORE --resolution 16', or "
        r"levels that end at 28",
    ),
    "maps": ({"g_maps": 0}, r"gan.g_maps must be at least 1, got 0"),
    "hidden": ({"base_d_hidden": ()}, r"gan.base_d_hidden must be at least 1, got \(\)"),
    "momentum": ({"momentum": 1.0}, r"gan.momentum must be at least 0 and below 1, got 1.0"),
    "keep": ({"d_keep": 0.0}, r"gan.d_keep must be above 0 and at most 1, got 0.0"),
    "turn": ({"turn_kimg": 0.0}, r"gan.turn_kimg must be above 0, got 0.0"),
    "ramp": ({"momentum_kimg": float("inf")}, r"gan.momentum_kimg must be a number of at least 0, got inf"),
}


@pytest.mark.parametrize("mistake", MESSAGES)
def test_what_cannot_be_built_is_refused_in_one_line(mistake: str) -> None:
    settings, message = MESSAGES[mistake]
    with pytest.raises(ConfigError, match=f"^{message}$"):
        LAPGANConfig(**settings).make(SPEC)


def test_a_run_that_ends_before_the_last_turn_is_refused() -> None:
    """Three levels, so that the last one begins after two turns; other orders train all levels at any length."""
    config = LAPGANConfig(order="in_turn", turn_kimg=10.0)
    config.check_length(SPEC, 20.1)
    replace(config, order="at_once").check_length(SPEC, 1.0)
    message = (
        r"^gan.order in_turn begins to train the last of 3 levels after 20 kimg, but schedule.total_kimg is 20; use "
        r"--gan.turn-kimg 6.667, or a larger --schedule.total-kimg such as 30$"
    )
    with pytest.raises(ConfigError, match=message):
        config.check_length(SPEC, 20.0)
    replace(config, turn_kimg=6.667).check_length(SPEC, 20.0)


def test_every_level_can_be_generated_and_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gan, file = LAPGANConfig(**NARROW).make(SPEC), tmp_path / "a.safetensors"
    snapshot = Snapshot(gan.sampler, "lapgan", LAPGANConfig(**NARROW), SPEC, SPEC.levels - 1)
    snapshot.save(file)
    images = gan.pyramid.pyramid(snapshot.latents([0, 1, 2]))  # type: ignore[union-attr]
    for side, image in zip(SIDES, images, strict=True):
        assert main(["generate", str(file), str(tmp_path / str(side)), "--count", "3", "--resolution", str(side)]) == 0
        made = [np.asarray(Image.open(path)) for path in sorted((tmp_path / str(side)).iterdir())]
        wanted = ((image.detach() + 1) * 127.5).round().clamp(0, 255).permute(0, 2, 3, 1).numpy()
        assert np.array_equal(np.stack(made), wanted)
        assert open_images(file, resolution=f"{side}x{side}").read(0, 2).shape == (2, 3, side, side)
    assert main(["generate", str(file), str(tmp_path / "b"), "--resolution", "7"]) == 2
    message = "error: resolution 7 is not supported by this generator; choose from 8, 14, 28\n"
    assert capsys.readouterr().err == message
