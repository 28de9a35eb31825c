"""Stores: all images of a data set as uint8 arrays, one for each resolution a growing network passes through."""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Generator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from tqdm import tqdm

from progan.data.options import PrepareOptions, make_plan
from progan.data.pipeline import make_chunks
from progan.data.pixels import Chunk, ImageError
from progan.data.records import Source
from progan.data.sources import fingerprint, missing, open_source
from progan.data.sources.labels import label_files
from progan.data.unfinished import remove_abandoned, sayer
from progan.data.writer import HEADER_BYTES, PartialStore
from progan.errors import DataError
from progan.files import cache_path
from progan.images import parse_size

_FORMAT, _VERSION = "progan store", 1


@dataclass(frozen=True, kw_only=True)
class Store:
    """A prepared data set on disk, opened for reading.

    Layout: ``manifest.json``, ``HxW.npy`` uint8 [N, H, W, C] for every level and ``labels.npy`` int64 [N] if there are
    labels. Channels come last, so that a permuted view is a channels_last tensor.
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
    """SHA-256 of the content; equal content has an equal hash wherever it lies."""
    manifest: dict[str, Any] = field(repr=False, compare=False)
    """Everything in manifest.json, with where the images came from."""

    @classmethod
    def open(cls, path: str | Path) -> "Store":
        """The store in a folder.

        Raises:
            DataError: if there is none, or it is damaged or of another version.
        """
        path = Path(path)
        manifest = _read_manifest(path)
        try:
            facts = {key: manifest[key] for key in ("height", "width", "channels", "count", "hash")}
            store = cls(path=path, classes=tuple(manifest["classes"]), manifest=manifest, **facts)
            files = [(level["file"], level["shape"], 1) for level in manifest["levels"]]
            files += [(manifest["labels"], [store.count], 8)] if manifest["labels"] else []
        except (KeyError, TypeError) as error:
            raise DataError(f"{path}/manifest.json: damaged ({error})\n  fix:   prepare the store again") from error
        for name, shape, item in files:
            _check_length(path / name, HEADER_BYTES + item * int(np.prod(shape, dtype=object)))
        return store

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Shorter sides of all levels [pixels], ascending."""
        return tuple(sorted(min(level["shape"][1:3]) for level in self.manifest["levels"]))

    def level(self, short: int) -> np.ndarray:
        """The images whose shorter side has ``short`` pixels, as a read-only memory map.

        Shape: uint8 [N, H, W, C].

        Raises:
            DataError: if there is no such level.
        """
        for level in self.manifest["levels"]:
            if min(level["shape"][1:3]) == short:
                return np.load(self.path / level["file"], mmap_mode="r")
        found = ", ".join(f"{h}x{w}" for _, h, w, _ in (level["shape"] for level in self.manifest["levels"]))
        raise DataError(
            f"{self.path}: no images with a shorter side of {short}\n"
            f"  found: {found}\n"
            f"  fix:   progan prepare SOURCE {self.path} --resolution {short}"
        )

    def labels(self) -> np.ndarray | None:
        """Number of every image's class, int64 [N], or None without labels."""
        return np.load(self.path / self.manifest["labels"]) if self.manifest["labels"] else None


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
    skip = options.on_error == "skip"
    source = source or open_source(source_path, split=options.split, labels=options.labels, skip=skip)
    plan = make_plan(source, options)
    facts = {"format": _FORMAT, "version": _VERSION, "source": source.description, "fingerprint": mark}
    how = dataclasses.replace(options, on_error="fail")  # what came before the first broken image is good for both
    key = hashlib.sha256(repr((facts, how, plan, len(source), PIL.__version__)).encode()).hexdigest()[:16]
    size = (plan.height, plan.width, plan.channels)
    say = sayer(progress)
    with PartialStore(store_path, *size, expected=len(source), key=key, say=say) as partial:
        if (same := _open_same(store_path, options, mark)) is not None:  # another process was faster
            return same
        chunks = make_chunks(source, plan, start=partial.done, skip=skip, workers=workers, executor=executor)
        facts |= _fill(partial, chunks, source_path, skip=skip, progress=progress)
        with_labels = bool(source.classes) and options.labels != "none"
        facts |= {"options": dataclasses.asdict(options), "classes": list(source.classes) if with_labels else []}
        partial.commit(facts, with_labels=with_labels)
    return Store.open(store_path)


def cached(
    source_path: str | Path,
    options: PrepareOptions = PrepareOptions(),  # noqa: B008, it is frozen
    cache_dir: str | Path | None = None,
    *,
    workers: int | None = None,
    progress: bool = False,
) -> Store:
    """A store is opened; any other source is prepared into a cache, or found there.

    Args:
        source_path: a store, or whatever ``open_source`` reads.
        options: how images are brought to one size; of a store only the resolution is looked at.
        cache_dir: by default ``$PROGAN_CACHE/stores`` or ``~/.cache/progan/stores``.
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
    key = hashlib.sha256(repr((_mark(path, options), dataclasses.astuple(options), _VERSION)).encode()).hexdigest()
    folder = Path(cache_dir or cache_path("stores")) / f"{path.resolve().name}-{key[:16]}"
    return prepare(path, folder, options, workers=workers, progress=progress)


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


def _read_manifest(path: Path) -> dict[str, Any]:
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
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise DataError(f"{path}: not a store\n  found: a manifest.json of something else\n  fix:   name a store")
    if manifest.get("version") != _VERSION:
        raise DataError(
            f"{path}: store of an unknown version\n"
            f"  found: version {manifest.get('version')}, wanted {_VERSION}\n"
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
        _read_manifest(path)
    except DataError as error:
        if "unknown version" in str(error):
            return
        raise DataError(
            f"{path}: will not be overwritten, because it is not a store\n"
            f"  {str(error).splitlines()[1].strip() if chr(10) in str(error) else error}\n"
            f"  fix:   choose a new folder for the store"
        ) from error


def _open_same(path: Path, options: PrepareOptions, mark: str) -> Store | None:
    """The store at a path, if it is sound and was made from the same files with the same options."""
    try:
        store = Store.open(path)
    except DataError:
        return None
    same = store.manifest.get("options") == dataclasses.asdict(options) and store.manifest.get("fingerprint") == mark
    return store if same else None


def _check_resolution(store: Store, resolution: str) -> None:
    if resolution == "auto":
        return
    height, width = parse_size(resolution)
    if height * store.width != width * store.height or height > store.height:
        raise DataError(
            f"{store.path}: no images of {height}x{width}\n"
            f"  found: {store.height}x{store.width} and its halves\n"
            f"  fix:   progan prepare SOURCE {store.path} --resolution {resolution}"
        )
