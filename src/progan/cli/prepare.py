"""The command 'progan prepare': convert a data source or a known data set into a store."""

import contextlib
import importlib
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from progan.cli import nearest, optional
from progan.data.cluster import dask_workers
from progan.data.columns import LABEL
from progan.data.inspection import inspect
from progan.data.inspection.contact import SHEET, contact_sheet
from progan.data.inspection.doubts import doubts
from progan.data.inspection.overview import store_duplicates, store_facts, store_values
from progan.data.inspection.report import report
from progan.data.options import PrepareOptions
from progan.data.pixels import Plan
from progan.data.preparing import prepare
from progan.data.printing import counted, printable, quoted
from progan.data.recipes import RECIPES, is_known, open_recipe, prepare_recipe
from progan.data.records import Source
from progan.data.sources import missing, open_source
from progan.data.store import Store
from progan.errors import ConfigError, DataError
from progan.images import save_png

_MOST_LINES = 100  # of a list on the screen; manifest.json has all of it


@dataclass(frozen=True)
class Prepare:
    """Read images once and store them at one resolution and at every smaller one that a growing network passes through.

    To inspect a source without writing a store, run progan prepare --inspect SOURCE.

    To cut faces out of photographs, see progan prepare celebahq --help (one aligned face per photograph, the best ones
    first) and progan prepare faces --help (all faces, as they are).
    """

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SOURCE")]
    """Folder, zip or tar of images (subfolders are classes), MNIST idx files,
    CIFAR-10's Python version or another format of docs/data.md; or the name
    of a data set: mnist, fashion_mnist, mnist_rgb, cifar10, cifar100, svhn,
    celeba, lsun_bedroom and other LSUN categories; or
    hf:OWNER/NAME[@REVISION][:CONFIG] for one on the Hugging Face Hub."""
    store: Annotated[
        tyro.conf.Positional[Path | None],
        tyro.conf.arg(metavar="STORE", help_behavior_hint="(required without --inspect)"),
    ] = None
    """Folder to write. An existing store is replaced once the new one is complete."""
    images: tyro.conf.OmitArgPrefixes[PrepareOptions] = field(default_factory=PrepareOptions)
    """How each image is processed."""
    workers: Annotated[int | None, optional("INT", "one per CPU")] = None
    """Number of processes that decode images; 0 decodes in the main process."""
    dask: Annotated[str, optional("ADDRESS", "none")] = ""
    """Decode on the workers of the Dask cluster at this address instead,
    such as tcp://10.0.0.1:8786. They must see the images under the same path."""
    files: Annotated[
        Path | None, tyro.conf.arg(name="from", metavar="PATH", help_behavior_hint="(default: download them)")
    ] = None
    """Local copy of the files of a known data set."""
    count: int = 1_000_000
    """Number of images to compose for mnist_rgb."""
    seed: int = 0
    """Seed of the choice of digits for mnist_rgb."""
    inspect: bool = False
    """Decode all images, print a report and suggest a command. Only the contact sheet is written."""
    sheet: Annotated[Path | None, optional("PATH", "STORE/sheet.png; with --inspect, a temporary file")] = None
    """PNG file for a contact sheet: some images of each class."""

    def run(self) -> int:
        """Prepare the store and print a summary, or only inspect the source."""
        recipe = self._recipe()
        self._check(recipe)
        if self.inspect:
            return self._inspect(recipe)
        if self.store is None:
            raise ConfigError(f"STORE is missing; use progan prepare {self.source} STORE, or add --inspect")
        start = time.perf_counter()
        store = self._prepare(recipe, self.store)
        values, of = store_values(store)
        print(summary(store))
        print("\n".join(values.lines(of)))
        found = store_duplicates(store, progress=True)
        equal, near = len(found.equal), len(found.near)
        print(
            f"duplicates   {counted(equal, 'group')} of identical and {near} of similar images (--inspect lists them)"
        )
        for doubt in doubts(store_facts(store, values, found)):
            print(f"warning      {doubt}")
        self._save_sheet(store, self.sheet or store.path / SHEET)
        print(f"time         {time.perf_counter() - start:.1f} s")
        print(f"next: progan train PRESET {quoted(str(self.store))}     ('progan train --help' lists the presets)")
        return 0

    def _check(self, recipe: str | None) -> None:
        """Refuse options that would have no effect."""
        if self.inspect and self.dask:
            raise ConfigError("--dask is for writing a store; --inspect decodes here, with --workers")
        for name in ("count", "seed"):
            if recipe != "mnist_rgb" and getattr(self, name) != getattr(Prepare, name):
                raise ConfigError(f"--{name} is for mnist_rgb only; remove it")

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
        """Return the name of the recipe, or None if the source is a path."""
        name, path = str(self.source), self.source
        is_path = path.exists() and not (path / "manifest.json").is_file()  # a store made by the recipe is not a source
        if name in RECIPES and self.files is None and is_path:
            print(
                f"note: reading the {'folder' if path.is_dir() else 'file'} {name}; "
                f"for the data set of that name, add --from PATH or run this in a different folder",
                file=sys.stderr,
            )
        if self.files is not None and name not in RECIPES:
            raise ConfigError(
                f"--from requires the name of a data set, but {name!r} is not one; {nearest(name, list(RECIPES))}"
            )
        if is_known(name) and (self.files is not None or not is_path):
            return name
        if not path.exists() and path.name == name:
            known = nearest(name, list(RECIPES))
            known = known if known.endswith("?") else "such as mnist or cifar10; docs/data.md lists all"
            raise DataError(f"{missing(path)}\n  or:    name a known data set: {known}")
        return None

    def _inspect(self, recipe: str | None) -> int:
        path, options, source = self.source, self.images, None
        if recipe:
            opened = open_recipe(recipe, options, given=self.files, count=self.count, seed=self.seed)
            path, options, source = opened.path, opened.options, opened.source
        if source is None:
            skip = options.on_error == "skip"
            source = open_source(path, options.choice, labels=options.labels, skip=skip)
        found = inspect(source, options, workers=self.workers, progress=True)
        print(report(found, recipe or str(path), given=str(self.files or "")))
        if found.plan is not None:
            self._save_sheet(found.source, self.sheet, found.plan)
        return 0

    def _save_sheet(self, images: Store | Source, path: Path | None, plan: Plan | None = None) -> None:
        """Write the contact sheet; a place that was not asked for may be one that cannot be written."""
        picture, what = contact_sheet(images, plan, progress=True)
        try:
            if path is None:
                path = Path(tempfile.mkdtemp(prefix="progan-")) / SHEET
            save_png(picture, path)
        except OSError as error:
            if self.sheet is not None:
                raise DataError(f"{path}: the contact sheet cannot be written ({error.strerror or error})") from error
            print(f"sheet        none, because it cannot be written ({error.strerror or error})")
        else:
            print(f"sheet        {path}: {what}")


