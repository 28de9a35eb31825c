import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from progan.data.pixels import decode
from progan.data.sources import archives, fingerprint, open_source
from progan.errors import DataError
from references.image_files import encoded, make_tar, make_zip, noise, python2_pickle, save


def contents(path: Path, split: str = "train") -> dict[str, tuple[np.ndarray, int | None]]:
    return {r.name: (np.asarray(decode(r.data)), r.label) for r in open_source(path, split=split)}


def check(found: dict, wanted: dict[str, np.ndarray], prefix: str = "") -> None:
    assert list(found) == [prefix + name for name in wanted]
    for name, pixels in wanted.items():
        np.testing.assert_array_equal(found[prefix + name][0], pixels)
        assert found[prefix + name][1] == int(name.startswith("dog"))


def packed(images: dict[str, np.ndarray], prefix: str = "") -> dict[str, bytes]:
    """Files of an archive, not in sorted order."""
    files = {prefix + name: encoded(pixels) for name, pixels in reversed(images.items())}
    return files | {"__MACOSX/cat/._0.png": b"junk", prefix + "notes.txt": b"hello"}


def test_folder_is_sorted_and_labelled_and_ignores_hidden_files(tmp_path: Path, pets: dict) -> None:
    check(contents(tmp_path / "pets"), pets)
    assert open_source(tmp_path / "pets").classes == ("cat", "dog")


@pytest.mark.parametrize("prefix", ["", "pets/", "./a/b/"])
@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.xz", ".tgz"])
def test_archives_equal_their_folder(tmp_path: Path, pets: dict, prefix: str, suffix: str) -> None:
    make = make_zip if suffix == ".zip" else make_tar
    path = make(tmp_path / f"pets{suffix}", packed(pets, prefix))
    before = sorted(tmp_path.rglob("*"))
    check(contents(path), pets, prefix.removeprefix("./"))
    assert open_source(path).classes == ("cat", "dog")
    assert sorted(tmp_path.rglob("*")) == before  # nothing was extracted


def test_archive_is_recognised_without_its_suffix(tmp_path: Path, pets: dict) -> None:
    for name, make in (("a.tar", make_tar), ("b.zip", make_zip)):
        check(contents(make(tmp_path / name, packed(pets)).rename(tmp_path / name[0])), pets)


def test_labels_need_two_folders_and_every_image_in_one(tmp_path: Path) -> None:
    save(tmp_path / "a" / "cat" / "1.png", noise(8, 8))
    assert open_source(tmp_path / "a").classes == ()
    save(tmp_path / "a" / "dog" / "deep" / "1.png", noise(8, 8))
    assert [r.label for r in open_source(tmp_path / "a")] == [0, 1]
    save(tmp_path / "a" / "loose.png", noise(8, 8))
    assert [r.label for r in open_source(tmp_path / "a")] == [None] * 3


