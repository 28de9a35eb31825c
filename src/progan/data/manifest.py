"""The manifest.json of a store, and checks that the files of the store agree with it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from progan.data.arrays import Array, check_length, damaged, mapped
from progan.data.columns import LABEL
from progan.data.printing import printable
from progan.data.sources import missing
from progan.errors import DataError

FORMAT, VERSION = "progan store", 2
"""Name and version of the format.

Version 1 had neither names nor columns, only sizes that networks can grow to, and averaged colors without alpha.
"""
RULES = 2
"""Version of the rules by which labels and pixels are read from a source.

By those of version 1, which a manifest does not mention, some labels and pixels of rare formats were wrong.
"""
_MOST = 1 << 48
"""Upper bound of all numbers of images, pixels and bytes."""
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


def read_manifest(path: Path) -> dict[str, Any]:
    """Read and check the manifest.json of a store.

    All entries have the expected types. All files exist and have the expected length, arrays have the expected type
    and shape, and all class numbers are valid.

    Raises:
        DataError: if there is no store, or it is damaged or has an unsupported version.
    """
    manifest = _read(path)
    try:
        _check(manifest)
    except (KeyError, ValueError) as error:
        what = f"invalid entry: {error}" if isinstance(error, ValueError) else f"missing entry: {error}"
        raise DataError(f"{path}/manifest.json: damaged ({what})\n  fix:   prepare the store again") from error
    for level in manifest["levels"]:
        mapped(path, level_array(level))
    if manifest["labels"]:
        _check_classes(path, label_array(manifest), len(manifest["classes"]))
    for column in manifest.get("columns", ()):
        if column["classes"]:
            _check_classes(path, column_array(column), len(column["classes"]))
        else:
            mapped(path, column_array(column))
    if names := manifest.get("names"):
        check_length(path / names["file"], names["bytes"])
        offsets = mapped(path, offset_array(manifest))
        if (first_last := (int(offsets[0]), int(offsets[-1]))) != (0, names["bytes"]):
            expected = (0, names["bytes"])
            raise damaged(path / names["offsets"], f"first and last offset {first_last}, expected {expected}")
    return manifest


def level_array(level: Mapping[str, Any]) -> Array:
    """Return the file, type and shape of the images of a level."""
    return level["file"], "|u1", level["shape"]


def label_array(manifest: Mapping[str, Any]) -> Array:
    """Return the file, type and shape of the class numbers."""
    return manifest["labels"], "<i8", [manifest["count"]]


def column_array(column: Mapping[str, Any]) -> Array:
    """Return the file, type and shape of the values of a column."""
    return column["file"], column["dtype"], column["shape"]


def offset_array(manifest: Mapping[str, Any]) -> Array:
    """Return the file, type and shape of the offsets of the names."""
    return manifest["names"]["offsets"], "<i8", [manifest["count"] + 1]


def _check_classes(path: Path, array: Array, count: int) -> None:
    values = mapped(path, array)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= count:
        raise damaged(path / array[0], f"class numbers {low} ... {high} for {count} classes")


def _check(manifest: dict[str, Any]) -> None:
    """Raise KeyError if an entry is missing, or ValueError that names an invalid one."""
    for key in ("height", "width", "channels", "count"):
        _need(_whole(manifest[key]), key)
    _need(manifest["channels"] in (1, 3, 4), "channels")
    _need(_text(manifest["hash"]) and manifest["hash"], "hash")
    _need(_texts(manifest["classes"]), "classes")
    _check_levels(manifest)
    files = [level["file"] for level in manifest["levels"]]
    labels = manifest["labels"]
    files += [] if labels is None else [labels]
    _need((labels is None) == (not manifest["classes"]), "labels without classes, or classes without labels")
    if manifest["version"] > 1:
        _check_columns(manifest)
        names = _record(manifest["names"], "names")
        _need(_whole(names["bytes"]), "bytes of names")
        files += [column["file"] for column in manifest["columns"]] + [names["file"], names["offsets"]]
    for file in files:
        _need(_text(file) and _FILE.fullmatch(file), "file name")
        _need(files.count(file) == 1, f"{file} is used twice")
    _check_origin(manifest)


def _check_levels(manifest: dict[str, Any]) -> None:
    levels, size = manifest["levels"], [manifest["height"], manifest["width"]]
    _need(isinstance(levels, list) and levels, "levels")
    for level in levels:
        shape = [manifest["count"], *size, manifest["channels"]]
        right = _wholes(_record(level, "level")["shape"]) and level["shape"] == shape
        _need(right, f"level without shape {shape}")
        size = [side // 2 for side in size]


def _check_columns(manifest: dict[str, Any]) -> None:
    columns, taken = manifest["columns"], [LABEL] * (manifest["labels"] is not None)
    _need(isinstance(columns, list), "columns")
    _need(_text(manifest["columns_hash"]) and bool(manifest["columns_hash"]) == bool(columns), "columns_hash")
    for column in columns:
        name, shape = _record(column, "column")["name"], column["shape"]
        _need(_text(name), "name of a column")
        _need(name not in taken, f"two columns named {printable(name)!r}")
        taken.append(name)
        _need(_text(column["dtype"]) and column["dtype"] in ("<i8", "<f4"), "dtype of a column")
        _need(_wholes(shape) and len(shape) in (1, 2) and shape[0] == manifest["count"], "shape of a column")
        _need(_texts(column["classes"]), "classes of a column")
        _need(column["dtype"] == "<i8" or not column["classes"], "dtype of a column of classes")


def _check_origin(manifest: dict[str, Any]) -> None:
    """Check the entries about the source; those of version 1 may be incomplete."""
    if manifest["version"] > 1 and (missed := {"source", "sizes", "skipped", "options"} - manifest.keys()):
        raise KeyError(min(missed))
    _need(_text(manifest.get("source", "")), "source")
    _need(_text(manifest.get("fingerprint", "")), "fingerprint")
    _need(_texts(manifest.get("skipped", [])), "skipped")
    _need(_texts(manifest.get("notes", [])), "notes")
    _need(_whole(manifest.get("rules", 1)), "rules")
    _record(manifest.get("options", {}), "options")
    if "sizes" in manifest:
        sizes = _record(manifest["sizes"], "sizes")
        _need(type(sizes["distinct"]) is int and sizes["distinct"] > 0, "sizes")
        for key in ("smallest", "largest"):
            _need(_wholes(sizes[key]) and len(sizes[key]) == 2, "sizes")


def _need(right: object, what: str) -> None:
    if not right:
        raise ValueError(what)


def _whole(value: object) -> bool:
    return type(value) is int and 0 < value < _MOST


def _wholes(value: object) -> bool:
    return isinstance(value, list) and all(map(_whole, value))


def _text(value: object) -> bool:
    return isinstance(value, str)


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_text, value))


def _record(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(what)
    return value


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise missing(path)
    file = path / "manifest.json"
    if not file.is_file():
        inside = sorted(p.name for p in path.iterdir())[:5] if path.is_dir() else []
        found = ", ".join(inside) or ("an empty folder" if path.is_dir() else f"a file of {path.stat().st_size} bytes")
        fix = f"to make a store of these images, run: progan prepare {path} STORE"
        raise DataError(f"{path}: not a store\n  found: {found}\n  fix:   {fix}")
    try:
        manifest = json.loads(file.read_bytes())
    except RecursionError as error:
        raise DataError(f"{file}: damaged (nested too deeply)\n  fix:   prepare the store again") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: damaged ({error})\n  fix:   prepare the store again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = "a manifest.json of a different format"
        raise DataError(f"{path}: not a store\n  found: {found}\n  fix:   pass the folder of a store")
    version = manifest.get("version")
    if type(version) is not int or version not in range(1, VERSION + 1):
        found = f"version {version}" if type(version) is int and version < _MOST else "a version that is not a number"
        raise DataError(
            f"{path}: store of an unknown version\n"
            f"  found: {found}, expected {VERSION} or older\n"
            f"  fix:   prepare it again, or use the version of progan that wrote it"
        )
    return manifest


def check_target(path: Path) -> None:
    """Check that a path is free, an empty folder, or a store, because nothing else may be replaced.

    Raises:
        DataError: if it is anything else.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    try:
        _read(path)
    except DataError as error:
        if "unknown version" in str(error):
            return
        lines = [line.strip() for line in str(error).splitlines()]
        found = next((line for line in lines if line.startswith("found:")), f"found: {lines[0]}")
        raise DataError(
            f"{path}: will not be overwritten, because it is not a store\n"
            f"  {found}\n"
            f"  fix:   choose another folder for the store, or delete this one"
        ) from error