def summary(store: Store) -> str:
    """Summarize the contents of a store in a few lines."""
    sizes, skipped = store.manifest["sizes"], store.manifest["skipped"]
    small, large = ("x".join(map(str, sizes[key])) for key in ("smallest", "largest"))
    originals = small if sizes["distinct"] == 1 else f"{small} to {large}, {sizes['distinct']} sizes"
    files = [file for file in store.path.iterdir() if file.is_file() and file.name != SHEET]
    kind = {1: "grayscale", 3: "RGB", 4: "RGBA"}[store.channels]
    further = [str(store.column(name)) for name in store.columns if name != LABEL or store.labels() is None]
    lines = [
        f"store        {printable(str(store.path), 5000)}",
        f"source       {printable(store.manifest['source'], 200)}",
        f"images       {store.count}, {store.height}x{store.width} (height x width)",
        f"originals    {originals}",
        f"channels     {store.channels} ({kind})",
        f"classes      {_classes(store)}",
        *([f"columns      {', '.join(further)}"] if further else []),
        f"names        {printable(store.names[0])} ... {printable(store.names[-1])}",
        f"levels       {', '.join(str(side) for side in store.resolutions)} (shorter side)",
        f"on disk      {sum(file.stat().st_size for file in files) / 1e6:.1f} MB",
        *(f"note         {printable(note, 500)}" for note in store.manifest.get("notes", [])),
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
    least, most = counts.min(), counts.max()
    extent = f"{len(named)} classes of {f'{least} to {most} images' if least < most else counted(most, 'image')}"
    more = f", ... ({extent})" if len(named) > 20 else ""
    return ", ".join(named[:20]) + more


def main(args: Sequence[str]) -> int:
    """Parse the options and run the command."""
    if args[:1] in (["celebahq"], ["faces"]):
        return importlib.import_module(f"progan.cli.{args[0]}").main(args[1:])
    return tyro.cli(Prepare, args=list(args), prog="progan prepare").run()
