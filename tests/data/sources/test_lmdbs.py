import io
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from progan.data.options import PrepareOptions
from progan.data.pixels import decode
from progan.data.preparing import prepare
from progan.data.records import Choice
from progan.data.sources import fingerprint, open_source
from progan.data.sources.lmdbs import lmdb_categories, lmdb_files, lmdb_folders, lmdb_source
from progan.errors import DataError
from references.image_files import encoded, make_zip, noise

lmdb = pytest.importorskip("lmdb")

KEYS = [f"{7919 * i % 997:040x}".encode() for i in range(6)]  # like the SHA-1 of LSUN, not sorted


def write(folder: Path, values: dict[bytes, bytes]) -> Path:
    with lmdb.open(str(folder), map_size=1 << 24) as database, database.begin(write=True) as change:
        for key, value in values.items():
            change.put(key, value)
    return folder


@pytest.fixture
def values() -> dict[bytes, bytes]:
    return {key: encoded(noise(40, 40, seed=i), "WEBP", lossless=True) for i, key in enumerate(KEYS)}


@pytest.fixture
def lsun(tmp_path: Path, values: dict) -> Path:
    return write(tmp_path / "church_train_lmdb", values)


@pytest.mark.parametrize("kind", ["folder", "data.mdb", "any.mdb", "no suffix"])
def test_images_come_in_the_order_of_their_keys(tmp_path: Path, lsun: Path, values: dict, kind: str) -> None:
    path = {"folder": lsun, "data.mdb": lsun / "data.mdb"}.get(kind) or shutil.copy(lsun / "data.mdb", tmp_path / kind)
    source = open_source(path)
    assert list(source.names) == [key.decode() for key in sorted(KEYS)]
    assert [record.data for record in source] == [values[key] for key in sorted(KEYS)]
    assert [record.data for record in source.records([1, 4])] == [values[sorted(KEYS)[i]] for i in (1, 4)]
    assert source.labels is None


def test_store_equals_that_of_the_files(tmp_path: Path, lsun: Path, values: dict) -> None:
    for key, value in values.items():
        Image.open(io.BytesIO(value)).save(tmp_path / f"{key.decode()}.png")
    (tmp_path / "pngs").mkdir()
    for file in tmp_path.glob("*.png"):
        file.rename(tmp_path / "pngs" / file.name)
    stores = [prepare(tmp_path / kind, tmp_path / f"store-{kind}") for kind in (lsun.name, "pngs")]
    np.testing.assert_array_equal(stores[0].level(32), stores[1].level(32))


def test_reading_twice_at_once_and_again_after_a_change(lsun: Path, values: dict) -> None:
    one, two = iter(open_source(lsun)), iter(open_source(lsun))
    assert next(one).name == next(two).name
    assert [record.name for record in two] == [record.name for record in one]
    del one, two
    write(lsun, {b"zz": values[KEYS[0]]})
    assert len(open_source(lsun)) == 7


def test_reading_leaves_no_trace(lsun: Path) -> None:
    (lsun / "lock.mdb").unlink()
    before = fingerprint(lsun)
    assert len(list(open_source(lsun))) == 6
    assert sorted(file.name for file in lsun.iterdir()) == ["data.mdb"]
    assert fingerprint(lsun) == before
    (lsun / "lock.mdb").touch()
    assert fingerprint(lsun) == before  # lock files change when anybody reads


def test_broken_image_is_skipped_and_notes_on_the_number_are_no_images(tmp_path: Path, values: dict) -> None:
    values |= {sorted(KEYS)[2]: b"junk", sorted(KEYS)[3]: b"", b"length": b"6", b"__len__": b"6"}
    folder = write(tmp_path / "lsun", values)
    assert len(open_source(folder)) == 6
    with pytest.raises(DataError, match=sorted(KEYS)[2].decode()):
        prepare(folder, tmp_path / "store")
    assert prepare(folder, tmp_path / "store", PrepareOptions(on_error="skip")).count == 4


