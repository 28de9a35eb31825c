"""What a run makes of measurements: rows, the best snapshot, warnings; a failure does not end it."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from progan.data.loader import Loader
from progan.data.store import Store
from progan.errors import DataError
from progan.gans.base import ImageSpec
from progan.snapshot import Snapshot
from progan.training.log import METRICS, RunLog, read_stats
from progan.training.loop import Trainer
from progan.training.monitor import measure
from progan.training.preflight import Plan, StageCost
from progan.training.session import Session
from small import small_run


class Scripted:
    """Gives prepared values; less is better."""

    def __init__(self, *values: float | None, kimg: float = 0.05) -> None:
        self.values, self.kimg, self.seen = list(values), kimg, []

    def __call__(self, snapshot: Snapshot) -> dict:
        self.seen.append((round(1000 * snapshot.kimg), snapshot.level, snapshot.alpha))
        value = self.values.pop(0) if self.values else 1.0
        if value is None:
            raise DataError("no weights\n  fix: get some")
        return {"swd": value, "real/swd": 0.5} if value else {}

    def better(self, row: dict, rows: Sequence[dict]) -> str | None:
        return "swd" if all(row["swd"] < other["swd"] for other in rows) else None

    def alarms(self, rows: Sequence[dict]) -> list[str]:
        return ["collapse"] if rows[-1]["swd"] > 2 * min(row["swd"] for row in rows) else []


@pytest.fixture
def snapshot(store: Store) -> Snapshot:
    config, spec = small_run().gan, ImageSpec(3, 16, 16)
    return Snapshot(config.make_sampler(spec), "progan", config, spec, level=1, alpha=0.5, kimg=0.25)


def said(run: Path) -> list[str]:
    return [line.split(" ", 2)[2] for line in (run / "log.txt").read_text().splitlines()]


def test_row_best_and_warning(snapshot: Snapshot, tmp_path: Path) -> None:
    log, monitor = RunLog(tmp_path, quiet=True), Scripted(3.0, 2.0, 5.0)
    for _ in range(2):
        assert measure(monitor, snapshot, log) == []
    best = Snapshot.load(tmp_path / "best.safetensors")
    (tmp_path / "best.safetensors").unlink()
    assert measure(monitor, snapshot, log) == ["collapse"]
    rows = read_stats(tmp_path, METRICS)
    assert rows[0] == {"kimg": 0.25, "resolution": 8, "alpha": 0.5, "swd": 3.0, "real/swd": 0.5}
    assert [row["swd"] for row in rows] == [3.0, 2.0, 5.0]
    assert (best.kimg, best.level, best.alpha) == (0.25, 1, 0.5)
    assert not (tmp_path / "best.safetensors").exists()  # 5.0 is not the best
    assert rows[-1]["warnings"] == ["collapse"]
    assert said(tmp_path)[-2:] == ["best swd at 8 pixels so far: best.safetensors", "at 0.2 kimg: swd 5 (real 0.5)"]
    log.close()


def test_failed_measurement_is_a_warning(snapshot: Snapshot, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")  # whose absence is said, too
    log = RunLog(tmp_path, quiet=True)
    measure(Scripted(None), snapshot, log)
    measure(Scripted(0.0), snapshot, log)  # nothing to be measured at this size
    assert said(tmp_path) == ["warning: no metrics at 0.2 kimg: no weights; fix: get some"]
    assert read_stats(tmp_path, METRICS) == []
    log.close()


def test_run_measures_at_intervals_and_at_the_end_of_every_stage(store: Store, tmp_path: Path) -> None:
    config, monitor = small_run(), Scripted()
    spec = ImageSpec(store.channels, store.height, store.width, len(store.classes))
    trainer = Trainer(config, spec, Loader(store, seed=0, mirror=True), device=torch.device("cpu"))
    run = Session(tmp_path / "run", trainer, store, about={}, monitor=monitor)
    run.train(Plan([StageCost(level, 0, 1.0, seconds_per_kimg=1.0) for level in range(3)]))
    run.log.close()
    # Every 50 images, at the first multiple of the batch of 8 that passes one, and at the ends of the stages.
    assert [seen[0] for seen in monitor.seen] == [32, 56, 64, 96, 104, 128, 152, 160]
    assert [seen[1] for seen in monitor.seen] == [0, 1, 1, 1, 2, 2, 2, 2]
    assert [row["kimg"] for row in read_stats(run.path, METRICS)] == [seen[0] / 1000 for seen in monitor.seen]


def test_rows_of_an_interrupted_attempt_are_dropped(tmp_path: Path) -> None:
    log = RunLog(tmp_path, quiet=True)
    for kimg in (0.1, 0.2, 0.3):
        log.row({"kimg": kimg}, METRICS)
    log.close()
    RunLog(tmp_path, kimg=0.2, quiet=True).close()
    assert read_stats(tmp_path, METRICS) == [{"kimg": 0.1}, {"kimg": 0.2}]
