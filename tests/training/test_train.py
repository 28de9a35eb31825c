"""In which order a run takes the memory that it needs."""

import gc
import weakref
from pathlib import Path

import pytest
import torch

from progan.data.store import Store
from progan.devices import Share
from progan.errors import ConfigError
from progan.training import preflight
from progan.training import train as module
from progan.training.loop import Trainer
from progan.training.train import train
from small import small_run

CPU = torch.device("cpu")


def test_networks_of_the_probe_are_gone_before_those_of_the_run(store: Store, tmp_path: Path, monkeypatch) -> None:
    probed: list[weakref.ref] = []

    class Probe(Trainer):
        def __init__(self, *args: object, **more: object) -> None:
            super().__init__(*args, **more)  # type: ignore[arg-type]
            probed.extend(map(weakref.ref, self.gan.networks.parameters()))

    class Run(Trainer):
        def __init__(self, *args: object, **more: object) -> None:
            assert probed
            assert not [p for p in probed if p() is not None]
            super().__init__(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(preflight, "Trainer", Probe)
    monkeypatch.setattr(module, "Trainer", Run)
    train(small_run(total_kimg=0.008), store, path=tmp_path / "run", about={}, device=CPU)
    assert len(probed) > 10


def test_what_training_needs_is_set_aside_before_a_level_is_held(store: Store, tmp_path: Path, monkeypatch) -> None:
    gc.collect()
    asked: list[int] = []

    def hold(share: Share, size: int) -> bool:
        if size:
            asked.append(sum(other.needed for other in Share._all))
        return False

    monkeypatch.setattr(Share, "hold", hold)
    train(small_run(total_kimg=0.008), store, path=tmp_path / "run", about={}, device=CPU)
    networks = small_run().gan.make(module.spec_of(small_run(), [store], [module._loader(small_run(), store, 0, CPU)]))
    weights = sum(p.nbytes for p in networks.networks.parameters())
    assert asked
    assert 4 * weights < asked[0] < 100 * weights
    gc.collect()
    assert not sum(share.needed for share in Share._all)  # and is given back


def test_another_run_is_refused_before_the_probe(store: Store, tmp_path: Path, monkeypatch) -> None:
    how = {"path": tmp_path / "run", "about": {}, "device": CPU}
    train(small_run(total_kimg=0), store, **how)
    monkeypatch.setattr(preflight, "probe", lambda *args, **more: pytest.fail("probed"))
    with pytest.raises(ConfigError, match=r"schedule\.lr"):
        train(small_run(total_kimg=0.008, lr=0.5), store, **how)
    train(small_run(total_kimg=0), store, **how)  # nothing is left to be planned


def test_impossible_settings_leave_no_run_directory(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"schedule\.batch 6"):
        train(small_run(batch=6), store, path=tmp_path / "run", about={}, device=CPU)
    assert not (tmp_path / "run").exists()
