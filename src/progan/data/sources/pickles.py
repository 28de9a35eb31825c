"""A reader of pickled arrays that cannot run code: it accepts arrays of uint8 and rejects everything else."""

import io
import pickle
from typing import Any

import numpy as np

from progan.errors import DataError


class _Dtype:
    """Replacement for numpy.dtype, which a pickle could make point anywhere; images require bytes only."""

    def __init__(self, code: object = "", *_: object) -> None:
        if not isinstance(code, (str, bytes)) or code not in ("u1", b"u1"):
            raise pickle.UnpicklingError("numbers other than uint8")

    def __setstate__(self, _: object) -> None:
        pass


class _Array:
    """Placeholder for an array while its pickle is read."""

    value: np.ndarray | None = None

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: tuple) -> None:
        _, shape, _, by_columns, raw = state
        self.value = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if by_columns else "C")


def _encode(text: object, codec: object) -> bytes:
    """Encode text as bytes, for pickles written by Python 3 for Python 2, which use no codec other than latin1."""
    if not isinstance(text, str) or not isinstance(codec, str) or codec not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("unexpected codec")
    return text.encode("latin1")


_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): None,  # an argument of the former
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickler for dicts, lists, numbers, strings and arrays of uint8."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise _ForbiddenGlobal(f"{module}.{name}")
        return _ALLOWED[module, name]


def _plain(content: Any) -> Any:
    """Replace placeholders by their arrays."""
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items()}
    return content.value if isinstance(content, _Array) else content


class _ForbiddenGlobal(Exception):
    """A pickle contains a function or class that array data does not require."""


def load_arrays(data: bytes, name: str) -> Any:
    """Return the content of a pickle of plain values and arrays; strings of Python 2 stay bytes.

    Args:
        data: content of the pickle file.
        name: name of the file, for messages.

    Raises:
        DataError: if the pickle is broken or contains anything other than array data. None of it is run then.
    """
    try:
        return _plain(_ArrayUnpickler(io.BytesIO(data), encoding="bytes").load())
    except _ForbiddenGlobal as error:
        raise DataError(
            f"{name}: rejected, because this pickle is not plain array data\n"
            f"  found: a call to {error}, which could run arbitrary code\n"
            f"  fix:   download the file again from its official site, and compare its checksum"
        ) from None
    except Exception as error:  # a broken pickle raises almost anything
        raise DataError(
            f"{name}: broken pickle ({type(error).__name__}: {error})\n  fix:   download the file again"
        ) from error
