"""The Python versions of CIFAR-10 and CIFAR-100, which are arrays in pickles."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from progan.data.records import Choice, Source, joined
from progan.data.sources.own_labels import with_labels
from progan.data.sources.pickles import load_arrays
from progan.data.sources.rows import array_rows
from progan.data.sources.splits import chosen_split
from progan.data.sources.stacks import stack_sources
from progan.errors import DataError


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

    @property
    def batches(self) -> tuple[str, ...]:
        return self.train + self.test


_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
_CIFAR_10 = _Cifar(
    "CIFAR-10", "cifar-10-python.tar.gz", _BATCHES, ("test_batch",), "labels", "batches.meta", "label_names", 10
)
_CIFAR_100 = _Cifar(
    "CIFAR-100", "cifar-100-python.tar.gz", ("train",), ("test",), "fine_labels", "meta", "fine_label_names", 100
)


def is_cifar(names: Sequence[str]) -> bool:
    """Return whether files of these names, without folders, are the Python version of CIFAR-10 or CIFAR-100."""
    return _which_cifar(names) is not None


def _which_cifar(names: Sequence[str]) -> _Cifar | None:
    if set(names) & set(_CIFAR_10.batches):
        return _CIFAR_10
    return _CIFAR_100 if "meta" in names and set(names) & set(_CIFAR_100.batches) else None


def cifar_source(path: Path, files: Mapping[str, Callable[[], bytes]], choice: Choice) -> Source:
    """Return the images of the Python version of CIFAR-10, or of CIFAR-100 with its 100 fine labels.

    Args:
        path: folder or archive, for messages.
        files: function that reads each file, by file name.
        choice: split to use.

    Raises:
        DataError: if a batch is missing or broken, or its pickle contains anything other than arrays.
    """
    kind = _which_cifar(list(files)) or _CIFAR_10
    wanted, note = chosen_split({"train": kind.train, "test": kind.test}, choice.split, where=str(path))
    if missing := [name for name in wanted if name not in files]:
        raise DataError(
            f"{path}: incomplete {kind.name}, {', '.join(missing)} missing\n"
            f"  found: {', '.join(sorted(files))}\n"
            f"  fix:   unpack {kind.archive} again, or use another --split"
        )
    batches = [(name, *_cifar_batch(kind, f"{path}/{name}", files[name]())) for name in wanted]
    classes = tuple(str(i) for i in range(kind.classes))
    if kind.meta in files:
        found = _text_keys(load_arrays(files[kind.meta](), f"{path}/{kind.meta}")).get(kind.class_names, ())
        decoded = tuple(n.decode("utf-8", "replace") if isinstance(n, bytes) else str(n) for n in found)
        classes = decoded if len(decoded) == kind.classes else classes
    parts = stack_sources([(name, array_rows(pixels)) for name, pixels, _ in batches])
    whole = replace(
        joined(f"{kind.name} {path.name}", parts), notes=(note,) if note else (), heeds=frozenset({"split"})
    )
    numbers = np.concatenate([labels for _, _, labels in batches])
    return with_labels(whole, lambda: numbers, name=kind.labels, declared=classes)


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
