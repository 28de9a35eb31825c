"""Finished crops on disk, so that a run that was killed goes on where it stopped."""

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
    """One square that was cut out of a picture of the source."""

    position: int
    """Of the picture in the source."""
    number: int
    """Among the crops of that picture, from 0 on."""
    file: str
    """Name of the picture."""
    score: float
    """See ``quality``; larger is better."""
    x: float
    """Center of the square [pixels of the picture]."""
    y: float
    """Center of the square [pixels of the picture]."""
    side: float
    """Of the square [pixels of the picture]."""


@dataclass(frozen=True)
class Picture:
    """What became of one picture of the source."""

    position: int
    """In the source."""
    file: str
    crops: tuple[Crop, ...] = ()
    problem: str = ""
    """Why there are no crops."""


class Scratch:
    """The folder ``STORE.KEY.partial`` with the pixels of the best crops, and a log of all finished pictures.

    Use it in a ``with`` block. What is in it stays when the block ends before ``finish``, and the next scratch with
    that key begins with it; one that another process holds is waited for.

    Args:
        store_path: folder of the store that is made of the crops.
        key: of everything that the crops depend on, hexadecimal.
        keep: how many of the best crops keep their pixels; None for all.
        say: told in one line what the user may want to know.

    Raises:
        OSError: if the folder cannot be made.
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
                f"{self.store_path}: {len(self.pictures)} pictures are kept in {self.path}; "
                f"the same command goes on with them, rm -r forgets them"
            )

    def finish(self) -> None:
        """Nothing here is needed any more."""
        self._wanted = False

    def add(self, picture: Picture, pixels: np.ndarray) -> None:
        """Keep a picture's crops, uint8 [N, H, W, 3]: pixels first, then its line."""
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
        except (TypeError, KeyError):  # of another version
            return False
        self.pictures[picture.position] = picture
        return True

    def ranked(self) -> list[Crop]:
        """All crops, best first."""
        crops = (crop for picture in self.pictures.values() for crop in picture.crops)
        return sorted(crops, key=lambda crop: (-crop.score, crop.position, crop.number))

    def best(self) -> list[Crop]:
        """The crops to keep, best first."""
        return self.ranked()[: self.keep]

    def problems(self) -> list[Picture]:
        """Pictures without crops."""
        return [picture for picture in self.pictures.values() if picture.problem]

    def source(self, description: str, columns: Sequence[Column] = ()) -> Source:
        """The pixels of the best crops, as something to make a store of.

        Args:
            description: kind and name.
            columns: what is known of every picture of the source; each of its crops gets it.
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
