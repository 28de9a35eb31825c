"""Data sets distributed as arrays: MNIST's idx files and the Python versions of CIFAR-10 and CIFAR-100."""

import gzip
import re
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from progan.data.records import Source, image_kind, joined, numbered
from progan.data.sources.pickles import load_arrays
from progan.data.sources.rows import array_rows
from progan.errors import DataError

_IDX_NAME = re.compile(r"(?P<stem>.*)-images[-.]idx3-ubyte(\.gz)?")
_MAGIC = {"images": 0x803, "labels": 0x801}


@dataclass(frozen=True)
class _Cifar:
    """The files of one of the CIFAR data sets."""

    name: str
    archive: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    labels: str
    """Key of the labels in a batch."""
    meta: str
    """File that contains the names of the classes."""
    class_names: str
    """Key of the names of the classes in that file."""
    classes: int

    def batches(self, split: str) -> tuple[str, ...]:
        return {"train": self.train, "test": self.test, "all": self.train + self.test}[split]


_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
_CIFAR_10 = _Cifar(
    "CIFAR-10", "cifar-10-python.tar.gz", _BATCHES, ("test_batch",), "labels", "batches.meta", "label_names", 10
)
_CIFAR_100 = _Cifar(
    "CIFAR-100", "cifar-100-python.tar.gz", ("train",), ("test",), "fine_labels", "meta", "fine_label_names", 100
)


def is_idx(path: Path) -> bool:
    """Return whether a file is named like the images of MNIST."""
    return _IDX_NAME.fullmatch(path.name) is not None


def idx_files(folder: Path) -> list[Path]:
    """Return the idx image files directly in a folder; a .gz is omitted if the unpacked file is there too."""
    found = sorted(path for path in folder.iterdir() if path.is_file() and is_idx(path))
    return [path for path in found if path.suffix != ".gz" or path.with_suffix("") not in found]


def idx_source(path: Path, files: Sequence[Path], split: str) -> Source:
    """Return the images of MNIST, Fashion-MNIST and similar data sets: a folder of idx files, or one such file.

    Args:
        path: folder, or one file.
        files: image files in the folder, or the one file.
        split: 'train', 'test' or 'all'; ignored for one file.

    Raises:
        DataError: if the split is missing, or a file is broken.
    """
    chosen = list(files) if path.is_file() else _choose_split(path, files, split)
    images = [_read_idx(file, "images") for file in chosen]
    labels = [_labels_of(file, len(pixels)) for file, pixels in zip(chosen, images, strict=True)]
    if len({pixels.shape[1:] for pixels in images}) > 1:
        names = ", ".join(f.name for f in chosen)
        raise DataError(f"{path}: {names} contain images of different sizes; pass one of these files")
    whole = zip(chosen, images, labels, strict=True)
    parts = [_part(file.name, pixels, numbers, _digits(numbers), "pad") for file, pixels, numbers in whole]
    return joined(f"idx files {path.name}", parts)


def _digits(labels: np.ndarray | None) -> tuple[str, ...]:
    return () if labels is None else tuple(str(i) for i in range(max(10, int(labels.max(initial=0)) + 1)))


def _choose_split(folder: Path, files: Sequence[Path], split: str) -> list[Path]:
    """Return the files of a split, training files first."""
    train, test = [f for f in files if "train" in f.name], [f for f in files if "train" not in f.name]
    chosen = {"train": train, "test": test, "all": train + test}[split]
    found = ", ".join(f.name for f in files)
    if not chosen:
        raise DataError(
            f"{folder}: no idx images of the split {split!r}\n"
            f"  found: {found}\n"
            f"  fix:   use --split {'train' if train else 'test'}"
        )
    if len(train) > 1 or len(test) > 1:
        fix = "pass one of these files"
        raise DataError(f"{folder}: several data sets in one folder\n  found: {found}\n  fix:   {fix}")
    return chosen


def _labels_of(file: Path, count: int) -> np.ndarray | None:
    """Return the labels that belong to an image file, or None if there are none."""
    stem = file.name.removesuffix(".gz").replace("-images", "-labels").replace("idx3", "idx1")
    for path in (file.with_name(stem), file.with_name(stem + ".gz")):
        if path.is_file():
            labels = _read_idx(path, "labels")
            if len(labels) != count:
                raise DataError(
                    f"{path}: the labels do not match the images\n"
                    f"  found: {len(labels)} labels and {count} images in {file.name}\n"
                    f"  fix:   download both again"
                )
            return labels
    return None


