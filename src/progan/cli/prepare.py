"""The command 'progan prepare': from a data source, or a known data set, to a store."""

import contextlib
import importlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro

from progan.cli import nearest
from progan.data.cluster import dask_workers
from progan.data.columns import LABEL
from progan.data.inspection import contact_sheet, inspect, store_duplicates
from progan.data.options import PrepareOptions
from progan.data.printing import printable
from progan.data.recipes import RECIPES, is_known, open_recipe, prepare_recipe
from progan.data.report import report
from progan.data.sources import missing, open_source
from progan.data.store import Store, prepare
from progan.errors import ConfigError, DataError
from progan.images import save_png, sheet

_MOST_LINES = 100  # of a list on the screen; manifest.json has all of it


@dataclass(frozen=True)
class Prepare:
    """Read images once and write them in one size, and in every smaller one that a growing network passes through.

    Or only look at them: progan prepare --inspect SOURCE.

    Faces out of photographs: progan prepare celebahq (by landmarks, the best ones), progan prepare faces (all of them).
    """

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SOURCE")]
    """Folder, zip or tar of images (sub-folders are classes), MNIST idx files,
    CIFAR-10's Python version and others (docs/data.md), or the name of a data set:
    mnist, fashion_mnist, mnist_rgb, cifar10, cifar100, svhn, celeba, lsun_bedroom
    and the like, or hf:OWNER/NAME[@REVISION][:CONFIG] of the Hugging Face hub."""
    store: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="STORE")] = None
    """Folder to write. A store that is there already is replaced once the new one is complete."""
    images: tyro.conf.OmitArgPrefixes[PrepareOptions] = field(default_factory=PrepareOptions)
    """What becomes of every image."""
    workers: int | None = None
    """Processes that decode images; 0 works in one process. Default: one for each CPU."""
    dask: Annotated[str, tyro.conf.arg(metavar="ADDRESS")] = ""
    """Decode on the workers of this Dask cluster instead, like
    tcp://10.0.0.1:8786; they must see the images under the same path."""
    files: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """Files of a data set that are here already, instead of a download."""
    count: int = 1_000_000
    """Images of mnist_rgb."""
    seed: int = 0
    """Of the digits that mnist_rgb joins."""
    inspect: bool = False
    """Decode everything, report and suggest what to type; write nothing but --sheet."""
    sheet: Path | None = None
    """PNG file for a contact sheet of 100 images."""

    def run(self) -> int:
        """Prepare the store and say what is in it, or look only."""
        recipe = self._recipe()
        if self.inspect:
            return self._inspect(recipe)
        if self.store is None:
            raise ConfigError(f"STORE is missing: progan prepare {self.source} STORE, or add --inspect to look only")
        start = time.perf_counter()
        store = self._prepare(recipe, self.store)
        exact, near = store_duplicates(store)
        print(summary(store))
        print(f"duplicates   {exact} groups of equal and {near} of near images (--inspect names them)")
        print(f"time         {time.perf_counter() - start:.1f} s")
        self._save_sheet(contact_sheet(store))
        print(f"next: progan train PRESET {self.store}     ('progan train --help' lists the presets)")
        return 0

    def _prepare(self, recipe: str | None, store: Path) -> Store:
        given = self.files if recipe else self.source
        given = given.absolute() if given and self.dask else given  # workers may run in other folders
        how: dict[str, Any] = {"workers": self.workers, "progress": True}
        with contextlib.ExitStack() as stack:
            if self.dask:
                how["executor"], how["workers"] = stack.enter_context(dask_workers(self.dask, given))
            if recipe:
                how |= {"given": given, "count": self.count, "seed": self.seed}
                return prepare_recipe(recipe, store, self.images, **how)
            return prepare(given or self.source, store, self.images, **how)

    def _recipe(self) -> str | None:
        """The recipe that is meant, if the source is not a path."""
        name, path = str(self.source), self.source
        is_path = path.exists() and not (path / "manifest.json").is_file()  # a store made by the recipe is no source
        if name in RECIPES and self.files is None and is_path:
            print(
                f"note: {name} is a {'folder' if path.is_dir() else 'file'} here, so that is read; "
                f"for the data set of that name add --from PATH, or type this in another folder",
                file=sys.stderr,
            )
        if self.files is not None and name not in RECIPES:
            raise ConfigError(
                f"--from goes with the name of a data set, but {name!r} is none; {nearest(name, list(RECIPES))}"
            )
        if is_known(name) and (self.files is not None or not is_path):
            return name
        if not path.exists() and path.name == name:
            raise DataError(f"{missing(path)}; or the name of a data set: {nearest(name, list(RECIPES))}")
        return None

    def _inspect(self, recipe: str | None) -> int:
        path, options, source = self.source, self.images, None
        if recipe:
            opened = open_recipe(recipe, options, given=self.files, count=self.count, seed=self.seed)
            path, options, source = opened.path, opened.options, opened.source
        if source is None:
            skip = options.on_error == "skip"
            source = open_source(path, split=options.split, labels=options.labels, skip=skip)
        found = inspect(source, options, workers=self.workers, progress=True)
        print(report(found, recipe or str(path), given=str(self.files or "")))
        if found.plan is not None:
            self._save_sheet(contact_sheet(found.source, found.plan))
        return 0

    def _save_sheet(self, tiles: np.ndarray) -> None:
        if self.sheet is not None:
            save_png(sheet(torch.from_numpy(tiles).permute(0, 3, 1, 2)), self.sheet)
            print(f"sheet        {self.sheet}, {len(tiles)} images")


