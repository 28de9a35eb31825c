"""The .npy files of a store: a header of fixed length, then numbers. Only what the writer would write is ever read."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from progan.errors import DataError

HEADER_BYTES = 128
"""Length of the header of every array file [bytes], fixed so that the number of images can be filled in at the end."""

Array = tuple[str, str, Sequence[int]]
"""Name of a file, and the type and shape of the array in it."""


def npy_header(dtype: str, shape: Sequence[int]) -> bytes:
    """Return the header of a .npy file (format 1.0), padded to a fixed length.

    >>> len(npy_header("|u1", (10, 4, 4, 3)))
    128
    """
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {tuple(shape)}, }}"
    text = text.ljust(HEADER_BYTES - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode("ascii")


def check_length(file: Path, wanted: int) -> None:
    """Check that a file of a store exists and has the expected number of bytes.

    Raises:
        DataError: if it is missing, cannot be read, or has a different length.
    """
    try:
        found = file.stat().st_size if file.is_file() else None
    except OSError as error:
        raise unreadable(file, error) from error
    if found is None:
        raise _lost(file)
    if found != wanted:
        raise DataError(
            f"{file}: truncated or damaged\n"
            f"  found: {found} bytes, expected {wanted}\n"
            f"  fix:   copy the store again, or prepare it again"
        )


def mapped(folder: Path, array: Array) -> np.memmap:
    """Open an array in a folder as a read-only memory map.

    Raises:
        DataError: if the file has a different type or shape, or is missing, damaged or unreadable.
    """
    file, (_, dtype, shape) = folder / array[0], array
    check_length(file, HEADER_BYTES + np.dtype(dtype).itemsize * math.prod(shape))
    try:
        with file.open("rb") as stream:
            head = stream.read(HEADER_BYTES)
        if head == npy_header(dtype, shape):
            return np.memmap(file, dtype, "r", HEADER_BYTES, tuple(shape))
    except (OSError, ValueError) as error:  # ValueError: the file became shorter in the meantime
        raise unreadable(file, error) from error
    raise damaged(file, f"the header is not that of {dtype} {list(shape)}")


def damaged(file: Path, found: str) -> DataError:
    """Return the error for a file of a store with impossible content."""
    return DataError(f"{file}: damaged\n  found: {found}\n  fix:   copy the store again, or prepare it again")


def unreadable(file: Path, error: OSError | ValueError) -> DataError:
    """Return the error for a file of a store that cannot be opened, mapped or inspected."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return _lost(file)
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    fix = "check that its disk is mounted, or copy the store again"
    if isinstance(error, PermissionError):
        fix = "run chmod u+r on it (u+rx on its folders), or ask its owner"
    return DataError(f"{file}: this file of the store cannot be read ({reason})\n  fix:   {fix}")


def _lost(file: Path) -> DataError:
    found = "the folder of the store without this file" if file.parent.is_dir() else "no such folder"
    return DataError(
        f"{file}: missing; this file of the store was moved or deleted\n"
        f"  found: {found}\n"
        f"  fix:   put it back, or run 'progan prepare SOURCE {file.parent}', then run the same command again"
    )
