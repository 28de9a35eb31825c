"""Damaged stores of format 2: one line that names the file, never a traceback; 'prepare' repairs them."""

import errno
import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from progan.cli.prepare import summary
from progan.data.loader import Loader
from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.data.records import Source
from progan.data.sources import open_source
from progan.data.store import Store
from progan.errors import DataError
from references.image_files import make_zip

Damage = Callable[[Path], object]


@pytest.fixture
def options(tmp_path: Path, pets: dict) -> PrepareOptions:
    rows = [f"{name},{name[:3]},{i},{i / 2},{'xy'[i % 2]}" for i, name in enumerate(pets)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label,a,b,c", *rows]))
    return PrepareOptions(labels=str(tmp_path / "labels.csv"))


@pytest.fixture
def store(tmp_path: Path, options: PrepareOptions) -> Store:
    return prepare(tmp_path / "pets", tmp_path / "store", options)


def use(path: Path) -> None:
    """Everything that a store is opened for."""
    store = Store.open(path)
    summary(store)
    assert len(list(store.names)) == 6
    for name in store.columns:
        np.array(store.column(name).values)
    for side in store.resolutions:
        store.level(side).max()
    Loader(store, seed=0, mirror=True, columns=["a", "b"]).labels(0, 4)


def one_line(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        use(path)
    text = str(caught.value)
    assert "pickle" not in text
    assert len(text) < 1000
    assert "\n  fix:" in text
    return text


def changed(file: str, start: int, data: bytes) -> Damage:
    """Other bytes in a file, which stays as long as it was."""

    def damage(path: Path) -> None:
        with (path / file).open("r+b") as stream:
            stream.seek(start)
            stream.write(data)

    return damage


def header(file: str, before: bytes, after: bytes) -> Damage:
    def damage(path: Path) -> None:
        content = (path / file).read_bytes()
        head = content[:127].replace(before, after)
        assert head != content[:127]
        (path / file).write_bytes(head[:127].ljust(127) + content[127:])

    return damage


def fact(*place: Any) -> Damage:
    """Another value in the manifest: the last one, at the place that the others name."""
    *keys, last, value = place

    def damage(path: Path) -> None:
        manifest = json.loads((path / "manifest.json").read_text())
        inner = manifest
        for key in keys:
            inner = inner[key]
        inner[last] = value
        (path / "manifest.json").write_text(json.dumps(manifest))

    return damage


def number(value: int) -> bytes:
    return value.to_bytes(8, "little", signed=True)


class Evil:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("pwned",)


ARRAYS = ["names.npy", "labels.npy", "column0.npy", "column1.npy", "column2.npy", "16x16.npy", "4x4.npy"]
FILES = {
    **{f"junk in {file}": (file, changed(file, 0, b"\xff" * 128)) for file in ARRAYS},
    **{f"pickle in {file}": (file, changed(file, 0, pickle.dumps(Evil()))) for file in ARRAYS},
    "objects": ("column0.npy", header("column0.npy", b"<i8", b"|O ")),
    "column of floats": ("column0.npy", header("column0.npy", b"<i8", b"<f8")),
    "column of other shape": ("column0.npy", header("column0.npy", b"(6,)", b"(2, 3)")),
    "level of other shape": ("16x16.npy", header("16x16.npy", b"(6, 16, 16, 3)", b"(6, 16, 48, 1)")),
    "level of other type": ("16x16.npy", header("16x16.npy", b"|u1", b"|i1")),
    "offsets of floats": ("names.npy", header("names.npy", b"<i8", b"<f8")),
    "too few offsets": ("names.npy", header("names.npy", b"(7,)", b"(6,)")),
    "first offset": ("names.npy", changed("names.npy", 128, number(1))),
    "last offset": ("names.npy", changed("names.npy", 128 + 48, number(1000))),
    "offset too large": ("names.npy", changed("names.npy", 136, number(2**60))),
    "offset negative": ("names.npy", changed("names.npy", 136, number(-5))),
    "offset decreasing": ("names.npy", changed("names.npy", 136, number(40))),
    "names without ends": ("names.txt", changed("names.txt", 0, bytes(50))),
    "names in no code": ("names.txt", changed("names.txt", 0, b"\xff\xfe")),
    "class out of range": ("column2.npy", changed("column2.npy", 128, number(99))),
    "class negative": ("column2.npy", changed("column2.npy", 128, number(-1))),
    "label out of range": ("labels.npy", changed("labels.npy", 128, number(2))),
    "label negative": ("labels.npy", changed("labels.npy", 128, number(-3))),
}


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named_and_prepare_repairs_it(
    name: str, store: Store, tmp_path, options, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file, damage = FILES[name]
    shutil.copytree(store.path, tmp_path / "good")
    damage(store.path)
    assert f"{file}: " in one_line(store.path)
    assert not (tmp_path / "pwned").exists()
    prepare(tmp_path / "pets", store.path, options)
    use(store.path)
    for good in (tmp_path / "good").iterdir():
        assert (store.path / good.name).read_bytes() == good.read_bytes()


VALUES = [None, -1, 0, 1.5, "x", "", [], {}, 10**30, True, 2**62, [[["x"]]], {"x": {}}, ["x" * 5000], [None]]
PLACES = [(key,) for key in ("height", "width", "channels", "count", "classes", "levels", "labels", "columns", "names")]
PLACES += [("hash",), ("columns_hash",), ("source",), ("skipped",), ("sizes",), ("options",), ("fingerprint",)]
PLACES += [("names", key) for key in ("file", "offsets", "bytes")] + [("sizes", "smallest"), ("sizes", "distinct")]
PLACES += [("columns", 2, key) for key in ("name", "dtype", "shape", "classes", "file")]
PLACES += [("levels", 1, key) for key in ("file", "shape")] + [("levels", 0, "shape", i) for i in range(4)]
PLACES += [("levels", 0), ("columns", 1)]
GOOD: dict[tuple, list] = {  # values that cannot be told from right ones
    ("hash",): ["x"],
    ("columns_hash",): ["x"],
    ("source",): ["x", ""],
    ("fingerprint",): ["x", ""],
    ("skipped",): [[], ["x" * 5000]],
    ("options",): [{}, {"x": {}}],
    ("columns", 2, "name"): ["x", ""],
    ("columns", 2, "classes"): [[]],
    ("sizes", "distinct"): [2**62, 10**30],
}


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_wrong_facts_in_the_manifest_are_one_line(place: tuple, store: Store) -> None:
    text = (store.path / "manifest.json").read_text()
    for value in VALUES:
        (store.path / "manifest.json").write_text(text)
        fact(*place, value)(store.path)
        if any(type(value) is type(good) and value == good for good in GOOD.get(place, [])):
            use(store.path)
        else:
            assert re.search(r"manifest.json: damaged \(|/x: missing|numbers 0 ... 1 for 1 cl", one_line(store.path))


WRONG = {
    "outside": (("names", "file", "../names.txt"), "file name"),
    "absolute": (("columns", 0, "file", "/etc/passwd"), "file name"),
    "labels outside": (("labels", "../labels.npy"), "file name"),
    "level outside": (("levels", 0, "file", "a/16x16.npy"), "file name"),
    "backslash": (("levels", 0, "file", "..\\16x16.npy"), "file name"),
    "zero byte": (("columns", 0, "file", "a\0b"), "file name"),
    "long": (("columns", 0, "file", "x" * 5000), "file name"),
    "one file twice": (("columns", 0, "file", "labels.npy"), "labels.npy"),
    "two of one name": (("columns", 0, "name", "b"), "'b'"),
    "a second label": (("columns", 0, "name", "label"), "'label'"),
    "classes in one text": (("columns", 2, "classes", "xy"), "classes"),
    "numbers for classes": (("classes", [1, 2]), "classes"),
    "objects": (("columns", 0, "dtype", "|O"), "dtype"),
    "too few rows": (("columns", 0, "shape", [5]), "shape"),
}


@pytest.mark.parametrize("name", WRONG)
def test_manifests_that_contradict_themselves(name: str, store: Store) -> None:
    change, message = WRONG[name]
    fact(*change)(store.path)
    assert message in one_line(store.path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "1" * 6000, "\0", "[]", "null", '"progan store"'])
def test_what_is_no_manifest(text: str, store: Store, tmp_path: Path, options: PrepareOptions) -> None:
    (store.path / "manifest.json").write_text(text)
    one_line(store.path)
    with pytest.raises(DataError, match="will not be overwritten"):
        prepare(tmp_path / "pets", store.path, options)


@pytest.mark.parametrize("version", [True, 2.0, None, [2], "2", {"a": [[]] * 9}, 10**400])
def test_versions_that_are_none(version: object, store: Store) -> None:
    fact("version", version)(store.path)
    assert "store of an unknown version" in one_line(store.path)


@pytest.mark.parametrize("change", [("options", None), ("options", [1]), ("fingerprint", 3), ("names", None)], ids=str)
def test_prepare_makes_a_store_of_damaged_facts_anew(change: tuple, store: Store, tmp_path, options) -> None:
    inode = store.path.stat().st_ino
    fact(*change)(store.path)
    again = prepare(tmp_path / "pets", store.path, options)
    assert again.path.stat().st_ino != inode
    assert again == store
    use(store.path)


# --- nothing at all


def test_no_images_are_one_line(tmp_path: Path, pets: dict) -> None:
    nothing = Source(description="made", names=[], read=lambda _: iter([]))
    with pytest.raises(DataError, match=r"^\S*pets: contains no images\n  found: made"):
        prepare(tmp_path / "pets", tmp_path / "store", source=nothing)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("x.npy", r"1 .npy\)\n  fix:   pass one such file, such as \S+/s/x.npy$"),
        ("x.7z", r"1 .7z\)\n  fix:   unpack these archives, and pass the folder"),
        ("x.mp4", r"1 .mp4\)\n  fix:   save the frames as images first"),
        ("x.txt", r"1 .txt\)\n  fix:   use a folder, zip or tar with image files"),
        ("x.nef", r"1 .nef \(camera raw; develop it .*\)\)\n  fix:   use a folder, zip or tar with image files"),
    ],
)
def test_a_folder_of_other_sources_says_what_to_do(tmp_path: Path, file: str, found: str) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / file).write_bytes(b"x")
    with pytest.raises(DataError, match=rf"s: contains no images\n  found: other files \({found}"):
        open_source(tmp_path / "s")
    packed = make_zip(tmp_path / "s.zip", {"train.zip": b"x"})
    with pytest.raises(DataError, match=r"s.zip: contains no images\n  found: .*\n  fix:   unpack these archives"):
        open_source(packed)


