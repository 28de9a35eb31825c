"""An interrupted run equals one that was not, bit for bit: weights, average, Adam state, samples, statistics."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from progan.data.loader import Loader
from progan.data.store import Store
from progan.gans.base import ImageSpec
from progan.training import checkpoint
from progan.training.config import RunConfig
from progan.training.log import TIMINGS, read_stats
from progan.training.loop import Trainer
from progan.training.preflight import Plan, probe
from progan.training.session import Session
from small import small_run

CPU = torch.device("cpu")


def trainer(config: RunConfig, store: Store) -> Trainer:
    spec = ImageSpec(store.channels, store.height, store.width, len(store.classes))
    loader = Loader(store, seed=config.seed, mirror=config.mirror)
    return Trainer(config, spec, loader, device=CPU)


def flat(state: Any, prefix: str = "") -> dict[str, Any]:
    """Every tensor and value of a nested state by its path."""
    if not isinstance(state, dict):
        return {prefix: state}
    return {k: v for key, value in state.items() for k, v in flat(value, f"{prefix}/{key}").items()}


def assert_same(a: dict[str, Any], b: dict[str, Any]) -> None:
    a, b = flat(a), flat(b)
    assert a.keys() == b.keys()
    different = [
        k
        for k in a
        if not (torch.equal(a[k], b[k]) if isinstance(a[k], torch.Tensor) else list_of(a[k]) == list_of(b[k]))
    ]
    assert not different


def list_of(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


CASES = {"in a hold": 16, "in a fade": 48, "between fade and hold": 64, "across a growth": 96}


@pytest.mark.parametrize("stop", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("kind", ["unconditional", "conditional", "simultaneous", "critics", "micro-batches"])
def test_resumed_trainer_equals_uninterrupted_trainer(kind: str, stop: int, store: Store, tmp_path: Path) -> None:
    config = small_run()
    changes: dict[str, dict[str, Any]] = {"conditional": {"conditional": True}, "simultaneous": {"simultaneous": True}}
    changes["critics"] = {"n_critic": 2}
    config = replace(config, gan=replace(config.gan, **changes.get(kind, {})))
    if kind == "micro-batches":
        config = replace(config, micro_batch=4)
    whole, first = trainer(config, store), trainer(config, store)
    while first.images_seen < stop:
        first.iterate()
    checkpoint.save(tmp_path, first.state_dict())
    state, warnings = checkpoint.load(tmp_path)
    assert state is not None
    assert not warnings
    second = trainer(replace(config, seed=config.seed), store)
    second.load_state_dict(state)
    for some in (whole, second):
        while some.images_seen < 160:
            some.iterate()
    assert_same(whole.state_dict(), second.state_dict())


def test_optimizers_are_reset_when_a_fade_begins_and_ends(store: Store) -> None:
    some = trainer(small_run(), store)
    steps = []
    while some.images_seen < 160:
        some.iterate()
        steps.append(max(int(s["step"]) for s in some.steppers["generator"].torch.state.values()))
    # Stages of 32 images with batch 8: hold 4, fade 8, hold 8, fade 16, hold 16.
    assert steps == [1, 2, 3, 4] * 5


def command(images: Path, out: Path, *, total: float = 0.6) -> list[str]:
    small = ["--gan.fmap-base", "64", "--gan.fmap-max", "8", "--gan.latent-size", "8", "--schedule.batch", "8"]
    times = ["--schedule.hold-kimg", "0.1", "--schedule.fade-kimg", "0.1", "--schedule.total-kimg", str(total)]
    often = ["--log-kimg", "0.05", "--sample-kimg", "0.1", "--snapshot-kimg", "0.1", "--checkpoint-minutes", "0"]
    run = [sys.executable, "-m", "progan", "train", "demo", str(images), "--out", str(out), "--name", "run"]
    run += ["--device", "cpu"]
    metrics = ["--metrics", "swd", "ms_ssim", "--metric-kimg", "0.1", "--metric-count", "20"]
    return [*run, *small, *times, *often, *metrics]


def environment(cache: Path) -> dict[str, str]:
    return {**os.environ, "PROGAN_CACHE": str(cache), "OMP_NUM_THREADS": "1"}


def interrupt(process: subprocess.Popen[bytes], stats: Path, lines: int, number: int) -> int:
    """Send a signal once the run has written some lines of statistics."""
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        if stats.exists() and len(stats.read_text().splitlines()) >= lines:
            break
        time.sleep(0.01)
    process.send_signal(number)
    return process.wait(60)


@pytest.fixture(scope="module")
def uninterrupted(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    subprocess.run(command(images, out), check=True, env=environment(out), capture_output=True)
    return out / "run"


# In the neighborhood of the 8x8 fade, then in or near the 16x16 fade, and behind it: (lines of statistics, signal).
INTERRUPTIONS = [(2, signal.SIGKILL), (4, signal.SIGTERM), (6, signal.SIGINT), (8, signal.SIGKILL)]


def test_killed_run_goes_on_bit_for_bit(images: Path, uninterrupted: Path, tmp_path: Path) -> None:
    codes = []
    stats = tmp_path / "run/stats.jsonl"
    for least, number in INTERRUPTIONS:
        lines = max(least, len(stats.read_text().splitlines()) + 1 if stats.exists() else 0)  # those of this process
        with subprocess.Popen(
            command(images, tmp_path), env=environment(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                codes.append(interrupt(process, stats, lines, number))
            finally:
                process.kill()
    assert codes == [-number if number == signal.SIGKILL else 128 + number for _, number in INTERRUPTIONS]
    subprocess.run(command(images, tmp_path), check=True, env=environment(tmp_path), capture_output=True)
    assert "going on at" in (tmp_path / "run/log.txt").read_text()
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


def test_another_seed_gives_other_weights(store: Store) -> None:
    a, b = trainer(small_run(), store), trainer(replace(small_run(), seed=1), store)
    a.iterate(), b.iterate()
    with pytest.raises(AssertionError):
        assert_same(a.state_dict()["networks"], b.state_dict()["networks"])


def fresh_plan(config: RunConfig, store: Store) -> Plan:
    return probe(config, ImageSpec(store.channels, store.height, store.width), CPU, budget_s=0)


def test_probing_leaves_the_run_as_it_is(store: Store) -> None:
    before = trainer(small_run(), store)
    probe(small_run(), before.spec, CPU, budget_s=2)
    after = trainer(small_run(), store)
    assert_same(before.state_dict(), after.state_dict())


def test_longer_total_is_no_other_run_but_other_networks_are(store: Store, tmp_path: Path) -> None:
    from progan.errors import ConfigError

    config = small_run()
    run = Session(tmp_path / "run", trainer(config, store), store, about={})
    run.train(fresh_plan(config, store))
    run.log.close()
    longer = small_run(total_kimg=0.2)
    again = Session(tmp_path / "run", trainer(longer, store), store, about={})
    assert again.trainer.images_seen == 160
    again.log.close()
    wider = replace(config, gan=replace(config.gan, fmap_max=16))
    with pytest.raises(ConfigError, match=r"gan\.fmap_max 8 -> 16"):
        Session(tmp_path / "run", trainer(wider, store), store, about={})
