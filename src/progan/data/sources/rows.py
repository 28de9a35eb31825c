"""Rows of an array that need not fit into memory: on disk, or in a stream that is unpacked while it is read."""

import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from progan.errors import DataError

WHOLE_BYTES = 512 << 20
"""Maximum size of one read, such as one row of a stream [bytes]; more is taken for a decompression bomb."""
_BLOCK = 1 << 20
_BROKEN = (EOFError, OSError, ValueError, zlib.error, zipfile.BadZipFile, NotImplementedError)


class Readable(Protocol):
    """A stream that returns fewer bytes than requested only at its end."""

    def read(self, count: int, /) -> bytes: ...


@dataclass(frozen=True, kw_only=True)
class Rows:
    """An array from which individual rows are read."""

    shape: tuple[int, ...]
    """Shape of the whole array."""
    dtype: np.dtype
    """Type of its numbers."""
    read: Callable[[Sequence[int]], Iterator[np.ndarray | DataError]]
    """Yields the rows at ascending positions, or the reasons why they cannot be read."""

    def __len__(self) -> int:
        return self.shape[0]


def array_rows(array: np.ndarray) -> Rows:
    """Return the rows of an array in memory or of a memory map."""
    return Rows(shape=array.shape, dtype=array.dtype, read=lambda positions: (array[i] for i in positions))


def stream_rows(
    opened: Callable[[], AbstractContextManager[Readable]],
    shape: tuple[int, ...],
    dtype: np.dtype,
    *,
    fortran: bool = False,
) -> Rows:
    """Return the rows that follow one another in a stream.

    Args:
        opened: function that opens the stream at the first row.
        shape: shape of the whole array.
        dtype: type of its numbers.
        fortran: whether the first axis of each row varies fastest.

    Raises:
        ValueError: if one row is larger than ``WHOLE_BYTES``.
    """
    size = int(np.prod(shape[1:], dtype=object)) * dtype.itemsize
    if size > WHOLE_BYTES:
        raise ValueError(f"one row unpacks to {size} bytes, more than the {WHOLE_BYTES} allowed")

    def read(positions: Sequence[int]) -> Iterator[np.ndarray | DataError]:
        done = 0
        try:
            with opened() as stream:
                after = 0  # the row behind the last one read
                for i in positions:
                    _skip(stream, (i - after) * size)
                    row = np.frombuffer(_exactly(stream, size), dtype)
                    after, done = i + 1, done + 1
                    yield row.reshape(shape[1:], order="F" if fortran else "C")
        except _BROKEN as error:
            for _ in range(len(positions) - done):
                yield DataError(f"damaged, or located after damaged data ({error})")

    return Rows(shape=shape, dtype=dtype, read=read)


def _exactly(stream: Readable, count: int) -> bytes:
    if len(data := stream.read(count)) < count:
        raise EOFError("the stream ends early")
    return data


def _skip(stream: Readable, count: int) -> None:
    while count:
        count -= len(_exactly(stream, min(count, _BLOCK)))
