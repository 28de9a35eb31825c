"""Stores of format 1, which came before: as they are, as a cache, and made anew."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from progan.data import preparing
from progan.data.options import PrepareOptions
from progan.data.preparing import cached, prepare
from progan.data.sources import fingerprint
from progan.data.store import Store
from progan.errors import DataError
from references.image_files import noise, save


def as_format_1(path: Path) -> None:
    """Make of a store what version 1 would have written."""
    manifest = json.loads((path / "manifest.json").read_text())
    for file in ("names.txt", "names.npy", *(column["file"] for column in manifest["columns"])):
        (path / file).unlink()
    del manifest["names"], manifest["columns"], manifest["columns_hash"]
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


def transparent(folder: Path, alpha: int = 100, size: int = 16) -> Path:
    for i in range(3):
        pixels = noise(size, size, 4, seed=i)
        pixels[..., 3] = alpha
        save(folder / f"{i}.png", pixels)
    return folder


@pytest.mark.parametrize(
    ("size", "from_size", "alpha", "warns"),
    [("8", 16, 100, True), ("16", 16, 254, True), ("4", 16, 100, True), ("4", 4, 100, False), ("8", 16, 255, False)],
)
def test_format_1_with_alpha_warns_once_and_is_mended(tmp_path, capsys, size, from_size, alpha, warns) -> None:
    source = transparent(tmp_path / "source", alpha, from_size)
    options = PrepareOptions(resolution=size, channels=4, filter="box", on_error="skip")
    hash_2 = prepare(source, tmp_path / "store", options).hash
    as_format_1(tmp_path / "store")
    assert not capsys.readouterr().err
    for _ in range(2):
        Store.open(tmp_path / "store")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == warns
    if warns:
        assert lines[0].startswith(f"warning: {tmp_path / 'store'}: partly transparent colors are too dark")
        flags = f"--resolution {size} --filter box --channels 4 --on-error skip"
        assert f"progan prepare SOURCE {tmp_path / 'store'} {flags}" in lines[0]
    store = prepare(source, tmp_path / "store", options)
    assert (store.manifest["version"], store.hash) == (2, hash_2)
    assert not capsys.readouterr().err


def test_what_was_cut_out_and_enlarged_to_one_level_was_resized_too(tmp_path: Path, capsys) -> None:
    options = PrepareOptions(resolution="4", channels=4, crop="0,0,2,2", upscale=True)
    prepare(transparent(tmp_path / "source", size=4), tmp_path / "store", options)
    as_format_1(tmp_path / "store")
    Store.open(tmp_path / "store")
    assert "--crop 0,0,2,2 --upscale --channels 4" in capsys.readouterr().err


@pytest.mark.parametrize(("rank", "warns"), [("0", True), ("1", False)])
def test_the_first_process_alone_warns(tmp_path: Path, capsys, monkeypatch, rank: str, warns: bool) -> None:
    monkeypatch.setenv("RANK", rank)
    prepare(transparent(tmp_path / "source"), tmp_path / "store", PrepareOptions(channels=4))
    as_format_1(tmp_path / "store")
    Store.open(tmp_path / "store")
    assert ("too dark" in capsys.readouterr().err) == warns


def test_prepare_makes_a_store_of_format_1_anew_for_names_and_columns(tmp_path: Path, pets: dict, capsys) -> None:
    prepare(tmp_path / "pets", tmp_path / "store", progress=True)
    as_format_1(tmp_path / "store")
    assert "made anew" not in capsys.readouterr().err
    assert list(prepare(tmp_path / "pets", tmp_path / "store", progress=True).names) == list(pets)
    assert (
        "store: an older version prepared these images; preparing them again by the present rules"
        in capsys.readouterr().err
    )


OLD_OPTIONS = ("auto", "none", "auto", "lanczos", False, "auto", "auto", "fail", "train")


@pytest.fixture
def old_cache(tmp_path: Path, pets: dict) -> Callable[..., Path]:
    """Puts a store of format 1 where version 1 would have put it."""

    def put(**changes) -> Path:
        options = PrepareOptions(**changes)
        values = tuple(getattr(options, name) for name in preparing._FIRST_OPTIONS)
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


def test_cached_takes_what_version_1_cached_only_without_further_columns(tmp_path, pets, old_cache) -> None:
    lists = {"labels": [[name, name[:3]] for name in pets], "age": [[name, i] for i, name in enumerate(pets)]}
    (tmp_path / "pets" / "dataset.json").write_text(json.dumps(lists))
    old = old_cache()
    for columns in ((), ("label",), ("age",), ("label", "age"), ()):
        store = cached(tmp_path / "pets", cache_dir=tmp_path / "cache", columns=columns)
        assert (store.path == old, store.manifest["version"]) == (("age" not in columns), 1 + ("age" in columns))
        assert set(columns) <= set(store.columns)
        assert store.hash == Store.open(old).hash  # so runs go on
    assert len(list((tmp_path / "cache").glob("*"))) == 2
    with pytest.raises(DataError, match=r"no column 'age'\n  found: label\n  fix:   an older version .*delete it"):
        Store.open(old).column("age")
    again = prepare(tmp_path / "pets", old)
    assert (again.hash, again.columns) == (store.hash, ("label", "age"))
    for columns in ((), ("age",), ("none",)):
        assert cached(tmp_path / "pets", cache_dir=tmp_path / "cache", columns=columns).path == old


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
    earlier = tuple(name for name in preparing._FIRST_OPTIONS if name != "channels")  # as if it were new
    monkeypatch.setattr(preparing, "_FIRST_OPTIONS", earlier)
    key = hashlib.sha256(repr((fingerprint(tmp_path / "pets"), OLD_OPTIONS[:5] + OLD_OPTIONS[6:], 1)).encode())
    plain = cached(tmp_path / "pets", cache_dir=tmp_path / "cache").path
    assert plain.name == f"pets-{key.hexdigest()[:16]}"
    assert cached(tmp_path / "pets", PrepareOptions(channels=1), tmp_path / "cache").path != plain


def test_a_cached_store_that_was_read_by_older_rules(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Labels of the cached store are compared with those that are read now, and made anew where they differ."""
    for i in (1, 2, 10):
        save(tmp_path / "pets" / str(i) / "0.png", noise(8, 8, seed=i))
    first = cached(tmp_path / "pets", cache_dir=tmp_path / "cache")
    manifest = json.loads((first.path / "manifest.json").read_text())
    del manifest["rules"]
    (first.path / "manifest.json").write_text(json.dumps(manifest))
    assert cached(tmp_path / "pets", cache_dir=tmp_path / "cache").path == first.path
    manifest["classes"] = ["1", "10", "2"]
    (first.path / "manifest.json").write_text(json.dumps(manifest))
    capsys.readouterr()
    again = cached(tmp_path / "pets", cache_dir=tmp_path / "cache")
    assert (again.path != first.path, again.classes) == (True, ("1", "2", "10"))
    assert f"its store stays in {first.path}" in capsys.readouterr().err
    assert cached(tmp_path / "pets", cache_dir=tmp_path / "cache").path == again.path
    assert capsys.readouterr().err == ""
