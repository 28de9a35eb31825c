"""Presets: every one can be built at its own size, has SPEC's totals, and survives JSON."""

import json
from dataclasses import replace

import pytest
import torch

from progan.gans import ProGANConfig
from progan.gans.base import ImageSpec
from progan.presets import AUTO, PRESETS, progressive, table1
from progan.presets.progressive import auto
from progan.schedule import at_resolution, spans
from progan.training.config import RunConfig, changes, check, completed

PARAMETERS = {
    "celebahq_1024": (23_079_115, 23_087_249),
    "celebahq_1024_2gpu": (23_079_115, 23_087_249),
    "celebahq_1024_4gpu": (23_079_115, 23_087_249),
    "celebahq_1024_8gpu": (23_079_115, 23_087_249),
    "celebahq_1024_paper": (23_079_115, 23_087_249),
    "celebahq_1024_no_growing": (23_079_115, 23_087_249),
    "celebahq_1024_lsgan": (23_079_115, 23_087_249),
    "lsun_256": (23_044_309, 23_052_353),
    "cifar10": (1_296_908, 1_298_689),
    # SPEC's totals are those of rows e-g.
    "table1_a": (10_487_090, 13_632_301),
    "table1_b": (10_487_090, 13_632_301),
    "table1_c": (10_487_090, 13_632_301),
    "table1_d": (13_629_810, 13_636_897 - 512 * 9),  # without the deviation's map
    "table1_e_star": (13_629_810, 13_636_897 - 512 * 9 + 512 * 500 + 500 + 100 + 100),
    "table1_e": (13_629_810, 13_636_897),
    "table1_f": (13_629_810, 13_636_897),
    "table1_g": (13_629_810, 13_636_897),
}
PROGAN = [name for name, make in PRESETS.items() if isinstance(make().gan, ProGANConfig)]
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
    "cifar10_conditional": (20_000, 400, [16] * 4, [1] * 4),
}


def spec(config: RunConfig, channels: int = 3) -> ImageSpec:
    return ImageSpec(channels, config.schedule.resolution, config.schedule.resolution)


def test_every_function_of_the_file_is_listed() -> None:
    for file in (progressive, table1):
        made = {n for n, f in vars(file).items() if getattr(f, "__module__", "") == file.__name__}
        assert {n for n in made if not n.startswith("_")} - {"without_growing"} <= set(PRESETS)


@pytest.mark.parametrize("name", PROGAN)
def test_builds_at_its_own_resolution(name: str) -> None:
    config = PRESETS[name]()
    check(config, spec(config), GPUS.get(name, 1))
    classes = 10 if config.gan.conditional else 0
    with torch.device("meta"):
        gan = config.gan.make(replace(spec(config), classes=classes))
        z = torch.empty(config.gan.stddev_group or 4, gan.generator.latent.size)
        labels = torch.zeros(len(z), dtype=torch.int64) if classes else None
        for level in (0, config.schedule.levels - 1):
            image = gan.generator(z, level, labels=labels)
            assert image.shape[-1] == 4 << level
            assert gan.discriminator(image, level).shape == (len(z), 1 + classes)
    sizes = [sum(p.numel() for p in network.parameters()) for network in (gan.generator, gan.discriminator)]
    if name in PARAMETERS:
        assert tuple(sizes) == PARAMETERS[name]


@pytest.mark.parametrize("name", PRESETS)
def test_goes_through_json_unchanged(name: str) -> None:
    config = PRESETS[name]()
    read = json.loads(json.dumps(config.to_dict()))
    assert not changes(read, config.to_dict())
    assert changes(read, replace(config, seed=7).to_dict()) == ["seed 0 -> 7"]


@pytest.mark.parametrize("name", PRESETS)
def test_settings_of_an_older_version_get_the_defaults_of_newer_ones(name: str) -> None:
    config = PRESETS[name]()
    gan, defaults = config.to_dict()["gan"], RunConfig(gan=type(config.gan)()).to_dict()["gan"]
    for field in gan:
        old = {**config.to_dict(), "gan": {k: v for k, v in gan.items() if k != field}}
        assert bool(changes(completed(old, config), config.to_dict())) == (gan[field] != defaults[field])


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


# SPEC section 4, by what a row changes of the row above (e of d, too)
ROWS = {
    "b": {"schedule.start_resolution 128 -> 4"},
    "c": {"schedule.batch 64 -> 16", f"ema_decay {0.999**20} -> {0.999**5}"},
    "d": {
        *(
            "gan.n_critic 5 -> 1",
            "gan.drift_weight 0.0 -> 0.001",
            "beta2 0.9 -> 0.99",
            f"ema_decay {0.999**5} -> 0.999",
        ),
        *("gan.latent_size 128 -> None", "gan.normalize_latents False -> True", "gan.generator_norm batch -> none"),
        *("gan.generator_activation relu -> leaky", "gan.tanh True -> False", "gan.discriminator_norm layer -> none"),
    },
    "e_star": {"gan.minibatch_discrimination 0 -> 100"},
    "e": {"gan.stddev_group 0 -> 16"},
    "f": {"gan.equalized False -> True", "schedule.lr 0.0001 -> 0.001"},
    "g": {"gan.generator_norm none -> pixel"},
    "h": {"gan.fmap_base 2048 -> 8192"},
}


def test_first_row_of_table_1_is_gulrajanis() -> None:
    row = PRESETS["table1_a"]()
    gan, schedule = row.gan, row.schedule
    assert (schedule.resolution, schedule.start_resolution, schedule.total_kimg) == (128, 128, 10_000)
    assert (schedule.batch, schedule.lr, row.beta1, row.beta2) == (64, 1e-4, 0, 0.9)
    assert (gan.fmap_base, gan.latent_size, gan.normalize_latents, gan.equalized) == (2048, 128, False, False)
    assert (gan.generator_norm, gan.generator_activation, gan.tanh) == ("batch", "relu", True)
    assert (gan.discriminator_norm, gan.loss, gan.penalty_weight, gan.penalty_target) == ("layer", "wgan", 10, 1)
    assert (gan.drift_weight, gan.n_critic, gan.stddev_group, gan.group, gan.whole_share) == (0, 5, 0, 1, True)
    assert row.ema_decay == pytest.approx(0.999**20)


@pytest.mark.parametrize("row", ROWS)
def test_each_row_of_table_1_changes_the_row_above(row: str) -> None:
    above = "d" if row in ("e", "e_star") else chr(ord(row) - 1)
    before, after = PRESETS[f"table1_{above}"](), PRESETS[f"table1_{row}"]()
    assert set(changes(before.to_dict(), after.to_dict())) == ROWS[row]
    assert after.schedule.total_kimg == (20_000 if row == "h" else 10_000)


def test_twins_without_growing_differ_in_nothing_else() -> None:
    a, b = PRESETS["celebahq_1024_paper"](), PRESETS["celebahq_1024_no_growing"]()
    assert changes(a.to_dict(), b.to_dict()) == ["schedule.start_resolution 4 -> 1024"]
    assert progressive.without_growing(PRESETS["table1_b"]()) == PRESETS["table1_a"]()


def test_lsgan_has_noise_and_no_penalties() -> None:
    a, b = PRESETS["celebahq_1024_paper"](), PRESETS["celebahq_1024_lsgan"]()
    assert changes(a.to_dict(), b.to_dict()) == [
        "gan.adaptive_noise False -> True",
        "gan.drift_weight 0.001 -> 0.0",
        "gan.loss wgan -> least_squares",
        "gan.penalty_weight 10.0 -> 0.0",
    ]


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
