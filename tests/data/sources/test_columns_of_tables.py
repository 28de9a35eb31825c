"""What the columns of Parquet and Arrow files say of images beside their class."""

import json
from pathlib import Path

import numpy as np
import pytest

from column_values import NAN, found, plain
from progan.data.sources import open_source
from progan.data.sources.columns import MOST_NAMES
from progan.data.sources.hub import arrow_source
from progan.errors import DataError
from references.image_files import encoded, noise

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

NOTES = {"img": {"_type": "Image"}, "kind": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
NOTES |= {name: {"_type": "ClassLabel", "names": ["big", "small"]} for name in ("coarse", "unsure")}
IMAGES = [encoded(noise(8, 8, seed=i)) for i in range(4)]
CELLS = {
    "kind": pa.array([0, 1, 1, 0]),
    "coarse": pa.array([1, 0, 0, 1]),
    "unsure": pa.array([1, -1, 0, 1]),
    "count": pa.array([5, 6, 7, 8], pa.uint8()),
    "lacking": pa.array([5, None, 7, 8]),
    "score": pa.array([0.5, None, 1, 2], pa.float64()),
    "half": pa.array(np.array([0.5, 1, 2, 3], np.float16)),
    "flag": pa.array([True, False, False, True]),
    "color": pa.array(["red", "blue", None, "red"]),
    "word": pa.array(["x", "y", "x", "x"]).dictionary_encode(),
    "long": pa.array(["x", "y", "x", "x"], pa.large_string()),
    "box": pa.array([[1, 2], [3, 4], [5, 6], [7, 8]], pa.list_(pa.int32())),
    "point": pa.array([[0.5, 1], None, [2, None], [3, 4]], pa.list_(pa.float32(), 2)),
    "": pa.array([1, 2, 3, 4]),
    "uneven": pa.array([[1], [1, 2], [1], [1]]),
    "ragged": pa.array([[1], [1, 2], [], [1]]),
    "empty": pa.array([[], [], [], []], pa.list_(pa.int64())),
    "nothing": pa.array([None] * 4, pa.int64()),
    "nested": pa.array([[[1]], [[2]], [[3]], [[4]]]),
    "when": pa.array([1, 2, 3, 4], pa.timestamp("s")),
    "label": pa.array(["p", "q", "p", "q"]),
    "bytes": pa.array(IMAGES),
}
WANTED = {
    "coarse": ("int64", [1, 0, 0, 1], ("big", "small")),
    "unsure": ("int64", [1, -1, 0, 1], ()),
    "count": ("int64", [5, 6, 7, 8], ()),
    "lacking": ("float32", [5, NAN, 7, 8], ()),
    "score": ("float32", [0.5, NAN, 1, 2], ()),
    "half": ("float32", [0.5, 1, 2, 3], ()),
    "flag": ("int64", [1, 0, 0, 1], ()),
    "color": ("int64", [2, 1, 0, 2], ("", "blue", "red")),
    "word": ("int64", [0, 1, 0, 0], ("x", "y")),
    "long": ("int64", [0, 1, 0, 0], ("x", "y")),
    "box": ("int64", [[1, 2], [3, 4], [5, 6], [7, 8]], ()),
    "point": ("float32", [[0.5, 1], [NAN, NAN], [2, NAN], [3, 4]], ()),
    "label_2": ("int64", [0, 1, 0, 1], ("p", "q")),
}


def table():
    images = pa.array([{"bytes": image} for image in IMAGES], pa.struct([("bytes", pa.binary())]))
    notes = {"huggingface": json.dumps({"info": {"features": NOTES}})}
    return pa.table({"img": images, **CELLS}).replace_schema_metadata(notes)


def write(path: Path, table) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    return path


def columns(files: list[Path]) -> dict:
    source = open_source(files[0].parent) if files[0].suffix == ".parquet" else arrow_source("a", files)
    assert source.labels == [0, 1, 1, 0]
    return {column.name: plain(column) for column in source.columns}


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_columns_of_arrow_and_parquet(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "s").mkdir()
    wanted = WANTED if suffix == ".parquet" else {("label" if k == "label_2" else k): v for k, v in WANTED.items()}
    for cut in (4, 1, 2):
        parts = [table().slice(0, cut), table().slice(cut)]
        files = [write(tmp_path / "s" / f"{i}{suffix}", part) for i, part in enumerate(parts)]
        assert columns(files) == wanted
    other = parts[1].drop_columns(["flag"]).set_column(4, "count", pa.array(["5", "6"]))
    at = other.schema.names.index("lacking")
    other = other.set_column(at, "lacking", pa.array([7, 8], pa.int16()))
    other = other.set_column(other.schema.names.index("box"), "box", pa.array([7, 8]))
    files[1] = write(files[1], other)  # what is not in all files, or of another kind in one, is left out
    assert columns(files) == {name: value for name, value in wanted.items() if name not in ("flag", "count", "box")}


def test_a_file_of_labels_goes_before_the_columns_of_the_source(tmp_path: Path) -> None:
    cells = {"img": pa.array(IMAGES), "age": pa.array(range(4)), "size": pa.array(range(4))}
    pq.write_table(pa.table(cells), tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("file,age,score\n" + "".join(f"a.parquet[{i}],9,0.5\n" for i in range(4)))
    assert found(tmp_path / "a.parquet", str(tmp_path / "a.csv")) == {
        "age": ("int64", [9] * 4, ()),
        "score": ("float32", [0.5] * 4, ()),
        "size": ("int64", [0, 1, 2, 3], ()),
    }
    assert found(tmp_path / "a.parquet", "none") == {}


def test_captions_of_parquet_are_left_out(tmp_path: Path) -> None:
    count = MOST_NAMES + 1
    cells = {"img": pa.array([IMAGES[0]] * count), "text": pa.array([f"image {i}" for i in range(count)])}
    pq.write_table(pa.table(cells | {"kind": pa.array(["x"] * count)}), tmp_path / "a.parquet")
    assert list(found(tmp_path / "a.parquet")) == ["kind"]


def test_damaged_column_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": pa.array(range(4)), "img": pa.array(IMAGES)}), tmp_path / "a.parquet")
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[4:60] = bytes(56)
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(DataError, match=r"a.parquet: column 'n' cannot be read \(.*\)\n  fix: "):
        open_source(tmp_path / "a.parquet")
