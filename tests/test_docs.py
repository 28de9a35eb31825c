"""What the documents show is what the code does."""

import re
import runpy
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

import progan
from progan.data.store import Store
from progan.schedule import ScheduleConfig
from progan.snapshot.registry import GANS
from progan.training.config import RunConfig

ROOT = Path(__file__).parents[1]


def test_the_picture_of_the_house_is_that_of_the_layer_rule() -> None:
    drawn = runpy.run_path(str(ROOT / "docs/house.py"))["draw"]()
    assert drawn == (ROOT / "docs/house.svg").read_text(), "python docs/house.py draws it anew"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The GAN that CONTRIBUTING.md adds, as a module."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.DOTALL)
    module = ModuleType("small_gan")
    monkeypatch.setitem(sys.modules, "small_gan", module)
    exec(compile(code, "CONTRIBUTING.md", "exec"), module.__dict__)
    monkeypatch.setitem(GANS, "small_gan", module.SmallGANConfig)
    return module


def test_the_worked_example_of_a_new_gan_trains_resumes_and_makes_images(
    example: ModuleType, store: Store, tmp_path: Path
) -> None:
    schedule = ScheduleConfig(resolution=16, start_resolution=16, batch=8, total_kimg=0.16)
    config = RunConfig(gan=example.SmallGANConfig(features=8), schedule=schedule, snapshot_kimg=0.08)
    whole = progan.train(config, store, out=tmp_path, name="whole", device="cpu")
    half = replace(config, schedule=replace(schedule, total_kimg=0.08))
    progan.train(half, store, out=tmp_path, name="half", device="cpu")
    resumed = progan.train(config, store, out=tmp_path, name="half", device="cpu")
    assert resumed.snapshots[-1].read_bytes() == whole.snapshots[-1].read_bytes()
    images = whole.snapshot().generate(seeds=range(4))
    assert images.shape == (4, 3, 16, 16)
    assert not torch.equal(images, whole.snapshot(0).generate(seeds=range(4)))