def summary(store: Store) -> str:
    """What is in a store, in a few lines."""
    sizes, skipped = store.manifest["sizes"], store.manifest["skipped"]
    small, large = ("x".join(map(str, sizes[key])) for key in ("smallest", "largest"))
    originals = small if sizes["distinct"] == 1 else f"{small} to {large}, {sizes['distinct']} sizes"
    files = [file for file in store.path.iterdir() if file.is_file()]
    kind = {1: "grey", 3: "RGB", 4: "RGBA"}[store.channels]
    further = [str(store.column(name)) for name in store.columns if name != LABEL or store.labels() is None]
    lines = [
        f"store        {printable(str(store.path), 5000)}",
        f"source       {printable(store.manifest['source'], 200)}",
        f"images       {store.count} of {store.height}x{store.width} (height x width)",
        f"originals    {originals}",
        f"channels     {store.channels} ({kind})",
        f"classes      {_classes(store)}",
        *([f"columns      {', '.join(further)}"] if further else []),
        f"names        {printable(store.names[0])} ... {printable(store.names[-1])}",
        f"levels       {', '.join(str(side) for side in store.resolutions)} (shorter side)",
        f"on disk      {sum(file.stat().st_size for file in files) / 1e6:.1f} MB",
        f"skipped      {len(skipped)}",
    ]
    lines += [f"  {printable(line, 400)}" for line in skipped[:_MOST_LINES]]
    if len(skipped) > _MOST_LINES:
        lines.append(f"  ... and {len(skipped) - _MOST_LINES} more, see {store.path / 'manifest.json'}")
    return "\n".join(lines)


def _classes(store: Store) -> str:
    labels = store.labels()
    if labels is None:
        return "none"
    counts = np.bincount(labels, minlength=len(store.classes))
    named = [f"{printable(name)} {count}" for name, count in zip(store.classes, counts, strict=True)]
    more = f", ... ({len(named)} classes)" if len(named) > 20 else ""
    return ", ".join(named[:20]) + more


def main(args: Sequence[str]) -> int:
    """Parse and run."""
    if args[:1] in (["celebahq"], ["faces"]):
        return importlib.import_module(f"progan.cli.{args[0]}").main(args[1:])
    return tyro.cli(Prepare, args=list(args), prog="progan prepare").run()
