import json
import sys
from pathlib import Path

import pytest

from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.data.sources import open_source
from progan.errors import DataError
from references.image_files import encoded, make_tar, noise

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

IMAGES = [encoded(noise(8, 8, seed=i)) for i in range(90)]
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FEATURES = {
    "coarse": {"dtype": "int64", "_type": "Value"},
    "thumb": {"dtype": "binary", "_type": "Value"},
    "img": {"_type": "Image"},
    "kind": {"names": ["cat", "dog", "eel"], "_type": "ClassLabel"},
}


def table(rows: range, labels: list | None = None, *, notes: object = FEATURES) -> pa.Table:
    """A table as the hub's programs write it, with a column of other numbers and one of other bytes in front."""
    images = [{"bytes": IMAGES[i], "path": f"{i}.png"} for i in rows]
    columns = {
        "coarse": pa.array([7] * len(rows), pa.int64()),
        "thumb": pa.array([b"x"] * len(rows), pa.binary()),
        "img": pa.array(images, IMAGE),
        "kind": pa.array([i % 3 for i in rows] if labels is None else labels, pa.int64()),
    }
    return pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": notes}})})


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    folder = tmp_path / "hub" / "data"
    folder.mkdir(parents=True)
    pq.write_table(table(range(40)), folder / "train-00000-of-00002.parquet", row_group_size=33)
    pq.write_table(table(range(40, 75)), folder / "train-00001-of-00002.parquet", row_group_size=10)
    pq.write_table(table(range(75, 90)), folder / "test-00000-of-00001.parquet")
    return folder.parent


def test_images_labels_and_splits_of_the_hub(hub: Path) -> None:
    for split, rows in (("train", range(75)), ("test", range(75, 90)), ("all", range(90))):
        for path in (hub, hub / "data"):
            source = open_source(path, split=split)
            assert [record.data for record in source] == [IMAGES[i] for i in rows]
            assert source.labels == [i % 3 for i in rows]
            assert source.classes == ("cat", "dog", "eel")
    assert source.names[38:41] == [f"train-0000{i}-of-00002.parquet[{row}]" for i, row in ((0, 38), (0, 39), (1, 0))]


def test_positions_are_read_without_the_others(hub: Path) -> None:
    source = open_source(hub, split="all")
    for positions in ([0], [32, 33], [39, 40], [5, 31, 32, 33, 71, 89], []):
        assert [record.data for record in source.records(positions)] == [IMAGES[i] for i in positions]


def test_one_file_is_a_source_whatever_it_is_called(hub: Path, tmp_path: Path) -> None:
    file = (hub / "data" / "test-00000-of-00001.parquet").rename(tmp_path / "x")
    assert [record.data for record in open_source(file)] == IMAGES[75:]


def test_store_of_parquet_skips_what_is_not_there(tmp_path: Path) -> None:
    images = [{"bytes": IMAGES[0]}, {"bytes": None, "path": "/etc/hostname"}, None, {"bytes": b"junk"}]
    pq.write_table(pa.table({"image": pa.array(images, IMAGE)}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a.parquet\[1\]: no image bytes in this row; paths .* are not followed"):
        prepare(tmp_path / "a.parquet", tmp_path / "store")
    assert prepare(tmp_path / "a.parquet", tmp_path / "store", PrepareOptions(on_error="skip")).count == 1


def test_folder_of_images_with_metadata_is_one_of_images(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(IMAGES[0])
    pq.write_table(pa.table({"file_name": ["1.png"]}), tmp_path / "metadata.parquet")
    assert open_source(tmp_path).names == ["1.png"]


@pytest.mark.parametrize("kind", ["tar", "folder"])
def test_parquets_of_img2dataset_are_about_the_images(tmp_path: Path, kind: str) -> None:
    for shard in ("00000", "00001"):
        pq.write_table(pa.table({"key": [f"{shard}0000"], "url": ["http://x"]}), tmp_path / f"{shard}.parquet")
        if kind == "tar":
            make_tar(tmp_path / f"{shard}.tar", {f"{shard}0000.png": IMAGES[0]})
        else:
            (tmp_path / shard).mkdir()
            (tmp_path / shard / f"{shard}0000.png").write_bytes(IMAGES[0])
    end = ".tar" if kind == "tar" else ""
    assert list(open_source(tmp_path).names) == [f"{shard}{end}/{shard}0000.png" for shard in ("00000", "00001")]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_file_without_notes_uses_usual_names(tmp_path: Path, kind: pa.DataType) -> None:
    columns = {"id": pa.array([5, 6]), "png": pa.array(IMAGES[:2], kind), "label": pa.array([1, 0], pa.uint8())}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    source = open_source(tmp_path)
    assert [record.data for record in source] == IMAGES[:2]
    assert (source.labels, source.classes) == ([1, 0], ("0", "1"))


@pytest.mark.parametrize("notes", [3, None, {"img": 3}, {"kind": {"_type": "ClassLabel", "names": 5}}])
def test_strange_notes_are_as_good_as_none(tmp_path: Path, notes: object) -> None:
    pq.write_table(table(range(3), notes=notes).drop_columns("thumb"), tmp_path / "a.parquet")
    assert [record.data for record in open_source(tmp_path)] == IMAGES[:3]


def test_secret_labels_are_none_and_lacking_ones_are_named(tmp_path: Path) -> None:
    pq.write_table(table(range(3), [-1, None, -1]), tmp_path / "a.parquet")
    assert (open_source(tmp_path).labels, open_source(tmp_path).classes) == (None, ())
    pq.write_table(table(range(3), [0, 1, None]), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"1 of 3 images has no label\n  found: a.parquet\[2\]"):
        open_source(tmp_path)
    pq.write_table(table(range(3), [0, 1, 3]), tmp_path / "a.parquet")
    with pytest.raises(
        DataError, match=r"the labels in 'kind' cannot be used\n  found: 3; expected 0 ... 2, for the 3"
    ):
        open_source(tmp_path)


@pytest.mark.parametrize("size", [0, 3, 100, -1, -500])
def test_broken_files_are_named(hub: Path, size: int) -> None:
    file = hub / "data" / "train-00001-of-00002.parquet"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(DataError, match=r"train-00001-of-00002.parquet: not a readable parquet file \(.*\)\n  found: "):
        open_source(hub)


def test_damaged_pages_are_errors_of_their_images(hub: Path) -> None:
    file = hub / "data" / "test-00000-of-00001.parquet"
    data = bytearray(file.read_bytes())
    at = data.index(IMAGES[75][:12])
    data[at - 40 : at + 60] = bytes(100)
    file.write_bytes(data)
    payloads = [record.data for record in open_source(hub, split="test")]
    assert len(payloads) == 15
    assert payloads != IMAGES[75:]


def test_missing_columns_split_and_package_are_named(tmp_path: Path, hub: Path, monkeypatch) -> None:
    pq.write_table(pa.table({"text": ["a"], "n": [1]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"no column of encoded images\n  found: text string, n int64"):
        open_source(tmp_path / "a.parquet")
    (hub / "data" / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(DataError, match=r"no images of the split 'test'\n  found: train\n  fix:   use --split train"):
        open_source(hub, split="test")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DataError, match=r"pip install 'progan\[parquet\]'"):
        open_source(hub)
