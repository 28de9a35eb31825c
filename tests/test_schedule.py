"""The timetable against a simulation image by image, published examples, and the tables of the presets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from progan.errors import ConfigError
from progan.gans.base import ImageSpec
from progan.presets import PRESETS
from progan.schedule import DecayConfig, ScheduleConfig, at_resolution, spans, stage_at
from references.training import timeline


@settings(max_examples=150, deadline=None)
@given(
    levels=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    hold=st.integers(0, 13),
    fade=st.integers(0, 13),
    total=st.integers(0, 90),
)
def test_every_image_is_where_a_simulation_puts_it(levels: tuple[int, int], hold: int, fade: int, total: int) -> None:
    """Durations are single images, some of them nothing; a run may end anywhere, inside a fade for one."""
    first, last = levels[0], sum(levels)
    config = ScheduleConfig(
        start_resolution=4 << first,
        resolution=4 << last,
        hold_kimg=hold / 1000,
        fade_kimg=fade / 1000,
        total_kimg=total / 1000,
        batch={4: 64, 16: 8},
        lr={8: 0.5, 32: 0.25},
    )
    want = timeline(first, last, hold, fade, total)
    for seen, (level, fading, alpha) in enumerate([*want, want[-1], want[-1]]):
        stage = stage_at(config, seen)
        assert (stage.level, stage.fading, stage.key) == (level, fading, (level, fading)), seen
        assert stage.alpha == pytest.approx(alpha, abs=1e-9)
        assert stage.resolution == 4 << level
        assert stage.batch == (64 if level < 2 else 8)
        assert stage.lr == (0.5 if level < 3 else 0.25)


@settings(max_examples=100, deadline=None)
@given(hold=st.integers(0, 9), fade=st.integers(0, 9), total=st.integers(0, 60), last=st.integers(0, 4))
def test_spans_tile_the_run(hold: int, fade: int, total: int, last: int) -> None:
    config = ScheduleConfig(resolution=4 << last, hold_kimg=hold / 1000, fade_kimg=fade / 1000, total_kimg=total / 1000)
    all_spans = spans(config)
    ends = [0, *(s.end for s in all_spans)]
    assert [s.first for s in all_spans] == ends[:-1]
    assert ends[-1] == total
    assert all(s.end > s.first for s in all_spans)
    keys = [(s.level, not s.fading) for s in all_spans]
    assert keys == sorted(set(keys))  # every level fades, then holds, once


def test_another_size_still_grows_or_still_does_not() -> None:
    growing, fixed = ScheduleConfig(resolution=128), ScheduleConfig(resolution=128, start_resolution=128)
    for side in (64, 256):
        assert growing.resized(side) == ScheduleConfig(resolution=side)
        assert fixed.resized(side) == ScheduleConfig(resolution=side, start_resolution=side)


def test_progress_of_the_tensorflow_example() -> None:
    """TFG's networks_test: stable 7, transition 8, two blocks; progress is whole levels plus the fade (PEERS 4.2)."""
    config = ScheduleConfig(resolution=8, hold_kimg=0.007, fade_kimg=0.008, total_kimg=0.200)
    progress = []
    for seen in (0, 3, 6, 7, 8, 10, 15, 29, 100):
        stage = stage_at(config, seen)
        progress.append(stage.level - (1 - stage.alpha if stage.fading else 0))
    np.testing.assert_allclose(progress, [0, 0, 0, 0, 0.125, 0.375, 1, 1, 1], rtol=0, atol=1e-9)


def test_least_images_of_the_tensorflow_example() -> None:
    """TFG: four blocks of stable 7 and transition 8 need 4 * 7 + 3 * 8 = 52 images."""
    config = ScheduleConfig(resolution=32, hold_kimg=0.007, fade_kimg=0.008, total_kimg=0.200)
    last = spans(config)[-1]
    assert (last.level, last.fading, last.first + 7) == (3, False, 52)


@pytest.mark.parametrize("seen", [0, 1, 999, 1000, 50_000])
def test_run_without_growing_has_one_stage(seen: int) -> None:
    config = ScheduleConfig(resolution=64, start_resolution=64, total_kimg=1)
    stage = stage_at(config, seen)
    assert (stage.level, stage.fading, stage.alpha, stage.resolution) == (4, False, 1, 64)
    assert str(stage) == "64"


def test_run_cut_inside_a_fade_ends_at_that_alpha() -> None:
    """The fade keeps its own speed: a quarter of it done is alpha 0.25, also after the end."""
    config = ScheduleConfig(resolution=16, hold_kimg=1, fade_kimg=4, total_kimg=2)
    assert [(s.level, s.fading, s.first, s.end) for s in spans(config)] == [(0, False, 0, 1000), (1, True, 1000, 2000)]
    for seen in (2000, 2001, 10**9):
        stage = stage_at(config, seen)
        assert (stage.level, stage.fading, stage.alpha) == (1, True, 0.25)


