import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.data.records import Choice
from progan.data.sources import archives, open_source
from progan.data.sources.label_files import read_labels
from progan.errors import DataError
from references.image_files import encoded, make_tar, make_zip, noise, save


def labels_of(path: Path, labels: str = "auto", *, skip: bool = False) -> list[tuple[str, str | None]]:
    source = open_source(path, labels=labels, skip=skip)
    return [(r.name, None if r.label is None else source.classes[r.label]) for r in source]


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


WANTED = [("cat/0.png", "b"), ("cat/1.png", "a"), ("cat/2.png", "a"), ("dog/0.png", "b"), ("dog/1.png", "a")]
WANTED += [("dog/2.png", "b")]
ROWS = [f"{name},{value}" for name, value in WANTED]


@pytest.mark.parametrize("mark", [",", ";", "\t", " "])
@pytest.mark.parametrize("header", ["", "file,label\n"])
def test_csv_with_and_without_header(tmp_path: Path, pets: dict, mark: str, header: str) -> None:
    text = (header + "\n".join(reversed(ROWS))).replace(",", mark)
    assert labels_of(tmp_path / "pets", write(tmp_path / "a.csv", text)) == WANTED


def test_numbers_are_sorted_as_numbers(tmp_path: Path, pets: dict) -> None:
    text = "\n".join(f"{name},{value}" for name, value in zip(pets, [10, 9, 2, 10, 9, 2], strict=True))
    assert open_source(tmp_path / "pets", labels=write(tmp_path / "a.csv", text)).classes == ("2", "9", "10")


def test_base_names_match_if_they_are_unique(tmp_path: Path) -> None:
    for name in ("x/a.png", "y/b.png", "z/c.png"):
        save(tmp_path / "s" / name, noise(8, 8))
    file = write(tmp_path / "a.csv", "a.png,0\nb.png,1\nz/c.png,0")
    assert [label for _, label in labels_of(tmp_path / "s", file)] == ["0", "1", "0"]
    save(tmp_path / "s" / "z" / "a.png", noise(8, 8))
    with pytest.raises(DataError, match=r"1 of \d+ labels is for a file that does not exist\n  found: a.png\n  fix: "):
        labels_of(tmp_path / "s", file)


NAMELESS = {
    "ids.csv": "id,breed\na1,dog\nb2,cat\n",
    "ids.txt": "a1 dog 0 0 62\nb2 cat 0 0 62\n",
    "boxes.tsv": "a1.png\tdog\t0\t0\t62\nb2.png\tcat\t0\t0\t62\n",
    "list.txt": "#Image CLASS\n#ID: 1:37\na1 dog\nb2 cat\n",
    "ids.jsonl": '{"id": "a1", "label": "dog"}\n{"id": "b2", "label": "cat"}\n',
    "list.json": '[{"file_name": "a1.png", "label": "dog"}, {"file_name": "b2.png", "label": "cat"}]',
    "names.json": '{"a1.png": "dog", "b2.png": "cat"}',
}


@pytest.mark.parametrize("name", NAMELESS)
def test_tables_of_ids_and_without_headers(tmp_path: Path, name: str) -> None:
    for image in ("x/a1.png", "x/b2.png"):
        save(tmp_path / "s" / image, noise(8, 8))
    found = labels_of(tmp_path / "s", write(tmp_path / name, NAMELESS[name]))
    assert found == [("x/a1.png", "dog"), ("x/b2.png", "cat")]


@pytest.mark.parametrize("kind", ["folder", "zip", "csv"])
def test_labels_of_images_that_are_left_out_are_no_mistakes(tmp_path: Path, kind: str) -> None:
    files = [f"{part}/{i}{end}.png" for part in ("train", "test") for i in "123" for end in ("", "_mask")]
    rows = [[file, int("1" in file)] for file in files]
    images = {file: encoded(noise(8, 8, seed=i)) for i, file in enumerate(files)}
    table = write(tmp_path / "a.csv", "".join(f"{file},{label}\n" for file, label in rows))
    images |= {} if kind == "csv" else {"dataset.json": json.dumps({"labels": rows}).encode()}
    path = make_zip(tmp_path / "s.zip", images)
    if kind != "zip":
        zipfile.ZipFile(path).extractall(path := tmp_path / "s")
    source = open_source(path, Choice(exclude=("3*",)), labels=table if kind == "csv" else "auto")
    assert [(r.name, r.label) for r in source] == [("train/1.png", 1), ("train/2.png", 0)]
    table = write(tmp_path / "a.csv", f"{Path(table).read_text()}train/4.png,0\n3.png,0\n")
    with pytest.raises(DataError, match=r"1 of 14 labels is for a file that does not exist\n  found: train/4.png"):
        open_source(path, Choice(exclude=("3*",)), labels=table)


