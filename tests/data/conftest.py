import gzip
import pickle
from pathlib import Path

import numpy as np
import pytest

from references.image_files import idx, noise, python2_pickle, save


@pytest.fixture
def pets(tmp_path: Path) -> dict[str, np.ndarray]:
    """Two classes of three images, and things that are none."""
    images = {
        f"{kind}/{i}.png": noise(16, 16, seed=i + 9 * (kind == "dog")) for kind in ("dog", "cat") for i in range(3)
    }
    for name, pixels in images.items():
        save(tmp_path / "pets" / name, pixels)
    save(tmp_path / "pets" / ".thumbs" / "0.png", noise(8, 8))
    save(tmp_path / "pets" / "__MACOSX" / "0.png", noise(8, 8))
    (tmp_path / "pets" / "cat" / "._0.png").write_bytes(b"resource fork")
    (tmp_path / "pets" / "readme.txt").write_text("hello")
    return dict(sorted(images.items()))


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    """A folder like MNIST's, with 12 and 5 images; the test files are not compressed."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for name, count, pack in (("train", 12, gzip.compress), ("t10k", 5, bytes)):
        suffix = ".gz" if name == "train" else ""
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        (folder / f"{name}-images-idx3-ubyte{suffix}").write_bytes(pack(idx(images)))
        labels = (np.arange(count) * 7 % 10).astype(np.uint8)
        (folder / f"{name}-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(labels)))
    return folder


@pytest.fixture
def cifar(tmp_path: Path) -> Path:
    """A folder like CIFAR-10's, with 4 images in every batch."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(4)
    for i, name in enumerate([f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]):
        pixels = rng.integers(0, 256, (4, 3072), np.uint8)
        (folder / name).write_bytes(python2_pickle(pixels, [i, 1, 2, 3]))
        np.save(tmp_path / f"{name}.npy", pixels)
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}, protocol=2))
    return folder
