import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from progan.data.store import Store
from progan.errors import ConfigError
from progan.evaluation.measure import Measurement
from progan.evaluation.monitor import MetricMonitor
from progan.evaluation.sets import of_snapshot, of_store
from progan.gans import ProGANConfig
from progan.gans.base import ImageSpec
from progan.snapshot import Snapshot


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PROGAN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def snapshot() -> Snapshot:
    torch.manual_seed(0)
    config, spec = ProGANConfig(fmap_base=64, fmap_max=8, latent_size=6), ImageSpec(3, 16, 16)
    return Snapshot(config.make_sampler(spec).requires_grad_(False), "progan", config, spec, level=2)


def monitor(store: Store, *names: str) -> MetricMonitor:
    return MetricMonitor(store, names, kimg=1, seed=0, count=20)


def test_values_are_those_of_a_measurement_at_the_resolution_of_the_snapshot(snapshot: Snapshot, store: Store) -> None:
    metrics = monitor(store, "ms_ssim", "swd")
    full, half = metrics(snapshot), metrics(replace(snapshot, level=1))
    measured = Measurement(of_store(store), ["ms_ssim", "swd"], count=20)(of_snapshot(snapshot, name="g")).results
    assert (full["ms_ssim"], full["swd"]) == (measured[0].value, measured[1].value)
    assert full["real/swd"] == measured[1].real_values["swd"]
    assert {"ms_ssim", "real/ms_ssim"} <= half.keys()
    assert "swd" not in half  # not defined at 8 pixels
    assert monitor(store, "swd")(replace(snapshot, level=1)) == {}


def test_what_is_missing_is_said_at_once(store: Store) -> None:
    with pytest.raises(ConfigError, match="unknown metric 'swdd'"):
        monitor(store, "swdd")
    with pytest.raises(ConfigError, match="count must be at least 2"):
        MetricMonitor(store, ["swd"], kimg=1, seed=0, count=1)


def test_best_is_decided_by_the_first_metric_among_equal_resolutions(store: Store) -> None:
    metrics = monitor(store, "swd", "ms_ssim")
    rows = [row(swd=5.0), row(8, swd=1.0), row(), row(swd=2.0, alpha=0.5)]
    assert metrics.better(row(swd=4.0), rows) == "swd"
    assert metrics.better(row(swd=5.0), rows) is None
    assert metrics.better(row(swd=1.0, alpha=0.5), rows) is None
    assert metrics.better(row(32, swd=9.0), rows) == "swd"
    assert metrics.better(row(ms_ssim=0.1), rows) is None
    assert monitor(store, "ms_ssim").better(row(ms_ssim=0.1), []) is None


def row(resolution: int = 16, **values: float) -> dict:
    named = {name.replace("real_", "real/"): value for name, value in values.items()}
    return {"resolution": resolution, "alpha": 1.0} | named


@pytest.mark.parametrize(
    ("before", "now", "message"),
    [
        (
            [row(ms_ssim=0.2)],
            row(ms_ssim=0.4, real_ms_ssim=0.25),
            "become similar to each other.*0.400, was 0.200, 0.250 for real images",
        ),
        ([row(ms_ssim=0.2)], row(ms_ssim=0.29, real_ms_ssim=0.1), ""),
        ([row(ms_ssim=0.2)], row(ms_ssim=0.4, real_ms_ssim=0.35), ""),
        ([row(8, ms_ssim=0.2)], row(ms_ssim=0.9), ""),
        ([], row(ms_ssim=0.9), ""),
        ([row(swd=9.0), row(swd=4.0)], row(swd=8.5), r"diverge from the data: SWD 8.50, was 4.00"),
        ([row(swd=9.0), row(swd=4.0)], row(swd=7.5), ""),
        ([row(8, swd=1.0)], row(swd=7.5), ""),
        ([row(swd=1.0, alpha=0.5)], row(swd=7.5), ""),
    ],
)
def test_collapse_is_warned_of(before: list, now: dict, message: str, store: Store) -> None:

    found = monitor(store, "swd").alarms([*before, now])
    assert len(found) == bool(message)
    assert not message or re.search(message, found[0])
