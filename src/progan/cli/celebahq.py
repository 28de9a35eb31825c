"""The command 'progan prepare celebahq': aligned faces, ranked by quality, as a store."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from progan.curation.celebahq import prepare_celebahq
from progan.data.store import Store


@dataclass(frozen=True)
class CelebAHQ:
    """Cut faces out by their landmarks, rank them by their frequencies and keep the best (ProGAN appendix C).

    Run the same command again to go on where it stopped.
    """

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SOURCE")]
    """Folder, zip or tar of photographs."""
    store: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="STORE")]
    """Folder to write, with ranking.csv; best faces first."""
    landmarks: Path | None = None
    """CelebA's list_landmarks_celeba.txt, or a CSV with file, lefteye_x, lefteye_y, ..., rightmouth_y. Without it the
    largest face is looked for ('pip install --no-deps facenet-pytorch')."""
    resolution: int = 1024
    """Side of the faces [pixels]; a power of two."""
    keep: int | None = None
    """How many of the best faces to keep; all by default. The paper keeps 30,000 of 202,599."""
    artefacts: Annotated[Path | None, tyro.conf.arg(metavar="SNAPSHOT")] = None
    """Network that removes JPEG artefacts from the photographs first."""
    super_resolution: Annotated[Path | None, tyro.conf.arg(metavar="SNAPSHOT")] = None
    """Network that then enlarges the photographs by 4."""
    device: str = "cpu"
    """Where these networks run, like cuda."""
    workers: int | None = None
    """Threads. Default: one for each CPU."""

    def run(self) -> int:
        """Make the store and say what is in it."""
        start = time.perf_counter()
        store = prepare_celebahq(
            self.source,
            self.store,
            self.landmarks,
            resolution=self.resolution,
            keep=self.keep,
            workers=self.workers,
            progress=True,
            **self._restore(),
        )
        say(store, time.perf_counter() - start)
        return 0

    def _restore(self) -> dict[str, Any]:
        """The networks, if any is named."""
        if self.artefacts is None and self.super_resolution is None:
            return {}
        from progan.curation.restoring import load_restore

        restore, name = load_restore(self.artefacts, self.super_resolution, device=self.device)
        return {"restore": restore, "restore_name": name}


def say(store: Store, seconds: float) -> None:
    """What came out, for people."""
    print(f"store        {store.path}")
    print(f"faces        {store.count} of {store.height}x{store.width}, best first")
    print(f"ranking      {store.path / 'ranking.csv'}")
    print(f"time         {seconds:.1f} s")


def main(args: Sequence[str]) -> int:
    """Parse and run."""
    return tyro.cli(CelebAHQ, args=list(args), prog="progan prepare celebahq").run()
