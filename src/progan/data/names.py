"""Names of millions of images in one file, each followed by a line end, and a second file of where each one begins."""

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from progan.data.arrays import damaged, mapped, unreadable
from progan.data.records import Names

NAMES, OFFSETS = "names.txt", "names.npy"
_AT_ONCE = 4096  # names
_END = b"\n"  # for people who look at the file; a name may hold any characters


class _Reader:
    """Reads the name of an image by its number; each process opens the two files with the first name it reads."""

    def __init__(self, count: int, text: Path, offsets: Path) -> None:
        self._facts = count, text, offsets

    def __reduce__(self) -> tuple:
        return _Reader, self._facts

    @functools.cached_property
    def files(self) -> tuple[np.ndarray, np.ndarray]:
        """The offsets, int64 [N + 1], and the bytes of the names."""
        count, text, file = self._facts
        offsets = mapped(file.parent, (file.name, "<i8", [count + 1]))
        try:
            names = np.memmap(text, np.uint8, "r")
        except (OSError, ValueError) as error:
            raise unreadable(text, error) from error
        if offsets[0] != 0 or offsets[-1] != len(names) or (offsets[1:] <= offsets[:-1]).any():
            raise damaged(file, "offsets that are not ascending")
        return offsets, names

    def __call__(self, number: int) -> str:
        offsets, text = self.files
        start, end = offsets[number : number + 2].tolist()
        name = text[start:end].tobytes()
        try:
            if name.endswith(_END):
                return name[: -len(_END)].decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            pass
        raise damaged(self._facts[1], f"no name for image {number} at byte {start}")


def check_names(count: int, text: Path, offsets: Path) -> None:
    """Check all names in the two files, at several hundred megabytes per second.

    Raises:
        DataError: if a name cannot be read.
    """
    reader = _Reader(count, text, offsets)
    starts, names = reader.files
    for first in range(0, count, _AT_ONCE):
        ends = starts[first + 1 : first + 1 + _AT_ONCE]
        try:
            names[starts[first] : ends[-1]].tobytes().decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            ends = ends[:0]
        if not len(ends) or (names[ends - 1] != ord(_END)).any():
            for number in range(first, min(first + _AT_ONCE, count)):
                reader(number)  # says which one it is


def stored_names(count: int, text: Path, offsets: Path) -> Names:
    """Return the names in the two files, which are read on demand."""
    return Names(count, _Reader(count, text, offsets))


def encoded(names: Iterable[str]) -> Iterator[bytes]:
    """Return the bytes that the file of names contains for each name."""
    return (name.encode("utf-8", "surrogatepass") + _END for name in names)
