"""The .npy files of a store: a header of one length, then numbers. Only what the writer would write is ever read."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from progan.errors import DataError

HEADER_BYTES = 128
"""Length of the header of every array file, fixed so that the number of images can be filled in at the end."""

Array = tuple[str, str, Sequence[int]]
"""Name of a file, and type and shape of the array in it."""


def npy_header(dtype: str, shape: Sequence[int]) -> bytes:
    """Header of a .npy file (format 1.0) of a fixed length.

    >>> len(npy_header("|u1", (10, 4, 4, 3)))
    128
    """
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {tuple(shape)}, }}"
    text = text.ljust(HEADER_BYTES - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode("ascii")


def check_length(file: Path, wanted: int) -> None:
    """Refuse a file that is missing or has not as many bytes as wanted.

    Raises:
        DataError: if it is so.
    """
    found = file.stat().st_size if file.is_file() else None
    if found != wanted:
        raise DataError(
            f"{file}: {'missing' if found is None else 'truncated or damaged'}\n"
            f"  found: {found or 0} bytes, wanted {wanted}\n"
            f"  fix:   copy or prepare the store again"
        )


def mapped(folder: Path, array: Array) -> np.memmap:
    """The array in a folder, a read-only memory map, if the file is of this type and shape.

    Raises:
        DataError: if it is of another one, or missing or damaged.
    """
    file, (_, dtype, shape) = folder / array[0], array
    check_length(file, HEADER_BYTES + np.dtype(dtype).itemsize * math.prod(shape))
    try:
        with file.open("rb") as stream:
            head = stream.read(HEADER_BYTES)
        if head == npy_header(dtype, shape):
            return np.memmap(file, dtype, "r", HEADER_BYTES, tuple(shape))
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})\n  fix:   chmod u+r, or ask its owner") from error
    raise damaged(file, f"the header is not that of {dtype} {list(shape)}")


def damaged(file: Path, found: str) -> DataError:
    """The error for a file of a store whose content cannot be."""
    return DataError(f"{file}: damaged\n  found: {found}\n  fix:   copy or prepare the store again")
