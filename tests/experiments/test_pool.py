"""Several runs at once, in processes that end as the user wants."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from progan.experiments import EXPERIMENTS
from progan.experiments import pool as jobs
from progan.experiments.job import Job
from progan.experiments.scale import SCALES
from progan.experiments.synthetic import tiny_store

TABLE = EXPERIMENTS["table4"]


def job(out: Path, name: str, preset: str = "") -> Job:
    row = replace(TABLE.rows[0], name=name)
    return Job(TABLE, replace(row, preset=preset) if preset else row, 0, SCALES["smoke"], out / "store", out)


def test_processes_do_not_share_a_run_directory(tmp_path: Path) -> None:
    made = [job(tmp_path, "a"), job(tmp_path, "b"), job(tmp_path, "c", "mnist_1k_k4_stddev")]
    waiting = list(made)
    first = jobs._next(waiting, {})
    assert first == made[0]
    assert jobs._next(waiting, {None: (None, first)}) == made[2]  # "b" has the same run as the first
    assert jobs._next(waiting, {None: (None, first)}) is None
    assert waiting == [made[1]]


@pytest.mark.parametrize(
    ("stopped", "note"), [(False, "its process died .exit code 0.*; see "), (True, "interrupted; run the same command")]
)
def test_a_process_that_says_nothing_died_or_was_stopped(stopped: bool, note: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=os.getpid)
    process.start()
    sender.close()
    record = jobs._received(receiver, process, job(tmp_path, "a"), stopped=stopped)
    assert record["stopped"] == stopped
    (text,) = record["notes"]
    assert re.match(note, text)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_killed_command_leaves_no_process_behind(tmp_path: Path) -> None:
    rows = ["k4-wgan-gp", "k2-wgan-gp"]
    tiny_store(tmp_path)
    more = [
        str(tmp_path / "synthetic"),
        "--scale",
        "0.05",
        "--jobs",
        "2",
        "--seeds",
        "1",
        "--out",
        str(tmp_path),
        "--device",
        "cpu",
    ]
    env = {**os.environ, "PROGAN_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "progan", "reproduce", "table4", *more, "--rows", *rows], env=env
    ) as one:
        wait_until(lambda: len(list((tmp_path / "runs").glob("*/stats.jsonl"))) == 2)
        children = [p for p in Path("/proc").glob("[0-9]*") if "spawn_main" in command(p) and parent(p) == one.pid]
        assert len(children) == 2
        one.send_signal(signal.SIGKILL)
    try:
        wait_until(lambda: not any(map(command, children)))
    finally:
        for process in filter(command, children):
            os.kill(int(process.name), signal.SIGKILL)
    assert len(list((tmp_path / "runs").glob("*/checkpoint.pt"))) == 2


def wait_until(done) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.1)


def command(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:
        return ""


def parent(process: Path) -> int:
    return int((process / "stat").read_text().rpartition(")")[2].split()[1])
