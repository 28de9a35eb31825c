"""A reader of pickled arrays that can run no code: it knows numpy's arrays and refuses everything else."""

import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from progan.errors import DataError

# numpy's own function, taken from an array because the module that holds it was renamed in numpy 2
_RECONSTRUCT: Callable[..., Any] = np.empty(0).__reduce__()[0]  # type: ignore[assignment]


def _encode(text: str, codec: str) -> bytes:
    """What pickles written by Python 3 for Python 2 call to get bytes; no codec but latin1 is ever used there."""
    if codec not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"unexpected codec {codec!r}")
    return text.encode("latin1")


_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickler for dicts, lists, numbers, strings and numpy arrays."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise _ForbiddenGlobal(f"{module}.{name}")
        return _ALLOWED[module, name]


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
        return _ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
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
