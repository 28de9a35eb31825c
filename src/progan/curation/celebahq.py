"""CelebA-HQ's way from photographs to a store (ProGAN appendix C): crop by landmarks, score, rank, keep the best."""

import csv
import functools
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from progan.curation.alignment import align, crop_square
from progan.curation.detector import load_detector
from progan.curation.landmarks import points_of, read_landmarks
from progan.curation.quality import quality
from progan.data.options import PrepareOptions
from progan.data.pipeline import in_order, usable_cpus
from progan.data.pixels import decode
from progan.data.records import Payload, Record, Source
from progan.data.sources import fingerprint, open_source
from progan.data.store import Store, prepare
from progan.errors import ConfigError, DataError
from progan.files import replacing
from progan.images import check_size

Detect = Callable[[np.ndarray], np.ndarray | None]
"""A picture uint8 [H, W, 3] to the landmarks [5, 2] of its face, or None."""
Restore = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""A picture uint8 [H, W, 3] and its landmarks [5, 2], to a better and maybe larger picture with its landmarks."""


@dataclass(frozen=True)
class Face:
    """What is known about one picture of the source."""

    position: int
    """In the source."""
    file: str
    score: float
    """See ``quality``; larger is better."""
    side: float
    """Of the square that was cut out [pixels of the picture]."""
    problem: str = ""
    """Why there is no face; score and side are 0 then."""


def prepare_celebahq(
    source_path: str | Path,
    store_path: str | Path,
    landmarks: str | Path | None = None,
    *,
    resolution: int = 1024,
    keep: int | None = None,
    restore: Restore | None = None,
    restore_name: str = "",
    workers: int | None = None,
    executor: Executor | None = None,
    progress: bool = False,
) -> Store:
    """A store of aligned faces, the best first, with ``ranking.csv`` beside the images.

    Finished faces wait in the folder ``STORE.aligned``, at most ``keep`` of them; after a kill the same call goes on
    from there. It is removed at the end.

    Args:
        source_path: photographs, whatever ``open_source`` reads.
        store_path: folder of the store.
        landmarks: file that ``read_landmarks`` reads; without it faces are looked for (``load_detector``).
        resolution: side of the faces [pixels], a power of two from 32 on.
        keep: how many of the best to keep; all of them by default.
        restore: improves a photograph before it is cut (the two networks of appendix C).
        restore_name: tells different ``restore`` apart, so that a store is made again when it changes.
        workers: threads; by default one for each CPU.
        executor: used instead of own threads if given, and not shut down; ``restore`` must suit it.
        progress: whether to show a progress bar.

    Raises:
        ConfigError: if a setting cannot be used, or there are neither landmarks nor a detector.
        DataError: if the source or the landmarks cannot be read, or no picture has a face.
    """
    check_size(resolution, resolution)
    if resolution < 32 or (keep is not None and keep < 1):
        raise ConfigError(f"wanted resolution at least 32 and keep at least 1; got {resolution} and {keep}")
    source_path, store_path = Path(source_path), Path(store_path)
    source, detect = open_source(source_path), None if landmarks is not None else load_detector()
    points = points_of(read_landmarks(landmarks), source.names) if landmarks is not None else [None] * len(source)
    origin = detect.hash if detect is not None else hashlib.sha256(Path(landmarks or "").read_bytes()).hexdigest()
    facts = (fingerprint(source_path), origin, resolution, restore_name)
    key = hashlib.sha256(repr((*facts, keep)).encode()).hexdigest()[:16]
    description = f"CelebA-HQ faces of {source.description}, key {key}"
    ranking = store_path / "ranking.csv"
    if ranking.is_file() and (same := Store.open(store_path)).manifest["source"] == description:
        return same
    scratch = _Scratch(store_path.with_name(f"{store_path.name}.aligned"), key, keep)
    todo = [i for i in range(len(source)) if (detect is not None or points[i] is not None) and i not in scratch.faces]
    work = functools.partial(make_face, resolution=resolution, restore=restore, detect=detect)
    jobs = ((i, record, points[i]) for i, record in zip(todo, source.records(todo), strict=True))
    count = max(1, usable_cpus() if workers is None else workers)
    with (
        _workers(count, executor) as pool,
        tqdm(total=len(todo), unit=" faces", desc="align", disable=None if progress else True) as bar,
    ):
        for face, pixels in in_order(pool, work, jobs, in_flight=2 * count + 1):
            scratch.add(face, pixels)
            bar.update()
    best, problems = scratch.best(), [f"{f.file}: {f.problem}" for f in scratch.faces.values() if f.problem]
    problems += [
        f"{source.names[i]}: no landmarks" for i, point in enumerate(points) if point is None and detect is None
    ]
    if not best:
        found = f"{problems[0]}" if problems else "no picture"
        raise DataError(
            f"{source_path}: no face could be cut out\n  found: {found}\n  fix:   compare {landmarks or source_path}"
        )
    table = _table(scratch.ranked(), problems)
    store = prepare(
        source_path,
        store_path,
        PrepareOptions(resolution=str(resolution), channels=3, labels="none"),
        workers=0,
        source=scratch.source(best, description),
        progress=progress,
    )
    with replacing(ranking) as file:
        file.write(table)
    shutil.rmtree(scratch.path, ignore_errors=True)
    return store


def make_face(
    position: int,
    record: Record,
    points: np.ndarray | None,
    *,
    resolution: int,
    restore: Restore | None = None,
    detect: Detect | None = None,
) -> tuple[Face, np.ndarray | None]:
    """One face, cut out and scored: uint8 [resolution, resolution, 3], or None and the problem."""
    try:
        image = np.asarray(decode(record.data).convert("RGB"))
        if points is None:
            points = detect(image) if detect is not None else None
        if points is None:
            raise DataError("no face found")
        if restore is not None:
            image, points = restore(image, points)
        square = crop_square(points)
        pixels = align(image, square, resolution)
    except DataError as error:
        return Face(position, record.name, 0.0, 0.0, str(error).replace("\n", ";") or "unusable"), None
    return Face(position, record.name, quality(pixels), square.side), pixels


class _Scratch:
    """Finished faces on disk: a line for each in faces.jsonl, and the pixels of the best of them.

    Args:
        path: the folder; one left by another key is removed.
        key: names everything that the faces depend on.
        keep: how many of the best keep their pixels; None for all.
    """

    def __init__(self, path: Path, key: str, keep: int | None) -> None:
        self.path, self.keep = path, keep
        self.faces: dict[int, Face] = {}
        self._log = path / "faces.jsonl"
        lines = self._log.read_text().splitlines() if self._log.is_file() else []
        if not lines or lines[0] != json.dumps(key):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
            self._log.write_text(json.dumps(key) + "\n")
        for line in lines[1:] if lines and lines[0] == json.dumps(key) else []:
            try:
                face = Face(**json.loads(line))
            except (ValueError, TypeError):  # cut off by the kill
                continue
            self.faces[face.position] = face
        for face in self.best():  # a power failure can lose files whose lines are there
            if not self._file(face).is_file():
                del self.faces[face.position]

    def add(self, face: Face, pixels: np.ndarray | None) -> None:
        """Keep a face: pixels first, then its line."""
        if pixels is not None:
            part = self._file(face).with_suffix(".partial")
            with part.open("wb") as file:
                np.save(file, pixels)
            part.replace(self._file(face))
        with self._log.open("a") as log:
            log.write("\n" * (not self._ends_line()) + json.dumps(asdict(face)) + "\n")
        self.faces[face.position] = face
        if self.keep is not None and len(self.faces) % max(64, self.keep // 8) == 0:
            for worse in self.ranked()[self.keep :]:
                self._file(worse).unlink(missing_ok=True)

    def ranked(self) -> list[Face]:
        """All faces, best first."""
        return sorted((f for f in self.faces.values() if not f.problem), key=lambda f: (-f.score, f.position))

    def best(self) -> list[Face]:
        """The faces to keep, best first."""
        return self.ranked()[: self.keep]

    def source(self, faces: Sequence[Face], description: str) -> Source:
        """The pixels of some faces, as something to make a store of."""

        def read(positions: Sequence[int]) -> Iterator[Payload]:
            return (np.load(self._file(faces[i])) for i in positions)

        names = [face.file for face in faces]
        return Source(description=description, names=names, labels=None, classes=(), read=read)

    def _file(self, face: Face) -> Path:
        return self.path / f"{face.position:08d}.npy"

    def _ends_line(self) -> bool:
        with self._log.open("rb") as log:
            log.seek(-1, os.SEEK_END)
            return log.read() == b"\n"


@contextmanager
def _workers(count: int, executor: Executor | None) -> Iterator[Executor]:
    """The executor given, or threads: decoding, sampling and transforms release the interpreter's lock."""
    if executor is not None:
        yield executor
        return
    with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as threads:
        yield threads


def _table(faces: Sequence[Face], problems: Sequence[str]) -> bytes:
    """The ranking as CSV, rank 0 the best and the first of the store; then what was left out."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["rank", "file", "score", "side", "problem"])
    rows.writerows([i, face.file, f"{face.score:.4f}", f"{face.side:.1f}", ""] for i, face in enumerate(faces))
    rows.writerows(["", *problem.split(": ", 1)[:1], "", "", problem.split(": ", 1)[-1]] for problem in problems)
    return text.getvalue().encode()