def test_keys_that_are_no_text_keep_their_bytes(tmp_path: Path) -> None:
    keys = [b"\x00\x01", b"\x00\x01\x00", b"\xff\x00", b"a"]
    source = open_source(write(tmp_path / "db", {key: encoded(noise(8, 8, seed=len(key))) for key in keys}))
    assert source.names[:] == ["\x00\x01", "\x00\x01\x00", "a", "\\xff\x00"]
    assert all(decode(record.data).size == (8, 8) for record in source)


@pytest.mark.parametrize("size", [0, 10, 4096])
def test_file_without_a_header_is_named(lsun: Path, size: int) -> None:
    data = (lsun / "data.mdb").read_bytes()
    (lsun / "data.mdb").write_bytes(data[:size])
    with pytest.raises(DataError, match=rf"data.mdb: not a readable LMDB \(.*\)\n  found: {size} bytes\n  fix: "):
        open_source(lsun)


@pytest.mark.parametrize("pages", [2, 5])
def test_cut_off_file_is_named_and_does_not_kill_the_process(lsun: Path, pages: int) -> None:
    data = (lsun / "data.mdb").read_bytes()
    (lsun / "data.mdb").write_bytes(data[: pages * 4096])
    with pytest.raises(DataError, match=rf"truncated\n  found: {pages * 4096} bytes, expected at least \d+"):
        open_source(lsun)


def test_damaged_pages_are_named(lsun: Path) -> None:
    data = bytearray((lsun / "data.mdb").read_bytes())
    data[8192:] = bytes(len(data) - 8192)
    (lsun / "data.mdb").write_bytes(data)
    with pytest.raises(DataError, match=r"damaged LMDB \(.*\)\n  found: 0 keys before the damage"):
        open_source(lsun)


def test_foreign_and_empty_databases_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"expected an LMDB of encoded images.*\n  found: under 'a', the first of 1 such keys: not an im",
    ):
        open_source(write(tmp_path / "caffe", {b"a": b"\x08\x03\x10", b"b": b"x"}))
    with pytest.raises(DataError, match="an empty LMDB"):
        open_source(write(tmp_path / "empty", {}))


def test_missing_package_is_named(lsun: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(DataError, match=r"reading an LMDB requires lmdb\n  fix:   pip install 'progan\[lmdb\]'"):
        open_source(lsun)


def test_categories_in_one_folder_are_classes(tmp_path: Path, values: dict) -> None:
    for i, name in enumerate(("tower_train_lmdb", "bridge_train_lmdb", "bridge_val_lmdb", "bridge_note")):
        folder = tmp_path / "lsun" / name
        folder.mkdir(parents=True)
        if name != "bridge_note":
            write(folder, dict(list(values.items())[i : i + 3]))
    source = open_source(tmp_path / "lsun")
    assert (source.classes, source.labels) == (("bridge", "tower"), [0, 0, 0, 1, 1, 1])
    assert source.names[2:4] == [
        f"bridge_train_lmdb/{sorted(KEYS[1:4])[2].decode()}",
        f"tower_train_lmdb/{sorted(KEYS[0:3])[0].decode()}",
    ]
    assert [record.data for record in source.records([2, 3])] == [
        values[sorted(KEYS[1:4])[2]],
        values[sorted(KEYS[0:3])[0]],
    ]
    test = open_source(tmp_path / "lsun", split="test")
    assert (len(test), test.labels) == (3, None)  # one class is none
    both = open_source(tmp_path / "lsun", split="all")
    assert (both.classes, both.labels) == (("bridge", "tower"), [0] * 6 + [1] * 3)
    shutil.rmtree(tmp_path / "lsun" / "bridge_val_lmdb")
    with pytest.raises(DataError, match=r"lsun: no images of the split 'test'\n  found: train\n"):
        open_source(tmp_path / "lsun", split="test")


def test_folders_of_other_names_are_no_splits(tmp_path: Path, values: dict) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "lsun").mkdir(exist_ok=True)
        write(tmp_path / "lsun" / name, values)
    for split in ("train", "all"):
        assert open_source(tmp_path / "lsun", split=split).classes == ("cat", "dog")
    with pytest.raises(DataError, match=r"--split test: no effect, because this source has no splits"):
        open_source(tmp_path / "lsun", split="test")


