"""Labels of a source that are wrong: reported where they are wanted, and in nobody's way where they are not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from progan.data.sources import open_source
from progan.errors import DataError
from references import tfrecord_writer
from references.image_files import encoded, idx, noise

PIXELS = np.stack([noise(8, 8, seed=i) for i in range(3)])


def npz(path: Path) -> Path:
    np.savez(path / "a.npz", images=PIXELS, labels=np.arange(2))
    return path / "a.npz"


def mnist(path: Path) -> Path:
    (path / "train-images-idx3-ubyte").write_bytes(idx(PIXELS[..., 0]))
    (path / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(2, dtype=np.uint8)))
    return path / "train-images-idx3-ubyte"


def records(path: Path) -> Path:
    folder = tfrecord_writer.write(path / "set", PIXELS.transpose(0, 3, 1, 2), np.eye(2))
    return folder / "set-r03.tfrecords"


def parquet(path: Path) -> Path:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    images = [encoded(pixels) for pixels in PIXELS]
    pq.write_table(pa.table({"image": images, "label": [["a", ""], ["b"], []]}), path / "a.parquet")
    return path / "a.parquet"


@pytest.mark.parametrize("make", [npz, mnist, records, parquet])
def test_wrong_labels_are_refused_only_where_they_are_wanted(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path)
    with pytest.raises(DataError, match=r"labels(.|\n)*--labels none"):
        open_source(path)
    source = open_source(path, labels="none")
    assert (len(source), source.labels) == (3, None)
    (tmp_path / "own.csv").write_text(
        "file,label\n" + "".join(f"{name},{i % 2}\n" for i, name in enumerate(source.names))
    )
    assert open_source(path, labels=str(tmp_path / "own.csv")).labels == [0, 1, 0]
