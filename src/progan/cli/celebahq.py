"""The command 'progan prepare celebahq': aligned faces, ranked by quality, as a store."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from progan.cli import optional
from progan.curation.celebahq import prepare_celebahq
from progan.data.store import Store


@dataclass(frozen=True)
class CelebAHQ:
    """Cut aligned faces out of photographs by their landmarks and rank them by image quality (ProGAN appendix C).

    Run the same command again to resume an interrupted run.
    """

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SOURCE")]
    """Folder, zip or tar of photographs."""
    store: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="STORE")]
    """Folder to write, with the best faces first and their scores in ranking.csv."""
    landmarks: Annotated[
        Path | None,
        optional("PATH", "detect the largest face; needs 'pip install --no-deps facenet-pytorch'"),
    ] = None
    """CelebA's list_landmarks_celeba.txt, or a CSV with columns file, lefteye_x, lefteye_y, ..., rightmouth_y."""
    resolution: int = 1024
    """Side of the faces [pixels]; a power of two, at least 32."""
    keep: Annotated[int | None, optional("INT", "all")] = None
    """Number of best faces to keep. The paper keeps 30,000 of 202,599."""
    artefacts: Annotated[Path | None, optional("SNAPSHOT", "not applied")] = None
    """Network that removes JPEG artifacts from the photographs first ('progan train artefacts')."""
    super_resolution: Annotated[Path | None, optional("SNAPSHOT", "not applied")] = None
    """Network that then enlarges the photographs four times ('progan train super_resolution')."""
    device: str = "cpu"
    """Device for these two networks, such as cpu or cuda."""
    workers: Annotated[int | None, optional("INT", "one per CPU")] = None
    """Number of threads."""

    def run(self) -> int:
        """Make the store and print a summary."""
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
        """Load the restoration networks, if any is given."""
        if self.artefacts is None and self.super_resolution is None:
            return {}
        from progan.curation.restoring import load_restore

        restore, name = load_restore(self.artefacts, self.super_resolution, device=self.device)
        return {"restore": restore, "restore_name": name}


def say(store: Store, seconds: float) -> None:
    """Print a summary of a store of faces."""
    print(f"store        {store.path}")
    print(f"faces        {store.count}, {store.height}x{store.width}, best first")
    print(f"ranking      {store.path / 'ranking.csv'}")
    print(f"time         {seconds:.1f} s")


def main(args: Sequence[str]) -> int:
    """Parse the options and run the command."""
    return tyro.cli(CelebAHQ, args=list(args), prog="progan prepare celebahq").run()
