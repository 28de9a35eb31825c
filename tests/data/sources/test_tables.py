import io
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.data.records import Choice
from progan.data.sources import open_source
from progan.data.sources.mats import mat_matrices
from progan.data.sources.tables import numpy_source
from progan.errors import DataError
from references.image_files import make_zip, noise

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 8, 8, 3), np.uint8)


def pixels(path: Path, split: str = "train") -> np.ndarray:
    return np.stack([record.data for record in open_source(path, split=split)])


@pytest.fixture
def svhn(tmp_path: Path) -> Path:
    folder = tmp_path / "svhn"
    folder.mkdir()
    for part, count in (("train", 5), ("test", 2), ("extra", 3)):
        arrays = {"X": RGB[:count].transpose(1, 2, 3, 0), "y": np.array([[10], [1], [9], [10], [5]], np.uint8)[:count]}
        scipy.io.savemat(folder / f"{part}_32x32.mat", arrays, do_compression=True)
    return folder


def test_svhn_has_splits_and_ten_means_zero(svhn: Path, tmp_path: Path) -> None:
    np.testing.assert_array_equal(pixels(svhn), RGB)
    assert open_source(svhn).labels == [0, 1, 9, 0, 5]
    assert open_source(svhn).classes == tuple("0123456789")
    assert [len(open_source(svhn, split=split)) for split in ("train", "test", "all")] == [5, 2, 7]
    assert open_source(svhn, split="all").names[4:6] == ["train_32x32.mat[4]", "test_32x32.mat[0]"]
    extra = (svhn / "extra_32x32.mat").rename(tmp_path / "x")
    np.testing.assert_array_equal(pixels(extra), RGB[:3])


def test_bad_mat_files_are_named(svhn: Path, monkeypatch) -> None:
    (svhn / "test_32x32.mat").unlink()
    with pytest.raises(
        DataError, match=r"svhn: no images of the split 'test'\n  found: train\n  fix:   use --split train"
    ):
        open_source(svhn, split="test")
    file = svhn / "train_32x32.mat"
    data = file.read_bytes()
    for size in (0, 60, 200, len(data) // 2, len(data) - 100):
        file.write_bytes(data[:size])
        with pytest.raises(
            DataError, match=r"train_32x32.mat: not (a readable .mat|SVHN's)(.|\n)*  fix: .*download it"
        ):
            open_source(svhn)
    good, labels = RGB.transpose(1, 2, 3, 0), np.ones((5, 1), np.uint8)
    objects = np.array([{"a": 1}] * 5, object)
    for arrays in ({"X": good.astype(float), "y": labels}, {"X": good, "y": labels[:4]}, {"X": good, "y": 11 * labels},
                   {"X": objects, "y": labels}, {"X": good, "y": objects[:, None]}, {"z": good}):  # fmt: skip
        scipy.io.savemat(file, arrays)
        with pytest.raises(
            DataError, match=r"not the cropped digits of SVHN\n  found: .*; expected X uint8 \[32, 32, 3, N\]"
        ):
            open_source(svhn)
    file.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400))
    with pytest.raises(DataError, match=r"not a readable .mat file .*HDF5\); save it again with -v7"):
        open_source(svhn)


@pytest.mark.parametrize("packed", [True, False])
def test_variables_of_mat_files_equal_those_of_scipy(tmp_path: Path, packed: bool) -> None:
    arrays = {
        "small": np.array([[1, 2, 3]], np.uint8),  # in the small format, of up to 4 bytes
        "a_longer_name": RNG.normal(size=(3, 4, 5)),
        "words": "text",
        "whole": np.arange(24, dtype=np.int16).reshape(2, 3, 4),
        "complex": np.array([[1j]]),
    }
    scipy.io.savemat(tmp_path / "a.mat", arrays, do_compression=packed)
    found = mat_matrices(tmp_path / "a.mat")
    assert list(found) == list(arrays)
    for name in ("small", "a_longer_name", "whole"):
        rows = list(found[name].rows.read(range(arrays[name].shape[-1])))
        np.testing.assert_array_equal(np.stack(rows, -1), arrays[name])
        assert found[name].shape == arrays[name].shape
        (last,) = found[name].rows.read([arrays[name].shape[-1] - 1])
        np.testing.assert_array_equal(last, arrays[name][..., -1])
    assert (found["words"].rows, found["complex"].rows) == (None, None)


PEAK = """
import resource, sys
import progan.data.sources, progan.data.options
unit = 1 if sys.platform == "darwin" else 1024
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
for path in sys.argv[1:]:
    source = progan.data.sources.open_source(path)
    progan.data.options.make_plan(source, progan.data.options.PrepareOptions())
    total = sum(int(record.data[0, 0, 0]) for record in source)
    print(len(source), total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - before)
"""


