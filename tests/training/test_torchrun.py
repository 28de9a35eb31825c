"""The command under the real launcher: the first rank prepares the images, both train, and one writes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import children
from progan.training.log import read_stats


def torchrun(*args: str, cache: Path) -> None:
    """Run ``progan ARGS`` in two processes of the real launcher; they end themselves if they take too long."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PROGAN_CACHE": str(cache)}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = subprocess.Popen(
        [*launcher, children.__file__, *args], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        said, _ = process.communicate(timeout=300)
    finally:
        process.terminate()  # it then ends the ranks, which are in sessions of their own
        process.wait(60)
    assert process.returncode == 0, said


def test_command_under_torchrun_prepares_and_writes_once(images: Path, tmp_path: Path) -> None:
    small = ["--gan.fmap-base", "64", "--gan.fmap-max", "8", "--schedule.batch", "8", "--log-kimg", "0.008"]
    run = ["--out", str(tmp_path), "--name", "run", "--device", "cpu", "--schedule.total-kimg", "0.016"]
    torchrun("train", "demo", str(images), *run, *small, cache=tmp_path)
    assert [row["kimg"] for row in read_stats(tmp_path / "run")] == pytest.approx([0.008, 0.016])
