"""The command 'progan prepare faces': square crops of all faces of photographs, as a store."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from progan.cli.celebahq import say
from progan.curation.faces import load_finder, prepare_faces


@dataclass(frozen=True)
class Faces:
    """Cut out all faces that a detector finds, several of a picture, as they are (DCGAN section 4.2).

    Run the same command again to go on where it stopped.
    """

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SOURCE")]
    """Folder, zip or tar of photographs."""
    store: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="STORE")]
    """Folder to write, with ranking.csv; best faces first."""
    resolution: int = 64
    """Side of the faces [pixels]; a power of two."""
    detector: Literal["opencv", "mtcnn"] = "opencv"
    """'opencv' finds faces from the front ('pip install progan[faces]'), 'mtcnn' turned ones too, with more around
    them ('pip install --no-deps facenet-pytorch')."""
    min_face: int | None = None
    """Side of the smallest faces [pixels of the photograph]. Default: the resolution, so that none is enlarged."""
    keep: int | None = None
    """How many of the best faces to keep; all by default."""
    workers: int | None = None
    """Threads. Default: one for each CPU."""

    def run(self) -> int:
        """Make the store and say what is in it."""
        start = time.perf_counter()
        store = prepare_faces(
            self.source,
            self.store,
            load_finder(self.detector),
            resolution=self.resolution,
            min_face=self.min_face,
            keep=self.keep,
            workers=self.workers,
            progress=True,
        )
        say(store, time.perf_counter() - start)
        return 0


def main(args: Sequence[str]) -> int:
    """Parse and run."""
    return tyro.cli(Faces, args=list(args), prog="progan prepare faces").run()
