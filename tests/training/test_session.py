"""A run directory: what is said while training, what is due when, and what is left out of the pictures."""

import json
import math
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from event_files import assert_events_equal_stats
from progan.data.loader import Loader
from progan.data.store import Store
from progan.errors import CheckpointError
from progan.gans.base import ImageSpec
from progan.processes import stop_signals
from progan.schedule import spans
from progan.snapshot import Snapshot, snapshots_in
from progan.training.config import RunConfig
from progan.training.distributed import Ranks
from progan.training.log import read_stats
from progan.training.loop import SINGLE, Trainer
from progan.training.preflight import Plan, StageCost
from progan.training.session import Session
from small import small_run

CPU = torch.device("cpu")


def start(path: Path, store: Store, config: RunConfig | None = None, ranks: Ranks = SINGLE) -> Session:
    config = config or small_run()
    spec = ImageSpec(store.channels, store.height, store.width, len(store.classes))
    trainer = Trainer(config, spec, Loader(store, seed=config.seed, mirror=config.mirror), device=CPU, ranks=ranks)
    return Session(path, trainer, store, about={"preset": "test"})


def plan(seconds_per_kimg: float = 1000.0) -> Plan:
    return Plan([StageCost(level, 0, 1.0, seconds_per_kimg=seconds_per_kimg) for level in range(3)])


