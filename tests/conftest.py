"""Fixtures that many tests share."""

import os
from pathlib import Path

import hypothesis
import pytest
import torch

from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.data.store import Store
from small import quick_plan, write_images

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost"  # where the tests' own servers are
hypothesis.settings.register_profile("same examples every time", derandomize=True)
hypothesis.settings.load_profile("same examples every time")


@pytest.fixture(autouse=True)
def seed() -> None:
    """Weights and images of a test do not depend on the tests before it."""
    torch.manual_seed(0)


GPUS = [name for name, here in {"cuda": torch.cuda, "mps": torch.backends.mps}.items() if here.is_available()]


@pytest.fixture(params=["cpu", *(pytest.param(name, marks=pytest.mark.gpu) for name in GPUS)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """The CPU, and the GPU where there is one."""
    return torch.device(request.param)


LONGEST = ("test_kill.py", "test_torchrun.py", "test_distributed.py", "test_train.py", "test_run.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first, so that no process ends up alone with one of them."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not GPUS:
        pytest.skip("needs a GPU")


@pytest.fixture
def no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs have a made-up plan; a real one takes longer than they do."""
    monkeypatch.setattr("progan.training.preflight.probe", quick_plan)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def store(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    options = PrepareOptions(resolution="16")
    return prepare(images, tmp_path_factory.mktemp("stores") / "small", options, workers=0)
