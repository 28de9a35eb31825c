"""idx files of MNIST and its relatives, as they are found after a download."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from progan.data.preparing import prepare
from progan.data.records import Choice
from progan.data.sources import open_source
from progan.data.sources.idx import _length, idx_files, idx_source
from progan.errors import DataError
from references.image_files import idx, noise, save

PIXELS = np.random.default_rng(1).integers(0, 256, (6, 5, 7), np.uint8)  # higher than wide would hide a turn
LABELS = np.array([1, 2, 3, 26, 26, 1], np.uint8)
CLASSES = (("1", "2", "3", "26"), [0, 1, 2, 3, 3, 0])


def typed(array: np.ndarray, code: int) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape) + array.tobytes()


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def pixels(source) -> np.ndarray:
    return np.stack([record.data for record in source])


@pytest.mark.parametrize(("split", "count"), [("train", 12), ("test", 5), ("all", 17)])
def test_mnist_folder(mnist: Path, split: str, count: int) -> None:
    source = open_source(mnist, split=split)
    raw = gzip.decompress((mnist / "train-images-idx3-ubyte.gz").read_bytes())[16:]
    raw = (raw if split != "test" else b"") + (mnist / "t10k-images-idx3-ubyte").read_bytes()[16:] * (split != "train")
    np.testing.assert_array_equal(pixels(source), np.frombuffer(raw, np.uint8).reshape(-1, 28, 28))
    parts = {"train": [12], "test": [5], "all": [12, 5]}[split]
    assert [int(source.classes[r.label or 0]) for r in source] == [i * 7 % 10 for n in parts for i in range(n)]
    assert (len(source), source.default_fit, source.heeds) == (count, "pad", {"split"})
    assert source.classes == (tuple("0123456789") if split != "test" else tuple("01478"))


NAMES = {
    "packed": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", 1, 1),
    "unpacked under the packed name": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", 0, 0),
    "packed under the unpacked name": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", 1, 1),
    "packed twice": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", 2, 1),
    "capitals": ("train-images-idx3-ubyte.GZ", "Train-Labels-idx1-ubyte.GZ", 1, 1),
    "dots": ("train-images.idx3-ubyte", "train-labels.idx1-ubyte", 0, 0),
    "dot and dash": ("train-images.idx3-ubyte", "train-labels-idx1-ubyte", 0, 1),
    "underscores": ("train_images_idx3_ubyte", "train-labels.idx1-ubyte.gz", 0, 1),
    "folders like files": ("train-images-idx3-ubyte/train-images-idx3-ubyte",
                           "train-labels-idx1-ubyte/train-labels-idx1-ubyte", 0, 0),
    "no split": ("images-idx3-ubyte", "labels-idx1-ubyte", 0, 0),
}  # fmt: skip


@pytest.mark.parametrize(("images", "labels", "layers", "more"), NAMES.values(), ids=NAMES)
def test_names_and_packing_as_they_are_found(tmp_path: Path, images: str, labels: str, layers: int, more: int) -> None:
    data = {images: idx(PIXELS), labels: idx(LABELS)}
    for name, times in ((images, layers), (labels, more)):
        for _ in range(times):
            data[name] = gzip.compress(data[name])
    write(tmp_path / "s", data)
    for path in (tmp_path / "s", tmp_path / "s" / images):
        source = open_source(path)
        np.testing.assert_array_equal(pixels(source), PIXELS)
        assert (source.classes, source.labels) == CLASSES
        np.testing.assert_array_equal(np.stack(list(source.read([1, 4]))), PIXELS[[1, 4]])


def test_a_folder_around_the_files_does_not_count(mnist: Path, tmp_path: Path) -> None:
    around = tmp_path / "around"
    around.mkdir()
    (around / ".DS_Store").write_bytes(b"x")
    mnist.rename(around / "raw")
    assert open_source(around).classes == open_source(around / "raw").classes


def test_labels_that_are_lacking_are_told(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "s", {"train-images-idx3-ubyte": idx(PIXELS)}))
    assert source.labels is None
    assert source.notes == ("no labels, because there is no label file for train-images-idx3-ubyte",)


def test_emnist_is_turned_upright_and_has_its_26_letters(tmp_path: Path) -> None:
    files = {
        "emnist-letters-train-images-idx3-ubyte.gz": idx(PIXELS),
        "emnist-letters-train-labels-idx1-ubyte": idx(LABELS),
    }
    source = open_source(write(tmp_path / "s", files))
    np.testing.assert_array_equal(pixels(source), PIXELS.transpose(0, 2, 1))
    assert (source.labels, source.classes) == ([0, 1, 2, 25, 25, 0], tuple(str(i) for i in range(1, 27)))
    assert any("upright" in note for note in source.notes)
    assert source.alike == (True, (7, 5))
    assert prepare(tmp_path / "s", tmp_path / "store").level(8).shape == (6, 8, 8, 1)


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (idx(np.stack([PIXELS] * 3, 3)), np.stack([PIXELS] * 3, 3)),
        (idx(np.stack([PIXELS] * 3, 1)), np.stack([PIXELS] * 3, 3)),
        (typed((PIXELS / 255).astype(">f4"), 13), PIXELS),
        (typed(PIXELS.astype(">f8"), 14), PIXELS),
        (typed(PIXELS.astype(">i2"), 11), PIXELS),
        (typed(PIXELS.astype(">i4"), 12), PIXELS),
    ],
)
def test_colors_and_other_numbers(tmp_path: Path, data: bytes, wanted: np.ndarray) -> None:
    for content in (data, gzip.compress(data)):
        source = open_source(write(tmp_path / "s", {"train-images-idx4-ubyte": content}))
        np.testing.assert_array_equal(pixels(source), wanted)
        assert pixels(source).dtype == np.uint8


def test_labels_of_qmnist_are_its_first_column(tmp_path: Path) -> None:
    labels = (np.arange(48).reshape(6, 8) % 16).astype(">i4")
    files = {"qmnist-train-images-idx3-ubyte": idx(PIXELS), "qmnist-train-labels-idx2-int": typed(labels, 12)}
    source = open_source(write(tmp_path / "s", files))
    assert (source.labels, source.classes) == ([0, 1, 0, 1, 0, 1], ("0", "8"))


def test_a_file_of_any_name_is_known_by_its_content(tmp_path: Path) -> None:
    for data in (idx(PIXELS), gzip.compress(idx(PIXELS))):
        write(tmp_path, {"digits": data})
        np.testing.assert_array_equal(pixels(open_source(tmp_path / "digits")), PIXELS)
    write(tmp_path, {"digits": idx(PIXELS) + b"\0"})
    with pytest.raises(DataError, match="digits: not a data source"):
        open_source(tmp_path / "digits")


def test_one_of_two_copies_is_read(tmp_path: Path) -> None:
    data = gzip.compress(idx(PIXELS))
    files = ("t10k-images-idx3-ubyte.gz", "t10k-images.idx3-ubyte", "t10k-images-idx3-ubyte/t10k-images-idx3-ubyte")
    write(tmp_path / "s", dict.fromkeys((files[0], files[2].replace("/t10k-images-idx3", "/t10k-images-idx3")), data))
    write(tmp_path / "s", {files[1]: data})
    assert idx_files(tmp_path / "s") == [tmp_path / "s" / files[1]]
    assert len(open_source(tmp_path / "s", split="test")) == 6


def test_several_sets_in_one_folder_are_refused(tmp_path: Path) -> None:
    names = ("emnist-digits-train-images-idx3-ubyte", "emnist-letters-train-images-idx3-ubyte")
    write(tmp_path / "s", dict.fromkeys(names, idx(PIXELS)))
    with pytest.raises(
        DataError, match=r"several data sets in one folder\n  found: emnist-digits.*\n  fix:   pass one"
    ):
        open_source(tmp_path / "s")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda data: b"<!DOCTYPE html>...",
            r"not an idx file of images\n  found: a web page \(HTML\) instead of data",
        ),
        (lambda data: b"PK\3\4" + data, r"not an idx file of images\n  found: a zip; unpack it"),
        (
            lambda data: b"\1" + data[1:],
            r"not an idx file of images\n  found: it begins with 01 00 08 03; expected 00 00",
        ),
        (lambda data: data[:-1], r"truncated idx file\n  found: 3935 bytes, expected 3936 for \[5, 28, 28\]"),
        (lambda data: data + b"\0", r"truncated idx file\n  found: more than 3936 bytes"),
        (lambda data: gzip.compress(data[:-1]), r"truncated idx file\n  found: 3935 bytes, expected 3936"),
        (lambda data: gzip.compress(data + b"\0"), r"truncated idx file\n  found: more than 3936 bytes"),
        (lambda data: gzip.compress(data)[:-20], "broken gzip file"),
        (lambda data: gzip.compress(data)[:60] + bytes(50), "broken gzip file"),
        (lambda data: data[:7], "truncated idx file"),
        (lambda data: data[:8] + bytes(8), "no images"),
        (lambda data: b"", "not an idx file of images\n  found: it begins with nothing"),
    ],
)
def test_broken_idx_file_is_named(mnist: Path, change, message: str) -> None:
    path = mnist / "t10k-images-idx3-ubyte"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=f"{path}: {message}"):
        open_source(mnist, split="test")


def test_a_stream_is_not_read_far_behind_its_end() -> None:
    class Endless:
        reads = 0

        def read(self, count: int) -> bytes:
            self.reads += 1
            return bytes(count) if self.reads < 5 else b""

    stream = Endless()
    assert _length(stream, 10) == 1 << 20
    assert stream.reads == 1


def test_missing_split_and_wrong_labels_are_named(mnist: Path) -> None:
    (mnist / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"no images of the split 'train'\n  found: test\n  fix:   use --split test"):
        open_source(mnist)
    (mnist / "t10k-labels-idx1-ubyte").write_bytes(idx(np.zeros(4, np.uint8)))
    with pytest.raises(DataError, match="found: 4 labels and 5 images"):
        open_source(mnist, split="test")


def test_images_whose_names_mention_idx_are_pictures(tmp_path: Path) -> None:
    save(tmp_path / "s" / "images-idx3.png", noise(8, 8))
    assert list(open_source(tmp_path / "s").names) == ["images-idx3.png"]
    assert idx_source(
        write(tmp_path, {"a-images-idx3-ubyte": idx(PIXELS)}), [tmp_path / "a-images-idx3-ubyte"], Choice()
    )
