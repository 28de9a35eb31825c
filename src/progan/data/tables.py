"""Data sets whose images are arrays in one file: SVHN's .mat files, NumPy's .npy and .npz files."""

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from progan.data.records import Names, Payload, Source
from progan.errors import DataError

_MAT_HEAD, _NPY_HEAD = b"MATLAB ", b"\x93NUMPY"
_PARTS = {"train": ("train",), "test": ("test",), "all": ("train", "test")}
_IMAGES = ("images", "image", "imgs", "x", "data", "arr_0")
_LABELS = ("labels", "label", "y", "targets", "arr_1")
_CHUNK = 256  # images looked at together


def mat_files(path: Path) -> list[Path]:
    """SVHN's ..._32x32.mat files right inside a folder, or the file itself if it is one of MATLAB."""
    if path.is_dir():
        return sorted(file for file in path.glob("*_32x32.mat") if file.is_file())
    return [path] if path.suffix == ".mat" or _head(path).startswith(_MAT_HEAD) else []


def mat_source(path: Path, files: Sequence[Path], split: str) -> Source:
    """SVHN's cropped digits: X uint8 [32, 32, 3, N] and y [N, 1], where 10 stands for the digit 0.

    Args:
        path: what the user named, for messages.
        files: train_32x32.mat and test_32x32.mat, or one file (then ``split`` does not matter); extra_32x32.mat is
            used only if it is named.
        split: 'train', 'test' or 'all'.

    Raises:
        DataError: if the split is not there, or a file is broken or holds anything but these two arrays.
    """
    wanted = [path / f"{part}_32x32.mat" for part in _PARTS[split]] if path.is_dir() else list(files)
    if lacking := [file.name for file in wanted if not file.is_file()]:
        raise DataError(
            f"{path}: SVHN without {', '.join(lacking)}\n"
            f"  found: {', '.join(file.name for file in files)}\n"
            f"  fix:   download it from http://ufldl.stanford.edu/housenumbers, choose another --split or name a file"
        )
    parts = [(file.name, *_read_mat(file)) for file in wanted]
    return _source(f"SVHN {path.resolve().name}", parts, tuple("0123456789"))


