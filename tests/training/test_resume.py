"""A trainer that loads a checkpoint equals one that was never interrupted: weights, average, Adam state, statistics.

Whole runs that are killed are in test_kill.py.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from progan.data.loader import Loader
from progan.data.store import Store
from progan.errors import ConfigError
from progan.gans.base import ImageSpec
from progan.training import checkpoint
from progan.training.config import RunConfig
from progan.training.loop import Trainer
from progan.training.preflight import probe
from progan.training.session import Session
from small import quick_plan, small_run
from states import assert_same

CPU = torch.device("cpu")
GPU_TOLERANCE = 1e-3
"""Largest difference of a weight or moment on a GPU, where sums are made in any order; bit for bit on the CPU."""


def trainer(config: RunConfig, store: Store, device: torch.device = CPU) -> Trainer:
    spec = ImageSpec(store.channels, store.height, store.width, len(store.classes))
    loader = Loader(store, seed=config.seed, mirror=config.mirror, device=device)
    return Trainer(config, spec, loader, device=device)


KINDS: dict[str, dict[str, Any]] = {
    "unconditional": {},
    "conditional": {"conditional": True},
    "simultaneous": {"simultaneous": True},
    "critics": {"n_critic": 2},
    "micro-batches": {},
}
CASES = {"in a hold": 16, "in a fade": 48, "between fade and hold": 64, "across a growth": 96}
AHEAD = 48
"""Images from a stop to the comparison: more than a stage, so that each resumed trainer comes through a change."""


def config_of(kind: str, device: torch.device) -> RunConfig:
    config = small_run()
    config = replace(config, gan=replace(config.gan, **KINDS[kind]), micro_batch=4 if kind == "micro-batches" else None)
    # On a GPU, an epsilon that keeps a gradient of the size of rounding errors from turning into a whole step.
    return config if device == CPU else replace(config, adam_eps=1e-4)


@pytest.fixture(scope="module")
def states(store: Store) -> Callable[[str, str], dict[int, Any]]:
    """By kind and device, copies of the states of an uninterrupted trainer, by the images that it had seen."""

    @cache
    def train(kind: str, device: str) -> dict[int, Any]:
        some = trainer(config_of(kind, torch.device(device)), store, torch.device(device))
        kept = {}
        while some.images_seen < max(CASES.values()) + AHEAD:
            some.iterate()
            if {some.images_seen, some.images_seen - AHEAD} & set(CASES.values()):
                kept[some.images_seen] = deepcopy(some.state_dict())
        return kept

    return train


@pytest.mark.parametrize("stop", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("kind", KINDS)
def test_resumed_trainer_equals_uninterrupted_trainer(
    kind: str,
    stop: int,
    states: Callable[[str, str], dict[int, Any]],
    device: torch.device,
    store: Store,
    tmp_path: Path,
) -> None:
    kept = states(kind, str(device))
    checkpoint.save(tmp_path, kept[stop])
    state, warnings = checkpoint.load(tmp_path)
    assert state is not None
    assert not warnings
    second = trainer(config_of(kind, device), store, device)
    second.load_state_dict(state)
    while second.images_seen < stop + AHEAD:
        second.iterate()
    assert_same(kept[stop + AHEAD], second.state_dict(), tolerance=0.0 if device == CPU else GPU_TOLERANCE)


def test_optimizers_are_reset_when_a_fade_begins_and_ends(store: Store) -> None:
    some = trainer(small_run(), store)
    steps = []
    while some.images_seen < 160:
        some.iterate()
        steps.append(max(int(s["step"]) for s in some.steppers["generator"].torch.state.values()))
    # Stages of 32 images with batch 8: hold 4, fade 8, hold 8, fade 16, hold 16.
    assert steps == [1, 2, 3, 4] * 5


def test_another_seed_gives_other_weights(store: Store) -> None:
    a, b = trainer(small_run(), store), trainer(replace(small_run(), seed=1), store)
    a.iterate(), b.iterate()
    with pytest.raises(AssertionError):
        assert_same(a.state_dict()["networks"], b.state_dict()["networks"])


def test_probing_leaves_the_run_as_it_is(store: Store) -> None:
    before = trainer(small_run(), store)
    probe(small_run(), before.spec, CPU, budget_s=2)
    after = trainer(small_run(), store)
    assert_same(before.state_dict(), after.state_dict())


def test_longer_total_is_no_other_run_but_other_networks_are(store: Store, tmp_path: Path) -> None:
    config = small_run()
    run = Session(tmp_path / "run", trainer(config, store), store, about={})
    run.train(quick_plan(config, run.trainer.spec, CPU))
    run.log.close()
    longer = small_run(total_kimg=0.2)
    again = Session(tmp_path / "run", trainer(longer, store), store, about={})
    assert again.trainer.images_seen == 160
    again.log.close()
    wider = replace(config, gan=replace(config.gan, fmap_max=16))
    with pytest.raises(ConfigError, match=r"gan\.fmap_max 8 -> 16"):
        Session(tmp_path / "run", trainer(wider, store), store, about={})
