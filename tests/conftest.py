"""Fixtures that many tests share."""

import os
from pathlib import Path

import hypothesis
import pytest
import torch

from progan.data.options import PrepareOptions
from progan.data.store import Store, prepare
from small import write_images

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost"  # where the tests' own servers are
hypothesis.settings.register_profile("same examples every time", derandomize=True)
hypothesis.settings.load_profile("same examples every time")


@pytest.fixture(autouse=True)
def seed() -> None:
    """Weights and images of a test do not depend on the tests before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def store(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    options = PrepareOptions(resolution="16")
    return prepare(images, tmp_path_factory.mktemp("stores") / "small", options, workers=0)
