"""HDF5 files as people save images in them, and what must not be followed."""

import sys
from pathlib import Path

import numpy as np
import pytest

from progan.data.decoding import decode
from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.data.records import Choice
from progan.data.sources import open_source
from progan.data.sources.hdf5 import hdf5_files, hdf5_source
from progan.errors import DataError
from references.image_files import encoded, noise, save

h5py = pytest.importorskip("h5py")

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 10, 3), np.uint8)
PNGS = [encoded(pixels) for pixels in RGB]
BYTES = h5py.vlen_dtype(np.uint8)


def write(path: Path, arrays: dict, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", **options) as file:
        for name, array in arrays.items():
            if isinstance(array, list) and isinstance(array[0], bytes) and array[0][:1] == b"\x89":
                data = file.create_dataset(name, (len(array),), BYTES)
                for i, one in enumerate(array):
                    data[i] = np.frombuffer(one, np.uint8)
            else:
                file.create_dataset(name, data=array)
    return path


def pixels(source) -> np.ndarray:
    return np.stack([np.asarray(decode(record.data)) for record in source])


ARRAYS = {
    "[N, H, W, C]": (RGB, RGB),
    "[N, C, H, W]": (RGB.transpose(0, 3, 1, 2), RGB),
    "[N, H, W]": (RGB[..., 0], RGB[..., 0]),
    "floats": ((RGB / 255).astype(np.float32), RGB),
    "-1 ... 1": (RGB / 127.5 - 1, RGB),
    "big-endian": (RGB.astype(">i4"), RGB),
    "truth": (RGB[..., 0] > 128, (RGB[..., 0] > 128).astype(np.uint8) * 255),
    "encoded": (PNGS, RGB),
}


@pytest.mark.parametrize(("array", "wanted"), ARRAYS.values(), ids=ARRAYS)
@pytest.mark.parametrize("name", ["images", "X", "data/pictures"])
def test_images_of_every_form(tmp_path: Path, array, wanted: np.ndarray, name: str) -> None:
    file = write(tmp_path / "a.h5", {name: array})
    for path in (file, file.rename(tmp_path / "a"), tmp_path / "a"):
        source = open_source(path) if path.exists() else open_source(tmp_path / "a")
        np.testing.assert_array_equal(pixels(source), wanted)
        np.testing.assert_array_equal([np.asarray(decode(one)) for one in source.read([1, 4])], wanted[[1, 4]])
        assert source.names[2] == f"{name.rpartition('/')[2]}[2]"


@pytest.mark.parametrize("options", [{}, {"chunks": (4, 8, 10, 3)}, {"compression": "gzip"}, {"compression": "lzf"},
                                     {"compression": "gzip", "shuffle": True, "fletcher32": True}])  # fmt: skip
def test_blocks_of_every_layout(tmp_path: Path, options: dict, monkeypatch) -> None:
    monkeypatch.setattr("progan.data.sources.hdf5._BLOCK_BYTES", 500)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images", data=RGB, **options)
    source = open_source(tmp_path / "a.h5")
    np.testing.assert_array_equal(pixels(source), RGB)
    for rows in ([0], [5], [0, 5], [1, 2, 4]):
        np.testing.assert_array_equal(list(source.read(rows)), RGB[rows])


def test_a_store_of_hdf5(tmp_path: Path) -> None:
    file = write(tmp_path / "a.h5", {"x": RGB[:, :, :8], "y": [3, 1, 3, 1, 1, 10]})
    store = prepare(file, tmp_path / "store", PrepareOptions(), workers=2)
    np.testing.assert_array_equal(store.level(8), RGB[:, :, :8])
    assert (store.labels().tolist(), store.classes) == ([1, 0, 1, 0, 0, 2], ("1", "3", "10"))


LABELS = {
    "numbers": ({"labels": np.array([3, 1, 1, 3, 1, 10])}, [1, 0, 0, 1, 0, 2], ("1", "3", "10"), {}),
    "column": ({"y": np.array([[3], [1], [1], [3], [1], [1]])}, [1, 0, 0, 1, 0, 0], ("1", "3"), {}),
    "one-hot": ({"targets": np.eye(2)[[1, 0, 0, 1, 1, 1]]}, [1, 0, 0, 1, 1, 1], ("0", "1"), {}),
    "text": ({"label": np.array([*"babéaa"], h5py.string_dtype())}, [1, 0, 1, 2, 0, 0], ("a", "b", "é"), {}),
    "fixed text": ({"label": np.array([b"b", b"a"] * 3)}, [1, 0] * 3, ("a", "b"), {}),
    "floats": ({"label": np.array([0.5, 1, 2, 3, 4, 5], np.float32)}, None, (), {"label": [0.5, 1, 2, 3, 4, 5]}),
    "several": (
        {"labels": np.arange(6), "orientation": np.arange(6) / 4, "box": np.ones((6, 4), int), "mean": np.ones(3)},
        [0, 1, 2, 3, 4, 5],
        tuple("012345"),
        {"orientation": [0, 0.25, 0.5, 0.75, 1, 1.25], "box": [[1] * 4] * 6},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("more", "labels", "classes", "columns"), LABELS.values(), ids=LABELS)
def test_labels_and_columns(tmp_path: Path, more: dict, labels, classes: tuple, columns: dict) -> None:
    for name in ("images", "set/images"):
        beside = {f"{name.removesuffix('images')}{key}": value for key, value in more.items()}
        source = open_source(write(tmp_path / "a.hdf5", {name: RGB, **beside}))
        assert (source.labels, source.classes) == (labels, classes)
        assert {column.name: column.values.tolist() for column in source.columns} == columns


def test_several_datasets_of_images(tmp_path: Path) -> None:
    file = write(tmp_path / "a.h5", {"a_mask": RGB[..., 0], "a_image": RGB})
    assert open_source(file).notes == ("images from array 'a_image'; 'a_mask' is left out (--column a_mask takes it)",)
    np.testing.assert_array_equal(pixels(hdf5_source(file, [file], Choice(column="a_mask"))), RGB[..., 0])
    with pytest.raises(DataError, match=r"a.h5: array 'b' contains no images\n  found: images in a_image, a_mask\n"):
        hdf5_source(file, [file], Choice(column="b"))


def test_splits_inside_a_file_and_of_several_files(tmp_path: Path) -> None:
    inside = {"train/images": RGB[:3], "train/labels": [0, 1, 2], "test/images": RGB[3:], "test/labels": [3, 4, 5]}
    write(tmp_path / "one.h5", inside)
    for part, rows in (("train", slice(0, 3)), ("test", slice(3, 6))):
        write(tmp_path / "s" / f"{part}.h5", {"images": RGB[rows], "labels": np.arange(6)[rows]})
    for path in (tmp_path / "one.h5", tmp_path / "s"):
        for split, rows in (("train", slice(0, 3)), ("test", slice(3, 6)), ("all", slice(0, 6))):
            source = hdf5_source(path, hdf5_files(path), Choice(split=split))
            np.testing.assert_array_equal(pixels(source), RGB[rows])
            assert [int(source.classes[label]) for label in source.labels] == list(range(6))[rows]
            assert source.heeds == {"split", "column"}
    (tmp_path / "s" / "test.h5").rename(tmp_path / "s" / "other.h5")
    (tmp_path / "s" / "train.h5").rename(tmp_path / "s" / "another.h5")
    with pytest.raises(DataError, match=r"several HDF5 files in one folder\n  found: another.h5, other.h5\n"):
        open_source(tmp_path / "s")


def test_hdf5_beside_images_is_no_source(tmp_path: Path) -> None:
    save(tmp_path / "s" / "1.png", noise(8, 8))
    write(tmp_path / "s" / "weights.h5", {"kernel": RGB})
    assert list(open_source(tmp_path / "s").names) == ["1.png"]


def matlab(path: Path, arrays: dict) -> Path:
    """A MATLAB 7.3 file: HDF5 behind 512 bytes, with the axes in reverse."""
    write(path, {name: array.T for name, array in arrays.items()}, userblock_size=512)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path


def test_matlab_7_3_has_its_axes_in_reverse(tmp_path: Path) -> None:
    arrays = {"X": RGB.transpose(1, 2, 3, 0), "y": np.array([[3.0], [1], [2], [2], [1], [10]])}  # as MATLAB shows them
    source = open_source(matlab(tmp_path / "a.mat", arrays))
    np.testing.assert_array_equal(pixels(source), RGB)
    assert (source.labels, source.classes) == ([2, 0, 1, 1, 0, 3], ("1", "2", "3", "10"))
    gray = open_source(matlab(tmp_path / "b.mat", {"faces": RGB[..., 0].transpose(1, 2, 0)}))
    np.testing.assert_array_equal(pixels(gray), RGB[..., 0])


def test_nothing_outside_of_the_file_is_read(tmp_path: Path) -> None:
    write(tmp_path / "secret.h5", {"images": RGB})
    raw = tmp_path / "secret.raw"
    raw.write_bytes(RGB.tobytes())
    layout = h5py.VirtualLayout(RGB.shape, np.uint8)
    layout[...] = h5py.VirtualSource(tmp_path / "secret.h5", "images", RGB.shape)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["link"] = h5py.ExternalLink("secret.h5", "/images")
        file["soft"] = h5py.SoftLink("/link")
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("external", RGB.shape, np.uint8, external=[(str(raw), 0, h5py.h5f.UNLIMITED)])
    with pytest.raises(
        DataError, match=r"a.h5: no images that can be read\n  found: external \(its numbers are in other"
    ):
        open_source(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["images"] = RGB
    source = open_source(tmp_path / "a.h5")
    np.testing.assert_array_equal(pixels(source), RGB)
    (note,) = source.notes
    for what in ("external (its", "link (a link to another file,", "soft (a link to another place,", "virtual (its"):
        assert what in note


def test_groups_inside_themselves_end(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["set/images"] = RGB
        file["set/again"] = file["set"]
    source = open_source(tmp_path / "a.h5")
    np.testing.assert_array_equal(pixels(source), RGB)
    assert source.notes == ()


def test_filters_that_need_a_plugin_are_refused(tmp_path: Path) -> None:
    space, plan = h5py.h5s.create_simple(RGB.shape), h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk(RGB.shape)
    plan.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, (1,))  # Blosc
    with h5py.File(tmp_path / "a.h5", "w") as file:
        h5py.h5d.create(file.id, b"images", h5py.h5t.NATIVE_UINT8, space, plan)
    with pytest.raises(DataError, match=r"found: images \(compressed by the plug-in 32001, which is not loaded\)"):
        open_source(tmp_path / "a.h5")


def test_huge_rows_and_too_many_datasets_are_refused(tmp_path: Path, monkeypatch) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images", (2, 40000, 40000), np.uint8, chunks=(1, 40000, 40000))
    with pytest.raises(DataError, match=r"found: images \(1600000000 bytes would have to be read at once\)"):
        open_source(tmp_path / "a.h5")
    write(tmp_path / "b.h5", {f"{i}": RGB[0] for i in range(12)})
    with pytest.raises(DataError, match=r"b.h5: no array of images\n  found: 0 uint8 \[8, 10, 3\]"):
        open_source(tmp_path / "b.h5")
    monkeypatch.setattr("progan.data.sources.hdf5._MOST_OBJECTS", 10)
    with pytest.raises(DataError, match=r"more than 10 datasets; save the images in one"):
        open_source(tmp_path / "b.h5")


def test_bytes_that_are_no_images_are_no_images(tmp_path: Path) -> None:
    file = write(tmp_path / "a.h5", {"images": [b"\x89junk"] * 3})
    with pytest.raises(DataError, match=r"a.h5: no array of images\n  found: images object \[3\]"):
        open_source(file)
    write(file, {"images": [PNGS[0], b"\x89junk", PNGS[2]]})
    assert prepare(file, tmp_path / "store", PrepareOptions(on_error="skip")).count == 2


@pytest.mark.parametrize("size", [0, 8, 100, 800, -100])
def test_broken_files_are_named(tmp_path: Path, size: int) -> None:
    file = write(tmp_path / "a.h5", {"images": RGB})
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(DataError, match=r"a.h5: not a readable HDF5 file \(.*\)\n  found: \d+ bytes\n"):
        open_source(file)


def test_damage_inside_is_an_error_of_its_images(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images", data=RGB, chunks=(1, *RGB.shape[1:]), compression="gzip")
    data = bytearray((tmp_path / "a.h5").read_bytes())
    at = data.rindex(b"\x78\x5e") if b"\x78\x5e" in data else data.rindex(b"\x78\x01")
    data[at + 20 : at + 60] = bytes(40)
    (tmp_path / "a.h5").write_bytes(data)
    found = [record.data for record in open_source(tmp_path / "a.h5")]
    assert len(found) == 6
    assert any(isinstance(one, DataError) for one in found)


def test_missing_package_is_named(tmp_path: Path, monkeypatch) -> None:
    file = write(tmp_path / "a.h5", {"images": RGB})
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match=r"reading HDF5 requires h5py\n  fix:   pip install 'progan\[hdf5\]'"):
        open_source(file)
