"""Stores: all images of a data set as uint8 arrays, one for each resolution that a growing network passes through.

docs/stores.md describes the layout on disk.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from progan.data.alpha import counts_alpha, warn_of_alpha
from progan.data.arrays import mapped
from progan.data.columns import LABEL, Column
from progan.data.manifest import column_array, label_array, level_array, read_manifest
from progan.data.names import stored_names
from progan.data.printing import printable
from progan.data.records import Names
from progan.errors import DataError
from progan.sizes import growable


@dataclass(frozen=True, kw_only=True)
class Store:
    """A prepared data set on disk, opened for reading.

    Channels come last, so that a permuted view is a channels_last tensor.
    """

    path: Path
    """Folder of the store."""
    height: int
    """Height of the largest level [pixels]."""
    width: int
    """Width of the largest level [pixels]."""
    channels: int
    """Number of channels: 1 (grayscale), 3 (RGB) or 4 (RGBA)."""
    count: int
    """Number of images."""
    classes: tuple[str, ...]
    """Names of the classes; empty without labels."""
    hash: str
    """SHA-256 of the largest level and the classes of the images; it depends on the content only, not on the path."""
    columns_hash: str = ""
    """SHA-256 of the further columns; empty if there are none."""
    manifest: dict[str, Any] = field(repr=False, compare=False)
    """Contents of manifest.json, including where the images came from."""

    @classmethod
    def open(cls, path: str | Path) -> "Store":
        """Open the store in a folder, in the current format or an older one.

        Raises:
            DataError: if there is no store, or it is damaged or has an unsupported version.
        """
        store = open_quietly(Path(path))
        if not counts_alpha(store.manifest):
            warn_of_alpha(store.path.resolve(), store.manifest, store.level(min(store.resolutions)))
        return store

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Heights and widths of all levels [pixels], largest first."""
        return [(height, width) for _, height, width, _ in (level["shape"] for level in self.manifest["levels"])]

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Shorter sides of all levels [pixels], ascending."""
        return tuple(sorted(map(min, self.sizes)))

    def level(self, short: int) -> np.ndarray:
        """Return the images whose shorter side has ``short`` pixels, as a read-only memory map.

        Shape: uint8 [N, H, W, C].

        Raises:
            DataError: if there is no such level, or its file has disappeared or can no longer be read.
        """
        for level in self.manifest["levels"]:
            if min(level["shape"][1:3]) == short:
                return mapped(self.path, level_array(level))
        found = ", ".join(f"{h}x{w}" for h, w in self.sizes)
        why = "" if growable(self.height, self.width) else " (only powers of two have smaller levels)"
        raise DataError(
            f"{self.path}: no images with a shorter side of {short}\n"
            f"  found: {found}{why}\n"
            f"  fix:   run 'progan prepare SOURCE {self.path} --resolution {short}'"
        )

    def labels(self) -> np.ndarray | None:
        """Return the class number of every image, int64 [N], or None without labels.

        Raises:
            DataError: if their file has disappeared or can no longer be read.
        """
        return np.array(mapped(self.path, label_array(self.manifest))) if self.manifest["labels"] else None

    @functools.cached_property
    def names(self) -> Sequence[str]:
        """Path of every image inside its source; for format 1, which did not store it, a number."""
        known = self.manifest.get("names")
        if not known:
            return Names(self.count, "{:06d}".format)
        return stored_names(self.count, self.path / known["file"], self.path / known["offsets"])

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns: ``label`` if there are classes, then the further columns."""
        own = (LABEL,) if self.manifest["labels"] else ()
        return own + tuple(column["name"] for column in self.manifest.get("columns", ()))

    def column(self, name: str) -> Column:
        """Return the column of a name; its values are a read-only memory map.

        Raises:
            DataError: if there is no such column, or its file has disappeared or can no longer be read.
        """
        if name == LABEL and self.manifest["labels"]:
            return Column(LABEL, mapped(self.path, label_array(self.manifest)), self.classes)
        for column in self.manifest.get("columns", ()):
            if column["name"] == name:
                return Column(name, mapped(self.path, column_array(column)), tuple(column["classes"]))
        fix = "use one of these, or prepare the store again from a source that has this column"
        if self.manifest["version"] == 1:
            fix = "an older version wrote this store without further columns; delete it and prepare it again"
        raise DataError(
            f"{self.path}: no column {name!r}\n"
            f"  found: {', '.join(map(printable, self.columns)) or 'no columns'}\n"
            f"  fix:   {fix}"
        )


def open_quietly(path: Path) -> Store:
    """Open a store without warnings."""
    manifest = read_manifest(path)
    facts = {key: manifest[key] for key in ("height", "width", "channels", "count", "hash")}
    facts["columns_hash"] = manifest.get("columns_hash", "")
    return Store(path=path, classes=tuple(manifest["classes"]), manifest=manifest, **facts)
