"""Cache of the statistics of real sets, keyed by content, options and extractor instead of paths."""

import hashlib
import json
import secrets
import zipfile
from typing import Any

import numpy as np

from progan.files import cache_path, replacing

VERSION = 2
"""Increased whenever a statistic is computed differently or on different images, so that older files are ignored."""


def key(**facts: Any) -> str:
    """Return a name for these facts; equal facts give equal names on every machine.

    >>> key(a=1, b="x") == key(b="x", a=1) != key(a=2, b="x")
    True
    """
    return hashlib.sha256(json.dumps({**facts, "version": VERSION}, sort_keys=True).encode()).hexdigest()[:32]


def load(name: str) -> dict[str, np.ndarray] | None:
    """Return the arrays stored under a name, or None if they do not exist or are damaged."""
    path = cache_path(f"metrics/{name}.npz")
    try:
        with np.load(path, allow_pickle=False) as file:  # compares the checksum of every array
            return dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def save(name: str, arrays: dict[str, np.ndarray]) -> None:
    """Store arrays under a name, or do nothing if they cannot be written. Several processes may write the same name."""
    try:
        with replacing(cache_path(f"metrics/{name}.npz"), token=secrets.token_hex(4)) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    except OSError:
        return
