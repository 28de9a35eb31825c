"""Names of millions of images in a file: one after the other, each with a line end, and where each one begins."""

import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np

NAMES, OFFSETS = "names.txt", "names.npy"
_END = b"\n"  # for people who look at the file; a name may hold any characters


class StoredNames(Sequence[str]):
    """The names in a folder, read when they are asked for.

    Args:
        folder: of the two files, which are opened when the first name is asked for.
        count: of the names.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._folder, self._count = folder, count

    @functools.cached_property
    def _files(self) -> tuple[np.ndarray, np.ndarray]:
        """The offsets, int64 [N + 1], and the bytes of the names."""
        return np.load(self._folder / OFFSETS, mmap_mode="r"), np.memmap(self._folder / NAMES, np.uint8, "r")

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(self._count)[index]]
        offsets, text = self._files
        first = range(self._count)[index]
        start, end = offsets[first : first + 2].tolist()
        return text[start : end - len(_END)].tobytes().decode("utf-8", "surrogatepass")


def encoded(names: Iterable[str]) -> Iterator[bytes]:
    """What the file of names holds of each name."""
    return (name.encode("utf-8", "surrogatepass") + _END for name in names)
