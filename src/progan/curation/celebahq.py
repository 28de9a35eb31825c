"""CelebA-HQ from photographs (ProGAN appendix C): restore them, crop aligned faces and keep the best."""

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
"""Function from an image, uint8 [H, W, 3], to the landmarks of its face, [5, 2], or None."""
Restore = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Function from an image, uint8 [H, W, 3], and its landmarks, [5, 2], to an improved, possibly larger image and its
landmarks."""


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
    """Make a store of aligned faces, the best first; see ``prepare_crops``.

    Args:
        source_path: photographs in any form that ``open_source`` can read.
        store_path: folder of the store.
        landmarks: file for ``read_landmarks``. Default: detect the largest face (``load_detector``).
        resolution: side of the faces [pixels]; a power of two, at least 32.
        keep: number of best faces to keep. Default: all.
        restore: function that improves a photograph before it is cropped (the two networks of appendix C).
        restore_name: name that identifies ``restore``, so that a store is remade when it changes.
        workers: number of threads. Default: one per CPU.
        executor: executor to use instead of new threads; it is not shut down and must be able to run ``restore``.
        progress: whether to show a progress bar.

    Raises:
        ConfigError: if a setting is invalid, or there are neither landmarks nor a detector.
        DataError: if the source or the landmarks cannot be read, or no photograph contains a face.
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
        hint=f"check {landmarks or source_path}",
    )
    how = {"workers": workers, "executor": executor, "progress": progress}
    return prepare_crops(cutting, store_path, resolution=resolution, keep=keep, **how)


def _locate(
    image: np.ndarray, points: np.ndarray | None, *, detect: Detect | None, restore: Restore | None
) -> tuple[np.ndarray, list[CropSquare]]:
    """Return the square of an image, given or detected landmarks."""
    if points is None:
        points = detect(image) if detect is not None else None
    if points is None:
        raise DataError("no face found")
    if restore is not None:
        image, points = restore(image, points)
    return image, [crop_square(points)]