def _read_idx(path: Path, kind: str) -> np.ndarray:
    """Read the array of an idx file: uint8 [N, H, W] for images, [N] for labels."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}: broken gzip file ({error})\n  fix:   download it again") from error
    magic = int.from_bytes(data[:4], "big")
    if len(data) < 4 or magic != _MAGIC[kind]:
        raise DataError(
            f"{path}: not an idx file of {kind}\n"
            f"  found: magic number {magic:#010x}, expected {_MAGIC[kind]:#010x}\n"
            f"  fix:   download it again (some mirrors send a web page instead)"
        )
    rank = magic & 0xFF
    header = 4 + 4 * rank
    shape = struct.unpack(f">{rank}I", data[4:header]) if len(data) >= header else (0,)
    if len(data) < header or len(data) != header + int(np.prod(shape, dtype=object)):
        raise DataError(
            f"{path}: truncated idx file\n"
            f"  found: {len(data)} bytes, expected {header + int(np.prod(shape, dtype=object))} for {list(shape)}\n"
            f"  fix:   download it again"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def is_cifar(names: Sequence[str]) -> bool:
    """Return whether files of these names, without folders, are the Python version of CIFAR-10 or CIFAR-100."""
    return _which_cifar(names) is not None


def _which_cifar(names: Sequence[str]) -> _Cifar | None:
    if set(names) & set(_CIFAR_10.batches("all")):
        return _CIFAR_10
    return _CIFAR_100 if "meta" in names and set(names) & set(_CIFAR_100.batches("all")) else None


def cifar_source(path: Path, files: Mapping[str, Callable[[], bytes]], split: str) -> Source:
    """Return the images of the Python version of CIFAR-10, or of CIFAR-100 with its 100 fine labels.

    Args:
        path: folder or archive, for messages.
        files: function that reads each file, by file name.
        split: 'train', 'test' or 'all'.

    Raises:
        DataError: if a batch is missing or broken, or its pickle contains anything other than arrays.
    """
    kind = _which_cifar(list(files)) or _CIFAR_10
    wanted = kind.batches(split)
    if missing := [name for name in wanted if name not in files]:
        raise DataError(
            f"{path}: incomplete {kind.name}, {', '.join(missing)} missing\n"
            f"  found: {', '.join(sorted(files))}\n"
            f"  fix:   unpack {kind.archive} again, or use another --split"
        )
    batches = [_cifar_batch(kind, f"{path}/{name}", files[name]()) for name in wanted]
    classes = tuple(str(i) for i in range(kind.classes))
    if kind.meta in files:
        found = _text_keys(load_arrays(files[kind.meta](), f"{path}/{kind.meta}")).get(kind.class_names, ())
        decoded = tuple(n.decode("utf-8", "replace") if isinstance(n, bytes) else str(n) for n in found)
        classes = decoded if len(decoded) == kind.classes else classes
    parts = [_part(name, *batch, classes, "crop") for name, batch in zip(wanted, batches, strict=True)]
    return joined(f"{kind.name} {path.name}", parts)


def _text_keys(content: Any) -> dict[str, Any]:
    """Return a dictionary with its keys, which are bytes in pickles of Python 2, as text; empty for anything else."""
    return (
        {k.decode() if isinstance(k, bytes) else k: v for k, v in content.items()} if isinstance(content, dict) else {}
    )


def _cifar_batch(kind: _Cifar, name: str, data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels uint8 [N, 32, 32, 3] and labels int64 [N] of one batch."""
    batch = _text_keys(load_arrays(data, name))
    pixels, labels = batch.get("data"), batch.get(kind.labels, ())
    if isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.shape[1:] == (3072,):
        numbers = isinstance(labels, list) and all(type(n) is int and 0 <= n < kind.classes for n in labels)
        if numbers and len(labels) == len(pixels):
            return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), np.array(labels, np.int64)
    raise DataError(
        f"{name}: not a batch of {kind.name}\n"
        f"  found: {', '.join(map(str, batch)) or 'no dictionary'}; expected 'data' [N, 3072] and {kind.labels!r}\n"
        f"  fix:   download {kind.archive} again"
    )


def _part(name: str, pixels: np.ndarray, labels: np.ndarray | None, classes: tuple[str, ...], fit: str) -> Source:
    numbers = None if labels is None else labels.tolist()
    facts = {"labels": numbers, "classes": classes, "default_fit": fit, "alike": image_kind(pixels.shape[1:])}
    return numbered(name, len(pixels), array_rows(pixels).read, **facts)
