import pickle
from pathlib import Path

import numpy as np
import pytest

from progan.data.sources import open_source
from progan.errors import DataError
from references.image_files import encoded, make_tar, noise, save

NAMES = [f"kind {i}" for i in range(100)]
PIXELS = np.random.default_rng(5).integers(0, 256, (7, 3072), np.uint8)
FINE = [99, 0, 41, 7, 7, 12, 63]


@pytest.fixture
def cifar100(tmp_path: Path) -> Path:
    """A folder like CIFAR-100's, with 5 and 2 images; its pickles have bytes for keys."""
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name, rows in (("train", slice(0, 5)), ("test", slice(5, 7))):
        batch = {b"data": PIXELS[rows], b"fine_labels": FINE[rows], b"coarse_labels": [1] * len(FINE[rows])}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    names = {"fine_label_names": NAMES, "coarse_label_names": ["all"] * 20}
    (folder / "meta").write_bytes(pickle.dumps(names, protocol=2))
    return folder


@pytest.mark.parametrize("kind", ["folder", "parent", "tar.gz"])
def test_pixels_fine_labels_and_splits(tmp_path: Path, cifar100: Path, kind: str) -> None:
    files = {f"cifar-100-python/{p.name}": p.read_bytes() for p in cifar100.iterdir()}
    archive = make_tar(tmp_path / "cifar-100-python.tar.gz", files | {"cifar-100-python/file.txt~": b""})
    path = {"folder": cifar100, "parent": tmp_path, "tar.gz": archive}[kind]
    for split, rows in (("train", slice(0, 5)), ("test", slice(5, 7)), ("all", slice(0, 7))):
        source = open_source(path, split=split)
        found = np.stack([record.data for record in source]).transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(found.reshape(-1, 3072), PIXELS[rows])
        assert source.labels == FINE[rows]
        assert source.classes == tuple(NAMES)
    assert source.names[4:6] == ["train[4]", "test[0]"]


def test_missing_and_broken_files_are_named(cifar100: Path) -> None:
    batch = {b"data": PIXELS, b"fine_labels": [100] * 7}
    (cifar100 / "train").write_bytes(pickle.dumps(batch, protocol=2))
    with pytest.raises(DataError, match=r"train: not a batch of CIFAR-100\n  found: .*and 'fine_labels'"):
        open_source(cifar100)
    (cifar100 / "train").unlink()
    with pytest.raises(
        DataError, match=r"incomplete CIFAR-100, train missing\n  found: meta, test\n  fix:   unpack cifar-100-py"
    ):
        open_source(cifar100)


def test_files_called_train_are_not_enough(tmp_path: Path) -> None:
    save(tmp_path / "pets" / "1.png", noise(8, 8))
    (tmp_path / "pets" / "train").write_text("1.png")
    assert open_source(tmp_path / "pets").names == ["1.png"]


def test_folders_called_train_and_meta_hold_images(tmp_path: Path) -> None:
    for name in ("train", "test", "meta"):
        save(tmp_path / "pets" / name / "1.png", noise(8, 8))
    assert open_source(tmp_path / "pets", split="test").names == ["test/1.png"]
    archive = make_tar(tmp_path / "a.tar", {f"{name}/1.png": encoded(noise(8, 8)) for name in ("train", "meta")})
    assert len(open_source(archive)) == 2