def test_large_arrays_do_not_come_into_memory(tmp_path: Path) -> None:
    images = np.zeros((600, 128, 128, 3), np.uint8)  # 29 MB
    images[:, 0, 0, 0] = np.arange(600) % 256
    np.savez_compressed(tmp_path / "packed.npz", images=images)
    np.savez(tmp_path / "plain.npz", images=images)
    arrays = {"X": images.transpose(1, 2, 3, 0), "y": np.ones((600, 1), np.uint8)}
    scipy.io.savemat(tmp_path / "packed.mat", arrays, do_compression=True)
    files = [tmp_path / name for name in ("packed.npz", "plain.npz", "packed.mat")]
    done = subprocess.run([sys.executable, "-c", PEAK, *files], capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        count, total, peak = map(int, line.split())
        assert (count, total) == (600, int((np.arange(600) % 256).sum()))
        assert peak < 12e6


def test_damage_within_a_compressed_array_spoils_what_follows_alone(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (40, 64, 64, 3), np.uint8)
    np.savez_compressed(tmp_path / "a.npz", images=images)
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    (tmp_path / "a.npz").write_bytes(data)
    payloads = [record.data for record in open_source(tmp_path / "a.npz")]
    np.testing.assert_array_equal(np.stack(payloads[:19]), images[:19])
    assert len(payloads) == 40
    assert isinstance(payloads[-1], DataError)
    with pytest.raises(DataError, match=r"images\[\d+\]: damaged, or located after damaged data"):
        prepare(tmp_path / "a.npz", tmp_path / "store")
    kept = prepare(tmp_path / "a.npz", tmp_path / "store", PrepareOptions(on_error="skip")).count
    assert 19 <= kept < 40


def test_some_rows_of_a_compressed_array(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x_train=RGB, x_test=RGB[:, :4])
    source = open_source(tmp_path / "a.npz", split="all")
    for positions in ([0], [1, 3, 7], [4, 5], [9], []):
        for i, record in zip(positions, source.records(positions), strict=True):
            np.testing.assert_array_equal(record.data, RGB[i] if i < 5 else RGB[i - 5, :4])


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"shape": (1, 60000, 60000)}, "one row unpacks to 3600000000 bytes"),
        ({"shape": (7, 8, 8)}, "differs from its header"),
        ({"descr": "|O"}, "images contains objects, which could run code"),
    ],
)
def test_headers_of_packed_arrays_are_not_believed(tmp_path: Path, header: dict, message: str, monkeypatch) -> None:
    content = io.BytesIO()
    whole = {"descr": "|u1", "fortran_order": False, "shape": (5, 8, 8)} | header
    np.lib.format.write_array_header_1_0(content, whole)
    make_zip(tmp_path / "a.npz", {"images.npy": content.getvalue() + bytes(320)})
    if "unpacks" in message:
        monkeypatch.setattr("math.prod", lambda shape: 320)
    with pytest.raises(DataError, match=rf"a.npz: not a readable array file \(.*{message}"):
        open_source(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("array", "wanted"),
    [
        (RGB, RGB),
        (RGB.transpose(0, 3, 1, 2), RGB),
        (RGB[:, :3, :, :], RGB[:, :3, :, :]),  # 3 in both places: channels are last
        (RGB[..., 0], RGB[..., 0]),
        (RGB[..., :1], RGB[..., 0]),
        (RGB[:, None, :, :, 1], RGB[..., 1]),
        (np.asfortranarray(RGB), RGB),
        (np.concatenate([RGB, RGB[..., :1]], 3), np.concatenate([RGB, RGB[..., :1]], 3)),
        (RGB.astype(np.int64), RGB),
        (RGB.astype(np.float16), RGB),
        (RGB.astype(np.float32) / 255, RGB),
        (RGB.astype(np.float64) / 127.5 - 1, RGB),
        ((RGB > 128).astype(np.uint8), (RGB > 128).astype(np.uint8)),  # whole numbers are never stretched
        ((RGB > 128).astype(np.int32), (RGB > 128).astype(np.uint8)),
        ((RGB > 128).astype(np.float32), (RGB > 128).astype(np.uint8) * 255),
    ],
)
def test_npy_orders_and_ranges(tmp_path: Path, array: np.ndarray, wanted: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array)
    shutil.copy(tmp_path / "a.npy", tmp_path / "a")
    for name in ("a.npy", "a"):
        found = pixels(tmp_path / name)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, wanted)


