"""Which column of a table contains the images and which the labels, in every type that people save them in."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from progan.data.pixels import decode
from progan.data.records import Choice, Source
from progan.data.sources import open_source
from progan.data.sources.hub import arrow_source
from progan.data.sources.parquets import parquet_files, parquet_source
from progan.errors import DataError
from references.image_files import encoded, noise, save

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

PIXELS = [noise(8, 8, seed=i) for i in range(4)]
PNGS = [encoded(pixels) for pixels in PIXELS]
HUB = [{"bytes": png, "path": f"{i}.png"} for i, png in enumerate(PNGS)]
MASKS = [{"bytes": encoded(np.zeros((8, 8), np.uint8)), "path": None}] * 4
TEXTS = [base64.b64encode(png).decode() for png in PNGS]


def notes(**features: object) -> dict:
    return {"huggingface": json.dumps({"info": {"features": features}})}


def write(path: Path, columns: dict, features: dict | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    table = table.replace_schema_metadata(notes(**features)) if features else table
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    return path


def opened(path: Path, column: str = "") -> Source:
    if path.suffix == ".parquet":
        return parquet_source(path, [path], Choice(column=column))
    return arrow_source("arrow", [path], column=column)


def decoded(source: Source) -> list[np.ndarray]:
    return [np.asarray(decode(record.data)) for record in source]


IMAGE_COLUMNS = {
    "mask first": {"mask": MASKS, "image": HUB},
    "mask in front of a name that says nothing": {"image_mask": MASKS, "it": HUB},
    "conditioning image": {"conditioning_image": MASKS, "target": HUB},
    "thumbnail and embedding": {"thumbnail": MASKS, "embedding": [b"\0" * 16] * 4, "image": HUB},
    "lists of one": {"images": [[image] for image in HUB]},
    "lists of bytes": {"images": [[png] for png in PNGS]},
    "lists of several": {"images": [[image, MASKS[0]] for image in HUB]},
    "structs": {"jpg": [{"image": image} for image in HUB]},
    "struct of bytes": {"sample": [{"png": png, "n": 1} for png in PNGS]},
    "dots in a name": {"img.png": HUB, "img": [1, 2, 3, 4]},
    "dots in the name of bytes": {"jpg.data": PNGS},
    "dictionary": {"image": pa.array(PNGS).dictionary_encode()},
    "views": {"image": pa.array(PNGS, pa.binary_view())},
    "large binary": {"image": pa.array(PNGS, pa.large_binary())},
    "base64": {"image": TEXTS},
    "base64 in lines": {"image": [text[:40] + "\n" + text[40:] for text in TEXTS]},
    "data addresses": {"image": [f"data:image/png;base64,{text}" for text in TEXTS]},
    "text beside bytes": {"image": ["0.png"] * 4, "png": PNGS},
    "pixels [H, W, C]": {"image": [pixels.tolist() for pixels in PIXELS]},
    "pixels [C, H, W] of uint8": {
        "image": pa.array([p.transpose(2, 0, 1).tolist() for p in PIXELS], pa.list_(pa.list_(pa.list_(pa.uint8()))))
    },
    "pixels from 0 to 1": {"image": [(pixels / 255).tolist() for pixels in PIXELS]},
}


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("columns", IMAGE_COLUMNS.values(), ids=IMAGE_COLUMNS)
def test_images_are_found_in_every_kind_of_column(tmp_path: Path, columns: dict, suffix: str) -> None:
    source = opened(write(tmp_path / f"train{suffix}", columns))
    np.testing.assert_array_equal(decoded(source), PIXELS)
    assert source.names[3] == f"train{suffix}[3]"
    assert [len(decoded_one) for decoded_one in source.read([1, 3])] == [len(data) for data in source.read([1, 3])]


def test_choice_of_the_column_is_told_and_can_be_changed(tmp_path: Path) -> None:
    marked = {name: {"_type": "Image"} for name in ("mask", "image")}
    file = write(tmp_path / "a.parquet", {"mask": MASKS, "image": HUB, "raw": PNGS, "n": [1, 2, 3, 4]}, marked)
    source = opened(file)
    assert source.notes == (
        "images from column 'image'; 'mask', 'raw' are left out (--column mask takes the first of them)",
    )
    assert source.heeds == {"column"}
    assert decoded(opened(file, "mask"))[0].max() == 0
    np.testing.assert_array_equal(decoded(opened(file, "raw")), PIXELS)
    with pytest.raises(DataError, match=r"a.parquet: no column of encoded images\n  found: n int64\n"):
        opened(file, "n")
    with pytest.raises(DataError, match=r"column 'other' contains no images\n  found: images in mask, image, raw\n"):
        opened(file, "other")


def test_lists_say_that_the_first_image_is_used(tmp_path: Path) -> None:
    source = opened(write(tmp_path / "a.parquet", {"images": [[HUB[0]], [], None, [HUB[3], HUB[1]]]}))
    assert source.notes == ("lists of images in column 'images': the first of each is used",)
    assert [isinstance(record.data, DataError) for record in source] == [False, True, True, False]


BAD = r"no images in the column 'image' of type "
NO_IMAGES = {
    "text": (["aGVsbG8="] * 4, BAD + r"string\n  found: a.parquet\[0\]: not an im"),
    "addresses": (["https://x.org/a.png"] * 4, BAD + r"string\n  found: .*'https://x.org/a.png' is not base64; URLs"),
    "raw pixels": ([bytes(192)] * 4, BAD + r"binary\n  found: a.parquet\[0\]: not an image"),
    "flat pixels": ([[0] * 784] * 4, r"no column of encoded images\n  found: image list<.*int64>\n.*\[H, W\]"),
    "uneven pixels": ([[[1, 2], [3]]] * 4, BAD + r"list.*\n  found: .*lists of numb"),
}


@pytest.mark.parametrize(("cells", "message"), NO_IMAGES.values(), ids=NO_IMAGES)
def test_what_is_no_image_is_named_with_column_and_type(tmp_path: Path, cells: list, message: str) -> None:
    with pytest.raises(DataError, match=message):
        opened(write(tmp_path / "a.parquet", {"image": cells}))
    points = [[[1.0, 2.0], [3.0, 4.0]]] * 4
    with pytest.raises(DataError, match=r"no column of encoded images\n  found: keypoints list"):
        opened(write(tmp_path / "a.parquet", {"keypoints": points}))


LABEL_COLUMNS = {
    "text": ({"label": ["dog", "cat", "dog", "eel"]}, [1, 0, 1, 2], ("cat", "dog", "eel")),
    "text of a dictionary": ({"label": pa.array(["b", "a", "b", "a"]).dictionary_encode()}, [1, 0, 1, 0], ("a", "b")),
    "truth values": ({"label": [True, False, True, False]}, [1, 0, 1, 0], ("False", "True")),
    "whole floats": ({"label": [0.0, 1.0, 10.0, 2.0]}, [0, 1, 3, 2], ("0", "1", "2", "10")),
    "floats with gaps": ({"label": [0.0, None, 1.0, float("nan")]}, [0, -1, 1, -1], ("0", "1")),
    "from one on": ({"label": [1, 2, 3, 1]}, [0, 1, 2, 0], ("1", "2", "3")),
    "numbers as text": ({"label": ["10", "9", "1", "9"]}, [2, 1, 0, 1], ("1", "9", "10")),
    "minus one": ({"label": [-1, 1, 0, 1]}, [-1, 1, 0, 1], ("0", "1")),
    "one-hot": ({"label": [[0, 1], [1, 0], [0, 1], [0, 1]]}, [1, 0, 1, 1], ("0", "1")),
    "decimals": ({"label": pa.array([1, 2, 3, None], pa.decimal128(5, 0))}, [0, 1, 2, -1], ("1", "2", "3")),
    "another name": ({"Class": ["b", "a", "a", "b"]}, [1, 0, 0, 1], ("a", "b")),
}


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize(("columns", "labels", "classes"), LABEL_COLUMNS.values(), ids=LABEL_COLUMNS)
def test_labels_of_every_type(tmp_path: Path, columns: dict, labels: list, classes: tuple, suffix: str) -> None:
    source = opened(write(tmp_path / f"a{suffix}", {"image": HUB, **columns}))
    assert (source.labels, source.classes) == (labels, classes)
    assert any("labels: " in note for note in source.notes)


def test_labels_that_are_no_classes_become_columns(tmp_path: Path) -> None:
    columns = {"image": HUB, "label": [0.5, 1.5, 0.25, 0.0]}
    source = opened(write(tmp_path / "a.parquet", columns))
    assert (source.labels, [c.values.tolist() for c in source.columns]) == (None, [[0.5, 1.5, 0.25, 0.0]])
    declared = {"labels": {"_type": "Sequence", "feature": {"_type": "ClassLabel", "names": ["cat", "dog"]}}}
    for features, names in ((None, ["labels=0", "labels=1"]), (declared, ["labels=cat", "labels=dog"])):
        source = opened(write(tmp_path / "b.parquet", {"image": HUB, "labels": [[0, 1], [1], [0], [1]]}, features))
        assert source.labels is None
        assert {c.name: c.values.tolist() for c in source.columns} == {
            names[0]: [1, 0, 1, 0],
            names[1]: [1, 1, 0, 1],
        }


def test_captions_in_the_column_of_labels_are_told(tmp_path: Path) -> None:
    count = 2001
    columns = {"image": [PNGS[0]] * count, "label": [f"a picture of {i}" for i in range(count)]}
    source = opened(write(tmp_path / "a.parquet", columns))
    assert source.labels is None
    assert source.notes == ("the texts in column 'label' are not classes, because nearly all of them differ",)


def test_columns_that_are_of_no_use_are_told(tmp_path: Path) -> None:
    columns = {"image": HUB, "mask": MASKS, "label": pa.array([1, 2, 3, 4], pa.date32()), "n": [1, 2, 3, 4]}
    source = opened(write(tmp_path / "a.parquet", {**columns, "boxes": [[{"x": 1}]] * 4}))
    assert source.notes[1:] == (
        "columns that do not describe the images are left out: label date32[day], "
        "boxes list<element: struct<x: int64>>",
    )


def test_declared_names_keep_their_order(tmp_path: Path) -> None:
    features = {"kind": {"_type": "ClassLabel", "names": ["z", "a", "m"]}, "label": {"_type": "Value"}}
    file = write(tmp_path / "a.parquet", {"image": HUB, "kind": [0, 1, 0, 1], "label": [7, 7, 8, 8]}, features)
    assert (opened(file).labels, opened(file).classes) == ([0, 1, 0, 1], ("z", "a", "m"))


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_names_that_are_no_text_are_damage(tmp_path: Path, suffix: str) -> None:
    file = write(tmp_path / f"a{suffix}", {"image": [{"bytes": png, "nothing": 1} for png in PNGS]})
    file.write_bytes(file.read_bytes().replace(b"nothing", b"\xff\xfething"))
    with pytest.raises(DataError, match=rf"a{suffix}: not a readable (parquet|Arrow) file \(.*utf-8"):
        opened(file)


def test_classes_of_one_name_stay_apart(tmp_path: Path) -> None:
    features = {"label": {"_type": "ClassLabel", "names": ["crane", "ant", "crane"]}}
    source = opened(write(tmp_path / "a.parquet", {"image": HUB, "label": [2, 1, 0, 2]}, features))
    assert (source.labels, source.classes) == ([2, 1, 0, 2], ("crane", "ant", "crane (2)"))


def test_schemas_may_differ_between_files(tmp_path: Path) -> None:
    write(tmp_path / "s" / "train-0.parquet", {"image": HUB[:2]})
    write(tmp_path / "s" / "train-1.parquet", {"label": [1, 0], "image": HUB[2:]})
    source = parquet_source(tmp_path / "s", parquet_files(tmp_path / "s"), Choice())
    assert (source.labels, source.classes) == ([-1, -1, 1, 0], ("0", "1"))
    np.testing.assert_array_equal(decoded(source), PIXELS)
    write(tmp_path / "s" / "train-1.parquet", {"label": [1, 0], "picture": HUB[2:]})
    with pytest.raises(DataError, match=r"train-1.parquet: no images in the column 'image'.*\n  found: label int64"):
        parquet_source(tmp_path / "s", parquet_files(tmp_path / "s"), Choice())


PLACES = {
    "data/train-00000-of-00001.parquet": "data/validation-00000-of-00001.parquet",
    "default/train/0000.parquet": "default/validation/0000.parquet",
    "plain_text/train-0.parquet": "plain_text/dev-0.parquet",
    "x_train.parquet": "x_val.parquet",
}


@pytest.mark.parametrize(("train", "other"), PLACES.items())
def test_splits_are_found_wherever_the_hub_puts_them(tmp_path: Path, train: str, other: str) -> None:
    write(tmp_path / "s" / train, {"image": HUB[:3], "label": [0, 1, 0]})
    write(tmp_path / "s" / other, {"image": HUB[3:], "label": [1]})
    for split, count in (("train", 3), ("val", 1), ("test", 1), ("all", 4)):
        source = parquet_source(tmp_path / "s", parquet_files(tmp_path / "s"), Choice(split=split))
        assert (len(source), source.heeds) == (count, {"split", "column"})
    assert any("--split val" in note for note in open_source(tmp_path / "s").notes)


def test_folders_of_several_configurations_are_refused(tmp_path: Path) -> None:
    for name in ("en/train-0.parquet", "de/train-0.parquet"):
        write(tmp_path / "s" / name, {"image": HUB})
    with pytest.raises(DataError, match=r"several data sets in one folder\n  found: de, en, each.*\n  fix: .*s/de"):
        open_source(tmp_path / "s")


def test_parquet_beside_images_belongs_to_them(tmp_path: Path) -> None:
    save(tmp_path / "s" / "cat" / "1.png", PIXELS[0])
    for name in ("annotations", "notes"):  # in front of the images and behind them
        write(tmp_path / "s" / name / "a.parquet", {"image": HUB})
    assert list(open_source(tmp_path / "s").names) == ["cat/1.png"]