def test_a_parquet_of_no_rows_is_one_line(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    image = pa.array([], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    table = pa.table({"image": image, "age": pa.array([], pa.int64()), "who": pa.array([], pa.string())})
    pq.write_table(table, tmp_path / "empty.parquet")
    for read in (lambda: open_source(tmp_path / "empty.parquet"), lambda: prepare(tmp_path / "empty.parquet", "s")):
        with pytest.raises(DataError, match=r"empty.parquet: contains no images\n"):
            read()


def test_arrays_of_no_images_are_one_line(tmp_path: Path) -> None:
    np.save(tmp_path / "none.npy", np.zeros((0, 8, 8), np.uint8))
    with pytest.raises(DataError):
        prepare(tmp_path / "none.npy", tmp_path / "store")


@pytest.mark.parametrize("size", [(-1, 4), (0, 4), (4, 0)])
def test_parts_of_no_size_are_refused(size: tuple[int, int], store: Store) -> None:
    with pytest.raises(DataError, match=rf"a crop of {size[0]}x{size[1]} .*does not fit"):
        Loader(store, seed=0, mirror=False, size=size, load_size=16)


def test_a_store_deleted_while_it_is_in_use_is_one_line(store: Store) -> None:
    loader = Loader(store, seed=0, mirror=False, budget_bytes=0)
    before = loader.images(0, 6, 4)
    shutil.rmtree(store.path)
    assert torch.equal(loader.images(0, 6, 4), before)  # what is mapped stays readable
    gone = (
        rf"^{store.path}/8x8.npy: missing; .* moved or deleted\n  found: no such folder\n  fix: .*progan prepare SOURCE"
    )
    with pytest.raises(DataError, match=gone):
        loader.images(0, 6, 8)
    with pytest.raises(DataError, match=r"labels.npy: missing; "):
        store.labels()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (Path.unlink, r"names.txt: missing; .*\n  found: the folder of the store without this file"),
        (lambda file: file.write_bytes(b""), r"names.txt: this file of the store cannot be read \(cannot mmap"),
    ],
)
def test_names_deleted_while_a_store_is_open_are_one_line(spoil: Callable, message: str, store: Store) -> None:
    spoil(store.path / "names.txt")
    with pytest.raises(DataError, match=message):
        _ = store.names[0]


@pytest.mark.parametrize(("number", "fix"), [(errno.ESTALE, "disk is mounted"), (errno.EACCES, "chmod u.r")])
def test_a_level_on_a_disk_that_is_gone_is_one_line(
    number: int, fix: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.stat

    def stat(path: Path, **how: Any) -> os.stat_result:
        if path.name == "8x8.npy":
            raise OSError(number, os.strerror(number), str(path))
        return real(path, **how)

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(DataError, match=rf"8x8.npy: this file of the store cannot be read \(.*\)\n  fix: .*{fix}"):
        store.level(8)
