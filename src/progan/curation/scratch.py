"""Finished crops on disk, so that an interrupted command can be resumed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from progan.data.columns import Column
from progan.data.records import Payload, Source
from progan.data.unfinished import Unfinished, quiet
from progan.files import replacing


@dataclass(frozen=True)
class Crop:
    """One square crop of a photograph of the source."""

    position: int
    """Position of the photograph in the source."""
    number: int
    """Number of the crop among those of the photograph, starting at 0."""
    file: str
    """File name of the photograph."""
    score: float
    """Score by ``quality``; larger is better."""
    x: float
    """Horizontal center of the square [pixels of the photograph]."""
    y: float
    """Vertical center of the square [pixels of the photograph]."""
    side: float
    """Side of the square [pixels of the photograph]."""


@dataclass(frozen=True)
class Picture:
    """Result for one photograph of the source."""

    position: int
    """Position of the photograph in the source."""
    file: str
    """File name of the photograph."""
    crops: tuple[Crop, ...] = ()
    problem: str = ""
    """Reason why there are no crops."""


class Scratch:
    """Folder ``STORE.KEY.partial`` with the pixels of the best crops and a log of all finished photographs.

    Use it in a ``with`` block. If the block ends before ``finish`` is called, the folder is kept, and the next scratch
    with the same key continues with it. If another process is using the folder, this one waits for it.

    Args:
        store_path: folder of the store to make from the crops.
        key: hexadecimal hash of everything that the crops depend on.
        keep: number of best crops whose pixels are kept; None for all.
        say: function that is called with one-line messages for the user.

    Raises:
        OSError: if the folder cannot be created.
    """

    def __init__(self, store_path: Path, key: str, keep: int | None, *, say: Callable[[str], object] = quiet) -> None:
        self.store_path, self.key, self.keep, self._say = store_path, key, keep, say
        self.pictures: dict[int, Picture] = {}

    def __enter__(self) -> "Scratch":
        self._work, self._wanted = Unfinished(self.store_path, self.key, say=self._say), True
        self.path = self._work.path
        self._work.go_on(self._take)
        for crop in self.best():  # a power failure can lose files whose lines are there
            if not self._file(crop.position).is_file():
                self.pictures.pop(crop.position, None)
        return self

    def __exit__(self, *_: object) -> None:
        if self._work.close(keep=self._wanted):
            self._say(
                f"{self.store_path}: {len(self.pictures)} finished images are kept in {self.path}; "
                f"run the same command again to resume, or delete them with rm -r"
            )

    def finish(self) -> None:
        """Mark the work as finished, so that the folder is removed."""
        self._wanted = False

    def add(self, picture: Picture, pixels: np.ndarray) -> None:
        """Save the crops of a photograph, uint8 [N, H, W, 3]: first the pixels, then the line in the log."""
        if picture.crops:
            with replacing(self._file(picture.position)) as file:
                np.save(file, pixels)
        self._work.log(asdict(picture))
        self.pictures[picture.position] = picture
        if self.keep is not None and len(self.pictures) % max(64, self.keep // 8) == 0:
            wanted = {crop.position for crop in self.best()}
            for crop in self.ranked()[self.keep :]:
                if crop.position not in wanted:
                    self._file(crop.position).unlink(missing_ok=True)

    def _take(self, facts: dict[str, Any]) -> bool:
        try:
            facts["crops"] = tuple(Crop(**crop) for crop in facts["crops"])
            picture = Picture(**facts)
        except (TypeError, KeyError):  # from a different version
            return False
        self.pictures[picture.position] = picture
        return True

    def ranked(self) -> list[Crop]:
        """Return all crops, best first."""
        crops = (crop for picture in self.pictures.values() for crop in picture.crops)
        return sorted(crops, key=lambda crop: (-crop.score, crop.position, crop.number))

    def best(self) -> list[Crop]:
        """Return the crops to keep, best first."""
        return self.ranked()[: self.keep]

    def problems(self) -> list[Picture]:
        """Return the photographs without crops."""
        return [picture for picture in self.pictures.values() if picture.problem]

    def source(self, description: str, columns: Sequence[Column] = ()) -> Source:
        """Return the pixels of the best crops as a source for a store.

        Args:
            description: description of the source.
            columns: columns of the photographs; each crop inherits the values of its photograph.
        """
        crops = self.best()

        def read(positions: Sequence[int]) -> Iterator[Payload]:
            for crop in (crops[i] for i in positions):
                yield np.array(np.load(self._file(crop.position), mmap_mode="r")[crop.number])

        pictures = np.array([crop.position for crop in crops], np.int64)
        facts = {"names": [crop.file for crop in crops], "columns": tuple(column.of(pictures) for column in columns)}
        return Source(description=description, labels=None, classes=(), read=read, **facts)

    def _file(self, position: int) -> Path:
        return self.path / f"{position:08d}.npy"
