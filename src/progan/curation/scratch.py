"""Finished crops on disk, so that a run that was killed goes on where it stopped."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from progan.data.records import Payload, Source
from progan.errors import DataError


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
    """A folder with a line for each finished picture in crops.jsonl, and the pixels of the best crops.

    Args:
        path: the folder; one left by another key is removed.
        key: names everything that the crops depend on.
        keep: how many of the best crops keep their pixels; None for all.

    Raises:
        DataError: if the path is something else.
    """

    def __init__(self, path: Path, key: str, keep: int | None) -> None:
        self.path, self.keep = path, keep
        self.pictures: dict[int, Picture] = {}
        self._log = path / "crops.jsonl"
        lines = self._log.read_text().splitlines() if self._log.is_file() else []
        if not lines or lines[0] != json.dumps(key):
            if path.exists() and not self._log.is_file() and (not path.is_dir() or any(path.iterdir())):
                raise DataError(
                    f"{path}: is in the way of unfinished work\n  fix:   move it, or choose another place for the store"
                )
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
            self._log.write_text(json.dumps(key) + "\n")
            lines = []
        for line in lines[1:]:
            try:
                facts = json.loads(line)
                picture = Picture(**facts | {"crops": tuple(Crop(**crop) for crop in facts["crops"])})
            except (ValueError, TypeError, KeyError):  # cut off by the kill
                continue
            self.pictures[picture.position] = picture
        for crop in self.best():  # a power failure can lose files whose lines are there
            if not self._file(crop.position).is_file():
                self.pictures.pop(crop.position, None)

    def add(self, picture: Picture, pixels: np.ndarray) -> None:
        """Keep a picture's crops, uint8 [N, H, W, 3]: pixels first, then its line."""
        if picture.crops:
            part = self._file(picture.position).with_suffix(".partial")
            with part.open("wb") as file:
                np.save(file, pixels)
            part.replace(self._file(picture.position))
        with self._log.open("a") as log:
            log.write("\n" * (not self._ends_line()) + json.dumps(asdict(picture)) + "\n")
        self.pictures[picture.position] = picture
        if self.keep is not None and len(self.pictures) % max(64, self.keep // 8) == 0:
            wanted = {crop.position for crop in self.best()}
            for crop in self.ranked()[self.keep :]:
                if crop.position not in wanted:
                    self._file(crop.position).unlink(missing_ok=True)

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

    def source(self, description: str) -> Source:
        """The pixels of the best crops, as something to make a store of."""
        crops = self.best()

        def read(positions: Sequence[int]) -> Iterator[Payload]:
            for crop in (crops[i] for i in positions):
                yield np.array(np.load(self._file(crop.position), mmap_mode="r")[crop.number])

        names = [crop.file for crop in crops]
        return Source(description=description, names=names, labels=None, classes=(), read=read)

    def _file(self, position: int) -> Path:
        return self.path / f"{position:08d}.npy"

    def _ends_line(self) -> bool:
        with self._log.open("rb") as log:
            log.seek(-1, os.SEEK_END)
            return log.read() == b"\n"
