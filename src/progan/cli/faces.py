"""The command 'progan prepare faces': square crops of all faces in photographs, as a store."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from progan.cli import optional
from progan.cli.celebahq import say
from progan.curation.faces import load_finder, prepare_faces


@dataclass(frozen=True)
class Faces:
    """Cut out every face that a detector finds in photographs, without aligning it (DCGAN section 4.2).

    Run the same command again to resume an interrupted run.
    """

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SOURCE")]
    """Folder, zip or tar of photographs."""
    store: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="STORE")]
    """Folder to write, with the best faces first and their scores in ranking.csv."""
    resolution: int = 64
    """Side of the faces [pixels]; a power of two, at least 32."""
    detector: Literal["opencv", "mtcnn"] = "opencv"
    """opencv: frontal faces ('pip install progan[faces]').
    mtcnn: also turned faces, cropped more widely ('pip install --no-deps facenet-pytorch')."""
    min_face: Annotated[int | None, optional("INT", "the resolution, so none is enlarged")] = None
    """Side of the smallest faces to keep [pixels of the photograph]."""
    keep: Annotated[int | None, optional("INT", "all")] = None
    """Number of best faces to keep."""
    workers: Annotated[int | None, optional("INT", "one per CPU")] = None
    """Number of threads."""

    def run(self) -> int:
        """Make the store and print a summary."""
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
    """Parse the options and run the command."""
    return tyro.cli(Faces, args=list(args), prog="progan prepare faces").run()