def test_the_label_of_an_image_of_another_split_is_not_taken(tmp_path: Path) -> None:
    for name in ("s/train/1.png", "s/train/2.png", "s/test/1.png", "s/test/2.png"):
        save(tmp_path / name, noise(8, 8))
    file = write(tmp_path / "a.csv", "train/2.png,a\ntest/1.png,b\ntest/2.png,b")
    with pytest.raises(DataError, match=r"1 of 2 images has no label\n  found: train/1.png"):
        open_source(tmp_path / "s", labels=file)


def test_decimal_commas_are_numbers(tmp_path: Path) -> None:
    for image in ("a.png", "b.png", "c.png"):
        save(tmp_path / "s" / image, noise(8, 8))
    text = "file;label;text;age\na.png;0,5;1,x;1\nb.png;-1,25;2,5;2\nc.png;3;4;3"
    columns = open_source(tmp_path / "s", labels=write(tmp_path / "a.csv", text)).columns
    found = {one.name: one.values.tolist() for one in columns if not one.classes}
    assert found == {"label": [0.5, -1.25, 3], "age": [1, 2, 3]}
    assert [one.classes for one in columns if one.name == "text"] == [("1,x", "2,5", "4")]
    text = "sep=;\r\n" + text
    again = open_source(tmp_path / "s", labels=write(tmp_path / "a.csv", text)).columns
    assert [one.values.tolist() for one in again] == [one.values.tolist() for one in columns]


def test_a_table_without_a_label_says_what_to_choose(tmp_path: Path) -> None:
    for image in ("a.png", "b.png"):
        save(tmp_path / "s" / image, noise(8, 8))
    file = write(tmp_path / "a.csv", "file,dx,age\na.png,nv,1\nb.png,mel,2")
    note = "a.csv has no column 'label', but others: dx, age (--labels FILE:COLUMN takes one)"
    assert open_source(tmp_path / "s", labels=file).notes == (note,)
    assert open_source(tmp_path / "s", labels=f"{file}:dx").classes == ("mel", "nv")


def test_names_of_a_mac_match_composed_ones(tmp_path: Path) -> None:
    save(tmp_path / "s" / "e\u0301.png", noise(8, 8))
    save(tmp_path / "s" / "u\u0308.png", noise(8, 8))
    (tmp_path / "a.csv").write_text("x/\u00fc.png,0\n\u00e9,1", encoding="utf-8")
    assert [label for _, label in labels_of(tmp_path / "s", str(tmp_path / "a.csv"))] == ["1", "0"]


@pytest.mark.parametrize("end", ["npy", "npz"])
def test_labels_in_an_array_are_in_the_order_of_the_images(tmp_path: Path, end: str) -> None:
    np.save(tmp_path / "x.npy", np.stack([noise(8, 8, seed=i) for i in range(4)]))
    labels = tmp_path / f"y.{end}"
    np.save(labels, np.array([3, 1, 3, 2])) if end == "npy" else np.savez(labels, np.array([3, 1, 3, 2]))
    assert [label for _, label in labels_of(tmp_path / "x.npy", str(labels))] == ["3", "1", "3", "2"]
    np.save(tmp_path / "z.npy", np.array([b"dog", b"cat", b"dog", b"dog"]))
    assert [label for _, label in labels_of(tmp_path / "x.npy", str(tmp_path / "z.npy"))] == [
        "dog",
        "cat",
        "dog",
        "dog",
    ]
    np.save(tmp_path / "x.npy", np.stack([noise(8, 8, seed=i) for i in range(3)]))
    with pytest.raises(DataError, match=r"not the labels of these images\n  found: int64 of shape \[4\], 3 images"):
        labels_of(tmp_path / "x.npy", str(labels))
    labels.write_bytes(labels.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"not a readable array of labels"):
        labels_of(tmp_path / "x.npy", str(labels))


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16])
def test_an_array_gives_each_image_of_a_folder_a_vector(tmp_path: Path, kind: type) -> None:
    """Rows are in the order of the images, which the summary says; other labels of the images are not used."""
    for name in ("b/1.png", "a/2.png", "a/10.png"):
        save(tmp_path / "s" / name, noise(8, 8))
    rows = np.random.default_rng(0).standard_normal((3, 512)).astype(kind)
    np.save(tmp_path / "y.npy", rows)
    options = PrepareOptions(resolution="8", labels=str(tmp_path / "y.npy"))
    store = prepare(tmp_path / "s", tmp_path / "store", options, workers=0)
    assert list(store.names) == ["a/10.png", "a/2.png", "b/1.png"]
    assert (store.classes, store.columns) == ((), ("label",))
    np.testing.assert_array_equal(store.column("label").values, rows.astype(np.float32))
    order = "rows of y.npy are taken in the order of the images: a/10.png ... b/1.png"
    assert order in store.manifest["notes"]
    np.save(tmp_path / "y.npy", np.array([1, 0, 1]))
    assert labels_of(tmp_path / "s", str(tmp_path / "y.npy")) == [("a/10.png", "1"), ("a/2.png", "0"), ("b/1.png", "1")]