def test_link_back_to_a_parent_folder_ends(tmp_path: Path, pets: dict) -> None:
    (tmp_path / "pets" / "cat" / "loop").symlink_to(tmp_path / "pets")
    check(contents(tmp_path / "pets"), pets)


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "a/../../evil.png", "..\\evil.png", "C:\\evil.png"])
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str, make) -> None:
    path = make(tmp_path / ("a.zip" if make is make_zip else "a.tar"), {"ok.png": encoded(noise(8, 8)), name: b""})
    with pytest.raises(DataError, match=r"points outside the archive\n  found: .*evil"):
        open_source(path)


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
@pytest.mark.parametrize("share", [0.0, 0.4, 0.9])
def test_truncated_archive_is_named(tmp_path: Path, pets: dict, suffix: str, share: float) -> None:
    path = (make_zip if suffix == ".zip" else make_tar)(tmp_path / f"pets{suffix}", packed(pets))
    data = path.read_bytes()
    if suffix == ".tar":  # cut inside a member; behind the members there are only zeros
        share = share * sum(512 + -(-len(encoded(p)) // 512) * 512 for p in pets.values()) / len(data)
    path.write_bytes(data[: int(share * len(data)) + 100])
    with pytest.raises(DataError, match=rf"pets{suffix}: not a readable (zip|tar) file"):
        open_source(path)


def test_broken_member_of_a_zip_is_an_error_of_its_own(tmp_path: Path, pets: dict) -> None:
    path = make_zip(tmp_path / "pets.zip", {name: encoded(p) for name, p in pets.items()})
    data = bytearray(path.read_bytes())
    at = data.index(encoded(pets["cat/1.png"])) + 60
    data[at] ^= 0xFF
    path.write_bytes(data)
    payloads = {r.name: r.data for r in open_source(path)}
    assert [name for name, p in payloads.items() if isinstance(p, DataError)] == ["cat/1.png"]


def test_unsorted_compressed_tar_does_not_fill_memory(tmp_path: Path, pets: dict, monkeypatch) -> None:
    path = make_tar(tmp_path / "pets.tar.gz", packed(pets))
    monkeypatch.setattr(archives, "HELD_BYTES", 2000)
    with pytest.raises(DataError, match="not sorted"):
        list(open_source(path))
    check(contents(make_tar(tmp_path / "pets.tar", packed(pets))), pets)  # one can go back in an uncompressed one


@pytest.mark.parametrize("kind", ["folder", "parent", "tar.gz"])
def test_cifar(tmp_path: Path, cifar: Path, kind: str) -> None:
    files = {f"cifar-10-batches-py/{p.name}": p.read_bytes() for p in cifar.iterdir()}
    archive = make_tar(tmp_path / "cifar-10-python.tar.gz", files)
    path = {"folder": cifar, "parent": tmp_path, "tar.gz": archive}[kind]
    source = open_source(path)
    raw = np.concatenate([np.load(tmp_path / f"data_batch_{i}.npy") for i in range(1, 6)])
    found = np.stack([r.data for r in source])
    np.testing.assert_array_equal(found[:, :, :, 1].reshape(20, -1), raw[:, 1024:2048])
    np.testing.assert_array_equal(found[7, 3, 5], raw[7].reshape(3, 32, 32)[:, 3, 5])
    assert [r.label for r in source] == [n for i in range(5) for n in (i, 1, 2, 3)]
    assert source.classes[:2] == ("airplane", "automobile")
    assert [len(open_source(path, split=s)) for s in ("test", "all")] == [4, 24]


def test_cifar_without_names_of_classes_has_digits(cifar: Path) -> None:
    (cifar / "batches.meta").unlink()
    assert open_source(cifar).classes == tuple("0123456789")


class Touch:
    """Pickled, a call that leaves a file behind when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_malicious_pickle_is_refused_and_not_run(tmp_path: Path, cifar: Path) -> None:
    mark = tmp_path / "was-here"
    (cifar / "data_batch_2").write_bytes(pickle.dumps({b"data": Touch(mark), b"labels": [1]}, protocol=2))
    with pytest.raises(DataError, match=r"data_batch_2: rejected.*\n  found: a call to posix.system"):
        open_source(cifar)
    assert not mark.exists()


@pytest.mark.parametrize("data", [b"", b"\x80\x02", b"not a pickle", pickle.dumps([1, 2]), pickle.dumps({b"data": 3})])
def test_broken_cifar_batch_is_named(cifar: Path, data: bytes) -> None:
    (cifar / "data_batch_3").write_bytes(data)
    with pytest.raises(DataError, match=r"data_batch_3: (broken pickle|not a batch)"):
        open_source(cifar)


def test_cifar_batch_with_too_few_labels_or_missing_is_named(cifar: Path) -> None:
    (cifar / "data_batch_3").write_bytes(python2_pickle(np.zeros((4, 3072), np.uint8), [1, 2, 3]))
    with pytest.raises(DataError, match="data_batch_3: not a batch"):
        open_source(cifar)
    (cifar / "data_batch_3").unlink()
    with pytest.raises(DataError, match="incomplete CIFAR-10, data_batch_3 missing"):
        open_source(cifar)


def test_a_url_is_named(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "ttop").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        DataError, match=r"not a file or folder\n  found: a URL\n  fix:   download it, and pass the file"
    ):
        open_source("https://example.com/x.zip")


def test_missing_path_names_its_neighbors(tmp_path: Path, pets: dict) -> None:
    with pytest.raises(DataError, match=r"pest: no such file or folder\n  found: .*: pets\n  fix:   use .*/pets"):
        open_source(tmp_path / "pest")
    with pytest.raises(DataError, match="no such file"):
        open_source(tmp_path / "nowhere" / "at" / "all")


def test_sources_without_images_say_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: contains no images\n  found: no files at all"):
        open_source(tmp_path / "empty")
    for name in ("a.csv", "b.csv", "c.mp4"):
        (tmp_path / "empty" / name).write_text("x")
    with pytest.raises(DataError, match=r"other files \(2 .csv, 1 .mp4\)"):
        open_source(tmp_path / "empty")
    save(tmp_path / "one.png", noise(8, 8))
    with pytest.raises(DataError, match="a single image"):
        open_source(tmp_path / "one.png")
    with pytest.raises(DataError, match=r"split must be one of train, val, test, all; got 'valid'"):
        open_source(tmp_path, split="valid")


def test_fingerprint_sees_names_sizes_and_times(tmp_path: Path, pets: dict) -> None:
    folder = tmp_path / "pets"
    marks = [fingerprint(folder), fingerprint(folder)]
    os.utime(folder / "cat" / "0.png", (1, 1))
    marks.append(fingerprint(folder))
    (folder / "cat" / "0.png").rename(folder / "cat" / "9.png")
    marks.append(fingerprint(folder))
    assert marks[0] == marks[1]
    assert len(set(marks)) == 3


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.npz", "mnist/train-images-idx3-ubyte.gz", "a.parquet"])
def test_files_that_may_not_be_read_are_named(tmp_path: Path, mnist: Path, monkeypatch, name: str) -> None:
    def refuse(path: object, *args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    file = tmp_path / name
    file.touch()
    monkeypatch.setattr("io.open", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(DataError, match=rf"{file}: permission denied\n  fix:   run chmod u\+r"):
        open_source(file)


def test_pickle_of_pointers_is_refused(tmp_path: Path, cifar: Path) -> None:
    pointers = b"cnumpy\nndarray\n((I1\ntcnumpy\ndtype\n(S'O'\ntRS'AAAAAAAA'\ntR."
    (cifar / "data_batch_2").write_bytes(pointers)
    with pytest.raises(DataError, match=r"data_batch_2: broken pickle .*other than uint8"):
        list(open_source(cifar).read([3]))


def test_store_inside_its_source_is_known_again(tmp_path: Path) -> None:
    save(tmp_path / "a.png", noise(8, 8))
    before = fingerprint(tmp_path, but=tmp_path / "store")
    for name in ("store/8x8.npy", "store.0123.partial/8x8.npy", "store.crops/0.npy"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    assert fingerprint(tmp_path, but=tmp_path / "store") == before
    save(tmp_path / "store2" / "b.png", noise(8, 8))
    assert fingerprint(tmp_path, but=tmp_path / "store") != before


def test_photographs_with_a_manifest_are_no_store(tmp_path: Path) -> None:
    save(tmp_path / "a.png", noise(8, 8))
    (tmp_path / "manifest.json").write_text("{}")
    assert len(open_source(tmp_path)) == 1