def values_of(source) -> list:
    return [record.data for record in source]


PNGS = [encoded(noise(8, 8, seed=i)) for i in range(6)]


def sized(order: str, sizes: tuple[int, ...] = (32, 64, 128)) -> dict[bytes, bytes]:
    """Pictures in several sizes, as a widely used port of StyleGAN2 stores them, or with the numbers reversed."""
    every = [(size, i) for i in range(4) for size in sizes]
    return {order.format(size=s, i=i).encode(): encoded(noise(s, s, seed=i)) for s, i in every} | {b"length": b"4"}


@pytest.mark.parametrize("order", ["{size}-{i:05d}", "{i:05d}_{size}", "face-{i:05d}-{size}px"])
def test_one_picture_of_each_size_is_used(tmp_path: Path, order: str) -> None:
    values = sized(order)
    folder = write(tmp_path / "db", values)
    for member, size in (("", 128), ("32", 32)):
        source = lmdb_source(folder, lmdb_files(folder), Choice(member=member))
        wanted = sorted(order.format(size=size, i=i) for i in range(4))
        assert list(source.names) == wanted
        assert values_of(source) == [values[name.encode()] for name in wanted]
        assert source.heeds == {"member"}
    assert source.notes == (
        "pictures in 3 sizes: 4 of 32 pixels are used; 4 of 64, 4 of 128 are left out "
        "(--member 128 takes another size)",
        "left out, because they are not pictures: values under 'length' (1)",
    )
    with pytest.raises(DataError, match=r"--member 256: there are no such pictures\n  found: 4 pictures of"):
        lmdb_source(folder, lmdb_files(folder), Choice(member="256"))


def test_a_size_that_few_pictures_have_is_not_used(tmp_path: Path) -> None:
    values = sized("{size}-{i:05d}", (32, 64))
    del values[b"64-00001"]
    assert list(open_source(write(tmp_path / "db", values)).names) == [f"32-0000{i}" for i in range(4)]


def test_numbers_that_are_no_sizes_are_not_taken_for_them(tmp_path: Path) -> None:
    values = {f"{scene}-{frame:03d}".encode(): PNGS[frame] for scene in (1, 2) for frame in range(3)}
    source = open_source(write(tmp_path / "db", values))
    assert (len(source), source.notes, source.heeds) == (6, (), frozenset())


KINDS = {
    "text": ("image-{:09d}", {"label-{:09d}": b"hello"}, "num-samples", ([0] * 4, ("hello",))),
    "numbers as text": ("{}", {"label-{}": [b"10", b"9", b"9", b"1"]}, "n", ([2, 1, 1, 0], ("1", "9", "10"))),
    "packed numbers": ("img_{}", {"label_{}": [b"\5\0\0\0", b"\1\0\0\0"] * 2}, "n", ([1, 0, 1, 0], ("1", "5"))),
    "some": ("image-{}", {"label-{}": [b"b", None, b"a", None]}, "n", ([1, -1, 0, -1], ("a", "b"))),
    "notes": ("{}", {"keys-{}.json": b"[]", "meta": b"{}"}, "dataset_meta", (None, ())),
}


@pytest.mark.parametrize(("image", "others", "more", "wanted"), KINDS.values(), ids=KINDS)
def test_values_that_are_no_pictures(tmp_path: Path, image: str, others: dict, more: str, wanted: tuple) -> None:
    values = {image.format(i).encode(): PNGS[i] for i in range(4)} | {more.encode(): b"4"}
    for name, cells in others.items():
        for i, cell in enumerate(cells if isinstance(cells, list) else [cells] * 4):
            values |= {} if cell is None else {name.format(i).encode(): cell}
    source = open_source(write(tmp_path / "db", values), skip=True)
    if "some" not in str(wanted):
        assert values_of(source.only(np.arange(1))) == PNGS[:1]
    assert (source.labels, source.classes) == wanted
    assert any(f"'{more}' (1)" in note for note in source.notes)


