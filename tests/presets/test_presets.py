"""Presets: every one can be built at its own size, has SPEC's totals, and survives JSON."""

import json
from dataclasses import replace

import pytest
import torch

from progan.gans.base import ImageSpec
from progan.presets import AUTO, PRESETS, progressive
from progan.presets.progressive import auto
from progan.schedule import at_resolution, spans
from progan.training.config import RunConfig, changes, check

PARAMETERS = {
    "celebahq_1024": (23_079_115, 23_087_249),
    "celebahq_1024_2gpu": (23_079_115, 23_087_249),
    "celebahq_1024_4gpu": (23_079_115, 23_087_249),
    "celebahq_1024_8gpu": (23_079_115, 23_087_249),
    "celebahq_1024_paper": (23_079_115, 23_087_249),
    "lsun_256": (23_044_309, 23_052_353),
    "cifar10": (1_296_908, 1_298_689),
}
GPUS = {"celebahq_1024_2gpu": 2, "celebahq_1024_4gpu": 4, "celebahq_1024_8gpu": 8}

# SPEC section 3: total and hold = fade [kimg], batch and learning rate at 4, 8, ..., the preset's resolution
TABLE = {
    "celebahq_1024_paper": (19_000, 800, [16, 16, 16, 16, 16, 16, 14, 6, 3], [1] * 9),
    "celebahq_1024": (12_000, 600, [128, 128, 128, 64, 32, 16, 8, 4, 4], [1] * 8 + [1.5]),
    "celebahq_1024_2gpu": (12_000, 600, [256, 256, 128, 64, 32, 16, 8, 8, 8], [1] * 7 + [1.5, 2]),
    "celebahq_1024_4gpu": (12_000, 600, [512, 256, 128, 64, 32, 16, 16, 16, 16], [1] * 6 + [1.5, 2, 3]),
    "celebahq_1024_8gpu": (12_000, 600, [512, 256, 128, 64, 32, 32, 32, 32, 32], [1] * 5 + [1.5, 2, 3, 3]),
    "lsun_256": (20_000, 800, [16] * 7, [1] * 7),
    "cifar10": (20_000, 400, [16] * 4, [1] * 4),
}


def spec(config: RunConfig, channels: int = 3) -> ImageSpec:
    return ImageSpec(channels, config.schedule.resolution, config.schedule.resolution)


def test_every_function_of_the_file_is_listed() -> None:
    made = {n for n, f in vars(progressive).items() if getattr(f, "__module__", "") == progressive.__name__}
    assert {name for name in made if not name.startswith("_")} == set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_builds_at_its_own_resolution(name: str) -> None:
    config = PRESETS[name]()
    check(config, spec(config), GPUS.get(name, 1))
    with torch.device("meta"):
        gan = config.gan.make(spec(config))
        z = torch.empty(config.gan.stddev_group, gan.generator.latent_size)
        for level in (0, config.schedule.levels - 1):
            image = gan.generator(z, level)
            assert image.shape[-1] == 4 << level
            assert gan.discriminator(image, level).shape == (len(z), 1)
    sizes = [sum(p.numel() for p in network.parameters()) for network in (gan.generator, gan.discriminator)]
    if name in PARAMETERS:
        assert tuple(sizes) == PARAMETERS[name]


@pytest.mark.parametrize("name", PRESETS)
def test_goes_through_json_unchanged(name: str) -> None:
    config = PRESETS[name]()
    read = json.loads(json.dumps(config.to_dict()))
    assert not changes(read, config.to_dict())
    other = replace(config, gan=replace(config.gan, fmap_max=7))
    assert changes(read, other.to_dict()) == [f"gan.fmap_max {config.gan.fmap_max} -> 7"]


@pytest.mark.parametrize("name", TABLE)
def test_timetable_is_that_of_the_paper_or_the_program(name: str) -> None:
    config = PRESETS[name]()
    total, hold, batch, lr = TABLE[name]
    schedule = config.schedule
    sides = [4 << level for level in range(schedule.levels)]
    assert (schedule.total_kimg, schedule.hold_kimg, schedule.fade_kimg) == (total, hold, hold)
    assert [at_resolution(schedule.batch, side) for side in sides] == batch
    assert [at_resolution(schedule.lr, side) for side in sides] == pytest.approx([0.001 * x for x in lr])
    assert (config.beta1, config.beta2, config.adam_eps, config.ema_decay) == (0, 0.99, 1e-8, 0.999)
    assert (config.gan.penalty_weight, config.gan.drift_weight, config.gan.n_critic) == (10, 0.001, 1)
    assert spans(schedule)[-1].level == schedule.levels - 1  # the last resolution is reached
    assert config.gan.stddev_group == (4 if "celebahq" in name and "paper" not in name else 16)


def test_cifar10_has_its_own_objective() -> None:
    config = PRESETS["cifar10"]()
    assert config.gan.penalty_target == 750
    assert config.gan.simultaneous
    assert not config.mirror
    assert PRESETS["celebahq_1024"]().mirror


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("resolution", [4, 32, 256, 1024])
def test_auto_suits_any_size_and_says_why(resolution: int, device: str) -> None:
    config, reasons = auto(resolution, 20_000, device)
    check(config, spec(config), 1)
    assert config.schedule.resolution == resolution
    held = [s for s in spans(config.schedule) if s.level == config.schedule.levels - 1 and not s.fading]
    assert held, "the last resolution is trained at full weight"
    assert any(f"resolution {resolution}" in reason for reason in reasons)
    assert any(reason.startswith(device) for reason in reasons)
    assert not any("only" in reason for reason in reasons)
    assert any("only 100 images" in reason for reason in auto(resolution, 100, device)[1])


def test_every_preset_is_described() -> None:
    assert all((make.__doc__ or "").strip() for name, make in PRESETS.items() if name != AUTO)
