"""Stores of format 2, of any size, with names and columns."""

import hashlib
import os
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from progan.data.columns import Column
from progan.data.options import PrepareOptions
from progan.data.preparing import cached, prepare
from progan.data.records import Source
from progan.data.sources import open_source
from progan.data.store import Store
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
    with pytest.raises(DataError, match=r"shorter side of 4\n  found: 6x6 \(only powers of two have smaller levels"):
        store.level(4)
    with pytest.raises(DataError, match=r"no 3x3 images\n  found: 6x6\n  fix: .*--resolution 3x3"):
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
    with pytest.raises(DataError, match="two columns are named 'label'"):
        prepare(path, tmp_path / "other", source=source)


@pytest.mark.parametrize(
    ("values", "classes", "message"),
    [
        (np.zeros(5, np.int64), (), "5 rows, expected 6"),
        (np.zeros(6), (), r"float64 of shape \[6\], expected int64 or float32"),
        (np.zeros((6, 2, 2), np.int64), (), r"int64 of shape \[6, 2, 2\]"),
        (np.zeros((6, 0), np.int64), (), r"int64 of shape \[6, 0\]"),
        (np.zeros(6, np.float32), ("a",), "float32 for 1 classes"),
        (np.arange(6), ("a", "b", "c", "d", "e"), r"class numbers 0 \.\.\. 5 for 5 classes"),
        (np.arange(6) - 1, tuple("abcdefg"), r"class numbers -1 \.\.\. 4 for 7 classes"),
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


def test_hash_is_that_of_format_1_and_columns_have_their_own(tmp_path: Path, path: Path) -> None:
    def hashes_of(name: str, channels: int = 3, **facts) -> tuple[str, str]:
        store = prepare(path, tmp_path / name, PrepareOptions(channels=channels), source=made(**facts))
        return store.hash, store.columns_hash

    plain = hashlib.sha256(b"".join(noise(8, 8, seed=i).tobytes() for i in range(6)) + b"(6, 8, 8, 3)").hexdigest()
    assert hashes_of("plain") == hashes_of("renamed", names=list("abcdef")) == (plain, "")
    one, two, three = columns()
    others = [(one,), (two,), (one, two), (two, one), (one, two, three), (replace(one, name="years"),)]
    others += [(replace(three, classes=("sun", "rain")),), (replace(one, values=one.values + 1),)]
    others += [(replace(one, values=one.values.view(np.int32).astype(np.int64)),), (three,)]
    hashes = [hashes_of(str(i), columns=other) for i, other in enumerate(others)]
    assert {pixels for pixels, _ in hashes} == {plain}
    assert len({"", *(more for _, more in hashes)}) == len(others) + 1
    assert hashes_of("again", columns=(one, two)) == hashes[2]
    content = b"".join(noise(8, 8, 4, seed=i).tobytes() for i in range(6)) + b"(6, 8, 8, 4)"
    alpha = hashes_of("alpha", 4, read=lambda rows: (noise(8, 8, 4, seed=i) for i in rows))
    assert alpha == (hashlib.sha256(content).hexdigest(), "")


@pytest.mark.parametrize("file", ["names.txt", "names.npy", "column0.npy"])
def test_damaged_names_and_columns_are_named(tmp_path: Path, path: Path, file: str) -> None:
    prepare(path, tmp_path / "store", source=made(columns=columns()))
    os.truncate(tmp_path / "store" / file, 20)
    with pytest.raises(DataError, match=f"{file}: truncated or damaged\n  found: 20 bytes"):
        Store.open(tmp_path / "store")
