"""Statistics of real sets kept on disk, found again by what they are of: content, options and extractor, not paths."""

import hashlib
import json
import secrets
import zipfile
from typing import Any

import numpy as np

from progan.files import cache_path, replacing

VERSION = 2
"""Raised whenever a statistic is computed differently, so that older files are not found any more."""


def key(**facts: Any) -> str:
    """Name for what has these facts; equal facts have equal names on every machine.

    >>> key(a=1, b="x") == key(b="x", a=1) != key(a=2, b="x")
    True
    """
    return hashlib.sha256(json.dumps({**facts, "version": VERSION}, sort_keys=True).encode()).hexdigest()[:32]


def load(name: str) -> dict[str, np.ndarray] | None:
    """The arrays kept under a name, or None if there are none or they are damaged."""
    path = cache_path(f"metrics/{name}.npz")
    try:
        with np.load(path, allow_pickle=False) as file:  # compares the checksum of every array
            return dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def save(name: str, arrays: dict[str, np.ndarray]) -> None:
    """Keep arrays under a name; what cannot be written is not kept. Processes may write one name at the same time."""
    try:
        with replacing(cache_path(f"metrics/{name}.npz"), token=secrets.token_hex(4)) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    except OSError:
        return