def test_an_array_with_another_number_of_rows_is_refused(tmp_path: Path) -> None:
    for name in "abc":
        save(tmp_path / "s" / f"{name}.png", noise(8, 8))
    np.save(tmp_path / "y.npy", np.zeros((4, 5), np.float32))
    found = r"y.npy: not the labels of these images\n  found: float32 of shape \[4, 5\], 3 images such as a.png\n"
    with pytest.raises(DataError, match=found + r"  fix:   save one row for each image, in the order"):
        labels_of(tmp_path / "s", str(tmp_path / "y.npy"))


def test_rows_of_an_array_stay_with_their_images_if_others_are_left_out(tmp_path: Path) -> None:
    for name in "abc":
        save(tmp_path / "s" / f"{name}.png", noise(8, 8))
    (tmp_path / "s" / "b.png").write_bytes(b"no image")
    np.save(tmp_path / "y.npy", np.array([[1, 2.5], [3, 4], [5, 6]]))
    options = PrepareOptions(resolution="8", labels=str(tmp_path / "y.npy"), on_error="skip")
    store = prepare(tmp_path / "s", tmp_path / "store", options, workers=0)
    assert list(store.names) == ["a.png", "c.png"]
    assert store.column("label").values.tolist() == [[1, 2.5], [5, 6]]


@pytest.mark.parametrize("values", [("train", "test"), ("train", "dog")])
def test_a_column_of_splits_is_said_not_to_count(tmp_path: Path, values: tuple[str, str]) -> None:
    for image in ("a.png", "b.png", "c.png"):
        save(tmp_path / "s" / image, noise(8, 8))
    one, two = values
    file = write(tmp_path / "a.csv", f"file,label,split\na.png,x,{one}\nb.png,y,{two}\nc.png,x,{one}")
    source = open_source(tmp_path / "s", labels=file)
    said = [note for note in source.notes if "tells splits" in note]
    assert said == ["column 'split' tells splits (test, train), but all images are used"] * (two == "test")


def test_an_id_of_several_images_matches_none(tmp_path: Path) -> None:
    for image in ("x/a.png", "y/a.jpg", "y/b.png"):
        save(tmp_path / "s" / image, noise(8, 8))
    with pytest.raises(DataError, match=r"1 of 2 labels is for a file that does not exist\n  found: a\n"):
        labels_of(tmp_path / "s", write(tmp_path / "a.csv", "id,kind\na,cat\nb,dog\n"))


def test_the_column_of_a_json_file_counts(tmp_path: Path) -> None:
    for image in ("a.png", "b.png"):
        save(tmp_path / "s" / image, noise(8, 8))
    content = {key: [["a.png", first], ["b.png", 1 - first]] for key, first in (("labels", 0), ("age", 1))}
    file = write(tmp_path / "dataset.json", json.dumps(content))
    assert labels_of(tmp_path / "s", file) == [("a.png", "0"), ("b.png", "1")]
    assert labels_of(tmp_path / "s", f"{file}:age") == [("a.png", "1"), ("b.png", "0")]
    with pytest.raises(DataError, match=r"no column 'size'\n  found: age\n"):
        labels_of(tmp_path / "s", f"{file}:size")