def test_npy_stays_on_the_disk_and_gives_a_store(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", RGB)
    (record,) = open_source(tmp_path / "a.npy").records([3])
    assert record.name == "a.npy[3]"
    assert type(record.data) is np.ndarray  # a copy, that can go to a worker
    assert record.data.base is None
    np.testing.assert_array_equal(prepare(tmp_path / "a.npy", tmp_path / "store").level(8), RGB)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("names", [("images", "labels"), ("x", "y"), ("Image", "Label"), ("arr_0", "arr_1")])
def test_npz_with_labels(tmp_path: Path, save, names: tuple[str, str]) -> None:
    numbers = [2, 0, 1, 1, 0]
    for labels in (np.array(numbers), np.array(numbers)[:, None], np.eye(3)[numbers], np.eye(3, dtype=bool)[numbers]):
        save(tmp_path / "a.npz", **{names[1]: labels, names[0]: RGB})
        source = open_source(tmp_path / "a.npz")
        np.testing.assert_array_equal(pixels(tmp_path / "a.npz"), RGB)
        assert (source.labels, source.classes) == (numbers, ("0", "1", "2"))
    np.testing.assert_array_equal(pixels((tmp_path / "a.npz").rename(tmp_path / "b")), RGB)


@pytest.mark.parametrize("name", ["{0}_{1}", "{1}_{0}"])
def test_npz_with_splits(tmp_path: Path, name: str) -> None:
    arrays = {"train": (RGB[:3], [0, 1, 2]), "test": (RGB[3:], [2, 1])}
    arrays = {name.format(k, part): v for part, both in arrays.items() for k, v in zip("xy", both, strict=True)}
    np.savez(tmp_path / "a.npz", **arrays)
    np.testing.assert_array_equal(pixels(tmp_path / "a.npz", "test"), RGB[3:])
    assert open_source(tmp_path / "a.npz", split="all").labels == [0, 1, 2, 2, 1]
    np.savez(tmp_path / "a.npz", x_train=RGB)
    with pytest.raises(DataError, match=r"no images of the split 'test'\n  found: train\n"):
        open_source(tmp_path / "a.npz", split="test")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (RGB.astype(np.float32) * 2, r"pixels with an unknown range\n  found: float32 from 0 to 510"),
        (RGB.astype(np.int16) - 1, "found: int16 from -1 to"),
        (np.where(np.arange(5)[:, None, None] == 3, np.nan, 0.5) * np.ones((5, 8, 8)), "NaN or infinity in image 3"),
        (np.where(np.arange(600) == 515, np.nan, 0)[:, None, None] * np.ones((4, 4)), "NaN or infinity in image 515 "),
        (np.full((2, 8, 8), -np.inf), "NaN or infinity in image 0"),
        (RGB[0, 0], r"not an array of images\n  found: uint8 of shape \[8, 3\]"),
        (np.zeros((2, 8, 8, 5), np.uint8), r"found: uint8 of shape \[2, 8, 8, 5\]"),
        (np.zeros((64, 64, 3), np.uint8), r"found: uint8 of shape \[64, 64, 3\](.|\n)*N = 1 for a single image"),
        (np.zeros((0, 8, 8), np.uint8), r"found: uint8 of shape \[0, 8, 8\]"),
        (np.zeros((2, 8, 8), complex), "found: complex128"),
    ],
)
def test_arrays_of_other_things_are_named(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=message):
        open_source(tmp_path / "a.npy")


def test_objects_and_broken_files_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", images=np.array([{}], object), allow_pickle=True)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(DataError, match="not a readable array file"):
            open_source(tmp_path / name)
    for name, save in (("b.npy", np.save), ("b.npz", np.savez)):
        save(tmp_path / name, RGB)
        for size in (0, 5, 100, 700):
            (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:size])
            with pytest.raises(DataError, match=rf"{name}: not a readable array file.*\n  found: \d+ bytes"):
                open_source(tmp_path / name)


