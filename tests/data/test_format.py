"""Stores of format 2, of any size, with names and columns; and those of format 1, which came before."""

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from progan.data import store as store_module
from progan.data.columns import Column
from progan.data.options import PrepareOptions
from progan.data.records import Source
from progan.data.sources import fingerprint, open_source
from progan.data.store import Store, cached, prepare
from progan.errors import DataError
from references.image_files import noise, save

NAMES = ["plain.png", "sub/line\nend.png", "ä/日本.png", "raw\udcff.png", "", "last"]


def columns(count: int = 6) -> tuple[Column, ...]:
    rng = np.random.default_rng(0)
    return (
        Column("age", rng.normal(size=count).astype(np.float32)),
        Column("box", rng.integers(-9, 9, (count, 4))),
        Column("weather, today", rng.integers(0, 2, count), ("rain", "sun")),
    )


def made(count: int = 6, size: int = 8, channels: int = 3, **facts) -> Source:
    """Images out of nowhere."""

    def read(positions) -> Iterator[np.ndarray]:
        return (noise(size, size, channels, seed=i) for i in positions)

    names = NAMES[:count] + [f"{i}" for i in range(len(NAMES), count)]
    return Source(**{"description": "made", "names": names, "labels": None, "classes": (), "read": read} | facts)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Something whose changes count."""
    (tmp_path / "nothing").mkdir()
    return tmp_path / "nothing"


# --- sizes


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (28, 28), (60, 90), (286, 286)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_any_size_is_kept_as_it_is(tmp_path: Path, size: tuple[int, int], channels: int) -> None:
    pixels = noise(*size, channels)
    save(tmp_path / "source" / "1.png", pixels)
    options = PrepareOptions(resolution=f"{size[0]}x{size[1]}", channels=channels)
    store = prepare(tmp_path / "source", tmp_path / "store", options)
    assert (store.height, store.width, store.sizes, store.resolutions) == (*size, [size], (min(size),))
    np.testing.assert_array_equal(store.level(min(size))[0], pixels.reshape(*size, channels))
    assert cached(tmp_path / "store", PrepareOptions(resolution=f"{size[0]}x{size[1]}")) == store


def test_digits_need_no_padding(tmp_path: Path, mnist: Path) -> None:
    store = prepare(mnist, tmp_path / "store", PrepareOptions(split="test", resolution="28"))
    raw = np.frombuffer((mnist / "t10k-images-idx3-ubyte").read_bytes()[16:], np.uint8)
    np.testing.assert_array_equal(store.level(28), raw.reshape(5, 28, 28, 1))


def test_a_level_that_is_missing_is_explained(tmp_path: Path, path: Path) -> None:
    store = prepare(path, tmp_path / "store", PrepareOptions(resolution="6"), source=made())
    with pytest.raises(DataError, match=r"shorter side of 4\n  found: 6x6 \(smaller ones come with powers of two only"):
        store.level(4)
    with pytest.raises(DataError, match=r"no images of 3x3\n  found: 6x6\n  fix: .*--resolution 3x3"):
        cached(tmp_path / "store", PrepareOptions(resolution="3x3"))


# --- names and columns


def test_names_hold_any_characters_and_are_read_when_asked_for(tmp_path: Path, path: Path) -> None:
    store = prepare(path, tmp_path / "store", source=made())
    assert (len(store.names), list(store.names), store.names[1:3]) == (6, NAMES, NAMES[1:3])
    assert (store.names[-1], store.names[-6]) == (NAMES[-1], NAMES[0])
    with pytest.raises(IndexError):
        store.names[6]
    assert pickle.loads(pickle.dumps(store)).names[3] == NAMES[3]
    assert Store.open(store.path) == store


def test_names_of_more_images_than_are_written_at_once(tmp_path: Path, path: Path) -> None:
    names = [f"{'x' * (i % 7)}{i}" for i in range(10_000)]
    source = made(10_000, 1, names=names, read=lambda positions: (np.zeros((1, 1), np.uint8) for _ in positions))
    assert list(prepare(path, tmp_path / "store", PrepareOptions(resolution="1"), source=source).names) == names


def test_names_of_files_that_are_no_unicode(tmp_path: Path) -> None:
    save(tmp_path / "source" / "1.png", noise(4, 4))
    try:
        (tmp_path / "source" / "1.png").rename(os.fsdecode(os.fsencode(tmp_path / "source") + b"/\xff.png"))
    except OSError:
        pytest.skip("names are Unicode here")
    assert list(prepare(tmp_path / "source", tmp_path / "store").names) == ["\udcff.png"]


@pytest.mark.parametrize("with_labels", [False, True])
def test_columns_of_all_kinds_come_back(tmp_path: Path, path: Path, with_labels: bool) -> None:
    labels = {"labels": [0, 1, 1, 0, 1, 0], "classes": ("a", "b")} if with_labels else {}
    store = prepare(path, tmp_path / "store", source=made(columns=columns(), **labels))
    assert store.columns == ("label",) * with_labels + ("age", "box", "weather, today")
    for wanted in columns():
        found = store.column(wanted.name)
        assert isinstance(found.values, np.memmap)
        assert found.values.dtype == wanted.values.dtype
        np.testing.assert_array_equal(found.values, wanted.values)
        assert (found.name, found.classes) == (wanted.name, wanted.classes)
    if with_labels:
        assert store.column("label").values.tolist() == labels["labels"] == store.labels().tolist()
        assert store.column("label").classes == store.classes == ("a", "b")
    with pytest.raises(DataError, match=r"no column 'ages'\n  found: .*age, box, weather, today\n  fix:"):
        store.column("ages")


def test_a_column_may_be_called_label_if_there_are_no_classes(tmp_path: Path, path: Path) -> None:
    column = Column("label", np.arange(6, dtype=np.float32))
    assert prepare(path, tmp_path / "store", source=made(columns=(column,))).column("label").values.tolist()[5] == 5
    source = made(columns=(column,), labels=[0, 1] * 3, classes=("a", "b"))
    with pytest.raises(DataError, match="two columns are called 'label'"):
        prepare(path, tmp_path / "other", source=source)


@pytest.mark.parametrize(
    ("values", "classes", "message"),
    [
        (np.zeros(5, np.int64), (), "5 rows, wanted 6"),
        (np.zeros(6), (), r"float64 of shape \[6\], wanted int64 or float32"),
        (np.zeros((6, 2, 2), np.int64), (), r"int64 of shape \[6, 2, 2\]"),
        (np.zeros((6, 0), np.int64), (), r"int64 of shape \[6, 0\]"),
        (np.zeros(6, np.float32), ("a",), "float32 for 1 classes"),
        (np.arange(6), ("a", "b", "c", "d", "e"), r"numbers 0 \.\.\. 5 for 5 classes"),
        (np.arange(6) - 1, tuple("abcdefg"), r"numbers -1 \.\.\. 4 for 7 classes"),
    ],
)
def test_columns_that_do_not_go_with_the_images_are_refused(tmp_path, path, values, classes, message) -> None:
    with pytest.raises(DataError, match=rf"made: column 'x' cannot be used\n  found: {message}"):
        prepare(path, tmp_path / "store", source=made(columns=(Column("x", values, classes),)))


def test_images_that_are_left_out_take_their_names_and_rows_along(tmp_path: Path) -> None:
    for i in range(300):
        save(tmp_path / "source" / "ab"[i // 150] / f"{i:03d}.png", noise(4, 4, seed=i))
    broken = [0, 17, 127, 128, 299]
    for i in broken:
        (tmp_path / "source" / "ab"[i // 150] / f"{i:03d}.png").write_bytes(b"broken")
    source = replace(open_source(tmp_path / "source"), columns=columns(300))
    store = prepare(tmp_path / "source", tmp_path / "store", PrepareOptions(on_error="skip"), source=source)
    kept = [i for i in range(300) if i not in broken]
    assert list(store.names) == [f"{'ab'[i // 150]}/{i:03d}.png" for i in kept]
    assert store.labels().tolist() == [i // 150 for i in kept]
    for column in columns(300):
        np.testing.assert_array_equal(store.column(column.name).values, column.values[kept])


# --- the hash


def test_hash_is_that_of_format_1_unless_there_is_more(tmp_path: Path, path: Path) -> None:
    def hash_of(name: str, channels: int = 3, **facts) -> str:
        return prepare(path, tmp_path / name, PrepareOptions(channels=channels), source=made(**facts)).hash

    plain = hashlib.sha256(b"".join(noise(8, 8, seed=i).tobytes() for i in range(6)) + b"(6, 8, 8, 3)").hexdigest()
    assert hash_of("plain") == hash_of("renamed", names=list("abcdef")) == plain
    one, two, three = columns()
    others = [(one,), (two,), (one, two), (two, one), (one, two, three), (replace(one, name="years"),)]
    others += [(replace(three, classes=("sun", "rain")),), (replace(one, values=one.values + 1),)]
    others += [(replace(one, values=one.values.view(np.int32).astype(np.int64)),), (three,)]
    hashes = [hash_of(str(i), columns=other) for i, other in enumerate(others)]
    assert len({plain, *hashes}) == len(others) + 1
    assert hash_of("again", columns=(one, two)) == hashes[2]
    content = b"".join(noise(8, 8, 4, seed=i).tobytes() for i in range(6)) + b"(6, 8, 8, 4)"
    assert hash_of("alpha", 4, read=lambda rows: (noise(8, 8, 4, seed=i) for i in rows)) != (
        hashlib.sha256(content).hexdigest()  # the smaller levels are others
    )


# --- format 1


def as_format_1(path: Path) -> None:
    """Make of a store what version 1 would have written."""
    manifest = json.loads((path / "manifest.json").read_text())
    assert not manifest["columns"]
    (path / manifest["names"]["file"]).unlink()
    (path / manifest["names"]["offsets"]).unlink()
    del manifest["names"], manifest["columns"]
    (path / "manifest.json").write_text(json.dumps(manifest | {"version": 1}))


def test_format_1_opens_with_numbers_for_names(tmp_path: Path, pets: dict, capsys) -> None:
    new = prepare(tmp_path / "pets", tmp_path / "store")
    as_format_1(new.path)
    old = Store.open(new.path)
    assert (old.hash, old.classes, old.resolutions) == (new.hash, new.classes, new.resolutions)
    assert list(old.names) == [f"00000{i}" for i in range(6)]
    assert old.columns == ("label",)
    assert old.column("label").values.tolist() == [0, 0, 0, 1, 1, 1]
    assert old.column("label").classes == ("cat", "dog")
    with pytest.raises(DataError, match=r"no column 'age'\n  found: label"):
        old.column("age")
    assert not capsys.readouterr().err


@pytest.mark.parametrize(("size", "warns"), [("8", True), ("4", False)])
def test_format_1_with_alpha_warns_once_and_is_mended_by_prepare(tmp_path, pets, capsys, size, warns) -> None:
    options = PrepareOptions(resolution=size, channels=4)
    hash_2 = prepare(tmp_path / "pets", tmp_path / "store", options).hash
    as_format_1(tmp_path / "store")
    assert not capsys.readouterr().err
    for _ in range(2):
        Store.open(tmp_path / "store")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == warns
    if warns:
        assert lines[0].startswith(f"warning: {tmp_path / 'store'}: its small levels are too dark")
        assert f"progan prepare SOURCE {tmp_path / 'store'} --channels 4" in lines[0]
    store = prepare(tmp_path / "pets", tmp_path / "store", options)
    assert (store.manifest["version"], store.hash) == (2, hash_2)
    assert not capsys.readouterr().err


def test_prepare_makes_a_store_of_format_1_anew_for_names_and_columns(tmp_path: Path, pets: dict, capsys) -> None:
    prepare(tmp_path / "pets", tmp_path / "store", progress=True)
    as_format_1(tmp_path / "store")
    assert "made anew" not in capsys.readouterr().err
    assert list(prepare(tmp_path / "pets", tmp_path / "store", progress=True).names) == list(pets)
    assert "store: has these images without their names and columns, so it is made anew" in capsys.readouterr().err


OLD_OPTIONS = ("auto", "none", "auto", "lanczos", False, "auto", "auto", "fail", "train")


@pytest.fixture
def old_cache(tmp_path: Path, pets: dict) -> Callable[..., Path]:
    """Puts a store of format 1 where version 1 would have put it."""

    def put(**changes) -> Path:
        options = PrepareOptions(**changes)
        values = tuple(getattr(options, name) for name in store_module._FIRST_OPTIONS)
        assert changes or values == OLD_OPTIONS
        key = hashlib.sha256(repr((fingerprint(tmp_path / "pets"), values, 1)).encode()).hexdigest()[:16]
        folder = tmp_path / "cache" / f"pets-{key}"
        prepare(tmp_path / "pets", folder, options)
        as_format_1(folder)
        return folder

    return put


def test_cached_finds_what_version_1_cached(tmp_path: Path, old_cache) -> None:
    for changes in ({}, {"resolution": "8"}, {"channels": 1}):
        old = old_cache(**changes)
        inode = old.stat().st_ino
        store = cached(tmp_path / "pets", PrepareOptions(**changes), tmp_path / "cache")
        assert (store.path, store.manifest["version"]) == (old, 1)
        assert store.path.stat().st_ino == inode


def test_cached_does_not_take_what_version_1_averaged_without_alpha(tmp_path: Path, old_cache, capsys) -> None:
    old = old_cache(channels=4)
    store = cached(tmp_path / "pets", PrepareOptions(channels=4), tmp_path / "cache")
    assert (store.path, store.manifest["version"]) == (old, 2)
    assert not capsys.readouterr().err


def test_options_that_an_older_version_did_not_have_count_as_defaults(tmp_path: Path, pets: dict) -> None:
    prepare(tmp_path / "pets", tmp_path / "store")
    inode = (tmp_path / "store").stat().st_ino
    manifest = json.loads((tmp_path / "store" / "manifest.json").read_text())
    del manifest["options"]["split"], manifest["options"]["upscale"]
    (tmp_path / "store" / "manifest.json").write_text(json.dumps(manifest))
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    assert prepare(tmp_path / "pets", tmp_path / "store").path.stat().st_ino == inode
    inode = (tmp_path / "copy").stat().st_ino
    assert prepare(tmp_path / "pets", tmp_path / "copy", PrepareOptions(upscale=True)).path.stat().st_ino != inode


def test_options_of_later_versions_change_the_place_in_the_cache_if_they_are_set(tmp_path, pets, monkeypatch) -> None:
    earlier = tuple(name for name in store_module._FIRST_OPTIONS if name != "channels")  # as if it were new
    monkeypatch.setattr(store_module, "_FIRST_OPTIONS", earlier)
    key = hashlib.sha256(repr((fingerprint(tmp_path / "pets"), OLD_OPTIONS[:5] + OLD_OPTIONS[6:], 1)).encode())
    plain = cached(tmp_path / "pets", cache_dir=tmp_path / "cache").path
    assert plain.name == f"pets-{key.hexdigest()[:16]}"
    assert cached(tmp_path / "pets", PrepareOptions(channels=1), tmp_path / "cache").path != plain


@pytest.mark.parametrize("file", ["names.txt", "names.npy", "column0.npy"])
def test_damaged_names_and_columns_are_named(tmp_path: Path, path: Path, file: str) -> None:
    prepare(path, tmp_path / "store", source=made(columns=columns()))
    os.truncate(tmp_path / "store" / file, 20)
    with pytest.raises(DataError, match=f"{file}: truncated or damaged\n  found: 20 bytes"):
        Store.open(tmp_path / "store")