@pytest.mark.parametrize("kind", ["txt", "csv"])
def test_attribute_of_celeba_makes_two_classes(tmp_path: Path, kind: str) -> None:
    for i in (1, 2):
        save(tmp_path / "s" / f"00000{i}.jpg", noise(8, 8))
    text = {
        "txt": "2\nBald Male\n000001.jpg -1  1\n000002.jpg  1 -1\n",
        "csv": "image_id,Bald,Male\n000001.jpg,-1,1\n000002.jpg,1,-1\n",
    }
    file = write(tmp_path / f"attr.{kind}", text[kind])
    assert [label for _, label in labels_of(tmp_path / "s", f"{file}:Male")] == ["Male", "not Male"]
    assert open_source(tmp_path / "s", labels=f"{file}:Male").classes == ("not Male", "Male")
    with pytest.raises(DataError, match=r"no column 'Mail'\n  found: Bald, Male\n  fix:   use --labels .*:COLUMN"):
        labels_of(tmp_path / "s", f"{file}:Mail")


def test_missing_files_and_missing_labels_fail_or_are_skipped(tmp_path: Path, pets: dict) -> None:
    rows = write(tmp_path / "a.csv", "\n".join([*ROWS, "gone/1.png,a", "gone/2.png,a"]))
    with pytest.raises(DataError, match=r"2 of \d+ labels are for files that do not exist\n  found: gone/1.png"):
        labels_of(tmp_path / "pets", rows)
    assert labels_of(tmp_path / "pets", rows, skip=True) == WANTED
    rows = write(tmp_path / "a.csv", "\n".join(ROWS[1:5]))
    with pytest.raises(DataError, match=r"2 of 6 images have no label\n  found: cat/0.png"):
        labels_of(tmp_path / "pets", rows)
    store = prepare(tmp_path / "pets", tmp_path / "store", PrepareOptions(labels=rows, on_error="skip"))
    assert [line.split(":")[0] for line in store.manifest["skipped"]] == ["cat/0.png", "dog/2.png"]
    labels = store.labels()
    assert labels is not None
    assert labels.tolist() == [0, 0, 1, 0]
    np.testing.assert_array_equal(store.level(16)[0], pets["cat/1.png"])


def test_a_changed_file_of_labels_makes_a_new_store(tmp_path: Path, pets: dict) -> None:
    for rows in (ROWS, [*ROWS[:-1], "dog/2.png,another"]):
        options = PrepareOptions(labels=write(tmp_path / "a.csv", "\n".join(rows)))
        store = prepare(tmp_path / "pets", tmp_path / "store", options)
    assert store.classes == ("a", "another", "b")


@pytest.mark.parametrize("kind", ["folder", ".zip", ".tar", ".tar.gz", "wrapped.zip"])
@pytest.mark.parametrize("numbers", [True, False])
def test_dataset_json_wins_over_numbered_folders(tmp_path: Path, kind: str, numbers: bool) -> None:
    names = ["00000/img0.png", "00000/img1.png", "00001/img2.png"]
    labels = [[name, 5 - i] for i, name in enumerate(names)] if numbers else None
    files = {name: encoded(noise(8, 8)) for name in names} | {"dataset.json": json.dumps({"labels": labels}).encode()}
    if kind == "folder":
        path = tmp_path / "s"
        for name, data in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    else:
        top = "top/" if "wrapped" in kind else ""
        make = make_zip if kind.endswith(".zip") else make_tar
        path = make(tmp_path / f"s{kind}", {top + name: data for name, data in files.items()})
    found = [label for _, label in labels_of(path)]
    assert found == (["5", "4", "3"] if numbers else [None] * 3)
    assert [label for _, label in labels_of(path, "folder")] == ["00000", "00000", "00001"]
    assert [label for _, label in labels_of(path, "none")] == [None] * 3


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "bomb"])
def test_broken_labels_inside_are_named_and_can_be_left_alone(
    tmp_path: Path, pets: dict, monkeypatch, kind: str
) -> None:
    (tmp_path / "pets" / "dataset.json").write_text("{" * (2000 if kind == "bomb" else 1))
    files = {
        p.relative_to(tmp_path / "pets").as_posix(): p.read_bytes() for p in (tmp_path / "pets").glob("[cd]*/[0-9]*")
    }
    files["dataset.json"] = b"{" * (2000 if kind == "bomb" else 1)
    path = tmp_path / "pets"
    if kind != "folder":
        path = make_tar(tmp_path / "a.tar", files) if kind == "tar" else make_zip(tmp_path / "a.zip", files)
    if kind == "bomb":
        monkeypatch.setattr(archives, "MEMBER_BYTES", 1500)
    with pytest.raises(DataError, match=r"cannot be read \((Expecting|unpacks to 2000)(.|\n)*fix: .*--labels"):
        open_source(path)
    assert open_source(path, labels="folder").classes == ("cat", "dog")
    assert open_source(path, labels="none").classes == ()


