"""The digit classifier learns glyphs, the same with the same seed, and says how well; no data set is needed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from progan.curation.digits import train_digit_classifier
from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.errors import DataError
from progan.metrics.digits import load
from references.image_files import idx

SEGMENTS = {  # of a seven-segment display: rows and columns of a 24 x 14 glyph
    "top": (slice(0, 3), slice(0, 14)),
    "middle": (slice(10, 13), slice(0, 14)),
    "bottom": (slice(21, 24), slice(0, 14)),
    "top left": (slice(0, 12), slice(0, 3)),
    "top right": (slice(0, 12), slice(11, 14)),
    "bottom left": (slice(12, 24), slice(0, 3)),
    "bottom right": (slice(12, 24), slice(11, 14)),
}
UNLIT = {
    0: ["middle"],
    1: ["top", "middle", "bottom", "top left", "bottom left"],
    2: ["top left", "bottom right"],
    3: ["top left", "bottom left"],
    4: ["top", "bottom", "bottom left"],
    5: ["top right", "bottom left"],
    6: ["top right"],
    7: ["middle", "bottom", "top left", "bottom left"],
    8: [],
    9: ["bottom left"],
}


def glyphs(labels: np.ndarray, seed: int) -> np.ndarray:
    """Seven-segment digits somewhere in uint8 [N, 28, 28], of different brightness, with noise."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 30, (len(labels), 28, 28), np.uint8)
    for image, label in zip(images, labels.tolist(), strict=True):
        y, x = rng.integers(1, 4), rng.integers(5, 10)
        for name, place in SEGMENTS.items():
            if name not in UNLIT[label]:
                image[y : y + 24, x : x + 14][place] = rng.integers(120, 256)
    return images


def write_idx(folder: Path, *, train: int, test: int, with_labels: bool = True) -> Path:
    folder.mkdir()
    for seed, (name, count) in enumerate({"train": train, "t10k": test}.items()):
        labels = (np.arange(count) * 7 % 10).astype(np.uint8)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(idx(glyphs(labels, seed)))
        if with_labels:
            (folder / f"{name}-labels-idx1-ubyte").write_bytes(idx(labels))
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROGAN_CACHE", str(tmp_path / "cache"))


def test_learns_to_read_and_says_how_well(tmp_path: Path) -> None:
    source, out = write_idx(tmp_path / "glyphs", train=512, test=200), tmp_path / "digits.safetensors"
    error = train_digit_classifier(source, out, progress=False, epochs=4)
    assert error < 0.1
    labels = np.arange(200) * 7 % 10
    images = torch.from_numpy(glyphs(labels, seed=1))[:, None]  # the test images
    digits = load(out)(images).digits
    assert digits is not None
    assert (digits[:, 0].numpy() != labels).mean() == error
    with safe_open(out, "pt") as file:
        header = json.loads(file.metadata()["progan"])
    assert header["test_error"] == error
    assert len(header["data"]) == 64


def test_the_seed_decides_everything(tmp_path: Path) -> None:
    source = write_idx(tmp_path / "glyphs", train=256, test=20)
    files = [tmp_path / name for name in ("a", "b", "c")]
    for file, seed in zip(files, (0, 0, 1), strict=True):
        torch.manual_seed(len(file.name) + seed)  # which must not matter
        torch.rand(1)
        train_digit_classifier(source, file, seed=seed, progress=False, epochs=1)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert load(files[0]).hash != load(files[2]).hash


def test_sources_without_two_labeled_parts(tmp_path: Path) -> None:
    source = write_idx(tmp_path / "glyphs", train=30, test=20)
    store = prepare(source, tmp_path / "store", PrepareOptions(resolution="32"), workers=0)
    for path in (store.path, source / "train-images-idx3-ubyte"):
        with pytest.raises(DataError, match="found: only one set of images"):
            train_digit_classifier(path, tmp_path / "out", progress=False)
    bare = write_idx(tmp_path / "bare", train=30, test=20, with_labels=False)
    with pytest.raises(DataError, match="found: 0 classes"):
        train_digit_classifier(bare, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