def test_words_under_labels_are_told(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("progan.data.sources.lmdbs.is_text_of_its_own", lambda distinct, count: distinct == count)
    values = {f"image-{i}".encode(): PNGS[i] for i in range(4)} | {f"label-{i}".encode(): b"%d" % i for i in range(4)}
    source = open_source(write(tmp_path / "db", values))
    assert (source.labels, source.notes) == (
        None,
        ("left out, because they are not pictures: values under 'label-#' (4)",),
    )


def test_masks_beside_pictures_are_left_out(tmp_path: Path) -> None:
    mask = encoded(np.zeros((8, 8), np.uint8))
    values = {f"image-{i}".encode(): PNGS[i] for i in range(4)} | {f"mask-{i}".encode(): mask for i in range(3)}
    folder = write(tmp_path / "db", values)
    source = open_source(folder)
    assert values_of(source) == PNGS[:4]
    assert source.notes == (
        "pictures under 'image-#' are used; 3 under 'mask-#' are left out (--member mask takes them)",
    )
    assert values_of(lmdb_source(folder, lmdb_files(folder), Choice(member="mask"))) == [mask] * 3
    with pytest.raises(
        DataError, match=r"--member depth: .*\n  found: 4 pictures under image-#, 3 pictures under mask-#"
    ):
        lmdb_source(folder, lmdb_files(folder), Choice(member="depth"))


def test_raw_pixels_are_refused_with_the_reason(tmp_path: Path) -> None:
    folder = write(tmp_path / "db", {str(i).encode(): bytes([i + 1]) * (64 * 64 * 3) for i in range(4)})
    with pytest.raises(DataError, match=r"first of 4 such keys: .*; 12288 bytes, as many as 64x64 raw RGB pixels have"):
        open_source(folder)


def test_keys_that_are_packed_numbers_or_names(tmp_path: Path) -> None:
    assert len(open_source(write(tmp_path / "a", {i.to_bytes(4, "little"): PNGS[i % 6] for i in range(60)}))) == 60
    names = {f"a_{'xyzuvw'[i]}.png".encode(): PNGS[i] for i in range(6)}
    assert values_of(open_source(write(tmp_path / "b", names))) == [names[name] for name in sorted(names)]


def test_splits_of_several_lmdbs(tmp_path: Path, values: dict) -> None:
    for name in ("a_train_lmdb", "a_val_lmdb", "a"):  # the last one belongs to every split
        (tmp_path / "lsun").mkdir(exist_ok=True)
        write(tmp_path / "lsun" / name, values)
    for split, count in (("train", 12), ("val", 12), ("test", 12), ("all", 18)):
        source = lmdb_categories(tmp_path / "lsun", lmdb_folders(tmp_path / "lsun"), Choice(split=split))
        assert (len(source), source.heeds) == (count, {"split"})
    assert "because there is no split 'test'" in open_source(tmp_path / "lsun", split="test").notes[-1]


def test_lmdb_within_a_zip_is_to_be_unzipped(lsun: Path, tmp_path: Path) -> None:
    make_zip(tmp_path / "church.zip", {"church_train_lmdb/data.mdb": (lsun / "data.mdb").read_bytes()})
    with pytest.raises(
        DataError, match=r"(?s)an LMDB cannot be read inside a zip.*unzip church.zip.*church_train_lmdb"
    ):
        open_source(tmp_path / "church.zip")
    (tmp_path / "zips").mkdir()
    (tmp_path / "church.zip").rename(tmp_path / "zips" / "church.zip")
    with pytest.raises(DataError, match=r"unzip church.zip"):
        open_source(tmp_path / "zips")