def test_fade_starts_at_zero_with_the_new_batch_and_rate() -> None:
    config = ScheduleConfig(
        resolution=8, hold_kimg=1, fade_kimg=1, total_kimg=10, batch={4: 8, 8: 4}, lr={4: 0.1, 8: 0.2}
    )
    before, at = stage_at(config, 999), stage_at(config, 1000)
    assert (before.batch, before.lr, before.alpha, before.fading) == (8, 0.1, 1.0, False)
    assert (at.batch, at.lr, at.alpha, at.fading) == (4, 0.2, 0.0, True)


TABLES = {  # batch sizes and learning rates at 4, 8, 16, ...; SPEC section 3, written out
    "celebahq_1024": ([128, 128, 128, 64, 32, 16, 8, 4, 4], [0.001] * 8 + [0.0015]),
    "celebahq_1024_2gpu": ([256, 256, 128, 64, 32, 16, 8, 8, 8], [0.001] * 7 + [0.0015, 0.002]),
    "celebahq_1024_4gpu": ([512, 256, 128, 64, 32, 16, 16, 16, 16], [0.001] * 6 + [0.0015, 0.002, 0.003]),
    "celebahq_1024_8gpu": ([512, 256, 128, 64, 32, 32, 32, 32, 32], [0.001] * 5 + [0.0015, 0.002, 0.003, 0.003]),
    "celebahq_1024_paper": ([16, 16, 16, 16, 16, 16, 14, 6, 3], [0.001] * 9),
    "lsun_256": ([16] * 7, [0.001] * 7),
    "cifar10": ([16] * 4, [0.001] * 4),
}
DURATIONS = {  # thousands of images: total, hold, fade
    "celebahq_1024_paper": (19_000, 800, 800),
    "lsun_256": (20_000, 800, 800),
    "cifar10": (20_000, 400, 400),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_the_presets(name: str) -> None:
    config = PRESETS[name]().schedule
    total, hold, fade = DURATIONS.get(name, (12_000, 600, 600))
    batches, rates = TABLES[name]
    assert (config.total_kimg, config.hold_kimg, config.fade_kimg) == (total, hold, fade)
    assert (config.start_resolution, config.resolution) == (4, 4 << (len(batches) - 1))
    for level, (batch, rate) in enumerate(zip(batches, rates, strict=True)):
        first = 1000 * (hold + (level - 1) * (hold + fade)) if level else 0
        for seen in (first, first + 1000 * fade, first + 1000 * (fade + hold) - 1) if level else (0, 1000 * hold - 1):
            stage = stage_at(config, seen)
            assert (stage.level, stage.batch, stage.lr) == (level, batch, rate)
        if level:
            assert stage_at(config, first + 500 * fade).alpha == 0.5
    assert stage_at(config, 1000 * total).key == (len(batches) - 1, False)


def test_other_settings_of_the_presets() -> None:
    """SPEC sections 2 and 3: networks, latents, the stddev group, the gradient's target, mirroring, Adam, average."""
    for name in TABLES:
        run = PRESETS[name]()
        maps = [run.gan.maps(level + 1) for level in range(run.schedule.levels)]
        want = [128] * 4 if name == "cifar10" else [512, 512, 512, 512, 256, 128, 64, 32, 16]
        assert maps == want[: len(maps)]
        assert run.gan.maps(0) == want[0]
        assert run.gan.stddev_group == (4 if name.startswith("celebahq") and "paper" not in name else 16)
        assert run.mirror is (name != "cifar10")
        assert run.gan.simultaneous is (name == "cifar10")
        assert run.gan.penalty_target == (750 if name == "cifar10" else 1)
        assert (run.gan.penalty_weight, run.gan.drift_weight, run.gan.n_critic, run.gan.loss) == (10, 0.001, 1, "wgan")
        assert (run.beta1, run.beta2, run.adam_eps, run.ema_decay, run.ema_kimg) == (0, 0.99, 1e-8, 0.999, None)


@pytest.mark.parametrize(
    ("table", "resolution", "want"),
    [(7, 4, 7), ({4: 1, 32: 2}, 16, 1), ({4: 1, 32: 2}, 32, 2), ({64: 3}, 4, 3), ({64: 3, 8: 5}, 4, 5)],
)
def test_tables_hold_from_their_entries_on(table: int | dict[int, int], resolution: int, want: int) -> None:
    assert at_resolution(table, resolution) == want


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resolution": 48}, "schedule.resolution must be a power of two, at least 4, if networks grow; got 48"),
        ({"resolution": 2}, "schedule.resolution must be a power of two, at least 4, if networks grow; got 2"),
        (
            {"start_resolution": 12},
            "schedule.start_resolution must be a power of two, at least 4, if networks grow; got 12",
        ),
        ({"resolution": 8, "start_resolution": 16}, "schedule.start_resolution 16 is above schedule.resolution 8"),
        ({"hold_kimg": -1}, "schedule.hold_kimg must be a number of at least 0, got -1"),
        ({"fade_kimg": -0.5}, "schedule.fade_kimg must be a number of at least 0, got -0.5"),
        ({"total_kimg": -3}, "schedule.total_kimg must be a number of at least 0, got -3"),
        ({"total_kimg": float("inf")}, "schedule.total_kimg must be a number of at least 0, got inf"),
        ({"hold_kimg": float("nan")}, "schedule.hold_kimg must be a number of at least 0, got nan"),
        ({"batch": {}}, r"schedule.batch must be at least 1, .* got \{\}"),
        ({"lr": -1.0}, "schedule.lr must be at least 0, .* got -1.0"),
        ({"resolution": 0, "start_resolution": 0}, "schedule.resolution must be at least 1, got 0"),
        ({"batch": 0}, "schedule.batch must be at least 1, .* got 0"),
        ({"batch": {4: 8, 64: 0}}, r"schedule.batch must be at least 1, .* got \{4: 8, 64: 0\}"),
    ],
)
def test_settings_that_make_no_schedule_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ScheduleConfig(**settings)


