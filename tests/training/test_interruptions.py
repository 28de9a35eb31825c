"""What a run keeps when it is interrupted, fails, or is resumed after an attempt that was abandoned."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from progan.data.store import Store
from progan.errors import CheckpointError, DataError
from progan.processes import stop_signals
from progan.snapshot import Snapshot, snapshots_in
from progan.training import checkpoint, pictures
from progan.training.leftovers import set_aside
from progan.training.log import TIMINGS, RunLog, read_stats
from progan.training.loop import Trainer
from progan.training.monitor import Monitor
from progan.training.train import train
from progan.version import __version__
from small import small_run

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("no_probe")


def go(path: Path, store: Store, **more: Any) -> int | None:
    config = more.pop("config", small_run())
    return train(config, store, path=path, about={"preset": "test"}, device=CPU, **more)


def saved_at(path: Path) -> int | None:
    state, _ = checkpoint.load(path)
    return None if state is None else state["trainer"]["images_seen"]


def at(images: int, do: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Do something once, before the iteration that begins at so many images."""
    iterate = Trainer.iterate

    def iterating(self: Trainer) -> Any:
        if self.images_seen == images:
            do()
        return iterate(self)

    monkeypatch.setattr(Trainer, "iterate", iterating)


def fail(error: Exception) -> Callable[[], None]:
    def raise_it(*_: Any) -> None:
        raise error

    return raise_it


@pytest.fixture(scope="module")
def finished(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    path = tmp_path_factory.mktemp("finished") / "run"
    go(path, store)
    return path


# --- checkpoints


def test_first_checkpoint_comes_after_a_minute_and_then_every_so_many(
    store: Store, tmp_path: Path, monkeypatch
) -> None:
    """Of 20 iterations that take 20 s each, beside those at the ends of the stages after 32, 64, 96 and 128 images."""
    now, saves = [0.0], []
    iterate, save = Trainer.iterate, checkpoint.save
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(Trainer, "iterate", lambda self: (now.__setitem__(0, now[0] + 20), iterate(self))[1])
    monkeypatch.setattr(
        checkpoint, "save", lambda path, state: (saves.append(state["trainer"]["images_seen"]), save(path, state))
    )
    config = replace(small_run(hold_kimg=0.064, fade_kimg=0.064, total_kimg=0.16), checkpoint_minutes=2.0)
    go(tmp_path / "run", store, config=config)
    assert saves == [24, 64, 112, 128, 160]


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), OSError(5, "Input/output error")])
def test_error_between_iterations_loses_nothing(
    error: Exception, finished: Path, store: Store, tmp_path: Path, monkeypatch
) -> None:
    """The state is saved first, and resumes to the weights of a run without the error."""
    with monkeypatch.context() as patch:
        at(80, fail(error), patch)
        with pytest.raises(type(error), match=str(error.args[-1])):
            go(tmp_path / "run", store)
    assert saved_at(tmp_path / "run") == 80
    assert "ended by an error; its checkpoint is of 0.1 kimg" in (tmp_path / "run/log.txt").read_text()
    go(tmp_path / "run", store)
    one, other = (checkpoint.load(path)[0]["trainer"]["networks"] for path in (tmp_path / "run", finished))  # type: ignore[index]
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_error_within_an_iteration_leaves_the_last_whole_state(store: Store, tmp_path: Path, monkeypatch) -> None:
    """After the step of D the state is that of no iteration; what was saved before it is kept."""
    step, steps = Trainer._step, []

    def failing(self: Trainer, *rest: Any) -> Any:
        steps.append(self.images_seen)
        if steps.count(80) == 2:  # the step of G
            raise RuntimeError("out of memory")
        return step(self, *rest)

    monkeypatch.setattr(Trainer, "_step", failing)
    with pytest.raises(RuntimeError, match="out of memory"):
        go(tmp_path / "run", store)
    assert steps[-1] == 80
    assert saved_at(tmp_path / "run") == 64  # the end of a stage


def test_error_while_records_are_written_leaves_none_out(
    finished: Path, store: Store, tmp_path: Path, monkeypatch
) -> None:
    """The samples at 96 images fail; a resumed run has them, and every row, as a run without the error."""
    path, write, failed = tmp_path / "run", pictures.write_samples, []

    def failing(images: torch.Tensor, file: Path) -> None:
        if not failed and file.stem == "0000000.096":
            failed.append(file)
            raise RuntimeError("out of memory")
        write(images, file)

    monkeypatch.setattr(pictures, "write_samples", failing)
    with pytest.raises(RuntimeError, match="out of memory"):
        go(path, store)
    assert saved_at(path) == 64
    go(path, store)
    for pattern in ("samples/*.png", "snapshots/*"):
        assert [p.name for p in sorted(path.glob(pattern))] == [p.name for p in sorted(finished.glob(pattern))]
    one, other = ([{**row, **dict.fromkeys(TIMINGS)} for row in read_stats(where)] for where in (path, finished))
    assert one == other


def test_a_directory_that_was_removed_is_not_made_again(store: Store, tmp_path: Path, monkeypatch) -> None:
    at(40, lambda: shutil.rmtree(tmp_path / "run"), monkeypatch)
    monkeypatch.setattr(RunLog, "row", lambda *_: None)  # which fails first
    with pytest.raises(CheckpointError, match="was removed while the run was training"):
        go(tmp_path / "run", store, config=replace(small_run(), checkpoint_minutes=0.0))
    assert not (tmp_path / "run/checkpoint.pt").exists()


