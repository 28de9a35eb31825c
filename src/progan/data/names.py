"""Names of millions of images in a file: one after the other, each with a line end, and where each one begins."""

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from progan.data.records import Names

NAMES, OFFSETS = "names.txt", "names.npy"
_END = b"\n"  # for people who look at the file; a name may hold any characters


class _Reader:
    """Reads the name of a number; the two files are opened with the first one, and in every process anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[type, tuple[Path]]:
        return _Reader, (self._folder,)

    @functools.cached_property
    def _files(self) -> tuple[np.ndarray, np.ndarray]:
        """The offsets, int64 [N + 1], and the bytes of the names."""
        return np.load(self._folder / OFFSETS, mmap_mode="r"), np.memmap(self._folder / NAMES, np.uint8, "r")

    def __call__(self, number: int) -> str:
        offsets, text = self._files
        start, end = offsets[number : number + 2].tolist()
        return text[start : end - len(_END)].tobytes().decode("utf-8", "surrogatepass")


def stored_names(folder: Path, count: int) -> Names:
    """The names in a folder, read when they are asked for."""
    return Names(count, _Reader(folder))


def encoded(names: Iterable[str]) -> Iterator[bytes]:
    """What the file of names holds of each name."""
    return (name.encode("utf-8", "surrogatepass") + _END for name in names)
