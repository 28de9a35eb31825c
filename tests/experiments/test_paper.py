"""The experiments as values: they name what exists, and have the paper's numbers."""

import pytest

from progan.errors import ConfigError
from progan.experiments import EXPERIMENTS
from progan.experiments.base import Row, Value
from progan.experiments.figures import FIGURES
from progan.experiments.networks import count_parameters, layers
from progan.metrics import METRICS
from progan.presets import PRESETS


def test_they_name_what_exists() -> None:
    for name, experiment in EXPERIMENTS.items():
        assert name == experiment.name
        assert {row.preset for row in experiment.rows} <= set(PRESETS)
        assert len({row.name for row in experiment.rows}) == len(experiment.rows)
        assert set(experiment.metrics) <= set(METRICS)
        assert set(experiment.figures) <= set(FIGURES)


def test_averages_of_table_1_are_those_of_its_levels() -> None:
    for name in ("table1_celeba", "table1_bedroom"):
        for row in EXPERIMENTS[name].rows:
            levels = [value for key, value in row.paper.items() if key.startswith("swd_")]
            assert len(levels) == 4
            assert sum(levels) / 4 == pytest.approx(row.paper["swd"], abs=0.0051), row.name


def test_table_4_has_both_sizes_and_lsun_all_categories() -> None:
    rows = {row.name: row.paper for row in EXPERIMENTS["table4"].rows}
    assert len(rows) == 12
    assert rows["k4-gan"]["modes"] == Value(30.6, 20.7)
    assert rows["k2-growing"]["kl"] == Value(0.82, 0.13)
    lsun = EXPERIMENTS["lsun"].rows
    assert len(lsun) == 30
    assert {row.name for row in lsun if not row.config().mirror} == {"bedroom", "dog"}


def test_a_row_changes_settings_by_name() -> None:
    row = Row(name="x", preset="cifar10", change={"mirror": True, "schedule.start_resolution": 32})
    assert row.variant == "cifar10-mirror=True-start_resolution=32"
    assert (row.config().mirror, row.config().schedule.start_resolution) == (True, 32)
    with pytest.raises(ConfigError, match="no preset 'none'"):
        Row(name="x", preset="none").config()


def test_table_2_counts_parameters() -> None:
    rows = list(EXPERIMENTS["table2"].rows)
    for row, record in zip(rows, count_parameters(rows), strict=True):
        ours = record["measured"]["parameters"]["values"]
        for name, paper in row.paper.items():
            about = 150 if row.name.startswith("mnist") else 0  # "about 2000" and "about 500"
            assert ours[name] == pytest.approx(paper, abs=about), row.name


def test_layers_add_up_to_the_total() -> None:
    for row in EXPERIMENTS["table2"].rows:
        for table in layers(row).split("\n\n"):
            cells = [line.split("|")[-2].strip() for line in table.splitlines()[2:]]
            *parts, total = (int(cell.replace(",", "")) for cell in cells)
            assert sum(parts) == total
            assert all(part >= 0 for part in parts)
            assert "blocks.0" in table or ("convs.0" in table and "convs.2" in table)
