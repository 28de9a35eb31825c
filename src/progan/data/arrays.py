"""Data sets that come as arrays: MNIST's idx files and CIFAR-10's Python batches."""

import gzip
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from progan.data.pickles import load_arrays
from progan.data.records import Source
from progan.errors import DataError

_IDX_NAME = re.compile(r"(?P<stem>.*)-images[-.]idx3-ubyte(\.gz)?")
_CIFAR_BATCHES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
_CIFAR_BATCHES["all"] = _CIFAR_BATCHES["train"] + _CIFAR_BATCHES["test"]
_MAGIC = {"images": 0x803, "labels": 0x801}


def is_idx(path: Path) -> bool:
    """Whether a file is called like MNIST's images."""
    return _IDX_NAME.fullmatch(path.name) is not None


def idx_files(folder: Path) -> list[Path]:
    """The idx image files right inside a folder; of a file and its .gz only the file."""
    found = sorted(path for path in folder.iterdir() if path.is_file() and is_idx(path))
    return [path for path in found if path.suffix != ".gz" or path.with_suffix("") not in found]


def idx_source(path: Path, files: Sequence[Path], split: str) -> Source:
    """MNIST, Fashion-MNIST and the like: a folder of idx files, or one such file (then ``split`` does not matter).

    Raises:
        DataError: if the split is not there, or a file is broken.
    """
    chosen = list(files) if path.is_file() else _choose_split(path, files, split)
    images = [_read_idx(file, "images") for file in chosen]
    labels = [_labels_of(file, len(pixels)) for file, pixels in zip(chosen, images, strict=True)]
    if len({pixels.shape[1:] for pixels in images}) > 1:
        raise DataError(f"{path}: {', '.join(f.name for f in chosen)} hold images of different sizes; name one of them")
    known = [array for array in labels if array is not None]
    joined = np.concatenate(known) if len(known) == len(images) else None
    classes = () if joined is None else tuple(str(i) for i in range(max(10, int(joined.max(initial=0)) + 1)))
    names = [f"{file.name}[{i}]" for file, pixels in zip(chosen, images, strict=True) for i in range(len(pixels))]
    return _array_source(f"idx files {path.name}", np.concatenate(images), names, joined, classes, "pad")


def _choose_split(folder: Path, files: Sequence[Path], split: str) -> list[Path]:
    """The files of a split, training files first."""
    train, test = [f for f in files if "train" in f.name], [f for f in files if "train" not in f.name]
    chosen = {"train": train, "test": test, "all": train + test}[split]
    found = ", ".join(f.name for f in files)
    if not chosen:
        raise DataError(
            f"{folder}: no idx images of the split {split!r}\n"
            f"  found: {found}\n"
            f"  fix:   --split {'train' if train else 'test'}"
        )
    if len(train) > 1 or len(test) > 1:
        raise DataError(f"{folder}: several data sets in one folder\n  found: {found}\n  fix:   name one of them")
    return chosen


def _labels_of(file: Path, count: int) -> np.ndarray | None:
    """The labels that belong to an image file, if they are there."""
    stem = file.name.removesuffix(".gz").replace("-images", "-labels").replace("idx3", "idx1")
    for path in (file.with_name(stem), file.with_name(stem + ".gz")):
        if path.is_file():
            labels = _read_idx(path, "labels")
            if len(labels) != count:
                raise DataError(
                    f"{path}: labels that do not fit\n"
                    f"  found: {len(labels)} labels and {count} images in {file.name}\n"
                    f"  fix:   download both again"
                )
            return labels
    return None


