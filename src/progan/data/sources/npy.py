"""Arrays in NumPy's own format, whose headers are not believed."""

import math
import tokenize
from typing import IO

import numpy as np

from progan.data.sources.rows import WHOLE_BYTES

NPY_BROKEN = (ValueError, TypeError, EOFError, OverflowError, SyntaxError, tokenize.TokenError)
"""What numpy raises for a damaged header or array."""


def npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read the shape of an array, whether it is in Fortran order, and its type.

    Raises:
        ValueError: or another of ``NPY_BROKEN``, if the header is damaged.
    """
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"version {version} of the .npy format")
    shape, fortran, dtype = read(file)
    return shape, fortran and len(shape) > 1, dtype


def load_npy(file: IO[bytes], size: int) -> np.ndarray:
    """Load a whole array.

    Args:
        file: stream at its beginning.
        size: length of its content [bytes].

    Raises:
        ValueError: or another of ``NPY_BROKEN``, if it is damaged, contains objects, or is too large.
    """
    if size > WHOLE_BYTES:
        raise ValueError(f"{size} bytes would have to be read at once; save it with numpy.ascontiguousarray")
    shape, fortran, dtype = npy_header(file)
    if dtype.hasobject:
        raise ValueError("objects, which could run code")
    data = file.read(size)
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{len(data)} bytes of numbers for shape {list(shape)}")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