def test_hangup_ends_a_run_as_other_signals_do(store: Store, tmp_path: Path, monkeypatch) -> None:
    at(40, lambda: signal.raise_signal(signal.SIGHUP), monkeypatch)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    try:
        assert go(tmp_path / "run", store) == signal.SIGHUP
        assert saved_at(tmp_path / "run") == 48
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_hangup_that_is_ignored_stays_so() -> None:
    """As nohup has it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals() as received:
            os.kill(os.getpid(), signal.SIGHUP)
        assert received == []
    finally:
        signal.signal(signal.SIGHUP, before)


# --- measurements


class Failing:
    """A monitor whose measurement ends as it is told, and looks at what was saved before."""

    kimg = 0.05

    def __init__(self, path: Path, error: BaseException) -> None:
        self.path, self.error, self.saved = path, error, list[int | None]()

    def __call__(self, snapshot: Snapshot) -> dict[str, float]:
        self.saved.append(saved_at(self.path))
        raise self.error

    def better(self, *_: Any) -> None: ...

    def alarms(self, *_: Any) -> list[str]:
        return []


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), MemoryError()])
def test_failed_measurement_does_not_end_the_run(error: Exception, store: Store, tmp_path: Path) -> None:
    monitor: Monitor = Failing(tmp_path / "run", error)
    assert go(tmp_path / "run", store, monitor=monitor) is None
    assert monitor.saved == [32, 56, 64, 96, 104, 128, 152, 160]  # type: ignore[attr-defined]
    log = (tmp_path / "run/log.txt").read_text()
    assert log.count("warning: no metrics at") == 8
    assert log.count("Traceback") == 8
    assert "done:" in log


def test_a_measurement_that_kills_is_not_made_again(store: Store, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "run", store, monitor=Failing(tmp_path / "run", KeyboardInterrupt()))
    again = Failing(tmp_path / "run", ValueError())
    assert go(tmp_path / "run", store, monitor=again) is None
    assert again.saved[0] == 56  # the one at 32 images was in the way


# --- abandoned attempts


def test_files_beyond_the_checkpoint_are_set_aside(store: Store, tmp_path: Path, monkeypatch) -> None:
    """An attempt that wrote more often, and got further than its last checkpoint, as one that was killed."""
    path = tmp_path / "run"
    at(112, lambda: shutil.copytree(path, tmp_path / "killed"), monkeypatch)
    go(path, store, config=replace(small_run(), sample_kimg=0.008, snapshot_kimg=0.008))
    path = tmp_path / "killed"
    names = [f"{file.stem}" for file in snapshots_in(path)]
    assert (saved_at(path), names[-1]) == (96, "0000000.112")
    go(path, store, callbacks=[lambda progress: False])  # ends at once
    assert [file.name for file in sorted((path / "abandoned/snapshots").iterdir())] == [
        "0000000.104.safetensors",
        "0000000.112.safetensors",
    ]
    assert sorted(p.name for p in (path / "abandoned/samples").iterdir()) == ["0000000.104.png", "0000000.112.png"]
    assert Snapshot.load(path).kimg == 0.104  # made by the new attempt
    assert "moved 4 later files of an abandoned attempt to" in (path / "log.txt").read_text()
    assert (path / "samples/reals.png").exists()


def test_without_a_checkpoint_everything_but_the_reals_is_set_aside(tmp_path: Path) -> None:
    for name in ("samples/reals.png", "samples/0000000.032.png", "snapshots/0000000.032.discriminator.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "best.safetensors").write_bytes(b"damaged")
    assert set_aside(tmp_path, 0) == 3
    assert [p.name for p in (tmp_path / "samples").iterdir()] == ["reals.png"]


def test_best_generator_of_later_images_is_set_aside(tmp_path: Path) -> None:
    from progan.gans.base import ImageSpec

    config, spec = small_run().gan, ImageSpec(3, 16, 16)
    Snapshot(config.make_sampler(spec), "progan", config, spec, level=1, kimg=0.25).save(tmp_path / "best.safetensors")
    assert set_aside(tmp_path, 250) == 0
    assert set_aside(tmp_path, 249) == 1
    assert (tmp_path / "abandoned/best.safetensors").exists()


# --- files


def test_rows_are_json_even_where_numbers_are_not_finite(tmp_path: Path) -> None:
    log = RunLog(tmp_path, quiet=True)
    log.row({"kimg": 1.0, "loss": float("nan"), "norm": float("inf"), "none": None, "warnings": ["one", "two"]})
    log.close()

    def refuse(text: str) -> None:
        raise AssertionError(text)

    (line,) = (tmp_path / "stats.jsonl").read_text().splitlines()
    assert json.loads(line, parse_constant=refuse)["loss"] is None
    assert read_stats(tmp_path) == [{"kimg": 1.0, "warnings": ["one", "two"]}]
    RunLog(tmp_path, kimg=1.0, quiet=True).close()  # a resumed run keeps the line as it is
    assert (tmp_path / "stats.jsonl").read_text() == f"{line}\n"


def test_config_json_says_which_gan_version_and_torch(store: Store, tmp_path: Path) -> None:
    go(tmp_path / "run", store, callbacks=[lambda progress: False])
    facts = json.loads((tmp_path / "run/config.json").read_text())
    assert (facts["kind"], facts["version"], facts["torch"]) == ("progan", __version__, torch.__version__)


def test_data_that_is_gone_is_not_a_disk_that_is_full(store: Store, tmp_path: Path, monkeypatch) -> None:
    copy = Store.open(Path(shutil.copytree(store.path, tmp_path / "store")))
    at(32, lambda: shutil.rmtree(copy.path), monkeypatch)
    with pytest.raises(DataError, match=r"8x8\.npy"):
        go(tmp_path / "run", copy)
    assert saved_at(tmp_path / "run") == 32
