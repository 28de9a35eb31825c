"""Scaled experiments: what becomes smaller, what stays, and that every row of every table can be built."""

import math
from dataclasses import replace

import pytest
import torch

from progan.errors import ConfigError
from progan.experiments import EXPERIMENTS
from progan.experiments.scale import SCALES, Scale, differences, images_measured, parse_scale, scaled
from progan.gans.base import ImageSpec
from progan.presets import PRESETS
from progan.schedule import spans
from progan.training.config import check

ROWS = {row.variant: row for experiment in EXPERIMENTS.values() for row in experiment.rows}


def test_the_papers_scale_changes_nothing() -> None:
    for name, make in PRESETS.items():
        assert scaled(make(), SCALES["paper"]) == make(), name


def test_fewer_images_shorten_all_of_the_timetable_and_nothing_else() -> None:
    paper = PRESETS["cifar10"]()
    ours = scaled(paper, parse_scale("0.01"))
    schedule = replace(paper.schedule, hold_kimg=4, fade_kimg=4, total_kimg=200)
    assert ours.schedule == schedule
    assert ours == replace(
        paper, schedule=schedule, ema_kimg=4, log_kimg=0.4, sample_kimg=10, snapshot_kimg=10
    )  # 2 % of the run; 500 lines, 20 sheets


def test_the_average_of_g_keeps_its_half_life_while_it_is_short_for_the_run() -> None:
    paper = PRESETS["cifar10"]()
    steps = math.log(2) / -math.log(0.999)
    assert scaled(paper, parse_scale("0.5")).ema_kimg == pytest.approx(steps * 0.016)  # of 16 images
    assert scaled(PRESETS["celebahq_1024_paper"](), parse_scale("0.5")).ema_kimg == pytest.approx(steps * 0.003)
    assert scaled(replace(paper, ema_kimg=3), parse_scale("0.5")).ema_kimg == 3
    assert scaled(replace(paper, ema_decay=0), parse_scale("0.01")).ema_kimg is None


def test_growing_still_grows_and_not_growing_still_does_not() -> None:
    small = Scale(name="x", resolution=32)
    growing = scaled(PRESETS["celebahq_1024_paper"](), small).schedule
    fixed = scaled(PRESETS["celebahq_1024_no_growing"](), small).schedule
    assert (growing.start_resolution, growing.resolution) == (4, 32)
    assert (fixed.start_resolution, fixed.resolution) == (32, 32)
    assert scaled(PRESETS["cifar10"](), Scale(name="x", resolution=64)).schedule.resolution == 32


def test_narrower_networks_keep_their_shape() -> None:
    paper = PRESETS["celebahq_1024_paper"]().gan
    ours = scaled(PRESETS["celebahq_1024_paper"](), Scale(name="x", maps=1 / 8)).gan
    assert [ours.maps(k) for k in range(7)] == [paper.maps(k) // 8 for k in range(7)]


def test_learning_rates_are_multiplied() -> None:
    row = PRESETS["table1_g"]()
    paper = replace(row, schedule=replace(row.schedule, lr={4: 0.001, 128: 0.002}))
    ours = scaled(paper, parse_scale("1", lr=10))
    assert ours.schedule.lr == {4: pytest.approx(0.01), 128: pytest.approx(0.02)}
    assert replace(ours, schedule=replace(ours.schedule, lr=paper.schedule.lr)) == paper
    assert differences(paper, ours) == ["learning rate times 10"]
    assert not parse_scale("1", lr=10).as_paper
    assert scaled(PRESETS["table1_b"](), parse_scale("1", lr=10)).schedule.lr == pytest.approx(1e-3)


def test_differences_are_in_words() -> None:
    paper = PRESETS["celebahq_1024_paper"]()
    assert differences(paper, paper) == []
    assert differences(paper, scaled(paper, SCALES["small"])) == [
        "190 thousand images shown instead of 19,000 (1/100)",
        "64 pixels a side instead of 1024",
        "at most 64 feature maps instead of 512 (1/8)",
        "64 latent components instead of 512 (1/8)",
        "average of G with a half-life of 3.8 thousand images instead of 2.08",
    ]


def test_kernels_of_minibatch_discrimination_are_as_many_beside_the_features_as_in_the_paper() -> None:
    paper = PRESETS["table1_e_star"]()
    ours = scaled(paper, parse_scale("1", maps=1 / 16))
    assert (ours.gan.fmap_max, ours.gan.minibatch_discrimination) == (32, 6)
    assert "6 kernels of minibatch discrimination instead of 100 (0.06)" in differences(paper, ours)


def test_an_average_of_equal_half_life_is_no_difference() -> None:
    paper = PRESETS["mnist_1k_k4_growing"]()
    assert not [text for text in differences(paper, scaled(paper, parse_scale("0.05"))) if "average" in text]
    assert "average of G with a half-life of 3 thousand images instead of 11.1" in differences(
        paper, scaled(paper, parse_scale("0.01"))
    )


def test_the_number_of_images_measured_names_the_results_but_not_the_runs() -> None:
    scale = parse_scale("0.05", maps=0.5, count=0.25)
    assert (scale.name, scale.run_name) == ("0.05-maps0.5-count0.25", "0.05-maps0.5")


def test_repeats_are_saved_on_before_images() -> None:
    assert images_measured("swd", Scale(count=1 / 8)) == (1, 2048)
    assert images_measured("modes", Scale(count=1 / 8), 10) == (1, 25_600)
    assert images_measured("ms_ssim", Scale(count=1e-6)) == (1, 4)  # the least for which it is defined


@pytest.mark.parametrize("text", ["big", "0", "-1", "1/0", "2", "nan"])
def test_a_scale_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="scale"):
        parse_scale(text)


@pytest.mark.parametrize("name", ROWS)
def test_every_row_can_be_built_at_scale_smoke_and_reaches_its_last_level(name: str) -> None:
    config = scaled(ROWS[name].config(), SCALES["smoke"])
    side = config.schedule.resolution
    spec = ImageSpec(3, side, side, 2)
    check(config, spec, 1)
    with torch.device("meta"):
        assert "generator" in config.gan.make(spec).networks
    first = spans(config.schedule)[-1].first
    batch = max(config.schedule.batch.values() if isinstance(config.schedule.batch, dict) else [config.schedule.batch])
    assert side == 16
    assert spans(config.schedule)[-1].level == 2
    assert first + batch * getattr(config.gan, "n_critic", 1) < 1000 * config.schedule.total_kimg