def _read_mat(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [N, H, W, 3] and digits [N]."""
    try:
        import scipy.io
    except ImportError:
        raise DataError(f"{file}: .mat files need one more package\n  fix:   pip install 'progan[svhn]'") from None
    try:
        kinds = {name: (kind, shape) for name, shape, kind in scipy.io.whosmat(file)}
        pixels, digits = kinds.get("X", ("no X", ())), kinds.get("y", ("no y", ()))
        fits = pixels[0] == "uint8" and len(pixels[1]) == 4 and pixels[1][2] == 3
        if fits and digits[0] in ("uint8", "double") and digits[1] == (pixels[1][3], 1):
            arrays = scipy.io.loadmat(file, variable_names=["X", "y"])
            labels = arrays["y"][:, 0]
            if np.isin(labels, range(11)).all():
                return arrays["X"].transpose(3, 0, 1, 2), labels.astype(np.int64) % 10
    except Exception as error:  # a broken file makes the reader raise almost anything
        raise DataError(
            f"{file}: not a readable .mat file ({type(error).__name__}: {error})\n  fix:   download it again"
        ) from error
    found = ", ".join(f"{name} {kind} {list(shape)}" for name, (kind, shape) in kinds.items())
    raise DataError(
        f"{file}: not SVHN's cropped digits\n"
        f"  found: {found or 'no arrays'}; wanted X uint8 [32, 32, 3, N] and y [N, 1] of 0 ... 10\n"
        f"  fix:   download it again; save other images as .npy, or as files in one folder for each class"
    )


def numpy_files(path: Path) -> list[Path]:
    """The file itself if it is an array or an archive of arrays by NumPy."""
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
    """Images of a .npy file, which stays on the disk, or of a .npz file, which is read into memory.

    Images are [N, H, W], [N, H, W, C] or [N, C, H, W] with C = 1, 3 or 4; where both orders would do, C is last.
    uint8 is taken as it is. Other numbers must lie in 0 ... 1, -1 ... 1 or 0 ... 255, the first of these ranges that
    holds all of them, and are brought to the nearest of 0 ... 255. A .npz file has images under 'images', 'x', 'data'
    or 'arr_0' and perhaps labels under 'labels', 'y', 'targets' or 'arr_1': integers [N] or [N, 1], or one-hot [N, K].
    With x_train, y_train, x_test ... it has splits.

    Raises:
        DataError: if the file is broken, or its arrays are of another kind.
    """
    with_splits: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
    try:
        if _head(path).startswith(_NPY_HEAD):
            with_splits[""] = np.load(path, mmap_mode="r", allow_pickle=False), None
        else:
            with np.load(path, allow_pickle=False) as archive:
                with_splits = _choose_arrays(path, archive, split)
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise DataError(
            f"{path}: not a readable file of arrays ({error})\n"
            f"  found: {path.stat().st_size} bytes\n"
            f"  fix:   write it again with numpy.save or numpy.savez, without objects"
        ) from error
    parts = [(name or path.name, images, labels) for name, (images, labels) in with_splits.items()]
    parts = [(name, _oriented(path, images), _numbers(path, labels, len(images))) for name, images, labels in parts]
    return _source(f"NumPy {path.name}", parts, ())


def _choose_arrays(path: Path, archive: Mapping[str, Any], split: str) -> dict[str, tuple[np.ndarray, Any]]:
    """Images and labels of each part of a split, or of all if there are no splits."""
    names = {name.lower(): name for name in archive}

    def find(part: str, roles: Sequence[str]) -> str | None:
        wanted = [word for role in roles for word in (f"{role}_{part}", f"{part}_{role}")] if part else roles
        return next((names[word] for word in wanted if word in names), None)

    has_splits = any(find(part, _IMAGES) for part in ("train", "test"))
    parts = {part: find(part, _IMAGES) for part in (_PARTS[split] if has_splits else ("",))}
    if lacking := [part or "images" for part, name in parts.items() if name is None]:
        raise DataError(
            f"{path}: no array of the name {', '.join(lacking)}\n"
            f"  found: {', '.join(archive)}; wanted images, x, data or arr_0, or x_train, x_test, ...\n"
            f"  fix:   numpy.savez(..., images=..., labels=...), or choose another --split"
        )
    labels = {part: find(part, _LABELS) for part in parts}
    return {
        name: (archive[name], None if (label := labels[part]) is None else archive[label])
        for part, name in parts.items()
        if name
    }


def _oriented(path: Path, images: np.ndarray) -> np.ndarray:
    """Images as [N, H, W] or [N, H, W, C]."""
    if images.dtype.kind in "uif" and images.size:
        if images.ndim == 3:
            return images
        if images.ndim == 4 and images.shape[3] in (1, 3, 4):
            return images[..., 0] if images.shape[3] == 1 else images
        if images.ndim == 4 and images.shape[1] in (1, 3, 4):
            return images[:, 0] if images.shape[1] == 1 else images.transpose(0, 2, 3, 1)
    raise DataError(
        f"{path}: not an array of images\n"
        f"  found: {images.dtype} of shape {list(images.shape)}\n"
        f"  fix:   save numbers of shape [N, H, W], [N, H, W, C] or [N, C, H, W] with C = 1, 3 or 4"
    )


def _numbers(path: Path, labels: np.ndarray | None, count: int) -> np.ndarray | None:
    """Labels int64 [N] of integers [N] or [N, 1], or of one-hot rows."""
    if labels is None:
        return None
    flat = labels.reshape(count, -1) if labels.ndim in (1, 2) and len(labels) == count else np.empty((0, 0))
    one_hot = flat.shape[1] > 1 and flat.dtype.kind in "biuf" and ((flat != 0).sum(1) == 1).all()
    if one_hot and (flat.max(1) == 1).all():
        return flat.argmax(1)
    if flat.shape == (count, 1) and flat.dtype.kind in "biu" and flat.min() >= 0 and flat.max() < 1 << 20:
        return flat[:, 0].astype(np.int64)
    raise DataError(
        f"{path}: labels that do not fit\n"
        f"  found: {labels.dtype} of shape {list(labels.shape)}; wanted integers from 0 on, [{count}], or one-hot\n"
        f"  fix:   save them again, or leave them out"
    )


def _source(description: str, parts: Sequence[tuple[str, np.ndarray, np.ndarray | None]], classes: tuple) -> Source:
    """The source of parts: a name, images [N, H, W] or [N, H, W, C] of any numbers, and labels [N] or None."""
    ends = np.cumsum([0, *(len(images) for _, images, _ in parts)])
    scales = [_scale(name, images) for name, images, _ in parts]
    known = [labels for _, _, labels in parts if labels is not None]
    joined = np.concatenate(known) if len(known) == len(parts) else None
    if joined is not None and not classes:
        classes = tuple(str(i) for i in range(int(joined.max()) + 1))

    def place(i: int) -> tuple[int, int]:
        part = int(ends.searchsorted(i, "right")) - 1
        return part, i - int(ends[part])

    def name(i: int) -> str:
        part, row = place(i)
        return f"{parts[part][0]}[{row}]"

    def read(positions: Sequence[int]) -> Iterator[Payload]:
        for part, row in map(place, positions):
            yield _to_uint8(parts[part][1][row], scales[part])

    labels = None if joined is None else joined.tolist()
    return Source(description=description, names=Names(int(ends[-1]), name), labels=labels, classes=classes, read=read)


def _scale(name: str, images: np.ndarray) -> tuple[float, float]:
    """Offset and factor that bring numbers to 0 ... 255; (0, 1) for uint8."""
    if images.dtype == np.uint8:
        return 0.0, 1.0
    low, high = np.inf, -np.inf
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK]
        least, most = float(chunk.min()), float(chunk.max())
        if not np.isfinite([least, most]).all():
            broken = start + int(np.isfinite(chunk.reshape(len(chunk), -1)).all(1).argmin())
            raise DataError(
                f"{name}: not all pixels are numbers\n"
                f"  found: NaN or infinity in image {broken} (counted from 0)\n"
                f"  fix:   save the array without this image"
            )
        low, high = min(low, least), max(high, most)
    whole = images.dtype.kind in "ui"
    for (bottom, top), scale in {(0, 1): (0.0, 255.0), (-1, 1): (1.0, 127.5), (0, 255): (0.0, 1.0)}.items():
        if bottom <= low and high <= top and (top == 255 or not whole):
            return scale
    raise DataError(
        f"{name}: pixels without a known range\n"
        f"  found: {images.dtype} from {low:g} to {high:g}; wanted 0 ... 1, -1 ... 1 or 0 ... 255\n"
        f"  fix:   save the array as uint8"
    )


def _to_uint8(pixels: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """An image in memory of its own, rounded to nearest, ties to even."""
    if pixels.dtype == np.uint8:
        return np.array(pixels, order="C", subok=False)
    offset, factor = scale
    return np.rint((pixels.astype(np.float64) + offset) * factor).astype(np.uint8)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)
