"""What a store says of itself in its manifest.json, and whether a folder is a store at all."""

import functools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from progan.data.sources import missing
from progan.errors import DataError

FORMAT, VERSION = "progan store", 2
"""Version 1 had neither names nor columns, only sizes that networks can grow to, and averaged color without alpha."""
HEADER_BYTES = 128
"""Length of the header of every array file, fixed so that the number of images can be filled in at the end."""


def read_manifest(path: Path) -> dict[str, Any]:
    """Everything in the manifest.json of a store, whose files are looked at, too.

    Raises:
        DataError: if there is no store, or it is damaged or of another version.
    """
    manifest = _read(path)
    try:
        files = _lengths(manifest)
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}/manifest.json: damaged ({error})\n  fix:   prepare the store again") from error
    for name, wanted in files:
        _check_length(path / name, wanted)
    return manifest


def _lengths(manifest: dict[str, Any]) -> list[tuple[str, int]]:
    """Names of the files of a store, and the bytes that they should have."""
    if missed := {"height", "width", "channels", "hash", "classes"} - manifest.keys():
        raise KeyError(min(missed))
    count, files = manifest["count"], []
    arrays = [(level["file"], level["shape"], 1) for level in manifest["levels"]]
    arrays += [(manifest["labels"], [count], 8)] if manifest["labels"] else []
    if manifest["version"] > 1:
        arrays += [(c["file"], c["shape"], np.dtype(c["dtype"]).itemsize) for c in manifest["columns"]]
        arrays += [(manifest["names"]["offsets"], [count + 1], 8)]
        files = [(manifest["names"]["file"], manifest["names"]["bytes"])]
    return files + [(name, HEADER_BYTES + item * int(np.prod(shape, dtype=object))) for name, shape, item in arrays]


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise missing(path)
    file = path / "manifest.json"
    if not file.is_file():
        inside = sorted(p.name for p in path.iterdir())[:5] if path.is_dir() else []
        found = ", ".join(inside) or ("an empty folder" if path.is_dir() else f"a file of {path.stat().st_size} bytes")
        raise DataError(f"{path}: not a store\n  found: {found}\n  fix:   progan prepare {path} STORE")
    try:
        manifest = json.loads(file.read_bytes())
    except ValueError as error:
        raise DataError(f"{file}: damaged ({error})\n  fix:   prepare the store again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise DataError(f"{path}: not a store\n  found: a manifest.json of something else\n  fix:   name a store")
    if manifest.get("version") not in range(1, VERSION + 1):
        raise DataError(
            f"{path}: store of an unknown version\n"
            f"  found: version {manifest.get('version')}, wanted {VERSION} or older\n"
            f"  fix:   prepare it again, or use the progan that wrote it"
        )
    return manifest


def _check_length(file: Path, wanted: int) -> None:
    found = file.stat().st_size if file.is_file() else None
    if found != wanted:
        raise DataError(
            f"{file}: {'missing' if found is None else 'truncated or damaged'}\n"
            f"  found: {found or 0} bytes, wanted {wanted}\n"
            f"  fix:   copy or prepare the store again"
        )


def check_target(path: Path) -> None:
    """Only a store may be replaced."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    try:
        _read(path)
    except DataError as error:
        if "unknown version" in str(error):
            return
        raise DataError(
            f"{path}: will not be overwritten, because it is not a store\n"
            f"  {str(error).splitlines()[1].strip() if chr(10) in str(error) else error}\n"
            f"  fix:   choose a new folder for the store"
        ) from error


def counts_alpha(manifest: dict[str, Any]) -> bool:
    """Whether the pixels are those that this version would make: with alpha, version 1 made other small levels."""
    return manifest["version"] > 1 or manifest["channels"] != 4 or len(manifest["levels"]) == 1


@functools.cache
def warn_of_alpha(path: Path) -> None:
    """Say once of a store that it does not."""
    tqdm.write(
        f"warning: {path}: its small levels are too dark, because an older version averaged colors without alpha; "
        f"progan prepare SOURCE {path} --channels 4 makes it anew",
        file=sys.stderr,
    )
