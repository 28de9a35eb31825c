"""CelebA-HQ's way from photographs to a store (ProGAN appendix C): restored, cut out by landmarks, the best kept."""

import functools
import hashlib
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

import numpy as np

from progan.curation.alignment import CropSquare, crop_square
from progan.curation.crops import Cutting, prepare_crops
from progan.curation.detector import load_detector
from progan.curation.landmarks import points_of, read_landmarks
from progan.data.sources import open_source
from progan.data.store import Store
from progan.errors import DataError

Detect = Callable[[np.ndarray], np.ndarray | None]
"""A picture uint8 [H, W, 3] to the landmarks [5, 2] of its face, or None."""
Restore = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""A picture uint8 [H, W, 3] and its landmarks [5, 2], to a better and maybe larger picture with its landmarks."""


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
    """A store of upright faces, the best first; see ``prepare_crops``.

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
    source = open_source(source_path, labels="none")
    if landmarks is None:
        detect, known = load_detector(), None
        origin = detect.hash
    else:
        detect, known = None, points_of(read_landmarks(landmarks), source.names)
        origin = hashlib.sha256(Path(landmarks).read_bytes()).hexdigest()
    cutting = Cutting(
        name="CelebA-HQ faces",
        path=Path(source_path),
        source=source,
        locate=functools.partial(_locate, detect=detect, restore=restore),
        depends=(origin, restore_name),
        known=known,
        hint=f"compare {landmarks or source_path}",
    )
    how = {"workers": workers, "executor": executor, "progress": progress}
    return prepare_crops(cutting, store_path, resolution=resolution, keep=keep, **how)


def _locate(
    image: np.ndarray, points: np.ndarray | None, *, detect: Detect | None, restore: Restore | None
) -> tuple[np.ndarray, list[CropSquare]]:
    """The one square of a picture, by its landmarks."""
    if points is None:
        points = detect(image) if detect is not None else None
    if points is None:
        raise DataError("no face found")
    if restore is not None:
        image, points = restore(image, points)
    return image, [crop_square(points)]
