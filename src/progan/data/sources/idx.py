"""The idx files of MNIST and of data sets in its format, packed or not, under the names they have after a download."""

import contextlib
import gzip
import math
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from progan.data.records import Choice, Source, joined
from progan.data.sources.fields import pick_split
from progan.data.sources.own_labels import with_labels
from progan.data.sources.rows import WHOLE_BYTES, Readable, Rows, array_rows, stream_rows
from progan.data.sources.stacks import oriented, stack_sources
from progan.errors import DataError

_NAME = re.compile(
    r"(?P<stem>.*?)[^a-z0-9]*(?P<kind>image|label)s?[^a-z0-9]*idx[1-4][^a-z0-9]*(u?byte|u?short|u?int|float|double)(\.gz)*"
)
_EMNIST = re.compile(r"(.*[^a-z])?emnist[^a-z].*")
_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_RANKS = {"image": (3, 4), "label": (1, 2)}
_GZIP = b"\x1f\x8b"
_MOST_LAYERS = 3  # of gzip around each other
_BLOCK = 1 << 20
_LETTERS = tuple(str(i) for i in range(1, 27))


@dataclass(frozen=True, kw_only=True)
class _Name:
    """What the name of an idx file says."""

    kind: str
    """'image' or 'label'."""
    stem: str
    """What comes before that, without punctuation; equal for images and their labels."""


def _name(path: Path) -> _Name | None:
    """Return what the name of an idx file says, or None if it is not named like one.

    >>> _name(Path("train-images.idx3-ubyte.GZ")), _name(Path("emnist-letters-train-labels-idx1-ubyte"))
    (_Name(kind='image', stem='train'), _Name(kind='label', stem='emnistletterstrain'))
    """
    match = _NAME.fullmatch(path.name.lower())
    return match and _Name(kind=match["kind"], stem=re.sub("[^a-z0-9]", "", match["stem"]))


def is_idx(path: Path) -> bool:
    """Return whether a file is named like the images of MNIST, or has the content of such a file."""
    if name := _name(path):
        return name.kind == "image"
    try:
        with _unpacked(path) as (stream, layers):
            head = stream.read(4 + 4 * 4)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return False
    if len(head) < 20 or head[:2] != b"\0\0" or head[2] not in _TYPES or head[3] not in _RANKS["image"]:
        return False
    shape = struct.unpack(f">{head[3]}I", head[4 : 4 + 4 * head[3]])
    size = 4 + 4 * head[3] + math.prod(shape) * np.dtype(_TYPES[head[2]]).itemsize
    return layers > 0 or path.stat().st_size == size


def idx_files(folder: Path) -> list[Path]:
    """Return the idx image files directly in a folder, or in folders inside it that are named like idx files.

    Of the same file twice, such as packed and unpacked, one is returned.
    """
    return [file for name, file in _listed(folder).items() if name.kind == "image"]


def _listed(folder: Path) -> dict[_Name, Path]:
    """Return the idx files of a folder by what their names say, unpacked files before packed ones."""
    found: list[Path] = []
    for path in folder.iterdir():
        if "idx" in path.name.lower() and _name(path):
            inner = [file for file in path.iterdir() if _name(file)] if path.is_dir() else [path]
            found += [file for file in inner if file.is_file()]
    found.sort(key=lambda file: (file.name.lower().endswith(".gz"), file.parent != folder, file.name))
    names = [(name, file) for file in reversed(found) if (name := _name(file))]
    return dict(sorted(dict(names).items(), key=lambda item: item[1].name))


