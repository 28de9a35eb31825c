"""The command 'progan prepare': from a data source to a store."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from progan.data.options import PrepareOptions
from progan.data.store import Store, prepare

_MOST_LINES = 100  # of a list on the screen; manifest.json has all of it


@dataclass(frozen=True)
class Prepare:
    """Read images once and write them in every resolution a growing network passes through."""

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SOURCE")]
    """Folder, zip or tar of images (sub-folders are classes), MNIST idx files, or CIFAR-10's Python version."""
    store: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="STORE")]
    """Folder to write. A store that is there already is replaced once the new one is complete."""
    images: tyro.conf.OmitArgPrefixes[PrepareOptions] = field(default_factory=PrepareOptions)
    """What becomes of every image."""
    workers: int | None = None
    """Processes that decode images; 0 works in one process. Default: one for each CPU."""

    def run(self) -> int:
        """Prepare the store and say what is in it."""
        start = time.perf_counter()
        store = prepare(self.source, self.store, self.images, workers=self.workers, progress=True)
        print(summary(store))
        print(f"time         {time.perf_counter() - start:.1f} s")
        print(f"next: progan train PRESET {self.store}     ('progan train --help' lists the presets)")
        return 0


def summary(store: Store) -> str:
    """What is in a store, in a few lines."""
    sizes, skipped = store.manifest["sizes"], store.manifest["skipped"]
    small, large = ("x".join(map(str, sizes[key])) for key in ("smallest", "largest"))
    originals = small if sizes["distinct"] == 1 else f"{small} to {large}, {sizes['distinct']} sizes"
    files = [file for file in store.path.iterdir() if file.is_file()]
    kind = {1: "grey", 3: "RGB", 4: "RGBA"}[store.channels]
    lines = [
        f"store        {store.path}",
        f"source       {store.manifest['source']}",
        f"images       {store.count} of {store.height}x{store.width} (height x width)",
        f"originals    {originals}",
        f"channels     {store.channels} ({kind})",
        f"classes      {_classes(store)}",
        f"levels       {', '.join(str(side) for side in store.resolutions)} (shorter side)",
        f"on disk      {sum(file.stat().st_size for file in files) / 1e6:.1f} MB",
        f"skipped      {len(skipped)}",
    ]
    lines += [f"  {line}" for line in skipped[:_MOST_LINES]]
    if len(skipped) > _MOST_LINES:
        lines.append(f"  ... and {len(skipped) - _MOST_LINES} more, see {store.path / 'manifest.json'}")
    return "\n".join(lines)


def _classes(store: Store) -> str:
    labels = store.labels()
    if labels is None:
        return "none"
    counts = np.bincount(labels, minlength=len(store.classes))
    named = [f"{name} {count}" for name, count in zip(store.classes, counts, strict=True)]
    more = f", ... ({len(named)} classes)" if len(named) > 20 else ""
    return ", ".join(named[:20]) + more


def main(args: Sequence[str]) -> int:
    """Parse and run."""
    return tyro.cli(Prepare, args=list(args), prog="progan prepare").run()
