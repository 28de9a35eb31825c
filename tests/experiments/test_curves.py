"""Curves against the time of training, their comparison, and the plot."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from progan.errors import ConfigError, DataError
from progan.experiments.curves import compare, plot, read_curve


def write(run: Path, *, rate: float, sides: list[int], swd: list[float]) -> Path:
    """A run with a line for each side: 10 kimg in 10 / rate seconds, then a measurement."""
    run.mkdir()
    stats = [
        {"kimg": 10.0 * (i + 1), "seconds": 10 / rate, "resolution": side, "alpha": 1.0} for i, side in enumerate(sides)
    ]
    rows = [
        {"kimg": line["kimg"], "resolution": line["resolution"], "alpha": 1.0, "swd": value, "swd_16": value / 2}
        for line, value in zip(stats, swd, strict=True)
    ]
    (run / "stats.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in stats))
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return run


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, Path]:
    slow = write(tmp_path / "slow", rate=0.1, sides=[32, 32, 32], swd=[9.0, 8.0, 6.0])
    fast = write(tmp_path / "fast", rate=0.5, sides=[16, 32, 32], swd=[1.0, 7.0, 5.0])
    return {"slow": slow, "fast": fast}


def test_time_is_that_of_training(runs: dict[str, Path]) -> None:
    curve = read_curve(runs["fast"])
    assert curve.seconds.tolist() == [20, 40, 60]
    assert curve.kimg.tolist() == [10, 20, 30]
    assert curve.measured_s.tolist() == [20, 40, 60]
    assert curve.doublings.tolist() == [20]
    assert curve.full.tolist() == [False, True, True]
    assert curve.swd["swd_16"].tolist() == [0.5, 3.5, 2.5]


def test_speeds_are_compared_for_equal_images_and_equal_swd(runs: dict[str, Path]) -> None:
    images, distance = compare({name: read_curve(run) for name, run in runs.items()})
    assert images == "30 thousand images: slow 5:00, fast 1:00; fast takes 0.20 of the time"
    # SWD 6 is the best of the slow run; at full size the fast one is below it after a minute, and not at 16 pixels
    assert distance == "an SWD of 6 (the best that both reach): slow 5:00, fast 1:00; fast takes 0.20 of the time"


def test_the_plot_is_a_picture_with_all_curves(runs: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot({name: read_curve(run) for name, run in runs.items()}, tmp_path / "a.png")
    (runs["fast"] / "metrics.jsonl").unlink()
    plot({name: read_curve(run) for name, run in runs.items()}, tmp_path / "b.png")
    with_swd, without = (np.asarray(Image.open(tmp_path / name)) for name in ("a.png", "b.png"))
    assert with_swd.shape[1] > 2 * with_swd.shape[0]
    assert (with_swd[:, :, :3] != without[:, :, :3]).any()


def test_without_matplotlib_it_says_what_to_install(runs: dict[str, Path], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"pip install 'progan\[plots\]'"):
        plot({"a": read_curve(runs["slow"])}, tmp_path / "a.png")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a run directory"):
        read_curve(tmp_path)