@pytest.mark.parametrize("side", [1, 3, 4, 28, 96, 100, 1000])
def test_a_run_that_does_not_grow_has_one_level_of_any_size(side: int) -> None:
    config = ScheduleConfig(resolution=side, start_resolution=side, batch={4: 8, 64: 2}, total_kimg=1)
    (span,) = spans(config)
    stage = stage_at(config, 500)
    assert (span.level, span.first, span.end) == (config.first_level, 0, 1000)
    assert (stage.level, stage.resolution, stage.fading) == (config.levels - 1, side, False)
    assert stage.batch == (2 if side >= 64 else 8)
    assert stage.images_seen == 500
    spec = ImageSpec(3, side, 2 * side)
    assert spec.size(stage.level) == (side, 2 * side)
    assert (spec.levels, config.side(config.first_level)) == (config.levels, side)


def exponential(kimg: float) -> float:
    """GAN 2014: divided by 1.000004 after each step of 100 images, from 0.1 to no less than 0.000001."""
    return max(0.1 / 1.000004 ** (kimg * 10), 0.000001) / 0.1


HALF_LIFE_KIMG = 0.1 * np.log(2) / np.log(1.000004)


@pytest.mark.parametrize("kimg", [0, 50, 1234.5, 17_000, 300_000])
def test_an_exponential_rate_is_that_of_the_steps(kimg: float) -> None:
    decay = DecayConfig(kind="exponential", half_life_kimg=HALF_LIFE_KIMG, floor=1e-5)
    assert decay.share(kimg, 1e6) == pytest.approx(exponential(kimg), rel=1e-9)


@pytest.mark.parametrize(
    ("settings", "shares"),
    [
        ({}, [1, 1, 1, 1]),
        ({"kind": "linear"}, [1, 0.75, 0.5, 0]),
        ({"kind": "linear", "start_kimg": 50}, [1, 1, 1, 0]),
        ({"kind": "linear", "start_kimg": 20, "end_kimg": 60, "floor": 0.1}, [1, 0.875, 0.25, 0.1]),
        ({"kind": "linear", "start_kimg": 50, "end_kimg": 50}, [1, 1, 1, 0]),
        ({"kind": "exponential", "half_life_kimg": 25}, [1, 0.5, 0.25, 0.0625]),
        ({"kind": "exponential", "half_life_kimg": 25, "start_kimg": 25}, [1, 1, 0.5, 0.125]),
        ({"kind": "steps", "steps": {50: 0.1, 25: 0.5}}, [1, 0.5, 0.1, 0.1]),
    ],
)
def test_rates_fall_as_they_are_told(settings: dict, shares: list[float]) -> None:
    decay = DecayConfig(**settings)
    assert [decay.share(kimg, 100) for kimg in (0, 25, 50, 100)] == pytest.approx(shares)
    longer = decay.stretched(3)
    assert [longer.share(3 * kimg, 300) for kimg in (0, 25, 50, 100)] == pytest.approx(shares)
    config = ScheduleConfig(resolution=8, start_resolution=8, lr={4: 1, 8: 0.5}, total_kimg=100, decay=decay)
    assert stage_at(config, 25_000).lr == pytest.approx(0.5 * shares[1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"half_life_kimg": 0}, "schedule.decay.half_life_kimg must be above 0"),
        ({"floor": -1}, "schedule.decay.floor must be a number of at least 0, got -1"),
        ({"kind": "steps"}, "schedule.decay.kind steps requires schedule.decay.steps, such as 50 0.1 1000 0.01"),
        ({"start_kimg": 2, "end_kimg": 1}, "schedule.decay.end_kimg 1 is before schedule.decay.start_kimg 2"),
    ],
)
def test_decays_that_make_no_sense_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DecayConfig(**settings)


def test_epochs_stretch_the_run_and_its_decay() -> None:
    decay = DecayConfig(kind="linear", start_kimg=50)
    config = ScheduleConfig(total_kimg=100, decay=decay).for_epochs(200, 1000)
    assert (config.total_kimg, config.decay.start_kimg) == (200, 100)
