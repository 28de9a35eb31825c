"""Arrays in MATLAB level 5 files, read without unpacking them into memory (MathWorks, "MAT-File Format")."""

import contextlib
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from progan.data.sources.rows import Readable, Rows, stream_rows

MAT_HEAD = b"MATLAB 5.0 MAT-file"
_HEADER = 128  # bytes of text, version and mark of the byte order
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = {6: "double", 7: "single", 8: "int8", 9: "uint8", 10: "int16", 11: "uint16", 12: "int32", 13: "uint32"}
_COMPLEX = 0x800
_BLOCK = 1 << 16
_MOST_TAG = 1 << 16  # bytes of dimensions or names


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """One variable of a MATLAB file."""

    kind: str
    """MATLAB class, such as 'uint8' or 'double', or 'something else'."""
    shape: tuple[int, ...]
    """Shape in MATLAB's order, where the first axis varies fastest."""
    rows: Rows | None
    """Rows along the last axis; None for anything other than real numbers."""


def mat_matrices(path: Path) -> dict[str, Matrix]:
    """Return the variables of a file by name, without loading them into memory.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is not a complete level 5 file.
        zlib.error: if a variable is damaged.
    """
    with path.open("rb") as file:
        head, size = file.read(_HEADER), path.stat().st_size
        if head[124:] not in (b"\x00\x01IM", b"\x01\x00MI"):
            newer = head.startswith(b"MATLAB 7.3")
            raise ValueError("MATLAB 7.3 (HDF5); save it again with -v7" if newer else "no MATLAB level 5 header")
        order, found, at = "<" if head.endswith(b"IM") else ">", {}, _HEADER
        while at < size:
            file.seek(at)
            kind, length, _ = _tag(file, order)
            if at + 8 + length > size:
                raise ValueError(f"truncated: {size} bytes, expected at least {at + 8 + length}")
            if kind in (_MATRIX, _COMPRESSED):
                name, matrix = _matrix(path, at, order, packed=kind == _COMPRESSED)
                found[name] = matrix
            at += 8 + length
    return found


def _matrix(path: Path, at: int, order: str, *, packed: bool) -> tuple[str, Matrix]:
    """Return the name and content of the variable whose tag is at byte ``at``."""

    @contextlib.contextmanager
    def opened(skip: int = 0) -> Iterator[Readable]:
        with path.open("rb") as file:
            file.seek(at + 8 if packed else at)
            stream = _Inflated(file) if packed else file
            stream.read(skip)
            yield stream

    with opened() as stream:
        counted = _Counted(stream)
        if _tag(counted, order)[0] != _MATRIX:
            raise ValueError("a variable that is not an array")
        flags = struct.unpack(f"{order}2I", _part(counted, order)[1])[0]
        dimensions = _part(counted, order)[1]
        shape = struct.unpack(f"{order}{len(dimensions) // 4}i", dimensions)
        name = _part(counted, order)[1].decode("latin-1")
        kind = "something else" if flags & _COMPLEX else _CLASSES.get(flags & 0xFF, "something else")
        if kind == "something else":
            return name, Matrix(kind=kind, shape=shape, rows=None)
        number, length, small = _tag(counted, order)
        dtype = np.dtype(order + _NUMBERS[number]) if number in _NUMBERS else None
        if dtype is None or min(shape) < 0 or length != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"variable {name!r} has {length} bytes of type {number} for shape {list(shape)}")
        start = counted.count - 4 if small else counted.count
    rows = stream_rows(lambda: opened(start), (shape[-1], *shape[:-1]), dtype, fortran=True)
    return name, Matrix(kind=kind, shape=shape, rows=rows)


def _part(stream: Readable, order: str) -> tuple[int, bytes]:
    """Read a short element and its padding; return its type and content."""
    kind, length, small = _tag(stream, order)
    if small:
        return kind, small[:length]
    if length > _MOST_TAG:
        raise ValueError(f"a header of {length} bytes")
    return kind, _whole(stream, length + -length % 8)[:length]


def _tag(stream: Readable, order: str) -> tuple[int, int, bytes]:
    """Read the type and length of the next element, and its content if it is a small one of at most 4 bytes."""
    data = _whole(stream, 8)
    kind, length = struct.unpack(f"{order}2I", data)
    if kind >> 16:
        return kind & 0xFFFF, kind >> 16, data[4:]
    return kind, length, b""


def _whole(stream: Readable, count: int) -> bytes:
    if len(data := stream.read(count)) < count:
        raise ValueError("truncated within a variable")
    return data


@dataclass
class _Counted:
    """A stream that counts the bytes read from it."""

    stream: Readable
    count: int = 0

    def read(self, count: int, /) -> bytes:
        data = self.stream.read(count)
        self.count += len(data)
        return data


class _Inflated:
    """A zlib stream in a file, which ends where its own end mark is."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._zlib = file, zlib.decompressobj()

    def read(self, count: int, /) -> bytes:
        data = b""
        while len(data) < count and not self._zlib.eof:
            packed = self._zlib.unconsumed_tail or self._file.read(_BLOCK)
            more = self._zlib.decompress(packed, count - len(data))
            if not packed and not more:
                break
            data += more
        return data
