"""Folders and archives as they lie around: splits, wrappers, files of systems, files that are no files, names."""

import os
import shutil
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.data.records import Choice, Source
from progan.data.sources import open_source
from progan.data.sources.names import strip_wrapper
from progan.errors import DataError
from references.image_files import encoded, make_tar, make_zip, noise, save

PETS = {f"{kind}/{i}.png": noise(8, 8, seed=i + 9 * (kind == "dog")) for kind in ("cat", "dog") for i in range(2)}


def folder(path: Path, files: Mapping[str, np.ndarray | bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data if isinstance(data, bytes) else encoded(data))
    return path


def facts(source: Source) -> tuple[list[str], list[int] | None, tuple[str, ...]]:
    return list(source.names), None if source.labels is None else list(source.labels), source.classes


SPLITS = [("train", "test"), ("Training", "Validation"), ("trainset", "dev", "testing"), ("train2017", "val2017")]
SPLITS += [("cars_train", "cars_test"), ("x_train_HR", "x_valid_HR")]


@pytest.mark.parametrize("names", SPLITS)
@pytest.mark.parametrize("wrapper", ["", "pets/"])
def test_folders_of_splits(tmp_path: Path, names: tuple[str, ...], wrapper: str) -> None:
    files = {f"{wrapper}{part}/{name}": data for part in names for name, data in PETS.items()}
    path = folder(tmp_path / "a", files | {f"{wrapper}{names[0]}/dog/2.png": noise(8, 8)})
    train = open_source(path)
    assert (len(train), train.classes) == (5, ("cat", "dog"))
    assert all(name.startswith(f"{wrapper}{names[0]}/") for name in train.names)
    assert any(note.startswith("split 'train' is used; ") for note in train.notes)
    test = open_source(path, split="test")
    assert (len(test), test.labels, test.classes) == (4, [0, 0, 1, 1], ("cat", "dog"))
    assert all(name.startswith(f"{wrapper}{names[-1]}/") for name in test.names)
    assert len(open_source(path, split="all")) == 1 + 4 * len(names)


def test_a_split_named_with_a_year_is_one_beside_other_folders(tmp_path: Path) -> None:
    files = {f"{part}/{i}.png": noise(8, 8) for part in ("train2017", "val2017", "unlabeled2017") for i in "12"}
    source = open_source(folder(tmp_path / "a", files))
    assert facts(source) == (["train2017/1.png", "train2017/2.png"], None, ())
    assert source.notes == ("split 'train' is used; 'val' is left out (--split val or all); 2 images are in no split",)


@pytest.mark.parametrize("names", [("bullet_train", "train_station"), ("train", "plane"), ("a_train_1", "a_train_2")])
def test_classes_that_mention_one_split_are_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    files = {f"{name}/{i}.png": noise(8, 8) for name in names for i in "12"}
    assert open_source(folder(tmp_path / "a", files)).classes == tuple(sorted(names))


def test_splits_inside_classes_and_of_domains(tmp_path: Path) -> None:
    inside = {
        f"{kind}/{part}/{i}.png": noise(8, 8) for kind in ("cat", "dog") for part in ("train", "test") for i in "12"
    }
    source = open_source(folder(tmp_path / "a", inside))
    assert facts(source) == (
        ["cat/train/1.png", "cat/train/2.png", "dog/train/1.png", "dog/train/2.png"],
        [0, 0, 1, 1],
        ("cat", "dog"),
    )
    domains = {f"{part}{side}/{i}.png": noise(8, 8) for part in ("train", "test") for side in "AB" for i in "12"}
    source = open_source(folder(tmp_path / "b", domains), split="test")
    assert facts(source) == (["testA/1.png", "testA/2.png", "testB/1.png", "testB/2.png"], [0, 0, 1, 1], ("A", "B"))


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    path = folder(tmp_path / "a", {f"{kind}/1.png": noise(8, 8) for kind in ("train", "car", "plane")})
    assert open_source(path).classes == ("car", "plane", "train")
    for split in ("test", "val"):
        with pytest.raises(
            DataError, match=rf"--split {split}: no effect, because this source has no splits\n  found: "
        ):
            open_source(path, split=split)


def test_choices_without_effect_are_refused(tmp_path: Path) -> None:
    path = folder(tmp_path / "a", PETS)
    for choice in (Choice(column="image"), Choice(member="seg")):
        with pytest.raises(
            DataError, match=r"no effect, because .*\n  found: folder a, 4 images such as cat/0.png\n  fix:"
        ):
            open_source(path, choice)
    with pytest.raises(DataError, match=r"--exclude fox: no file has such a name\n  found: 4 files, such as cat/0.png"):
        open_source(path, Choice(exclude=("fox",)))


def test_every_pattern_of_exclude_must_fit_a_file(tmp_path: Path) -> None:
    path = folder(tmp_path / "pets", PETS)
    with pytest.raises(DataError, match=r"--exclude fox wolf: no file has such a name"):
        open_source(path, Choice(exclude=("cat", "fox", "wolf")))
    with pytest.raises(
        DataError, match=r"that --exclude leaves out\n  found: 4 files left out by --exclude cat \*.png"
    ):
        open_source(path, Choice(exclude=("cat", "*.png")))


def test_excluded_files(tmp_path: Path) -> None:
    path = folder(
        tmp_path / "a", PETS | {"cat/0_x.png": noise(8, 8), "dog/0.png": noise(8, 8), "fox/0.png": noise(8, 8)}
    )
    for source in (path, make_zip(tmp_path / "a.zip", {n: encoded(d) for n, d in PETS.items()})):
        found = open_source(source, Choice(exclude=("*_x.png", "fox", "dog/1.*") if source == path else ("dog/1.*",)))
        assert facts(found) == (["cat/0.png", "cat/1.png", "dog/0.png"], [0, 0, 1], ("cat", "dog"))
        assert any("left out by --exclude" in note for note in found.notes)
    np.save(tmp_path / "a.npy", np.zeros((3, 8, 8), np.uint8))
    assert list(open_source(tmp_path / "a.npy", Choice(exclude=("*[[]1]",))).names) == ["a.npy[0]", "a.npy[2]"]


def test_files_of_systems_cameras_and_nas_are_no_images(tmp_path: Path) -> None:
    junk = [
        "__MACOSX/cat/._0.png", "cat/._0.png", "@eaDir/0.png", "cat/@eaDir/0.jpg/SYNO_THUMB.jpg", "#recycle/0.png",
        "$RECYCLE.BIN/0.png", "cat/.thumbnails/0.png", "System Volume Information/0.png", "lost+found/0.png",
        "cat/.@__thumb/0.png", ".ipynb_checkpoints/0.png", "THUMBS.DB", "cat/desktop.ini", "cat/~$0.png",
    ]  # fmt: skip
    path = folder(tmp_path / "a", PETS | {name: noise(8, 8) for name in junk})
    source = open_source(path)
    assert facts(source) == (sorted(PETS), [0, 0, 1, 1], ("cat", "dog"))
    assert source.notes == ("labels: 2 classes from the folders",)
    camera = folder(tmp_path / "b" / "DCIM", {f"{k}CANON/IMG_{k}.JPG": noise(8, 8) for k in (100, 101)})
    assert open_source(camera.parent).classes == ()


def test_what_is_left_out_is_told_by_kind(tmp_path: Path) -> None:
    others = {"a.nef": b"x", "b.NEF": b"x", "c.txt": b"x", "labels.csv": b"x", "README": b"x", "dataset.json": b"{}"}
    source = open_source(folder(tmp_path / "a", PETS | others))
    assert source.notes[0] == (
        "5 files left out: 2 .nef (camera raw; develop it to JPEG or to TIFF with 8 or 16 bits), "
        "1 .csv (--labels FILE reads labels), 1 .txt, 1 without extension"
    )


def test_images_without_an_extension_are_found(tmp_path: Path) -> None:
    path = folder(tmp_path / "a", {"x/0001": noise(8, 8), "x/0002": noise(8, 8), "y/1": noise(8, 8)})
    assert facts(open_source(path)) == (["x/0001", "x/0002", "y/1"], [0, 0, 1], ("x", "y"))
    with pytest.raises(DataError, match=r"contains no images\n  found: other files \(1 no extension\)"):
        open_source(folder(tmp_path / "b", {"README": b"hello"}))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_pipes_and_sockets_are_left_out_and_told(tmp_path: Path) -> None:
    path = folder(tmp_path / "a", PETS)
    os.mkfifo(path / "cat" / "pipe.png")
    source = open_source(path)
    assert list(source.names) == sorted(PETS)
    assert source.notes[0] == "pipes, sockets and devices are left out: cat/pipe.png"
    assert prepare(path, tmp_path / "store", PrepareOptions(), workers=0).count == 4
    with pytest.raises(DataError, match=r"not a data source\n  found: a pipe, socket or device"):
        open_source(path / "cat" / "pipe.png")


def test_images_outside_of_the_class_folders_are_told(tmp_path: Path) -> None:
    source = open_source(folder(tmp_path / "a", PETS | {"loose.png": noise(8, 8)}))
    assert source.classes == ()
    assert source.notes[-1] == (
        "labels: none; the folders cat, dog are not classes, because 1 of 5 images is in none of them, such "
        "as loose.png"
    )


@pytest.mark.parametrize("names", [sorted(PETS), [f"a b/é/猫/{name}" for name in sorted(PETS)]])
def test_folder_zip_and_tar_give_the_same_store(tmp_path: Path, names: list[str]) -> None:
    files = dict(zip(names, map(encoded, PETS.values()), strict=True)) | {"metadata.csv": _metadata(names)}
    places = [folder(tmp_path / "a", files), make_zip(tmp_path / "a.zip", files), make_tar(tmp_path / "a.tar", files)]
    places.append(_backslashes(tmp_path / "b.zip", files))
    stores = [prepare(place, tmp_path / f"store{i}", workers=0) for i, place in enumerate(places)]
    for store in stores:
        assert (store.hash, store.columns_hash, store.classes) == (stores[0].hash, stores[0].columns_hash, ("x", "y"))
        assert list(store.names) == names
        assert store.manifest["notes"] == stores[0].manifest["notes"]


def _metadata(names: list[str]) -> bytes:
    return "\n".join(["file_name,label,age", *(f"{name},{'xy'[i % 2]},{i}" for i, name in enumerate(names))]).encode()


def _backslashes(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write a zip as some programs of Windows do, with backslashes and without the mark of UTF-8."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo("x")
            info.filename = name.replace("/", "\\")
            archive.writestr(info, data)
    data = bytearray(path.read_bytes())
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = data.find(mark)
        while place >= 0:
            data[place + at + 1] &= ~0x08
            place = data.find(mark, place + 4)
    path.write_bytes(data)
    return path


def test_names_in_any_encoding(tmp_path: Path) -> None:
    path = folder(tmp_path / "a", {"0.png": noise(8, 8)})
    for kind in (b"\x94\x4c", b"\x8c\xa2"):  # Shift-JIS
        Path(os.fsdecode(os.fsencode(path) + b"/" + kind)).mkdir()
        shutil.move(path / "0.png", os.fsencode(path) + b"/" + kind + b"/0.png")
        save(path / "0.png", noise(8, 8))
    (path / "0.png").unlink()
    store = prepare(path, tmp_path / "store", workers=0)
    assert store.classes == ("\udc8c\udca2", "\udc94L")
    assert list(store.names) == ["\udc8c\udca2/0.png", "\udc94L/0.png"]


def test_a_zip_with_a_password_says_so(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {name: encoded(data) for name, data in PETS.items()})
    data = bytearray(path.read_bytes())
    marks = [(b"PK\3\4", 6), (b"PK\1\2", 8)]
    for mark, at in marks:
        data[data.find(mark) + at] |= 1  # of the first one, cat/0.png
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"cat/0.png: protected by a password"):
        prepare(path, tmp_path / "store", workers=0)
    for mark, at in marks:
        place = data.find(mark)
        while place >= 0:
            data[place + at] |= 1
            place = data.find(mark, place + 4)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a.zip: protected by a password\n  found: 4 encrypted files"):
        open_source(path)


def test_members_of_one_name_are_told(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", encoded(noise(8, 8, seed=1)))
        archive.writestr("./a.png", encoded(noise(8, 8, seed=2)))
    source = open_source(tmp_path / "a.zip")
    assert (len(source), "has a later one of the same name" in source.notes[0]) == (1, True)
    store = prepare(tmp_path / "a.zip", tmp_path / "store", workers=0)
    np.testing.assert_array_equal(store.level(8)[0], noise(8, 8, seed=2))


@pytest.mark.parametrize(
    ("files", "classes"),
    [({"train.zip": PETS, "test.zip": PETS}, ("cat", "dog")), ({"cats.zip": PETS, "dogs.zip": PETS}, ("cats", "dogs"))],
)
def test_zips_in_one_folder_are_splits_or_classes(tmp_path: Path, files: dict, classes: tuple) -> None:
    for name, inside in files.items():
        make_zip(tmp_path / name, {k: encoded(v) for k, v in inside.items()})
    source = open_source(tmp_path)
    assert (len(source), source.classes) == (4 if "train.zip" in files else 8, classes)
    assert all(open_source(tmp_path, Choice(split="all")).notes)  # no empty sentence where nothing is left out


def test_zips_without_images_are_left_out(tmp_path: Path) -> None:
    for name in ("train2017", "val2017"):
        make_zip(tmp_path / f"{name}.zip", {f"{name}/1.png": encoded(noise(8, 8))})
    make_zip(tmp_path / "annotations.zip", {"instances.json": b"{}"})
    source = open_source(tmp_path)
    assert list(source.names) == ["train2017.zip/train2017/1.png"]
    assert source.notes[0] == "left out, because they contain no images: annotations.zip"


@pytest.mark.parametrize(("names", "parts"), [(("photos-001", "photos-002"), True), (("cats", "dogs-2"), False)])
def test_labels_from_the_names_of_zips_are_told(tmp_path: Path, names: tuple[str, str], parts: bool) -> None:
    for name in names:
        make_zip(tmp_path / f"{name}.zip", {"1.png": encoded(noise(8, 8))})
    more = "; if they are parts of one set, pass --labels none" if parts else ""
    assert open_source(tmp_path).notes == (f"labels: 2 classes from the names of the zips{more}",)
    assert open_source(tmp_path, labels="none").notes == ()


@pytest.mark.parametrize("labels", [True, False])
def test_names_of_tars_are_told_to_be_no_classes(tmp_path: Path, labels: bool) -> None:
    for name in ("cat", "dog"):
        make_tar(tmp_path / f"{name}.tar", {"0.png": encoded(noise(8, 8))} | ({"0.cls": b"3"} if labels else {}))
    said = "labels: none from the names of the tars, which are read as parts of one set" in open_source(tmp_path).notes
    assert said is not labels


def test_json_files_that_tell_about_no_image_are_counted(tmp_path: Path) -> None:
    names = ("a.json", "b.jpg.json", "b.more.json", "annotations/instances.json", "dataset.json")
    images = {"a.png": noise(8, 8), "b.jpg": noise(8, 8)}
    source = open_source(folder(tmp_path, dict.fromkeys(names, b"{}") | images))
    assert source.notes == ("1 file left out: 1 .json",)


def test_shards_of_splits(tmp_path: Path) -> None:
    for shard in ("set-train-0", "set-train-1", "set-val-0"):
        make_tar(tmp_path / f"{shard}.tar", {"0.png": encoded(noise(8, 8)), "0.cls": b"3"})
    assert list(open_source(tmp_path).names) == ["set-train-0.tar/0.png", "set-train-1.tar/0.png"]
    assert facts(open_source(tmp_path, split="val")) == (["set-val-0.tar/0.png"], [0], ("3",))


def test_links_out_of_archives_stay_ignored(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", encoded(noise(8, 8)))
        link = zipfile.ZipInfo("b.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    assert list(open_source(tmp_path / "a.zip").names) == ["a.png"]


def test_wrappers() -> None:
    assert strip_wrapper(["pets2/1.png", "pets/1.png"]) == ["pets2/1.png", "pets/1.png"]
    assert strip_wrapper(["a/b/1.png", "a/b/c/1.png"]) == ["1.png", "c/1.png"]
    assert strip_wrapper(["a/1.png"]) == ["1.png"]
    assert strip_wrapper(["1.png", "a/1.png"]) == ["1.png", "a/1.png"]
