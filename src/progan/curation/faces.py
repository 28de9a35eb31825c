"""Square crops of all faces of photographs, as DCGAN's set of faces was made (section 4.2)."""

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

_CASCADE = "haarcascade_frontalface_alt2.xml"  # finds most of OpenCV's four frontal ones, see docs/data.md
_STEP, _NEIGHBORS = 1.1, 3  # from one size to the next, and overlapping hits that make a face; OpenCV's defaults
_CASCADES = threading.local()  # a cascade must not be used by two threads at a time


class Finder(Protocol):
    """Finds faces."""

    hash: str
    """Tells different ones apart."""

    def squares(self, image: np.ndarray, min_face: float) -> np.ndarray:
        """Squares of at least ``min_face`` pixels around faces: left, top, right, bottom, float64 [N, 4].

        Args:
            image: uint8 [H, W, 3].
            min_face: side of the smallest [pixels].
        """
        ...


class CascadeFinder:
    """OpenCV's cascade of Haar features (Viola and Jones 2001), for faces from the front.

    Args:
        path: of the cascade, an XML file.
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
        """This thread's own."""
        if getattr(_CASCADES, "hash", None) != self.hash:
            _CASCADES.hash, _CASCADES.cascade = self.hash, cv2.CascadeClassifier(str(self.path))
        return _CASCADES.cascade


def load_finder(name: Literal["opencv", "mtcnn"]) -> Finder:
    """A finder of faces by its name.

    Raises:
        ConfigError: if what it needs is not installed.
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
        f"faces are looked for with the cascades of OpenCV 4\n"
        f"  found: {found}\n"
        f"  fix:   pip install 'progan[faces]', or --detector mtcnn"
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
    """A store of all faces, several of a picture, as they are and not turned, the best first; see ``prepare_crops``.

    Args:
        source_path: photographs, whatever ``open_source`` reads.
        store_path: folder of the store.
        finder: finds the faces.
        resolution: side of the crops [pixels], a power of two from 32 on.
        min_face: side of the smallest faces to keep [pixels of the photograph]; by default ``resolution``, so that
            none is enlarged.
        keep: how many of the best to keep; all of them by default.
        workers: threads; by default one for each CPU.
        executor: used instead of own threads if given, and not shut down.
        progress: whether to show a progress bar.

    Raises:
        ConfigError: if a setting cannot be used.
        DataError: if the source cannot be read, or no picture has a face.
    """
    smallest = resolution if min_face is None else min_face
    if smallest < 1:
        raise ConfigError(f"wanted faces of at least 1 pixel, got {smallest}")
    cutting = Cutting(
        name="faces",
        path=Path(source_path),
        source=open_source(source_path, labels="none"),
        locate=functools.partial(_locate, finder=finder, min_face=smallest),
        depends=(finder.hash, str(smallest)),
        hint="choose a lower --min-face, or the other --detector",
    )
    how = {"workers": workers, "executor": executor, "progress": progress}
    return prepare_crops(cutting, store_path, resolution=resolution, keep=keep, **how)


def _locate(
    image: np.ndarray, _: np.ndarray | None, *, finder: Finder, min_face: float
) -> tuple[np.ndarray, list[CropSquare]]:
    """Squares around all faces of a picture; those whose center is outside are left out."""
    boxes = finder.squares(image, min_face)
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2 - 0.5  # edges of pixels to centers of pixels
    inside = ((centers >= 0) & (centers < image.shape[1::-1])).all(1)
    right = np.array([1.0, 0.0])
    squares = [
        CropSquare(center, float(box[2] - box[0]), right)
        for center, box in zip(centers[inside], boxes[inside], strict=True)
    ]
    if not squares:
        raise DataError(f"no face of {min_face:g} pixels or more found")
    return image, squares