def idx_source(path: Path, files: Sequence[Path], choice: Choice) -> Source:
    """Return the images of MNIST, Fashion-MNIST, EMNIST and similar data sets: a folder of idx files, or one such file.

    Args:
        path: folder, or one file.
        files: image files in the folder, or the one file.
        choice: split to use; ignored for one file.

    Raises:
        DataError: if the split is missing, or a file is broken.
    """
    chosen, notes, heeds = list(files), (), frozenset()
    if path.is_dir():
        parts = {file.name.lower().replace("t10k", "test"): [file] for file in files}
        chosen, notes, heeds = pick_split(parts, choice.split, where=str(path))
        _refuse_several(path, files)
    images = [_images(file) for file in chosen]
    if len({rows.shape[1:] for rows in images}) > 1:
        names = ", ".join(file.name for file in chosen)
        raise DataError(f"{path}: {names} contain images of different sizes; pass one of these files")
    named = [(file.name, rows) for file, rows in zip(chosen, images, strict=True)]
    whole = joined(f"idx files {path.name}", stack_sources(named))
    if any(map(_is_emnist, chosen)):
        notes = ("EMNIST's files contain the images on their sides; they are turned upright", *notes)
    labels = [_label_file(file) for file in chosen]
    if lacking := [file.name for file, beside in zip(chosen, labels, strict=True) if beside is None]:
        notes = (*notes, f"no labels, because there is no label file for {', '.join(lacking)}")
    whole = replace(whole, default_fit="pad", notes=(*whole.notes, *notes), heeds=heeds)
    counts = [len(rows) for rows in images]
    letters = all("emnist-letters" in file.name.lower() for file in chosen)
    return with_labels(whole, lambda: _cells(chosen, labels, counts), declared=_LETTERS if letters else ())


def _cells(files: Sequence[Path], labels: Sequence[Path | None], counts: Sequence[int]) -> Sequence[Any] | np.ndarray:
    """Return a label for each image; None for images without a label file."""
    found = [beside and _labels(beside, file, n) for file, beside, n in zip(files, labels, counts, strict=True)]
    arrays = [array for array in found if array is not None]
    if len(arrays) == len(found) and len({array.shape[1:] for array in arrays}) == 1:
        return np.concatenate(arrays)
    pairs = zip(found, counts, strict=True)
    return [cell for array, n in pairs for cell in ([None] * n if array is None else array.tolist())]


def _is_emnist(file: Path) -> bool:
    return _EMNIST.fullmatch(file.name.lower()) is not None


def _refuse_several(folder: Path, files: Sequence[Path]) -> None:
    sets = {re.sub("t10k|train|test|val(id(ation)?)?", "", name.stem) for file in files if (name := _name(file))}
    if len(sets) > 1:
        found = ", ".join(file.name for file in files)
        fix = "pass one of these files"
        raise DataError(f"{folder}: several data sets in one folder\n  found: {found}\n  fix:   {fix}")


def _images(file: Path) -> Rows:
    """Return the rows of a file of images, upright."""
    rows = oriented(str(file), _rows(file, "image"))
    if not _is_emnist(file):
        return rows
    height, width = rows.shape[1:3]

    def read(positions: Sequence[int]) -> Iterator[np.ndarray | DataError]:
        for row in rows.read(positions):
            yield row if isinstance(row, DataError) else row.swapaxes(0, 1)

    return Rows(shape=(len(rows), width, height, *rows.shape[3:]), dtype=rows.dtype, read=read)


def _label_file(file: Path) -> Path | None:
    """Return the file of the labels that belong to an image file, or None if there is none."""
    name = _name(file)
    around = [file.parent, file.parent.parent] if _name(file.parent) else [file.parent]
    wanted = name and replace(name, kind="label")
    return next((place for folder in around for key, place in _listed(folder).items() if key == wanted), None)


def _labels(path: Path, file: Path, count: int) -> np.ndarray:
    """Return the labels that belong to an image file, [N] or [N, K]."""
    rows = _rows(path, "label")
    if len(rows) != count:
        raise DataError(
            f"{path}: the labels do not match the images\n"
            f"  found: {len(rows)} labels and {count} images in {file.name}\n"
            f"  fix:   download both again, or use --labels none"
        )
    if math.prod(rows.shape) * rows.dtype.itemsize > WHOLE_BYTES:
        raise DataError(f"{path}: too many labels\n  found: shape {list(rows.shape)}\n  fix:   download it again")
    labels = np.array([_sound(row) for row in rows.read(range(count))])
    name = file.name.lower()
    if labels.ndim == 2 and "qmnist" in name:
        return labels[:, 0]  # what follows is of NIST
    return labels.astype(np.int64) - 1 if "emnist-letters" in name else labels  # from 1 on


