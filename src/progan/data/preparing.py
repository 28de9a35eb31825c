"""Preparation of stores: the images of a source are converted once, and again only if something has changed."""

import contextlib
import dataclasses
import hashlib
import json
import sys
from collections.abc import Generator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import PIL
from tqdm import tqdm

from progan.data.alpha import counts_alpha
from progan.data.columns import check_columns
from progan.data.manifest import RULES, VERSION, check_target
from progan.data.names import check_names
from progan.data.options import PrepareOptions, make_plan
from progan.data.pipeline import make_chunks
from progan.data.pixels import Chunk, ImageError
from progan.data.records import Source
from progan.data.sources import check_not_empty, fingerprint, open_source
from progan.data.sources.labels import label_files
from progan.data.store import Store, open_quietly
from progan.data.unfinished import remove_abandoned, sayer
from progan.data.writer import PartialStore
from progan.errors import DataError
from progan.files import cache_path, short_name
from progan.sizes import parse_size

_FIRST_OPTIONS = ("resolution", "crop", "fit", "filter", "upscale", "channels", "labels", "on_error", "split")


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
    """Write the images of a source to a store, or open the store if it already has the same files and options.

    A store of an older format is replaced. Work that was interrupted is resumed.

    Args:
        source_path: any source that ``open_source`` reads.
        store_path: folder of the store. An existing store is replaced once the new one is complete.
        options: how images are converted.
        workers: number of processes that decode; 0 or 1 decodes in this process.
        executor: executor to use instead of new processes; ``workers`` is then its size. About 50 MB are in transit
            for each worker. If the workers are on other machines, ``source_path`` must be absolute.
        source: images derived from those at ``source_path``; its description must contain everything else they
            depend on.
        progress: whether to show a progress bar on a terminal.

    Raises:
        DataError: if the source or one of its images cannot be used, or the store cannot be written. An existing
            store is then unchanged. The images finished so far are kept next to it, as after a kill, and the same
            call resumes from them.
    """
    source_path, store_path = Path(source_path), Path(store_path)
    mark = _mark(source_path, options, but=store_path) + (f" {source.description}" if source else "")
    check_target(store_path)
    if (same := _open_same(store_path, options, mark)) is not None:
        remove_abandoned(store_path)
        return same
    say = sayer(progress)
    if _open_same(store_path, options, mark, oldest=1, rules=1):
        say(f"{store_path}: an older version prepared these images; preparing them again by the present rules")
    skip = options.on_error == "skip"
    if source is None:
        source = open_source(source_path, options.choice, labels=options.labels, skip=skip)
    check_not_empty(source, source_path)
    plan = make_plan(source, options, progress=progress)
    with_labels = bool(source.classes) and options.labels != "none"
    check_columns(source.columns, len(source), where=source.description, with_labels=with_labels)
    facts: dict[str, Any] = {"source": source.description, "fingerprint": mark}
    how = dataclasses.replace(options, on_error="fail")  # what came before the first broken image is good for both
    key = hashlib.sha256(repr((VERSION, RULES, facts, how, plan, len(source), PIL.__version__)).encode()).hexdigest()[
        :16
    ]
    size = (plan.height, plan.width, plan.channels)
    with PartialStore(store_path, *size, expected=len(source), key=key, say=say) as partial:
        if (same := _open_same(store_path, options, mark)) is not None:  # another process was faster
            return same
        chunks = make_chunks(source, plan, start=partial.done, skip=skip, workers=workers, executor=executor)
        facts |= _fill(partial, chunks, source_path, skip=skip, progress=progress)
        facts |= {"options": dataclasses.asdict(options), "classes": list(source.classes) if with_labels else []}
        facts |= {"notes": [*source.notes, *plan.notes], "rules": RULES}
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
    """Open a store, or prepare any other source in a cache if it is not yet there.

    A cached store of an older version is used if it has all the requested columns, and the same names and labels as
    the source by the present rules.

    Args:
        source_path: a store, or any source that ``open_source`` reads.
        options: how images are converted; for a store, only the resolution is checked.
        cache_dir: folder of the cache; by default ``$PROGAN_CACHE/stores`` or ``~/.cache/progan/stores``.
        columns: names of the columns that will be used.
        workers: number of processes that decode; 0 or 1 decodes in this process.
        progress: whether to show a progress bar on a terminal.

    Raises:
        DataError: as ``prepare``, or if a store does not contain the requested resolution.
    """
    path = Path(source_path)
    if (path / "manifest.json").is_file():
        store = Store.open(path)
        _check_resolution(store, options.resolution)
        return store
    mark = _mark(path, options)
    name, place = short_name(path.resolve().name, room=17), Path(cache_dir or cache_path("stores"))
    keys = [repr((mark, _told(options), version)) for version in (1, VERSION, (VERSION, RULES))]
    folder, *others = (place / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}" for key in keys)
    for beside in others:  # the first one is named as the first version named it
        if (old := _open_same(folder, options, mark, oldest=1, rules=1)) is None:
            break
        complete = old.manifest["version"] == VERSION or set(columns) <= set(old.columns)
        if complete and (old.manifest.get("rules", 1) == RULES or _reads_the_same(old, path, options, beside)):
            return old
        folder = beside
    return prepare(path, folder, options, workers=workers, progress=progress)


