"""A reader of pickled arrays that can run no code: it knows arrays of uint8 and refuses everything else."""

import io
import pickle
from typing import Any

import numpy as np

from progan.errors import DataError


class _Dtype:
    """Stands in for numpy's, which a pickle could make point anywhere: bytes are all that images need."""

    def __init__(self, code: object = "", *_: object) -> None:
        if not isinstance(code, (str, bytes)) or code not in ("u1", b"u1"):
            raise pickle.UnpicklingError("numbers other than uint8")

    def __setstate__(self, _: object) -> None:
        pass


class _Array:
    """Stands in for an array while its pickle is read."""

    value: np.ndarray | None = None

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: tuple) -> None:
        _, shape, _, by_columns, raw = state
        self.value = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if by_columns else "C")


def _encode(text: object, codec: object) -> bytes:
    """What pickles written by Python 3 for Python 2 call to get bytes; no codec but latin1 is ever used there."""
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
    """Arrays in place of what stood in for them."""
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items()}
    return content.value if isinstance(content, _Array) else content


class _ForbiddenGlobal(Exception):
    """A pickle asks for a function or class that array data does not need."""


def load_arrays(data: bytes, name: str) -> Any:
    """The content of a pickle of plain values and arrays; strings of Python 2 stay bytes.

    Args:
        data: the pickle.
        name: its file, for messages.

    Raises:
        DataError: if the pickle is broken, or if it asks for anything but array data. Nothing of it is run then.
    """
    try:
        return _plain(_ArrayUnpickler(io.BytesIO(data), encoding="bytes").load())
    except _ForbiddenGlobal as error:
        raise DataError(
            f"{name}: refused, because this pickle is not plain array data\n"
            f"  found: a call of {error}, which could run any code\n"
            f"  fix:   download the file again from where its checksum is published"
        ) from None
    except Exception as error:  # a broken pickle raises almost anything
        raise DataError(
            f"{name}: broken pickle ({type(error).__name__}: {error})\n  fix:   download the file again"
        ) from error