def _read_idx(path: Path, kind: str) -> np.ndarray:
    """The array of an idx file: uint8 [N, H, W] for images, [N] for labels."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}: broken gzip file ({error})\n  fix:   download it again") from error
    magic = int.from_bytes(data[:4], "big")
    if len(data) < 4 or magic != _MAGIC[kind]:
        raise DataError(
            f"{path}: not an idx file of {kind}\n"
            f"  found: magic number {magic:#010x}, wanted {_MAGIC[kind]:#010x}\n"
            f"  fix:   download it again (some mirrors answer with a web page)"
        )
    rank = magic & 0xFF
    header = 4 + 4 * rank
    shape = struct.unpack(f">{rank}I", data[4:header]) if len(data) >= header else (0,)
    if len(data) < header or len(data) != header + int(np.prod(shape, dtype=object)):
        raise DataError(
            f"{path}: truncated idx file\n"
            f"  found: {len(data)} bytes, wanted {header + int(np.prod(shape, dtype=object))} for shape {list(shape)}\n"
            f"  fix:   download it again"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def is_cifar(names: Sequence[str]) -> bool:
    """Whether files of these names, without folders, are CIFAR-10's Python version."""
    return bool(set(names) & set(_CIFAR_BATCHES["all"]))


def cifar_source(path: Path, files: Mapping[str, Callable[[], bytes]], split: str) -> Source:
    """CIFAR-10's Python version.

    Args:
        path: folder or archive, for messages.
        files: a function that reads it, for each file name.
        split: 'train', 'test' or 'all'.

    Raises:
        DataError: if a batch is missing or broken, or its pickle asks for anything but arrays.
    """
    missing = [name for name in _CIFAR_BATCHES[split] if name not in files]
    if missing:
        raise DataError(
            f"{path}: CIFAR-10 without {', '.join(missing)}\n"
            f"  found: {', '.join(sorted(files))}\n"
            f"  fix:   unpack cifar-10-python.tar.gz again, or choose another --split"
        )
    batches = [_cifar_batch(f"{path}/{name}", files[name]()) for name in _CIFAR_BATCHES[split]]
    pixels = np.concatenate([images for images, _ in batches])
    labels = np.concatenate([numbers for _, numbers in batches])
    classes = tuple(str(i) for i in range(10))
    if "batches.meta" in files:
        meta = load_arrays(files["batches.meta"](), f"{path}/batches.meta")
        names = meta.get(b"label_names", meta.get("label_names", ())) if isinstance(meta, dict) else ()
        decoded = tuple(n.decode("utf-8", "replace") if isinstance(n, bytes) else str(n) for n in names)
        classes = decoded if len(decoded) == 10 else classes
    names = [f"{b}[{i}]" for b, (x, _) in zip(_CIFAR_BATCHES[split], batches, strict=True) for i in range(len(x))]
    return _array_source(f"CIFAR-10 {path.name}", pixels, names, labels, classes, "crop")


def _cifar_batch(name: str, data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 [N, 32, 32, 3] and labels int64 [N] of one batch."""
    batch = load_arrays(data, name)
    batch = {k.decode() if isinstance(k, bytes) else k: v for k, v in batch.items()} if isinstance(batch, dict) else {}
    pixels, labels = batch.get("data"), batch.get("labels")
    if isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.shape[1:] == (3072,):
        numbers = isinstance(labels, list) and all(type(n) is int and 0 <= n < 10 for n in labels)
        if numbers and len(labels) == len(pixels):
            return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), np.array(labels, np.int64)
    raise DataError(
        f"{name}: not a batch of CIFAR-10\n"
        f"  found: {', '.join(map(str, batch)) or 'no dictionary'}; wanted 'data' [N, 3072] and its 'labels'\n"
        f"  fix:   download cifar-10-python.tar.gz again"
    )


def _array_source(
    description: str,
    pixels: np.ndarray,
    names: list[str],
    labels: np.ndarray | None,
    classes: tuple[str, ...],
    fit: str,
) -> Source:
    def read(positions: Sequence[int]) -> Iterator[np.ndarray]:
        return (pixels[i] for i in positions)

    numbers = None if labels is None else labels.tolist()
    return Source(description=description, names=names, labels=numbers, classes=classes, default_fit=fit, read=read)