@pytest.mark.parametrize(
    "labels", [np.array([0, 1]), np.zeros((5, 2, 2, 2)), np.zeros(6), np.zeros((5, 70000), np.uint8)]
)
def test_npz_labels_that_do_not_fit_are_named(tmp_path: Path, labels) -> None:
    np.savez(tmp_path / "a.npz", x=RGB, y=np.array(labels))
    with pytest.raises(
        DataError, match=r"the labels do not match the images\n  found: y .*; expected \[5\] or \[5, K\]"
    ):
        open_source(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        ([1, 2, 3, 26, 1], ([0, 1, 2, 3, 0], ("1", "2", "3", "26"), {})),
        ([0.0, 1.0, 1.0, 0.0, 2.0], ([0, 1, 1, 0, 2], ("0", "1", "2"), {})),
        ([0.5, 1, 1, 0, 2], (None, (), {"y": [0.5, 1, 1, 0, 2]})),
        ([True, False, True, True, False], ([1, 0, 1, 1, 0], ("False", "True"), {})),
        (["b", "a", "b", "a", "10"], ([2, 1, 2, 1, 0], ("10", "a", "b"), {})),
        ([b"b", b"a", b"b", b"a", b"b"], ([1, 0, 1, 0, 1], ("a", "b"), {})),
        (np.arange(10).reshape(5, 2), (None, (), {"y": [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]})),
        (np.eye(5)[[4, 4, 0, 1, 1]], ([2, 2, 0, 1, 1], ("0", "1", "4"), {})),
    ],
)
def test_npz_labels_of_every_type(tmp_path: Path, labels, wanted: tuple) -> None:
    np.savez(tmp_path / "a.npz", x=RGB, y=np.array(labels))
    source = open_source(tmp_path / "a.npz")
    columns = {column.name: column.values.tolist() for column in source.columns}
    assert (source.labels, source.classes, columns) == wanted


def test_npz_with_several_arrays_of_images_and_columns(tmp_path: Path) -> None:
    more = {"age": np.arange(5), "box": np.ones((5, 4), np.float32), "names": np.array([b"a", b"a", b"b", b"b", b"a"])}
    arrays = {"masks": RGB[::-1], "images": RGB, "mean": np.zeros(3), **more}
    np.savez(tmp_path / "a.npz", **arrays)
    source = open_source(tmp_path / "a.npz")
    np.testing.assert_array_equal(np.stack([record.data for record in source]), RGB)
    assert source.notes == (
        "images from array 'images'; 'masks' is left out (--column masks takes it)",
        "arrays that do not describe the images are left out: mean float64 [3]",
    )
    assert {column.name: (column.values.shape, column.classes) for column in source.columns} == {
        "age": ((5,), ()),
        "box": ((5, 4), ()),
        "names": ((5,), ("a", "b")),
    }
    other = numpy_source(tmp_path / "a.npz", Choice(column="masks"))
    np.testing.assert_array_equal(np.stack([record.data for record in other]), RGB[::-1])
    with pytest.raises(DataError, match=r"array 'age' contains no images\n  found: images in masks, images\n"):
        numpy_source(tmp_path / "a.npz", Choice(column="age"))


def test_npz_of_medmnist_has_three_splits(tmp_path: Path) -> None:
    rows = {"train": slice(0, 2), "val": slice(2, 3), "test": slice(3, 5)}
    arrays = {f"{part}_images": RGB[..., 0][at] for part, at in rows.items()}
    arrays |= {f"{part}_labels": np.arange(5)[:, None][at] for part, at in rows.items()}
    np.savez(tmp_path / "a.npz", **arrays)
    for part, at in {**rows, "all": slice(0, 5)}.items():
        source = numpy_source(tmp_path / "a.npz", Choice(split=part))
        np.testing.assert_array_equal(np.stack([record.data for record in source]), RGB[..., 0][at])
        assert [source.classes[label] for label in source.labels] == [str(i) for i in np.arange(5)[at]]
        assert source.heeds == {"split", "column"}


def test_other_zip_files_and_folders_with_arrays_are_read_as_before(tmp_path: Path) -> None:
    from references.image_files import encoded, save

    make_zip(tmp_path / "a.zip", {"1.png": encoded(noise(8, 8)), "labels.npy": b"x"})
    assert len(open_source(tmp_path / "a.zip")) == 1
    save(tmp_path / "f" / "1.png", noise(8, 8))
    np.save(tmp_path / "f" / "labels.npy", RGB)
    assert prepare(tmp_path / "f", tmp_path / "store", PrepareOptions()).count == 1


def test_damaged_header_of_an_array_is_one_line(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 8, 8), np.uint8))
    data = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(data.replace(b"{'descr'", b'{{{{((("'))
    with pytest.raises(DataError, match="not a readable array file"):
        open_source(tmp_path / "a.npy")


def test_shape_beyond_all_numbers_and_zip_of_a_later_version_are_one_line(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 8, 8), np.uint8))
    data = (tmp_path / "a.npy").read_bytes()
    header = data[10:128].replace(b"(2, 8, 8)", b"(%d, 8, 8)" % 2**63)[:118]
    (tmp_path / "a.npy").write_bytes(data[:10] + header[:-1].rstrip().ljust(117) + b"\n" + data[128:])
    with pytest.raises(DataError, match="not a readable array file"):
        open_source(tmp_path / "a.npy")
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 8, 8), np.uint8))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[data.index(b"PK\x01\x02") + 6] = 99  # version that is needed to unpack it
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(DataError, match=r"zip file version 9\.9"):
        open_source(tmp_path / "a.zip")
