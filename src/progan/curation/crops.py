"""Stores of square crops from photographs: crop, score, rank and keep the best."""

import csv
import functools
import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from progan.curation.alignment import CropSquare, align
from progan.curation.quality import quality
from progan.curation.scratch import Crop, Picture, Scratch
from progan.data.manifest import check_target
from progan.data.options import PrepareOptions
from progan.data.pixels import decode, to_channels
from progan.data.preparing import prepare
from progan.data.records import Record, Source
from progan.data.sources import fingerprint
from progan.data.store import Store
from progan.data.unfinished import sayer
from progan.errors import ConfigError, DataError
from progan.files import replacing
from progan.processes import in_order, usable_cpus
from progan.sizes import check_growable

_RANKING = "ranking.csv"

Locate = Callable[[np.ndarray, np.ndarray | None], tuple[np.ndarray, Sequence[CropSquare]]]
"""Function from an image, uint8 [H, W, 3], and its landmarks, [5, 2], if known, to the image to crop (which may be an
improved one) and the squares to crop. It raises a DataError with the reason if there are none."""


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """Photographs, and how to find the crops in them."""

    name: str
    """Name of the crops for descriptions and messages."""
    path: Path
    """Path of the photographs."""
    source: Source
    """Photographs at ``path``."""
    locate: Locate
    """Function that finds the crops; it must be picklable if the executor uses processes."""
    depends: tuple[str, ...]
    """Everything that ``locate`` and ``known`` depend on, so that a store is remade when it changes."""
    known: Sequence[np.ndarray | None] | None = None
    """Landmarks of every photograph, None for those without. If there is no sequence, ``locate`` must detect them."""
    hint: str
    """What to try if nothing could be cropped."""


def prepare_crops(
    cutting: Cutting,
    store_path: str | Path,
    *,
    resolution: int,
    keep: int | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
    progress: bool = False,
) -> Store:
    """Make a store of square crops, the best first, with ``ranking.csv`` next to the images.

    Finished crops, at most ``keep`` of them, are stored in the folder ``STORE.KEY.partial``, from which the same call
    resumes after an interruption. The folder is removed at the end. Concurrent equal calls wait for the first one.

    Args:
        cutting: photographs, and how to find the crops in them.
        store_path: folder of the store.
        resolution: side of the crops [pixels]; a power of two, at least 32.
        keep: number of best crops to keep. Default: all.
        workers: number of threads. Default: one per CPU.
        executor: executor to use instead of new threads; it is not shut down.
        progress: whether to show a progress bar.

    Raises:
        ConfigError: if a setting is invalid.
        DataError: if the source cannot be read, or nothing can be cropped from it.
    """
    check_growable(resolution, resolution)
    if resolution < 32 or (keep is not None and keep < 1):
        raise ConfigError(f"resolution must be at least 32 and keep at least 1; got {resolution} and {keep}")
    store_path = Path(store_path)
    facts = (fingerprint(cutting.path, but=store_path), *cutting.depends, resolution, keep)
    key = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
    description = f"{cutting.name} of {cutting.source.description}, key {key}"
    if same := _same(store_path, description):
        return same
    check_target(store_path)
    say = sayer(progress)
    with Scratch(store_path, key, keep, say=say) as scratch:
        if store := _same(store_path, description):  # another process has made it meanwhile
            scratch.finish()
            return store
        _cut_all(cutting, scratch, resolution, workers=workers, executor=executor, progress=progress)
        problems = [*scratch.problems(), *_unknown(cutting)]
        if not scratch.best():
            scratch.finish()
            found = f"{problems[0].file}: {problems[0].problem}" if problems else "no image"
            raise DataError(f"{cutting.path}: no face could be cropped\n  found: {found}\n  fix:   {cutting.hint}")
        options = PrepareOptions(resolution=str(resolution), channels=3, labels="none")
        made = scratch.source(description, cutting.source.columns)
        store = prepare(cutting.path, store_path, options, workers=0, source=made, progress=progress)
        with replacing(store_path / _RANKING) as file:
            file.write(_table(scratch.ranked(), problems))
        scratch.finish()
        return store


def _same(store_path: Path, description: str) -> Store | None:
    """Return the finished store at a path if it contains these crops."""
    if not (store_path / _RANKING).is_file():
        return None
    store = Store.open(store_path)
    return store if store.manifest["source"] == description else None


def cut(
    position: int, record: Record, points: np.ndarray | None, *, locate: Locate, resolution: int
) -> tuple[Picture, np.ndarray]:
    """Return the scored crops of one photograph, and their pixels, uint8 [N, resolution, resolution, 3]."""
    try:
        image, squares = locate(np.asarray(to_channels(decode(record.data), 3)), points)
        pixels = [align(image, square, resolution) for square in squares]
    except DataError as error:
        problem = str(error).replace("\n", ";") or "unusable"
        return Picture(position, record.name, problem=problem), np.zeros((0, resolution, resolution, 3), np.uint8)
    crops = tuple(
        Crop(
            position, number, record.name, quality(part), float(square.center[0]), float(square.center[1]), square.side
        )
        for number, (square, part) in enumerate(zip(squares, pixels, strict=True))
    )
    return Picture(position, record.name, crops), np.stack(pixels)


def _cut_all(
    cutting: Cutting,
    scratch: Scratch,
    resolution: int,
    *,
    workers: int | None,
    executor: Executor | None,
    progress: bool,
) -> None:
    """Crop all photographs that are not finished yet."""
    known = cutting.known if cutting.known is not None else [None] * len(cutting.source)
    left_out = {picture.position for picture in _unknown(cutting)} | set(scratch.pictures)
    todo = [i for i in range(len(cutting.source)) if i not in left_out]
    work = functools.partial(cut, locate=cutting.locate, resolution=resolution)
    jobs = ((i, record, known[i]) for i, record in zip(todo, cutting.source.records(todo), strict=True))
    count = max(1, usable_cpus() if workers is None else workers)
    with (
        _workers(count, executor) as pool,
        tqdm(total=len(todo), unit=" images", desc="crop", disable=None if progress else True) as bar,
    ):
        for picture, pixels in in_order(pool, work, jobs, in_flight=2 * count + 1):
            scratch.add(picture, pixels)
            bar.update()


def _unknown(cutting: Cutting) -> list[Picture]:
    """Return photographs without landmarks, if landmarks are given."""
    names = cutting.source.names
    return [Picture(i, names[i], problem="no landmarks") for i, p in enumerate(cutting.known or ()) if p is None]


@contextmanager
def _workers(count: int, executor: Executor | None) -> Iterator[Executor]:
    """Provide the given executor, or threads: decoding, sampling and transforms release the interpreter's lock."""
    if executor is not None:
        yield executor
        return
    with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as threads:
        yield threads


def _table(crops: Sequence[Crop], problems: Sequence[Picture]) -> bytes:
    """Format the ranking as CSV: rank 0 is the best and the first of the store; skipped photographs are last."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["rank", "file", "score", "x", "y", "side", "problem"])
    for rank, crop in enumerate(crops):
        numbers = (f"{number:.1f}" for number in (crop.x, crop.y, crop.side))
        rows.writerow([rank, crop.file, f"{crop.score:.4f}", *numbers, ""])
    rows.writerows(["", picture.file, "", "", "", "", picture.problem] for picture in problems)
    return text.getvalue().encode(errors="surrogatepass")  # as in names.txt of a store
