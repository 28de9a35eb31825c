"""A run that is killed again and again equals one that was not, bit for bit, in every file that it leaves."""

import os
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

import children
from progan.cli import main
from progan.data.store import Store
from progan.training import checkpoint
from progan.training.log import TIMINGS, read_stats
from small import quick_plan
from states import assert_same


def command(store: Store, out: Path) -> list[str]:
    small = ["--gan.fmap-base", "64", "--gan.fmap-max", "8", "--gan.latent-size", "8", "--schedule.batch", "8"]
    times = ["--schedule.hold-kimg", "0.06", "--schedule.fade-kimg", "0.06", "--schedule.total-kimg", "0.32"]
    often = ["--log-kimg", "0.03", "--sample-kimg", "0.06", "--snapshot-kimg", "0.06", "--checkpoint-minutes", "0.05"]
    metrics = ["--metrics", "swd", "ms_ssim", "--metric-kimg", "0.06", "--metric-count", "20"]
    run = ["train", "demo", str(store.path), "--out", str(out), "--name", "run", "--device", "cpu"]
    return [*run, *small, *times, *often, *metrics]


@pytest.fixture(scope="module")
def uninterrupted(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROGAN_CACHE", str(out))
        patch.setattr("progan.training.preflight.probe", quick_plan)
        assert main(command(store, out)) == 0
    return out / "run"


def interrupt(process: BaseProcess, stats: Path, lines: int, number: int) -> int | None:
    """Send a signal once the run has written some lines of statistics; returns the exit code."""
    end = time.monotonic() + 120
    while time.monotonic() < end and process.is_alive():
        if stats.exists() and len(stats.read_text().splitlines()) >= lines:
            break
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join(60)
    return process.exitcode


# In the neighborhood of the 8x8 fade, then in or near the 16x16 fade, and behind it: (lines of statistics, signal).
INTERRUPTIONS = [(2, signal.SIGKILL), (4, signal.SIGTERM), (7, signal.SIGKILL)]


def test_killed_run_goes_on_bit_for_bit(store: Store, uninterrupted: Path, tmp_path: Path) -> None:
    codes = []
    stats, said = tmp_path / "run/stats.jsonl", tmp_path / "said.txt"
    for least, number in INTERRUPTIONS:
        lines = max(least, len(stats.read_text().splitlines()) + 1 if stats.exists() else 0)  # those of this process
        run = command(store, tmp_path)
        with children.child(children.command, *run, said=said, PROGAN_CACHE=str(tmp_path)) as process:
            codes.append(interrupt(process, stats, lines, number))
    assert codes == [-number if number == signal.SIGKILL else 128 + number for _, number in INTERRUPTIONS], (
        said.read_text()
    )
    with children.child(children.command, *command(store, tmp_path), said=said, PROGAN_CACHE=str(tmp_path)) as process:
        process.join(120)
        assert process.exitcode == 0, said.read_text()
    assert "resuming at" in (tmp_path / "run/log.txt").read_text()
    states = [checkpoint.load(run)[0] or {} for run in (uninterrupted, tmp_path / "run")]
    assert_same(*({k: v for k, v in state.items() if k != "since"} for state in states))  # but for the time
    assert_same_files(uninterrupted, tmp_path / "run")


def assert_same_files(a: Path, b: Path) -> None:
    """Statistics without the timings, metrics, sample sheets and snapshots."""
    rows = [[{k: v for k, v in row.items() if k not in TIMINGS} for row in read_stats(run)] for run in (a, b)]
    assert rows[0] == rows[1]
    assert read_stats(a, "metrics.jsonl") == read_stats(b, "metrics.jsonl") != []
    for pattern in ("samples/*.png", "snapshots/*.safetensors", "best.safetensors", "growth.png"):
        names = [sorted(p.relative_to(run) for p in run.glob(pattern)) for run in (a, b)]
        assert names[0] == names[1]
        assert names[0]
        assert all((a / name).read_bytes() == (b / name).read_bytes() for name in names[0])
