"""Data sets whose images are arrays in one file: the .mat files of SVHN, and NumPy's .npy and .npz files."""

import contextlib
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from progan.data.ranges import Extent, Scale, array_scale
from progan.data.records import Payload, Source, image_kind, joined, numbered
from progan.data.sources.mats import MAT_HEAD, mat_matrices
from progan.data.sources.rows import WHOLE_BYTES, Readable, Rows, array_rows, stream_rows
from progan.errors import DataError

_BROKEN = (ValueError, TypeError, EOFError, SyntaxError, tokenize.TokenError)  # what numpy says to a damaged header

_NPY_HEAD = b"\x93NUMPY"
_PARTS = {"train": ("train",), "test": ("test",), "all": ("train", "test")}
_IMAGES = ("images", "image", "imgs", "x", "data", "arr_0")
_AS_IT_IS = Scale()
_LABELS = ("labels", "label", "y", "targets", "arr_1")


def mat_files(path: Path) -> list[Path]:
    """Return the ..._32x32.mat files of SVHN directly in a folder, or the file itself if it is a MATLAB file."""
    if path.is_dir():
        return sorted(file for file in path.glob("*_32x32.mat") if file.is_file())
    return [path] if path.suffix == ".mat" or _head(path).startswith(MAT_HEAD[:8]) else []


def mat_source(path: Path, files: Sequence[Path], split: str) -> Source:
    """Return the cropped digits of SVHN: X uint8 [32, 32, 3, N] and y [N, 1], where 10 stands for the digit 0.

    Args:
        path: path that the user passed, for messages.
        files: train_32x32.mat and test_32x32.mat, or one file. extra_32x32.mat is used only if it is that one file.
        split: 'train', 'test' or 'all'; ignored for one file.

    Raises:
        DataError: if the split is missing, or a file is broken or does not contain these two arrays.
    """
    wanted = [path / f"{part}_32x32.mat" for part in _PARTS[split]] if path.is_dir() else list(files)
    if lacking := [file.name for file in wanted if not file.is_file()]:
        raise DataError(
            f"{path}: incomplete SVHN, {', '.join(lacking)} missing\n"
            f"  found: {', '.join(file.name for file in files)}\n"
            f"  fix:   download it from http://ufldl.stanford.edu/housenumbers, or use another --split or a single file"
        )
    parts = [_part(file.name, *_read_mat(file), tuple("0123456789")) for file in wanted]
    return joined(f"SVHN {path.resolve().name}", parts)


def _read_mat(file: Path) -> tuple[Rows, np.ndarray]:
    """Return the pixels [N, H, W, 3] and the digits [N]."""
    try:
        matrices = mat_matrices(file)
        pixels, digits = matrices.get("X"), matrices.get("y")
        if pixels and digits and pixels.rows and digits.rows:
            fits = pixels.kind == "uint8" and len(pixels.shape) == 4 and pixels.shape[2] == 3
            if fits and digits.kind in ("uint8", "double") and digits.shape == (pixels.shape[3], 1):
                (labels,) = digits.rows.read([0])
                if isinstance(labels, DataError):
                    raise labels
                if np.isin(labels, range(11)).all():
                    return pixels.rows, labels.astype(np.int64) % 10
    except (OSError, ValueError, zlib.error, struct.error, DataError) as error:
        raise DataError(
            f"{file}: not a readable .mat file ({type(error).__name__}: {error})\n  fix:   download it again"
        ) from error
    found = ", ".join(f"{name} {matrix.kind} {list(matrix.shape)}" for name, matrix in matrices.items())
    raise DataError(
        f"{file}: not the cropped digits of SVHN\n"
        f"  found: {found or 'no arrays'}; expected X uint8 [32, 32, 3, N] and y [N, 1] of 0 ... 10\n"
        f"  fix:   download it again, or save other images as .npy or as files in one folder per class"
    )


def numpy_files(path: Path) -> list[Path]:
    """Return the file itself if it is an array or an archive of arrays written by NumPy, else nothing."""
    if path.is_dir():
        return []
    if path.suffix in (".npy", ".npz") or _head(path).startswith(_NPY_HEAD):
        return [path]
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return []
    return [path] if names and all(name.endswith(".npy") for name in names) else []


