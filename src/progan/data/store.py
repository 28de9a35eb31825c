"""Stores: all images of a data set as uint8 arrays, one for each resolution a growing network passes through.

docs/data.md has the layout on the disk.
"""

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Generator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from tqdm import tqdm

from progan.data.alpha import counts_alpha, warn_of_alpha
from progan.data.arrays import mapped
from progan.data.columns import LABEL, Column, check_columns
from progan.data.manifest import VERSION, check_target, column_array, label_array, level_array, read_manifest
from progan.data.names import check_names, stored_names
from progan.data.options import PrepareOptions, make_plan
from progan.data.pipeline import make_chunks
from progan.data.pixels import Chunk, ImageError
from progan.data.printing import printable
from progan.data.records import Names, Source
from progan.data.sources import check_not_empty, fingerprint, open_source
from progan.data.sources.labels import label_files
from progan.data.unfinished import remove_abandoned, sayer
from progan.data.writer import PartialStore
from progan.errors import DataError
from progan.files import cache_path
from progan.sizes import growable, parse_size

_FIRST_OPTIONS = ("resolution", "crop", "fit", "filter", "upscale", "channels", "labels", "on_error", "split")


@dataclass(frozen=True, kw_only=True)
class Store:
    """A prepared data set on disk, opened for reading.

    Channels come last, so that a permuted view is a channels_last tensor.
    """

    path: Path
    height: int
    """Of the largest level [pixels]."""
    width: int
    """Of the largest level [pixels]."""
    channels: int
    """1 grey, 3 RGB, 4 RGBA."""
    count: int
    """Number of images."""
    classes: tuple[str, ...]
    """Names of the classes; empty without labels."""
    hash: str
    """SHA-256 of the largest level and the classes of the images; equal content has an equal hash wherever it lies."""
    columns_hash: str = ""
    """SHA-256 of the further columns; empty without any."""
    manifest: dict[str, Any] = field(repr=False, compare=False)
    """Everything in manifest.json, with where the images came from."""

    @classmethod
    def open(cls, path: str | Path) -> "Store":
        """The store in a folder, of this format or an older one.

        Raises:
            DataError: if there is none, or it is damaged or of another version.
        """
        store = _open(Path(path))
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
        """The images whose shorter side has ``short`` pixels, as a read-only memory map.

        Shape: uint8 [N, H, W, C].

        Raises:
            DataError: if there is no such level.
        """
        for level in self.manifest["levels"]:
            if min(level["shape"][1:3]) == short:
                return mapped(self.path, level_array(level))
        found = ", ".join(f"{h}x{w}" for h, w in self.sizes)
        why = "" if growable(self.height, self.width) else " (smaller ones come with powers of two only)"
        raise DataError(
            f"{self.path}: no images with a shorter side of {short}\n"
            f"  found: {found}{why}\n"
            f"  fix:   progan prepare SOURCE {self.path} --resolution {short}"
        )

    def labels(self) -> np.ndarray | None:
        """Number of every image's class, int64 [N], or None without labels."""
        return np.array(mapped(self.path, label_array(self.manifest))) if self.manifest["labels"] else None

    @functools.cached_property
    def names(self) -> Sequence[str]:
        """Where every image came from, a path inside the source; of format 1, which did not keep it, just a number."""
        known = self.manifest.get("names")
        if not known:
            return Names(self.count, "{:06d}".format)
        return stored_names(self.count, self.path / known["file"], self.path / known["offsets"])

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all that is known of every image: ``label``, the class, if there are classes, and others."""
        own = (LABEL,) if self.manifest["labels"] else ()
        return own + tuple(column["name"] for column in self.manifest.get("columns", ()))

    def column(self, name: str) -> Column:
        """What is known of every image under a name; its values are a read-only memory map.

        Raises:
            DataError: if there is no such column.
        """
        if name == LABEL and self.manifest["labels"]:
            return Column(LABEL, mapped(self.path, label_array(self.manifest)), self.classes)
        for column in self.manifest.get("columns", ()):
            if column["name"] == name:
                return Column(name, mapped(self.path, column_array(column)), tuple(column["classes"]))
        fix = "name one of these, or prepare the store again from a source that has it"
        if self.manifest["version"] == 1:
            fix = "an older version made this store without further columns; delete it and prepare it again"
        raise DataError(
            f"{self.path}: no column {name!r}\n"
            f"  found: {', '.join(map(printable, self.columns)) or 'no columns at all'}\n"
            f"  fix:   {fix}"
        )


def _open(path: Path) -> Store:
    """A store, nothing said of it."""
    manifest = read_manifest(path)
    facts = {key: manifest[key] for key in ("height", "width", "channels", "count", "hash")}
    facts["columns_hash"] = manifest.get("columns_hash", "")
    return Store(path=path, classes=tuple(manifest["classes"]), manifest=manifest, **facts)


def prepare(
    source_path: str | Path,
    store_path: str | Path,
    options: PrepareOptions = PrepareOptions(),  # noqa: B008, it is frozen
    *,
    workers: int | None = None,
    executor: Executor | None = None,
    source: Source | None = None,
    progress: bool = False,
) -> Store:
    """Read a source into a store, or open the store if it was made from the same files with the same options.

    A store of an older format is made anew.

    Args:
        source_path: whatever ``open_source`` reads.
        store_path: folder of the store; a store that is there already is replaced when the new one is complete.
        options: how images are brought to one size.
        workers: processes that decode; 0 or 1 works in this one.
        executor: used instead of own processes if given; ``workers`` then says how many it has. Some 50 MB are under
            way for each. If they are on other machines, ``source_path`` is absolute.
        source: images made from those at ``source_path``; its description must tell all they depend on besides.
        progress: whether to show a progress bar, if a terminal is there to show it.

    Raises:
        DataError: if the source or an image of it cannot be used, or the store cannot be written. The old store is as
            it was then, and finished images of the new one wait beside it, as after a kill, for the same call to go
            on with them.
    """
    source_path, store_path = Path(source_path), Path(store_path)
    mark = _mark(source_path, options, but=store_path) + (f" {source.description}" if source else "")
    check_target(store_path)
    if (same := _open_same(store_path, options, mark)) is not None:
        remove_abandoned(store_path)
        return same
    say = sayer(progress)
    if _open_same(store_path, options, mark, oldest=1):
        say(f"{store_path}: has these images without their names and columns, so it is made anew")
    skip = options.on_error == "skip"
    if source is None:
        source = open_source(source_path, split=options.split, labels=options.labels, skip=skip)
    check_not_empty(source, source_path)
    plan = make_plan(source, options)
    with_labels = bool(source.classes) and options.labels != "none"
    check_columns(source.columns, len(source), where=source.description, with_labels=with_labels)
    facts: dict[str, Any] = {"source": source.description, "fingerprint": mark}
    how = dataclasses.replace(options, on_error="fail")  # what came before the first broken image is good for both
    key = hashlib.sha256(repr((VERSION, facts, how, plan, len(source), PIL.__version__)).encode()).hexdigest()[:16]
    size = (plan.height, plan.width, plan.channels)
    with PartialStore(store_path, *size, expected=len(source), key=key, say=say) as partial:
        if (same := _open_same(store_path, options, mark)) is not None:  # another process was faster
            return same
        chunks = make_chunks(source, plan, start=partial.done, skip=skip, workers=workers, executor=executor)
        facts |= _fill(partial, chunks, source_path, skip=skip, progress=progress)
        facts |= {"options": dataclasses.asdict(options), "classes": list(source.classes) if with_labels else []}
        partial.commit(facts, with_labels=with_labels, names=source.names, columns=source.columns)
    return Store.open(store_path)


def cached(
    source_path: str | Path,
    options: PrepareOptions = PrepareOptions(),  # noqa: B008, it is frozen
    cache_dir: str | Path | None = None,
    *,
    columns: Sequence[str] = (),
    workers: int | None = None,
    progress: bool = False,
) -> Store:
    """A store is opened; any other source is prepared into a cache, or found there.

    What an older version put there is used as long as it has all columns that are wanted.

    Args:
        source_path: a store, or whatever ``open_source`` reads.
        options: how images are brought to one size; of a store only the resolution is looked at.
        cache_dir: by default ``$PROGAN_CACHE/stores`` or ``~/.cache/progan/stores``.
        columns: that will be asked for.
        workers: processes that decode; 0 or 1 works in this one.
        progress: whether to show a progress bar.

    Raises:
        DataError: as ``prepare``, or if a store has smaller images than wanted or another aspect ratio.
    """
    path = Path(source_path)
    if (path / "manifest.json").is_file():
        store = Store.open(path)
        _check_resolution(store, options.resolution)
        return store
    mark = _mark(path, options)
    name, place = path.resolve().name, Path(cache_dir or cache_path("stores"))
    keys = [hashlib.sha256(repr((mark, _told(options), version)).encode()).hexdigest() for version in (1, VERSION)]
    folder, beside = (place / f"{name}-{key[:16]}" for key in keys)  # the former is as the first version named it
    if (old := _open_same(folder, options, mark, oldest=1)) is not None:
        if old.manifest["version"] == VERSION or set(columns) <= set(old.columns):
            return old
        folder = beside
    return prepare(path, folder, options, workers=workers, progress=progress)


def _told(options: PrepareOptions) -> tuple:
    """All options of the first version, and what differs from the defaults among those that came later."""
    first = tuple(getattr(options, name) for name in _FIRST_OPTIONS)
    changed = sorted(dataclasses.asdict(options).items() - dataclasses.asdict(PrepareOptions()).items())
    return first + tuple(pair for pair in changed if pair[0] not in _FIRST_OPTIONS)


def _mark(path: Path, options: PrepareOptions, *, but: Path | None = None) -> str:
    """Changes with the files of a source and its file of labels; ``but`` is a store that may lie inside."""
    return " ".join(fingerprint(file, but=but) for file in (path, *label_files(options.labels)))


def _fill(
    partial: PartialStore, chunks: Generator[Chunk, None, None], path: Path, *, skip: bool, progress: bool
) -> dict[str, Any]:
    """Write all images; returns the sizes of the originals and what was skipped."""
    how: dict[str, Any] = {"unit": " images", "desc": "prepare", "disable": None if progress else True}
    with contextlib.closing(chunks), tqdm(total=partial.expected, initial=partial.done, **how) as bar:
        try:
            if partial.skipped and not skip:  # by an earlier call
                raise ImageError(partial.skipped[0])
            for chunk in chunks:
                partial.append(chunk)
                bar.update(len(chunk.sizes) + len(chunk.skipped))
        except ImageError as error:
            hint = "  fix:   repair or remove it, or leave such images out with --on-error skip"
            raise DataError(f"{path}: an image cannot be used\n  found: {error}\n{hint}") from error
    if not partial.count:
        raise DataError(
            f"{path}: none of the {partial.expected} images can be used\n"
            f"  found: {partial.skipped[0]}\n"
            f"  fix:   --on-error fail stops at the first one; --upscale admits small ones"
        )
    by_area = sorted(partial.originals, key=lambda size: (size[0] * size[1], size))
    extent = {"smallest": list(by_area[0]), "largest": list(by_area[-1]), "distinct": len(by_area)}
    return {"sizes": extent, "skipped": partial.skipped}


def _open_same(path: Path, options: PrepareOptions, mark: str, *, oldest: int = VERSION) -> Store | None:
    """The store at a path, if it is sound and was made from the same files with the same options.

    One of an older version, from ``oldest`` on, must have the same pixels. It lacks names and columns.
    """
    try:
        store = _open(path)
        if names := store.manifest.get("names"):
            check_names(store.count, path / names["file"], path / names["offsets"])
    except DataError:
        return None
    defaults = dataclasses.asdict(PrepareOptions())  # of options that an older version did not have
    same = defaults | store.manifest.get("options", {}) == dataclasses.asdict(options)
    same = same and store.manifest.get("fingerprint") == mark
    return store if same and store.manifest["version"] >= oldest and counts_alpha(store.manifest) else None


def _check_resolution(store: Store, resolution: str) -> None:
    if resolution == "auto":
        return
    if parse_size(resolution) not in store.sizes:
        height, width = parse_size(resolution)
        raise DataError(
            f"{store.path}: no images of {height}x{width}\n"
            f"  found: {', '.join(f'{h}x{w}' for h, w in store.sizes)}\n"
            f"  fix:   progan prepare SOURCE {store.path} --resolution {resolution}"
        )