def _sound(row: np.ndarray | DataError) -> np.ndarray:
    if isinstance(row, DataError):
        raise row
    return row


@contextlib.contextmanager
def _unpacked(path: Path, skip: int = 0) -> Iterator[tuple[IO[bytes], int]]:
    """Open a file at a byte, below as many layers of gzip as its content has, whatever its name; yield their number."""
    with contextlib.ExitStack() as stack:
        stream: Any = stack.enter_context(path.open("rb"))
        layers = 0
        while stream.read(2) == _GZIP and layers < _MOST_LAYERS:
            stream.seek(0)
            stream, layers = stack.enter_context(gzip.GzipFile(fileobj=stream, mode="rb")), layers + 1
        stream.seek(0)
        stream.read(skip)
        yield stream, layers


def _rows(path: Path, kind: str) -> Rows:
    """Return the rows of an idx file, read when they are needed.

    Raises:
        DataError: if it is not a complete idx file of this kind.
    """
    try:
        with _unpacked(path) as (stream, layers):
            head = stream.read(4)
            rank = head[3] if len(head) == 4 and head[:2] == b"\0\0" and head[2] in _TYPES else 0
            if rank not in _RANKS[kind]:
                raise _foreign(path, kind, head + stream.read(60))
            dims = stream.read(4 * rank)
            shape = struct.unpack(f">{rank}I", dims) if len(dims) == 4 * rank else (0,)
            dtype, start = np.dtype(_TYPES[head[2]]), 4 + 4 * rank
            wanted = start + math.prod(shape) * dtype.itemsize
            size = path.stat().st_size if not layers else 4 + len(dims) + _length(stream, wanted)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: broken gzip file ({error})\n  fix:   download it again") from error
    if len(dims) < 4 * rank or size != wanted:
        found = f"{size} bytes" if size <= wanted else f"more than {wanted} bytes"
        raise DataError(
            f"{path}: truncated idx file\n"
            f"  found: {found}, expected {wanted} for {list(shape)}\n"
            f"  fix:   download it again"
        )
    if not math.prod(shape):
        raise DataError(f"{path}: no {kind}s\n  found: shape {list(shape)}\n  fix:   download it again")
    if not layers:
        return _native(array_rows(np.memmap(path, dtype, "r", start, shape)))

    @contextlib.contextmanager
    def opened() -> Iterator[Readable]:
        with _unpacked(path, start) as (again, _):
            yield again

    return _native(stream_rows(opened, shape, dtype))


def _native(rows: Rows) -> Rows:
    """Return rows in the byte order of this machine."""
    dtype = rows.dtype.newbyteorder("=")

    def read(positions: Sequence[int]) -> Iterator[np.ndarray | DataError]:
        for row in rows.read(positions):
            yield row if isinstance(row, DataError) else np.asarray(row, dtype)

    return Rows(shape=rows.shape, dtype=dtype, read=read)


def _length(stream: IO[bytes], wanted: int) -> int:
    """Return the number of bytes that follow in a stream; counting stops where there are more than ``wanted``."""
    count = 0
    while count <= wanted and (block := stream.read(_BLOCK)):
        count += len(block)
    return count


def _foreign(path: Path, kind: str, head: bytes) -> DataError:
    """Return the error for a file of something else, which begins with ``head``."""
    found = f"it begins with {head[:4].hex(' ') or 'nothing'}"
    if head.lstrip()[:1] == b"<":
        found = "a web page (HTML) instead of data"
    elif head[:4] == b"PK\3\4":
        found = "a zip; unpack it"
    return DataError(
        f"{path}: not an idx file of {kind}s\n"
        f"  found: {found}; expected 00 00, the type, and {' or '.join(map(str, _RANKS[kind]))} dimensions\n"
        f"  fix:   download it again (some mirrors send a web page instead)"
    )