def numpy_source(path: Path, split: str) -> Source:
    """Return the images of a .npy file, which stays on disk, or of a .npz file, which is unpacked while it is read.

    Images are [N, H, W], [N, H, W, C] or [N, C, H, W] with C = 1, 3 or 4; if both orders are possible, C is last.
    uint8 is used as it is; the range of other numbers is that of ``array_scale``. A .npz file contains images as
    'images', 'x', 'data' or 'arr_0', and optionally labels as 'labels', 'y', 'targets' or 'arr_1': integers [N] or
    [N, 1], or one-hot [N, K]. Arrays named x_train, y_train, x_test and so on are splits.

    Raises:
        DataError: if the file is broken, or its arrays do not have this form.
    """
    with_splits: dict[str, tuple[Rows, np.ndarray | None]] = {}
    try:
        if _head(path).startswith(_NPY_HEAD):
            with_splits[""] = array_rows(np.load(path, mmap_mode="r", allow_pickle=False)), None
        else:
            with zipfile.ZipFile(path) as archive:
                with_splits = _choose_arrays(path, archive, split)
    except (*_BROKEN, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise DataError(
            f"{path}: not a readable array file ({error})\n"
            f"  found: {path.stat().st_size} bytes\n"
            f"  fix:   save it again with numpy.save or numpy.savez, without objects"
        ) from error
    parts = [(name or path.name, images, labels) for name, (images, labels) in with_splits.items()]
    parts = [(name, _oriented(path, images), _numbers(path, labels, len(images))) for name, images, labels in parts]
    kinds = {images.dtype for _, images, _ in parts}
    scales = {kind: _scale([(name, images) for name, images, _ in parts if images.dtype == kind]) for kind in kinds}
    return joined(f"NumPy {path.name}", [_part(*facts, scale=scales[facts[1].dtype]) for facts in parts])


def _choose_arrays(path: Path, archive: zipfile.ZipFile, split: str) -> dict[str, tuple[Rows, np.ndarray | None]]:
    """Return the images and labels of each part of a split, or of the whole file if it has no splits."""
    members = [name.removesuffix(".npy") for name in archive.namelist()]
    names = {name.lower(): f"{name}.npy" for name in members}

    def find(part: str, roles: Sequence[str]) -> str | None:
        wanted = [word for role in roles for word in (f"{role}_{part}", f"{part}_{role}")] if part else roles
        return next((names[word] for word in wanted if word in names), None)

    has_splits = any(find(part, _IMAGES) for part in ("train", "test"))
    parts = {part: find(part, _IMAGES) for part in (_PARTS[split] if has_splits else ("",))}
    if lacking := [part or "images" for part, name in parts.items() if name is None]:
        raise DataError(
            f"{path}: no array for {', '.join(lacking)}\n"
            f"  found: {', '.join(members)}; expected images, x, data or arr_0, or x_train, x_test, ...\n"
            f"  fix:   save it with numpy.savez(FILE, images=..., labels=...), or use another --split"
        )
    labels = {part: find(part, _LABELS) for part in parts}
    return {
        name.removesuffix(".npy"): (
            _member_rows(path, archive, name),
            None if (label := labels[part]) is None else _load(archive, label),
        )
        for part, name in parts.items()
        if name
    }


def _member_rows(path: Path, archive: zipfile.ZipFile, name: str) -> Rows:
    """Return the rows of an array in a .npz file, unpacked while they are read; Fortran order is read as a whole."""
    with archive.open(name) as file:
        shape, fortran, dtype = _npy_header(file)
        start = file.tell()
    if archive.getinfo(name).file_size != start + math.prod(shape) * dtype.itemsize:
        raise ValueError(f"the length of {name} differs from its header")
    if fortran:
        return array_rows(_load(archive, name))

    @contextlib.contextmanager
    def opened() -> Iterator[Readable]:
        with zipfile.ZipFile(path) as again, again.open(name) as file:
            file.read(start)
            yield file

    return stream_rows(opened, shape, dtype) if shape else Rows(shape=(), dtype=dtype, read=lambda _: iter(()))


def _load(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    if (size := archive.getinfo(name).file_size) > WHOLE_BYTES:
        raise ValueError(f"{name}, {size} bytes, would have to be read at once; save it with numpy.ascontiguousarray")
    with archive.open(name) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read the shape of an array, whether it is in Fortran order, and its type."""
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"version {version} of the .npy format")
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it contains objects, which could run code")
    return shape, fortran and len(shape) > 1, dtype


def _oriented(path: Path, images: Rows) -> Rows:
    """Return images as [N, H, W] or [N, H, W, C]."""
    n, *one = images.shape or (0,)
    if images.dtype.kind in "uifb" and math.prod(images.shape):
        if len(one) == 2:
            return images
        first = len(one) == 3 and one[2] not in (1, 3, 4)
        height, width, channels = (*one[1:], one[0]) if first else one if len(one) == 3 else (0, 0, 0)
        if channels in (1, 3, 4):

            def turned(row: np.ndarray | DataError) -> np.ndarray | DataError:
                if isinstance(row, DataError):
                    return row
                row = row.transpose(1, 2, 0) if first else row
                return row[..., 0] if channels == 1 else row

            shape = (n, height, width) if channels == 1 else (n, height, width, channels)
            return Rows(shape=shape, dtype=images.dtype, read=lambda positions: map(turned, images.read(positions)))
    raise DataError(
        f"{path}: not an array of images\n"
        f"  found: {images.dtype} of shape {list(images.shape)}\n"
        f"  fix:   save an array of shape [N, H, W], [N, H, W, C] or [N, C, H, W] with C = 1, 3 or 4"
    )


def _numbers(path: Path, labels: np.ndarray | None, count: int) -> np.ndarray | None:
    """Convert integers [N] or [N, 1], or one-hot rows, to labels int64 [N]."""
    if labels is None:
        return None
    flat = labels.reshape(count, -1) if labels.ndim in (1, 2) and len(labels) == count else np.empty((0, 0))
    one_hot = flat.shape[1] > 1 and flat.dtype.kind in "biuf" and ((flat != 0).sum(1) == 1).all()
    if one_hot and (flat.max(1) == 1).all():
        return flat.argmax(1)
    if flat.shape == (count, 1) and flat.dtype.kind in "biu" and flat.min() >= 0 and flat.max() < 1 << 20:
        return flat[:, 0].astype(np.int64)
    raise DataError(
        f"{path}: the labels do not match the images\n"
        f"  found: {labels.dtype} of shape {list(labels.shape)}; expected integers from 0 up, [{count}], or one-hot\n"
        f"  fix:   correct the labels, or save the file without them"
    )


def _part(
    name: str, images: Rows, labels: np.ndarray | None, classes: tuple[str, ...] = (), *, scale: Scale = _AS_IT_IS
) -> Source:
    """Return a source of images [N, H, W] or [N, H, W, C] of any number type, with labels [N] if there are any."""
    if labels is not None and not classes:
        classes = tuple(str(i) for i in range(int(labels.max()) + 1))

    def read(positions: Sequence[int]) -> Iterator[Payload]:
        for row in images.read(positions):
            yield row if isinstance(row, DataError) else scale.to_uint8(row)

    facts = {"labels": None if labels is None else labels.tolist(), "classes": classes if labels is not None else ()}
    facts["notes"] = (f"{name}: {scale.note}",) if scale.note else ()
    return numbered(name, len(images), read, alike=image_kind(images.shape[1:]), **facts)


def _scale(named: Sequence[tuple[str, Rows]]) -> Scale:
    """Return the range of all arrays, which have one type, so that they keep their brightness to each other."""
    extent, kind = Extent(), named[0][1].dtype
    if kind == np.uint8:
        return Scale()
    for name, images in named:
        for i, row in enumerate(images.read(range(len(images)))):
            if isinstance(row, DataError):  # reported, or skipped, when its turn comes
                continue
            extent = extent.with_array(row)
            if not np.isfinite([extent.low, extent.high]).all():
                raise DataError(
                    f"{name}: not all pixels are numbers\n"
                    f"  found: NaN or infinity in image {i} (counted from 0)\n"
                    f"  fix:   save the array again without this image"
                )
    if scale := array_scale(kind, extent):
        return scale
    raise DataError(
        f"{named[0][0]}: pixels with an unknown range\n"
        f"  found: {kind} from {extent.low:.8g} to {extent.high:.8g}; expected 0 ... 1, -1 ... 1 or 0 ... 255, "
        f"or integers of up to 16 bits\n"
        f"  fix:   scale the array to one of these ranges, or save it as uint8"
    )


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)