@pytest.fixture(scope="module")
def finished(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = start(tmp_path_factory.mktemp("finished") / "run", store)
    assert run.train(plan()) is None
    run.log.close()
    return run.path


def test_events_equal_statistics(finished: Path) -> None:
    assert_events_equal_stats(finished)


def test_statistics_come_at_intervals_and_at_the_end_of_every_stage(finished: Path) -> None:
    rows = read_stats(finished)
    # Every 20 images, at the first multiple of the batch of 8 that passes one, and after 32, 64, 96, 128 and 160.
    assert [round(1000 * row["kimg"]) for row in rows] == [24, 32, 40, 64, 80, 96, 104, 120, 128, 144, 160]
    assert [row["resolution"] for row in rows] == [4, 4, 8, 8, 8, 8, 16, 16, 16, 16, 16]
    assert {row["batch"] for row in rows} == {8}
    for row in rows:
        assert row["alpha"] < 1 or row["resolution"] == 4 or 64 < 1000 * row["kimg"] <= 96 or 1000 * row["kimg"] > 128
        assert row["skipped_steps"] == 0
        assert row["seconds"] > 0
        assert row["kimg_per_s"] > 0
        assert all(np.isfinite(value) for value in row.values())
        assert {"discriminator/penalty", "discriminator/drift", "generator/fake"} <= row.keys()


def test_samples_and_snapshots_come_at_intervals_and_at_the_end_of_every_stage(finished: Path) -> None:
    wanted = ["0.032", "0.056", "0.064", "0.096", "0.104", "0.128", "0.152", "0.160"]  # every 50 images, and stages
    for files in (sorted(finished.glob("samples/0*.png")), snapshots_in(finished)):
        assert [f"{float(p.stem):.3f}" for p in files] == wanted
    stages = [(s.level, s.alpha) for s in map(Snapshot.load, snapshots_in(finished))]
    assert stages == [(0, 1), (1, 0.75), (1, 1), (1, 1), (2, 0.25), (2, 1), (2, 1), (2, 1)]


def test_growth_has_a_row_for_every_resolution(finished: Path) -> None:
    picture = np.asarray(Image.open(finished / "growth.png"))
    assert picture.shape[:2] == (3 * 66 - 2, 12 * 66 - 2)
    for row, factor in enumerate((16, 8, 4)):  # pixels are repeated, not smoothed
        tile = picture[row * 66 : row * 66 + 64, :64]
        small = tile[::factor, ::factor]
        assert np.array_equal(small.repeat(factor, 0).repeat(factor, 1), tile)


def test_progress_tells_the_time_left_from_the_plan(store: Store, tmp_path: Path, monkeypatch) -> None:
    run = start(tmp_path / "run", store)
    said: list[dict] = []
    monkeypatch.setattr(run.log, "progress", lambda **values: said.append(values))
    monkeypatch.setattr(Plan, "measured", lambda *args: None)
    run.train(plan())  # 1 s an image
    run.log.close()
    images = [8 * (i + 1) for i in range(20)]
    ends = [span.end for span in spans(run.config.schedule)]
    assert [round(1000 * one["kimg"]) for one in said] == images
    assert [one["run_left_s"] for one in said] == pytest.approx([160 - n for n in images])
    left = [next((end - n for end in ends if end > n), 0) for n in images]
    assert [one["stage_left_s"] for one in said] == pytest.approx(left)
    assert [one["stage"] for one in said[3:9:5]] == ["4", "8"]
    assert said[5]["stage"] == "8 fade 0.25"
    assert {one["total_kimg"] for one in said} == {0.16}


def test_damaged_snapshot_is_left_out_of_the_growth_and_named(finished: Path, store: Store, tmp_path: Path) -> None:
    import shutil

    path = Path(shutil.copytree(finished, tmp_path / "run"))
    file = sorted(path.glob("snapshots/*"))[2]
    file.write_bytes(file.read_bytes()[:50])
    run = start(path, store)
    assert run.train(plan()) is None
    run.log.close()
    assert "warning: omitted from growth.png" in (path / "log.txt").read_text()
    assert Image.open(path / "growth.png").size[1] == 3 * 66 - 2  # another of that level is there


def test_a_run_of_no_length_ends_at_once(store: Store, tmp_path: Path) -> None:
    run = start(tmp_path / "run", store, small_run(total_kimg=0))
    assert run.train(plan()) is None
    run.log.close()
    assert (tmp_path / "run/checkpoint.pt").exists()


def test_signal_ends_a_run_with_a_checkpoint(store: Store, tmp_path: Path, monkeypatch) -> None:
    run = start(tmp_path / "run", store)
    iterate = run.trainer.iterate

    def interrupted() -> object:
        if run.trainer.images_seen == 40:
            signal.raise_signal(signal.SIGTERM)
        return iterate()

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(run.trainer, "iterate", interrupted)
    assert run.train(plan()) == signal.SIGTERM
    run.log.close()
    assert "stopped at 0.0 kimg; run the same command again to resume" in (tmp_path / "run/log.txt").read_text()
    assert signal.getsignal(signal.SIGTERM) == before
    again = start(tmp_path / "run", store)
    assert again.trainer.images_seen == 48
    again.log.close()


class Two(Ranks):
    """The first of two ranks, the other of which has nothing to say."""

    def __init__(self) -> None:
        super().__init__(world=2)
        self.met: list[list[int]] = []

    def most(self, values: list[int]) -> list[int]:
        self.met.append(values)
        return values

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        return values

    def average(self, tensors: Sequence[torch.Tensor]) -> None:
        pass

    def wait(self) -> None:
        pass


@pytest.mark.parametrize(("seconds", "count"), [(0.0, 20), (math.inf, 3)])
def test_processes_agree_on_stopping_often_enough(
    seconds: float, count: int, store: Store, tmp_path: Path, monkeypatch
) -> None:
    """Of 20 iterations after each one if one takes long, else after the first one, 16 more, and at the end."""
    monkeypatch.setattr("progan.training.session.MEET_S", seconds)
    ranks = Two()
    run = start(tmp_path / "run", store, small_run(hold_kimg=0.16), ranks)
    assert run.train(plan()) is None
    run.log.close()
    assert len(ranks.met) == 2 + count  # the first meeting is about measurements, the last about the final state


def test_second_signal_stops_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    with stop_signals() as received:
        signal.raise_signal(signal.SIGINT)
        assert received == [signal.SIGINT]
        assert capfd.readouterr().err == (
            "\nstopping after the current step; press Ctrl-C again to stop at once, without saving\n"
        )
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_config_json_tells_the_whole_run(finished: Path, store: Store) -> None:
    described = json.loads((finished / "config.json").read_text())
    assert described["config"] == json.loads(json.dumps(small_run().to_dict()))
    assert described["data"] == {
        "hash": store.hash,
        "count": 40,
        "spec": {"channels": 3, "height": 16, "width": 16, "classes": 2},
    }
    assert described["preset"] == "test"


def test_disk_error_names_the_file(store: Store, tmp_path: Path, monkeypatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(122, "Disk quota exceeded", "somewhere")

    run = start(tmp_path / "run", store)
    monkeypatch.setattr("progan.training.pictures.save_png", refuse)
    with pytest.raises(CheckpointError, match=r"somewhere: cannot be written \(Disk quota exceeded\); fix this"):
        run.train(plan())
    run.log.close()


def test_time_before_a_stop_is_counted_in_the_next_line_of_statistics(
    store: Store, tmp_path: Path, monkeypatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("progan.training.session.time.monotonic", lambda: now[0])
    iterate = Trainer.iterate

    def one_second_each(self: Trainer):
        if self.images_seen == 48 and now[0] < 100:
            signal.raise_signal(signal.SIGINT)
        now[0] += 1
        return iterate(self)

    monkeypatch.setattr(Trainer, "iterate", one_second_each)
    for _ in range(2):
        run = start(tmp_path / "run", store)
        run.train(plan())
        run.log.close()
        now[0] = 1000.0  # some time later
    rows = read_stats(tmp_path / "run")
    assert [round(1000 * row["kimg"]) for row in rows][:5] == [24, 32, 40, 64, 80]
    assert [row["seconds"] for row in rows][:5] == [3, 1, 1, 3, 2]  # one for each 8 images
