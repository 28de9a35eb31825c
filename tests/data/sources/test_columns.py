"""What files say of images beside their class."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from column_values import NAN, found, plain
from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.data.sources import open_source
from progan.data.sources.columns import MOST_NAMES, column
from progan.errors import DataError
from references import tfrecord_writer
from references.image_files import encoded, make_tar, make_zip, noise, save

NAMES = ["a.png", "b.png", "c.png"]


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [
        ([3, -1, True], ("int64", [3, -1, 1], ())),
        (["3", " -1", "+007"], ("int64", [3, -1, 7], ())),
        ([False, True], ("int64", [0, 1], ())),
        (["false", "True"], ("int64", [0, 1], ())),
        ([1, 0.5], ("float32", [1, 0.5], ())),
        (["1", ".5", "-2e-1"], ("float32", [1, 0.5, float(np.float32(-0.2))], ())),
        ([1, None], ("float32", [1, NAN], ())),
        (["1", "", "NA", "nan"], ("float32", [1, NAN, NAN, NAN], ())),
        ([True, None], ("float32", [1, NAN], ())),
        ([1 << 63], ("float32", [float(1 << 63)], ())),
        (["9" * 400], ("float32", [np.inf], ())),
        (["red", "blue", "red"], ("int64", [1, 0, 1], ("blue", "red"))),
        (["red", None, "none"], ("int64", [2, 0, 1], ("", "none", "red"))),
        (["1", "x"], ("int64", [0, 1], ("1", "x"))),
        ([1, "x"], ("int64", [0, 1], ("1", "x"))),
        (["1_000", "2"], ("int64", [0, 1], ("1_000", "2"))),
        ([[1, 2], [3, 4]], ("int64", [[1, 2], [3, 4]], ())),
        ([[1, 0.5], [True, 4]], ("float32", [[1, 0.5], [1, 4]], ())),
        ([[1, 2], None], ("float32", [[1, 2], [NAN, NAN]], ())),
        ([[1, 2], [3]], None),
        ([[], []], None),
        ([[1, "x"], [1, 2]], None),
        ([[1, None], [1, 2]], None),
        ([{"a": 1}], None),
        ([1, {"a": 1}], None),
        ([1, [1]], None),
        ([10**400], ("int64", [0], (str(10**400),))),
        ([None, ""], None),
        ([], None),
        (np.array([1, 2], np.uint8), ("int64", [1, 2], ())),
        (np.array([True]), ("int64", [1], ())),
        (np.array([1 << 63], np.uint64), ("float32", [float(1 << 63)], ())),
        (np.array([[0.5, np.nan]]), ("float32", [[0.5, NAN]], ())),
        (np.array([np.nan]), None),
        (np.zeros((2, 0)), None),
        (np.zeros((2, 2, 2)), None),
        (np.array(["a"]), None),
    ],
)
def test_cells_become_numbers_or_classes(cells: Sequence, wanted: tuple | None) -> None:
    assert plain(column("x", cells)) == wanted


def test_text_of_which_nearly_every_one_is_another_is_left_out() -> None:
    many = [f"{i}.png" for i in range(MOST_NAMES + 1)]
    assert column("x", many) is None
    assert column("x", many[1:])
    assert column("x", 2 * many)
    assert column("x", 2 * many[1:] + many[:2]) is not None
    assert column("x", [*many, *many[:-1]]) is None


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for i, name in enumerate(NAMES):
        save(tmp_path / "images" / name, noise(8, 8, seed=i))
    return tmp_path / "images"


TEXT = "file,kind,age,size,note,,kind\nb.png,x,2,,big,?,7\na.png,y,1,0.5,small,?,7\nc.png,x,3,1,big,?,7\n"
AGE, SIZE = ("int64", [1, 2, 3], ()), ("float32", [0.5, NAN, 1], ())
NOTE, KIND = ("int64", [1, 0, 0], ("big", "small")), ("int64", [1, 0, 0], ("x", "y"))


@pytest.mark.parametrize("mark", [",", "\t", ";"])
def test_all_columns_of_a_table_of_labels(images: Path, tmp_path: Path, mark: str) -> None:
    file = tmp_path / "a.csv"
    file.write_text(TEXT.replace(",", mark))
    assert found(images, str(file)) == {"kind": KIND, "age": AGE, "size": SIZE, "note": NOTE}
    assert open_source(images, labels=str(file)).labels is None
    assert found(images, f"{file}:kind") == {"age": AGE, "size": SIZE, "note": NOTE}
    source = open_source(images, labels=f"{file}:kind")
    assert (source.labels, source.classes) == ([1, 0, 0], ("x", "y"))
    file.write_text(TEXT.replace("kind", "label", 1).replace(",", mark))
    source = open_source(images, labels=str(file))  # the column that is called so is the class
    assert (source.labels, source.classes) == ([1, 0, 0], ("x", "y"))
    assert found(images, f"{file}:age") == {"label_2": KIND, "size": SIZE, "note": NOTE, "kind": ("int64", [7] * 3, ())}
    assert found(images, "none") == {}


def test_columns_get_into_a_store(images: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(TEXT)
    (images / "b.png").write_bytes(b"broken")
    store = prepare(images, tmp_path / "store", PrepareOptions(labels=f"{tmp_path}/a.csv:kind", on_error="skip"))
    assert store.columns == ("label", "age", "size", "note")
    assert plain(store.column("age")) == ("int64", [1, 3], ())
    assert plain(store.column("note")) == ("int64", [1, 0], ("big", "small"))


def test_a_table_without_classes_leaves_those_of_folders(tmp_path: Path, pets: dict) -> None:
    (tmp_path / "a.csv").write_text("file,age,size\n" + "".join(f"{name},{i},0.5\n" for i, name in enumerate(pets)))
    source = open_source(tmp_path / "pets", labels=str(tmp_path / "a.csv"))
    assert (source.labels, source.classes) == ([0, 0, 0, 1, 1, 1], ("cat", "dog"))
    assert [plain(c) for c in source.columns] == [("int64", [*range(6)], ()), ("float32", [0.5] * 6, ())]
    (tmp_path / "a.csv").write_text("file\ncat\n")
    with pytest.raises(DataError, match="no column 'label'"):
        open_source(tmp_path / "pets", labels=str(tmp_path / "a.csv"))


def test_images_that_are_left_out_make_no_gaps(images: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("file,age,kind\na.png,1,x\nc.png,3,y\nz.png,0.5,z\n")
    assert found(images, str(tmp_path / "a.csv"), skip=True) == {
        "age": ("int64", [1, 0, 3], ()),
        "kind": ("int64", [0, 0, 1], ("x", "y")),
    }


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "file"])
def test_vectors_and_further_lists_of_dataset_json(images: Path, tmp_path: Path, kind: str) -> None:
    content = {
        "labels": [["a.png", [0.5, 1]], ["c.png", [2, 3]], ["b.png", [4, 5]]],
        "age": [[" b.png", 2], ["a.png", 1]],
        "version": 3,
        "notes": [["a.png", "x", "y"]],
    }
    data, files = json.dumps(content).encode(), {name: (images / name).read_bytes() for name in NAMES}
    path, labels = images, "auto"
    if kind == "zip":
        path = make_zip(tmp_path / "a.zip", {f"00000/{n}": d for n, d in files.items()} | {"00000/dataset.json": data})
    elif kind == "tar":
        path = make_tar(tmp_path / "a.tar", files | {"dataset.json": data})
    else:
        file = images / "dataset.json" if kind == "folder" else tmp_path / "b.json"
        file.write_bytes(data)
        labels = "auto" if kind == "folder" else str(file)
    wanted = {"labels": ("float32", [[0.5, 1], [4, 5], [2, 3]], ()), "age": ("float32", [1, 2, NAN], ())}
    assert found(path, labels) == wanted
    assert open_source(path, labels=labels).labels is None


def test_lists_beside_the_classes_of_dataset_json(images: Path) -> None:
    content = {"labels": [[f"./{name}", i] for i, name in enumerate(NAMES)], "age": [[name, 0.5] for name in NAMES]}
    (images / "dataset.json").write_text(json.dumps(content))
    assert found(images) == {"age": ("float32", [0.5] * 3, ())}
    assert open_source(images).labels == [0, 1, 2]
    (images / "dataset.json").write_text(json.dumps(content | {"labels": None}))
    assert found(images) == {"age": ("float32", [0.5] * 3, ())}
    assert open_source(images).labels is None


@pytest.mark.parametrize("labels", [None, []])
def test_lists_without_classes_in_dataset_json_need_not_fit(images: Path, tmp_path: Path, labels: object) -> None:
    content = {"labels": labels, "authors": [["Bob", "x"]], "age": [["c.png", 3], ["gone.png", 4]]}
    (images / "dataset.json").write_text(json.dumps(content))
    for path in ("auto", str(images / "dataset.json")):
        assert found(images, path) == {"age": ("float32", [NAN, NAN, 3], ())}
        assert list(open_source(images, labels=path).names) == sorted(NAMES)
    (images / "dataset.json").write_text(json.dumps({"labels": labels, "authors": [["Bob", "x"]]}))
    assert found(images) == {}
    assert len(prepare(images, tmp_path / "store").names) == 3
    with pytest.raises(DataError, match="contains no labels"):
        open_source(images, labels=str(images / "dataset.json"))
    (images / "dataset.json").write_text(json.dumps({"labels": labels, "mood": [["a.png", "x"], ["b.png", "y"]]}))
    assert found(images) == {"mood": ("int64", [1, 2, 0], ("", "x", "y"))}


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        (3, "invalid entry in its labels"),
        ([None], "invalid entry in its labels"),
        ([["a.png"]], "invalid entry in its labels"),
        ([["a.png", 1, 0]], "invalid entry in its labels"),
        ([["a.png", None], ["b.png", 3], ["c.png", 3]], "1 of 3 images has no label\n  found: a.png"),
        ([["a.png", {}], ["b.png", 1], ["c.png", 1]], "found: '{}'; expected numbers, text, or lists of these"),
    ],
)
def test_what_is_no_list_of_labels_in_dataset_json_is_named(images: Path, labels: object, named: str) -> None:
    (images / "dataset.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(DataError, match=named):
        open_source(images)


def test_attributes_of_celeba_beside_the_one_that_is_the_class(images: Path, tmp_path: Path) -> None:
    rows = "a.png -1 1 -1\nb.png 1 1 -1\nc.png 1 -1 -1\n"
    (tmp_path / "list_attr_celeba.txt").write_text(f"3\nBald Male Young\n{rows}")
    assert found(images, f"{tmp_path / 'list_attr_celeba.txt'}:Male") == {
        "Bald": ("int64", [-1, 1, 1], ()),
        "Young": ("int64", [-1, -1, -1], ()),
    }


def test_what_json_beside_images_says_comes_along(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    for shard in range(2):
        more = {"width": 8, "score": 0.5} if shard else {"width": 7, "box": [1, 2]}
        files = {f"{i}.png": encoded(noise(8, 8)) for i in range(2)}
        files |= {f"{i}.json": json.dumps({"label": i, **more}).encode() for i in range(2)}
        make_tar(tmp_path / "shards" / f"{shard}.tar", files)
    assert found(tmp_path / "shards") == {
        "width": ("int64", [7, 7, 8, 8], ()),
        "box": ("float32", [[1, 2], [1, 2], [NAN, NAN], [NAN, NAN]], ()),
        "score": ("float32", [NAN, NAN, 0.5, 0.5], ()),
    }
    assert open_source(tmp_path / "shards").labels == [0, 1, 0, 1]


def test_vectors_beside_tfrecords(tmp_path: Path) -> None:
    pixels = np.zeros((3, 3, 8, 8), np.uint8)
    folder = tfrecord_writer.write(tmp_path / "faces", pixels, np.array([[0, 1], [1, 1], [0, 0.5]], np.float32))
    assert found(folder) == {"labels": ("float32", [[0, 1], [1, 1], [0, 0.5]], ())}
    assert open_source(folder).labels is None
