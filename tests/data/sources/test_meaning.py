"""One rule for labels, whatever they come from."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from progan.data.records import Choice
from progan.data.sources import open_source
from progan.data.sources.meaning import meaning
from progan.errors import DataError
from references.image_files import encoded, make_tar, noise, save

NAN = float("nan")

CLASSES = [
    ([1, 2, 3, 1], [0, 1, 2, 0], ("1", "2", "3")),
    ([10.0, 9.0, 10.0], [1, 0, 1], ("9", "10")),
    (["10", "9", "2.0"], [2, 1, 0], ("2", "9", "10")),
    (["007", "7"], [0, 0], ("7",)),
    ([True, False], [1, 0], ("False", "True")),
    (["TRUE", "false"], [1, 0], ("False", "True")),
    (["dog", "cat", " dog "], [1, 0, 1], ("cat", "dog")),
    (["3", "?", "4"], [0, 2, 1], ("3", "4", "?")),
    ([b"dog", b"cat"], [1, 0], ("cat", "dog")),
    ([-1, 0, 7], [-1, 0, 1], ("0", "7")),
    ([-1, 1, 2], [-1, 0, 1], ("1", "2")),
    ([1, -1, 1], [0, -1, 0], ("1",)),
    ([-2, -1, 3], [0, 1, 2], ("-2", "-1", "3")),
    ([None, 4, ""], [-1, 0, -1], ("4",)),
    ([NAN, 1.0, 2.0], [-1, 0, 1], ("1", "2")),
    (["a", "none"], [0, 1], ("a", "none")),
    (["1", "none"], [0, -1], ("1",)),
    ([[0, 1], [1, 0]], [1, 0], ("0", "1")),
    ([[7], [9]], [0, 1], ("7", "9")),
    ([10**30, 2], [1, 0], ("2", str(10**30))),
    (np.array([5, 3, 3], np.uint8), [1, 0, 0], ("3", "5")),
    (np.array([[5], [3]]), [1, 0], ("3", "5")),
    (np.eye(4)[[3, 0]], [1, 0], ("0", "3")),
    (np.array([2.0, NAN]), [0, -1], ("2",)),
]


@pytest.mark.parametrize(("cells", "labels", "classes"), CLASSES, ids=[str(cells)[:30] for cells, *_ in CLASSES])
def test_classes(cells: Any, labels: list[int], classes: tuple[str, ...]) -> None:
    found = meaning(cells, where="x")
    assert found.labels is not None
    assert (found.labels.tolist(), found.classes, found.columns) == (labels, classes, ())


NUMBERS = [
    ([0.5, 2, None], {"label": [0.5, 2, NAN]}),
    (["0.5", "nan", "1e3"], {"label": [0.5, NAN, 1000]}),
    ([float("inf"), 1], {"label": [float("inf"), 1]}),
    (np.array([0.25, NAN]), {"label": [0.25, NAN]}),
    ([[0.5, 1], [2, 3]], {"label": [[0.5, 1], [2, 3]]}),
    ([[1, 2], None], {"label": [[1, 2], [NAN, NAN]]}),
    ([[1, 2], NAN, ""], {"label": [[1, 2], [NAN, NAN], [NAN, NAN]]}),
    (np.array([[2, 0], [1, 1]]), {"label": [[2, 0], [1, 1]]}),
    ([["cat", "red"], ["cat"], []], {"label=cat": [1, 1, 0], "label=red": [1, 0, 0]}),
    ([[10, 9], [9], None], {"label=9": [1, 1, NAN], "label=10": [1, 0, NAN]}),
    (list(range(2000)), {"label": list(range(2000))}),
]


@pytest.mark.parametrize(("cells", "columns"), NUMBERS, ids=[str(cells)[:30] for cells, _ in NUMBERS])
def test_numbers_and_several_labels(cells: Any, columns: dict[str, list]) -> None:
    found = meaning(cells, where="x")
    assert (found.labels, found.classes) == (None, ())
    assert [one.name for one in found.columns] == list(columns)
    for one, values in zip(found.columns, columns.values(), strict=True):
        np.testing.assert_array_equal(one.values, np.array(values, np.float32))


def test_the_kind_decides() -> None:
    whole = meaning([3, 1, 3], kind="number", where="x")
    assert (whole.labels, whole.columns[0].values.tolist(), whole.columns[0].values.dtype) == (
        None,
        [3, 1, 3],
        np.int64,
    )
    assert meaning([0.5, 0.25], kind="class", where="x").classes == ("0.25", "0.5")
    assert meaning([-1, 1], kind="class", where="x").classes == ("-1", "1")
    assert meaning(list(range(2000)), kind="class", where="x").classes == tuple(map(str, range(2000)))
    assert meaning(np.eye(2), kind="number", where="x").columns[0].values.tolist() == [[1, 0], [0, 1]]


def test_declared_classes_are_kept_even_if_none_has_them() -> None:
    found = meaning([2, 0, -1], declared=("z", "a", "m"), where="x")
    assert found.labels is not None
    assert (found.labels.tolist(), found.classes) == ([2, 0, -1], ("z", "a", "m"))
    found = meaning(["m", "z"], declared=("z", "a", "m"), where="x")
    assert found.labels is not None
    assert found.labels.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("cells", "how", "named"),
    [
        (
            [{"a": 1}],
            {},
            r"w: the labels in 'label' cannot be used\n  found: \"\{'a': 1\}\"; expected numbers, text, or",
        ),
        ([[1], 2], {}, r"found: '\(1,\)'"),
        ([[{}], [{}]], {}, r"expected lists of numbers or text"),
        ([0, 3], {"declared": ("a", "b")}, r"found: 3; expected 0 ... 1, for the 2 classes"),
        (["c"], {"declared": ("a", "b")}, r"found: 'c'; expected one of the classes a, b"),
        (["a", 1], {"kind": "number"}, r"found: 'a'; expected numbers, as requested"),
        ([f"text {i}" for i in range(1500)], {}, r"found: 1500 different texts for 1500 images; expected classes"),
        (np.ones((3, 2)), {"kind": "class"}, r"found: 2 numbers for each image; expected one class"),
    ],
)
def test_what_has_no_meaning_is_named(cells: Any, how: dict, named: str) -> None:
    with pytest.raises(DataError, match=named):
        meaning(cells, where="w", **how)


def _folder(tmp_path: Path, cells: list) -> Path:
    for i in range(len(cells)):
        save(tmp_path / "f" / f"{i}.png", noise(8, 8, seed=i))
    return tmp_path / "f"


def _json(tmp_path: Path, cells: list) -> Path:
    path = _folder(tmp_path, cells)
    pairs = [[f"{i}.png", cell] for i, cell in enumerate(cells)]
    (path / "dataset.json").write_text(json.dumps({"labels": pairs}))
    return path


def _metadata(tmp_path: Path, cells: list) -> Path:
    path = _folder(tmp_path, cells)
    rows = [json.dumps({"file_name": f"{i}.png", "label": cell}) for i, cell in enumerate(cells)]
    (path / "metadata.jsonl").write_text("\n".join(rows))
    return path


def _webdataset(tmp_path: Path, cells: list) -> Path:
    files = {f"{i}.png": encoded(noise(8, 8, seed=i)) for i in range(len(cells))}
    sides = {f"{i}.json": json.dumps({"label": cell}).encode() for i, cell in enumerate(cells)}
    return make_tar(tmp_path / "w.tar", files | sides)


def _npz(tmp_path: Path, cells: list) -> Path:
    images = np.stack([noise(8, 8, seed=i) for i in range(len(cells))])
    np.savez(tmp_path / "n.npz", images=images, labels=np.array(cells))
    return tmp_path / "n.npz"


def _parquet(tmp_path: Path, cells: list) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = [encoded(noise(8, 8, seed=i)) for i in range(len(cells))]
    pq.write_table(pa.table({"image": images, "label": cells}), tmp_path / "p.parquet")
    return tmp_path / "p.parquet"


@pytest.mark.parametrize(
    ("cells", "labels", "classes", "values"),
    [
        ([10, 9, 10], [1, 0, 1], ("9", "10"), None),
        ([1.0, 2.0, 1.0], [0, 1, 0], ("1", "2"), None),
        ([True, False, True], [1, 0, 1], ("False", "True"), None),
        (["b", "a", "b"], [1, 0, 1], ("a", "b"), None),
        ([0.5, 1.5, 0.5], None, (), [0.5, 1.5, 0.5]),
        ([[0.5, 1.0], [2.0, 3.0], [4.0, 5.0]], None, (), [[0.5, 1], [2, 3], [4, 5]]),
    ],
    ids=["numbers", "whole floats", "truth values", "text", "floats", "vectors"],
)
@pytest.mark.parametrize("make", [_json, _metadata, _webdataset, _npz, _parquet])
def test_labels_mean_the_same_in_every_source(
    tmp_path: Path, make: Callable, cells: list, labels: list | None, classes: tuple, values: list | None
) -> None:
    source = open_source(make(tmp_path, cells))
    assert (source.labels, source.classes) == (labels, classes)
    assert [one.values.tolist() for one in source.columns] == ([] if values is None else [values])


def test_labels_of_only_some_images_are_told(tmp_path: Path) -> None:
    path = _metadata(tmp_path, [1, None, 0])
    with pytest.raises(DataError, match=r"1 of 3 images has no label\n  found: 1.png\n  fix:   add the missing labels"):
        open_source(path)
    kept = [record.name for record in open_source(path, skip=True) if not isinstance(record.data, DataError)]
    assert kept == ["0.png", "2.png"]
    assert open_source(path, labels="none").classes == ()


def test_minus_one_is_a_class_if_the_user_says_so(tmp_path: Path) -> None:
    path = _parquet(tmp_path, [-1, 1, 0])
    with pytest.raises(
        DataError, match=r"1 of 3 images has no label, but -1\n.*\n  fix:   use --labels auto:class if -1"
    ):
        open_source(path)
    source = open_source(path, labels="auto:class")
    assert (source.labels, source.classes) == ([0, 2, 1], ("-1", "0", "1"))
    assert open_source(path, Choice(exclude=("*[[]0]",)), labels="label:class").classes == ("0", "1")


def test_the_user_decides_what_a_label_is(tmp_path: Path) -> None:
    path = _parquet(tmp_path, [3, 5, 3])
    assert open_source(path, labels="auto:number").columns[0].values.tolist() == [3, 5, 3]
    assert open_source(path, labels="label:number").columns[0].values.tolist() == [3, 5, 3]
    assert open_source(_npz(tmp_path, [0.5, 1.5, 0.5]), labels="auto:class").classes == ("0.5", "1.5")
    table = tmp_path / "t.csv"
    table.write_text("file,age,height\n0.png,30,1.5\n1.png,40,1.75\n2.png,30,1.5\n")
    folder = _folder(tmp_path, [0, 0, 0])
    for labels, classes, columns in (
        (f"{table}:age", ("30", "40"), {"height": [1.5, 1.75, 1.5]}),
        (f"{table}:age:number", (), {"age": [30, 40, 30], "height": [1.5, 1.75, 1.5]}),
        (f"{table}:height", (), {"height": [1.5, 1.75, 1.5], "age": [30, 40, 30]}),
        (f"{table}:height:class", ("1.5", "1.75"), {"age": [30, 40, 30]}),
    ):
        source = open_source(folder, labels=labels)
        assert (source.classes, {one.name: one.values.tolist() for one in source.columns}) == (classes, columns)
        assert any(note.startswith("labels: ") for note in source.notes)
