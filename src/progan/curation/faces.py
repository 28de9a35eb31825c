"""Square crops of all faces in photographs, as in the face data set of DCGAN (section 4.2)."""

import functools
import threading
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from progan.curation.alignment import CropSquare
from progan.curation.crops import Cutting, prepare_crops
from progan.curation.detector import load_detector
from progan.data.sources import open_source
from progan.data.store import Store
from progan.download import file_sha256
from progan.errors import ConfigError, DataError

_CASCADE = "haarcascade_frontalface_alt2.xml"  # finds most of OpenCV's four frontal ones, see docs/faces.md
_STEP, _NEIGHBORS = 1.1, 3  # from one size to the next, and overlapping hits required for a face; OpenCV's defaults
_CASCADES = threading.local()  # a cascade must not be used by two threads at a time


class Finder(Protocol):
    """Face detector."""

    hash: str
    """Identifier of the detector and its weights."""

    def squares(self, image: np.ndarray, min_face: float) -> np.ndarray:
        """Return squares of at least ``min_face`` pixels around all faces: left, top, right, bottom, float64 [N, 4].

        Args:
            image: uint8 [H, W, 3].
            min_face: side of the smallest faces [pixels].
        """
        ...


class CascadeFinder:
    """OpenCV's cascade of Haar features (Viola and Jones 2001) for frontal faces.

    Args:
        path: XML file of the cascade.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.hash = path, file_sha256(path)

    def squares(self, image: np.ndarray, min_face: float) -> np.ndarray:
        """See ``Finder``."""
        import cv2

        side = int(np.ceil(min_face))
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        found = self._cascade(cv2).detectMultiScale(grey, _STEP, _NEIGHBORS, minSize=(side, side))
        boxes = np.array(sorted(map(tuple, found)), np.float64).reshape(-1, 4)  # threads find them in any order
        return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)

    def _cascade(self, cv2: Any) -> Any:
        """Return the cascade of this thread."""
        if getattr(_CASCADES, "hash", None) != self.hash:
            _CASCADES.hash, _CASCADES.cascade = self.hash, cv2.CascadeClassifier(str(self.path))
        return _CASCADES.cascade


def load_finder(name: Literal["opencv", "mtcnn"]) -> Finder:
    """Load a face detector by its name.

    Raises:
        ConfigError: if the detector is not installed.
    """
    if name == "mtcnn":
        return load_detector()
    try:
        import cv2
        import cv2.data

        path = Path(cv2.data.haarcascades) / _CASCADE
        if hasattr(cv2, "CascadeClassifier") and path.is_file():
            return CascadeFinder(path)
        found = f"OpenCV {cv2.__version__}, which has no cascades"
    except ImportError as error:
        found = str(error)
    raise ConfigError(
        f"the detector opencv requires the cascades of OpenCV 4\n"
        f"  found: {found}\n"
        f"  fix:   run pip install 'progan[faces]', or use --detector mtcnn"
    )


def prepare_faces(
    source_path: str | Path,
    store_path: str | Path,
    finder: Finder,
    *,
    resolution: int = 64,
    min_face: int | None = None,
    keep: int | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
    progress: bool = False,
) -> Store:
    """Make a store of all faces in photographs, without aligning them, the best first; see ``prepare_crops``.

    Args:
        source_path: photographs in any form that ``open_source`` can read.
        store_path: folder of the store.
        finder: face detector.
        resolution: side of the crops [pixels]; a power of two, at least 32.
        min_face: side of the smallest faces to keep [pixels of the photograph]. Default: ``resolution``, so that none
            is enlarged.
        keep: number of best faces to keep. Default: all.
        workers: number of threads. Default: one per CPU.
        executor: executor to use instead of new threads; it is not shut down.
        progress: whether to show a progress bar.

    Raises:
        ConfigError: if a setting is invalid.
        DataError: if the source cannot be read, or no photograph contains a face.
    """
    smallest = resolution if min_face is None else min_face
    if smallest < 1:
        raise ConfigError(f"min_face must be at least 1 pixel, got {smallest}")
    cutting = Cutting(
        name="faces",
        path=Path(source_path),
        source=open_source(source_path, labels="none"),
        locate=functools.partial(_locate, finder=finder, min_face=smallest),
        depends=(finder.hash, str(smallest)),
        hint="use a lower --min-face, or the other --detector",
    )
    how = {"workers": workers, "executor": executor, "progress": progress}
    return prepare_crops(cutting, store_path, resolution=resolution, keep=keep, **how)


def _locate(
    image: np.ndarray, _: np.ndarray | None, *, finder: Finder, min_face: float
) -> tuple[np.ndarray, list[CropSquare]]:
    """Return squares around all faces of an image, without those whose center is outside the image."""
    boxes = finder.squares(image, min_face)
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2 - 0.5  # edges of pixels to centers of pixels
    inside = ((centers >= 0) & (centers < image.shape[1::-1])).all(1)
    right = np.array([1.0, 0.0])
    squares = [
        CropSquare(center, float(box[2] - box[0]), right)
        for center, box in zip(centers[inside], boxes[inside], strict=True)
    ]
    if not squares:
        raise DataError(f"found no face of at least {min_face:g} pixels")
    return image, squares