def test_dataset_json_names_files_from_where_it_lies(tmp_path: Path) -> None:
    names = ["img/a/x.png", "img/b/x.png"]
    files = {f"top/{name}": encoded(noise(8, 8)) for name in names}
    files["top/dataset.json"] = json.dumps({"labels": [[name, i] for i, name in enumerate(names)]}).encode()
    assert [label for _, label in labels_of(make_zip(tmp_path / "a.zip", files))] == ["0", "1"]


def test_what_is_no_label_file_is_named(tmp_path: Path, pets: dict) -> None:
    with pytest.raises(
        DataError,
        match=r"labels 'foldr': neither a file nor a column of the source\n  found: no such file",
    ):
        labels_of(tmp_path / "pets", "foldr")
    cases = {
        "a.json": "{",
        "b.json": '{"labels": null}',
        "c.json": '{"labels": [["cat/0.png", {"a": 1}]]}',
        "d.csv": "a,b\nc",
    }
    for name, text in cases.items():
        with pytest.raises(
            DataError,
            match=r"not a readable label file|contains no labels|5 of 6 images have no label|expected 2 cells",
        ):
            labels_of(tmp_path / "pets", write(tmp_path / name, text))
    with pytest.raises(DataError, match=r"e.csv: two different labels for 'cat/0.png'"):
        labels_of(tmp_path / "pets", write(tmp_path / "e.csv", "cat/0.png,a\ncat/0.png,b"))


def test_empty_files_of_labels_and_names_that_look_like_headers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(" \n")
    with pytest.raises(DataError, match=r"a.csv: contains no labels\n  found: an empty file"):
        read_labels(tmp_path / "a.csv")
    for first in ("images.npy[0]", "0a1b2c"):  # rows of arrays and keys of LSUN have no suffix
        (tmp_path / "a.csv").write_text(f"{first},cat\n")
        table = read_labels(tmp_path / "a.csv")
        assert (table.files, table.labels) == ([first], ["cat"])
    (tmp_path / "a.csv").write_text("image_id,kind\n1.png,cat\n")
    table = read_labels(tmp_path / "a.csv")
    assert (table.files, table.labels) == (["1.png"], ["cat"])


def test_label_of_a_missing_file_does_not_push_another_out(tmp_path: Path) -> None:
    for name in ("dog/1.png", "dog/2.png"):
        save(tmp_path / "s" / name, noise(8, 8))
    file = write(tmp_path / "a.csv", "cat/1.png,cat\ndog/1.png,dog\ndog/2.png,dog")
    source = open_source(tmp_path / "s", labels=file, skip=True)
    assert [source.classes[i] for i in source.labels or ()] == ["dog", "dog"]


def test_labels_that_look_like_numbers_are_names(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save(tmp_path / "s" / name, noise(8, 8))
    file = write(tmp_path / "a.csv", "a.png,--5\nb.png,-5")
    assert open_source(tmp_path / "s", labels=file).classes == ("--5", "-5")


@pytest.mark.parametrize("skip", [False, True])
def test_labels_of_other_images(tmp_path: Path, skip: bool) -> None:
    for name in ("1.png", "2.png"):
        save(tmp_path / "s" / name, noise(8, 8))
    table = write(tmp_path / "a.csv", "file,label\npic_1.png,0\npic_2.png,1\n")
    with pytest.raises(
        DataError, match=r"none of its files is an image of folder s\n  found: labels of files such as pic_1"
    ):
        open_source(tmp_path / "s", labels=table, skip=skip)
