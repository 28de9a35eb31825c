from pathlib import Path

import numpy as np
import pytest

from progan.evaluation import cache


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("PROGAN_CACHE", str(tmp_path))
    return tmp_path / "metrics"


def test_what_is_saved_is_found_again(folder: Path) -> None:
    arrays = {"a": np.arange(5.0), "count": np.array(3)}
    cache.save("k", arrays)
    found = cache.load("k")
    assert found is not None
    assert {k: v.tolist() for k, v in found.items()} == {"a": [0, 1, 2, 3, 4], "count": 3}
    assert [p.name for p in folder.iterdir()] == ["k.npz"]
    assert cache.load("other") is None


def test_damaged_file_counts_as_none(folder: Path) -> None:
    cache.save("k", {"a": np.arange(1000.0)})
    whole = (folder / "k.npz").read_bytes()
    for damaged in (b"", whole[:-100], whole[:500] + b"\x00\xff" * 8 + whole[516:]):
        (folder / "k.npz").write_bytes(damaged)
        assert cache.load("k") is None


def test_pickles_are_not_read(folder: Path) -> None:
    folder.mkdir()
    np.savez(folder / "k.npz", a=np.array([{"x": 1}], object))
    assert cache.load("k") is None


def test_full_disk_only_means_that_nothing_is_kept(folder: Path) -> None:
    folder.write_bytes(b"")  # a file where the folder should be
    cache.save("k", {"a": np.zeros(1)})
    assert cache.load("k") is None