def _reads_the_same(old: Store, path: Path, options: PrepareOptions, new: Path) -> bool:
    """Return whether a source has the names and labels that an older version read, and say once if it has others."""
    try:
        source = open_source(path, options.choice, labels=options.labels, skip=options.on_error == "skip")
    except DataError as error:
        print(f"warning: using {old.path}, which an older version prepared, because {error}", file=sys.stderr)
        return True
    labels = old.labels()
    same = (None if labels is None else labels.tolist()) == source.labels and old.classes == source.classes
    same = same and (old.manifest["version"] == 1 or list(old.names) == list(source.names)) and old.count == len(source)
    if not same and not new.exists():
        what = f"an older version read other labels or images from it, and its store stays in {old.path}"
        print(f"warning: {path} is prepared again: {what}", file=sys.stderr)
    return same


def _told(options: PrepareOptions) -> tuple:
    """Return all options of the first version, and those added later that differ from their defaults."""
    first = tuple(getattr(options, name) for name in _FIRST_OPTIONS)
    changed = sorted(dataclasses.asdict(options).items() - dataclasses.asdict(PrepareOptions()).items())
    return first + tuple(pair for pair in changed if pair[0] not in _FIRST_OPTIONS)


def _mark(path: Path, options: PrepareOptions, *, but: Path | None = None) -> str:
    """Return a fingerprint of a source and its label file; ``but`` is a store that may be inside the source."""
    return " ".join(fingerprint(file, but=but) for file in (path, *label_files(options.labels)))


def _fill(
    partial: PartialStore, chunks: Generator[Chunk, None, None], path: Path, *, skip: bool, progress: bool
) -> dict[str, Any]:
    """Write all images; return the sizes of the originals and the skipped images."""
    how: dict[str, Any] = {"unit": " images", "desc": "prepare", "disable": None if progress else True}
    with contextlib.closing(chunks), tqdm(total=partial.expected, initial=partial.done, **how) as bar:
        try:
            if partial.skipped and not skip:  # by an earlier call
                raise ImageError(partial.skipped[0])
            for chunk in chunks:
                partial.append(chunk)
                bar.update(len(chunk.sizes) + len(chunk.skipped))
        except ImageError as error:
            first = "do that" if "--upscale" in str(error) else "repair or remove it"
            hint = f"  fix:   {first}, or omit such images with --on-error skip"
            raise DataError(f"{path}: an image cannot be used\n  found: {error}\n{hint}") from error
    if not partial.count:
        raise DataError(
            f"{path}: none of the {partial.expected} images can be used\n"
            f"  found: {partial.skipped[0]}\n"
            f"  fix:   repair or replace the images; if they are too small, add --upscale"
        )
    by_area = sorted(partial.originals, key=lambda size: (size[0] * size[1], size))
    extent = {"smallest": list(by_area[0]), "largest": list(by_area[-1]), "distinct": len(by_area)}
    return {"sizes": extent, "skipped": partial.skipped}


def _open_same(
    path: Path, options: PrepareOptions, mark: str, *, oldest: int = VERSION, rules: int = RULES
) -> Store | None:
    """Open the store at a path if it is intact and was made from the same files with the same options.

    A store of an older version, down to ``oldest``, is accepted if it has the same pixels; it has no names or columns.
    So is one that was read by older rules, down to ``rules``.
    """
    try:
        store = open_quietly(path)
        if names := store.manifest.get("names"):
            check_names(store.count, path / names["file"], path / names["offsets"])
    except DataError:
        return None
    defaults = dataclasses.asdict(PrepareOptions())  # of options that an older version did not have
    wanted = json.loads(json.dumps(dataclasses.asdict(options)))  # lists instead of tuples, as in the file
    same = json.loads(json.dumps(defaults)) | store.manifest.get("options", {}) == wanted
    same = same and store.manifest.get("fingerprint") == mark
    recent = store.manifest["version"] >= oldest and store.manifest.get("rules", 1) >= rules
    return store if same and recent and counts_alpha(store.manifest) else None


def _check_resolution(store: Store, resolution: str) -> None:
    if resolution == "auto":
        return
    if parse_size(resolution) not in store.sizes:
        height, width = parse_size(resolution)
        raise DataError(
            f"{store.path}: no {height}x{width} images\n"
            f"  found: {', '.join(f'{h}x{w}' for h, w in store.sizes)}\n"
            f"  fix:   run 'progan prepare SOURCE {store.path} --resolution {resolution}'"
        )
