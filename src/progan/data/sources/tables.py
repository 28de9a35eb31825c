"""Data sets whose images are arrays in one file: the .mat files of SVHN, and NumPy's .npy and .npz files."""

import contextlib
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from progan.data.printing import printable
from progan.data.records import Choice, Source, joined
from progan.data.sources.array_files import Stored, arrays_source
from progan.data.sources.deflate64 import open_zip
from progan.data.sources.fields import pick_split
from progan.data.sources.mats import MAT_HEAD, mat_matrices
from progan.data.sources.npy import NPY_BROKEN, load_npy, npy_header
from progan.data.sources.own_labels import with_labels
from progan.data.sources.rows import Readable, Rows, array_rows, stream_rows
from progan.data.sources.stacks import oriented, stack_sources
from progan.errors import DataError

_NPY_HEAD = b"\x93NUMPY"
_DIGITS = tuple("0123456789")


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
    chosen, notes, heeds = list(files), (), frozenset()
    if path.is_dir():
        parts = {file.name: [file] for file in reversed(files) if not file.name.startswith("extra")}
        if not parts:
            raise DataError(f"{path}: incomplete SVHN\n  found: {files[0].name}\n  fix:   pass this file itself")
        chosen, notes, heeds = pick_split(parts, split, where=str(path))
    read = [(file.name, *_read_mat(file)) for file in chosen]
    source = joined(f"SVHN {path.resolve().name}", stack_sources([(name, pixels) for name, pixels, _ in read]))
    source = replace(source, notes=notes, heeds=heeds)
    return with_labels(source, lambda: np.concatenate([digits for _, _, digits in read]), declared=_DIGITS)


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
        with open_zip(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, UnicodeDecodeError):
        return []
    return [path] if names and all(name.endswith(".npy") for name in names) else []


def numpy_source(path: Path, choice: Choice) -> Source:
    """Return the images of a .npy file, which stays on disk, or of a .npz file, which is unpacked while it is read.

    Images are [N, H, W], [N, H, W, C] or [N, C, H, W] with C = 1, 3 or 4; if both orders are possible, C is last.
    uint8 is used as it is; the range of other numbers is that of ``array_scale``. Which arrays of a .npz file are
    images, labels and columns is decided by ``arrays_source``.

    Raises:
        DataError: if the file is broken, or its arrays do not have this form.
    """
    try:
        if _head(path).startswith(_NPY_HEAD):
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            (source,) = stack_sources([(path.name, oriented(str(path), array_rows(array)))])
            return joined(f"NumPy {path.name}", [source])
        with open_zip(path) as archive:
            arrays, objects = _members(path, archive)
        if objects and not any(stored.is_images for stored in arrays.values()):
            raise ValueError(f"{objects[0]} contains objects, which could run code")
        source = arrays_source(path, f"NumPy {path.name}", arrays, choice)
    except (*NPY_BROKEN, OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise DataError(
            f"{path}: not a readable array file ({error})\n"
            f"  found: {path.stat().st_size} bytes\n"
            f"  fix:   save it again with numpy.save or numpy.savez, without objects"
        ) from error
    told = f"arrays of Python objects are left out, because they could run code: {', '.join(objects[:5])}"
    return replace(source, notes=(*source.notes, told)) if objects else source


def _members(path: Path, archive: zipfile.ZipFile) -> tuple[dict[str, Stored], list[str]]:
    """Return the arrays of a .npz file by name, and the names of those that contain objects."""
    arrays: dict[str, Stored] = {}
    objects = []
    for member in archive.namelist():
        name = member.removesuffix(".npy")
        with archive.open(member) as file:
            shape, _, dtype = npy_header(file)
        if dtype.hasobject:
            objects.append(printable(name))
            continue

        def rows(member: str = member) -> Rows:
            with open_zip(path) as again:
                return _member_rows(path, again, member)

        def load(member: str = member) -> np.ndarray:
            with open_zip(path) as again:
                return _load(again, member)

        arrays[name] = Stored(shape=shape, dtype=dtype, rows=rows, load=load)
    return arrays, objects


def _member_rows(path: Path, archive: zipfile.ZipFile, name: str) -> Rows:
    """Return the rows of an array in a .npz file, unpacked while they are read; Fortran order is read as a whole."""
    with archive.open(name) as file:
        shape, fortran, dtype = npy_header(file)
        start = file.tell()
    if archive.getinfo(name).file_size != start + math.prod(shape) * dtype.itemsize:
        raise ValueError(f"the length of {name} differs from its header")
    if fortran:
        return array_rows(_load(archive, name))

    @contextlib.contextmanager
    def opened() -> Iterator[Readable]:
        with open_zip(path) as again, again.open(name) as file:
            file.read(start)
            yield file

    return stream_rows(opened, shape, dtype)


def _load(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as file:
        return load_npy(file, archive.getinfo(name).file_size)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)
