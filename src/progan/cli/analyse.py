"""The command 'progan analyse': 'analyse neighbours'."""

import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from torch import Tensor

from progan.analysis.neighbours import Crop, Features, nearest, neighbours_sheet, pixels
from progan.analysis.neighbours import Neighbours as Found
from progan.cli import nearest as nearest_name
from progan.cli import optional, parse_seeds
from progan.data.store import Store
from progan.devices import pick_device
from progan.errors import ConfigError, DataError
from progan.images import save_png
from progan.metrics.extractors import load_extractor
from progan.snapshot import Snapshot

_NETWORKS = {"lite0": "efficientnet_lite0", "inception": "inception"}


@dataclass(frozen=True)
class Neighbours:
    """Show the training images nearest to generated ones (ProGAN figure 10).

    The centers of the images are compared; the picture outlines them. The paper's distance is between VGG features.
    """

    snapshot: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SNAPSHOT")]
    """A .safetensors file, a shared folder, or a run directory (its latest snapshot)."""
    store: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="STORE")]
    """Store of the images that the generator was trained on."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """PNG file for the picture: one generated image in each row, followed by its neighbors."""
    seeds: str = "0-7"
    """Seeds of the generated images, such as 0-7 or 3,7,20-29."""
    count: int = 7
    """Number of neighbors of each image."""
    by: Literal["lite0", "inception", "pixels"] = "lite0"
    """What the distance compares: features of EfficientNet-Lite0 or Inception, or pixels."""
    crop: float = 0.5
    """Fraction of each side that is compared; 1 compares whole images."""
    mirror: bool = True
    """Also compare mirrored training images; use --no-mirror for runs trained without mirroring."""
    label: Annotated[str | None, optional("CLASS", "seed modulo number of classes")] = None
    """Class of all images, for conditional generators: its name, or its number (from 0) if no name is a number."""
    resolution: Annotated[int | None, optional("INT", "the one trained last")] = None
    """Shorter side at which to compare [pixels]; at most the resolution trained last."""
    weights: Annotated[Path | None, optional("FILE", "the cache, or the installed package")] = None
    """File with the weights of the network."""
    json: bool = False
    """Print a JSON object instead of a table."""
    batch: int = 32
    """Number of images generated at once."""
    device: str = "auto"
    """Device: cuda, cuda:1, mps, cpu or auto."""

    def run(self) -> int:
        """Generate images, find their neighbors, draw and print them."""
        crop, seeds = self._check()
        snapshot, store = Snapshot.load(self.snapshot, device=pick_device(self.device)), Store.open(self.store)
        level = None if self.resolution is None else snapshot.level_of(self.resolution)
        fakes = snapshot.generate(seeds=seeds, label=self.label, level=level, batch=self.batch)
        reals = _level_like(store, fakes)
        features = self._features(str(snapshot.device))
        found = nearest(fakes, reals, features=features, crop=crop, count=self.count, mirror=self.mirror, progress=True)
        print(json.dumps(self._report(seeds, found)) if self.json else self._table(seeds, found))
        try:
            save_png(neighbours_sheet(fakes, reals, found, crop), self.out)
        except OSError as error:
            raise DataError(f"{self.out}: cannot be written ({error.strerror or error})") from error
        if not self.json:
            print(self.out)
        return 0

    def _check(self) -> tuple[Crop, list[int]]:
        """Check the options before anything is read."""
        for name in ("count", "batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.out.suffix.lower() != ".png":
            raise ConfigError(f"{self.out}: the picture is written as PNG; name a .png file")
        if self.weights and self.by == "pixels":
            raise ConfigError("--weights are those of a network; omit them, or pass --by lite0")
        return Crop(self.crop), parse_seeds(self.seeds)

    def _features(self, device: str) -> Features:
        if self.by == "pixels":
            return pixels
        extractor = load_extractor(_NETWORKS[self.by], self.weights, device)
        return lambda images: extractor(images).features

    def _report(self, seeds: list[int], found: Found) -> dict:
        rows = [
            {"seed": seed, "index": index.tolist(), "distance": distance.tolist(), "mirrored": mirrored.tolist()}
            for seed, index, distance, mirrored in zip(seeds, found.index, found.distance, found.mirrored, strict=True)
        ]
        settings = {"by": self.by, "crop": self.crop, "mirror": self.mirror}
        return {"snapshot": str(self.snapshot), "store": str(self.store), **settings, "neighbours": rows}

    def _table(self, seeds: list[int], found: Found) -> str:
        nearest_first = zip(seeds, found.index[:, 0], found.distance[:, 0], found.mirrored[:, 0], strict=True)
        lines = ["seed  nearest  distance"]
        lines += [
            f"{seed:>4}  {index:>7}  {far:>8.4g}{'  mirrored' * bool(flip)}" for seed, index, far, flip in nearest_first
        ]
        return "\n".join(lines)


def _level_like(store: Store, fakes: Tensor) -> np.ndarray:
    """The level of a store that has the size of the generated images."""
    _, channels, height, width = fakes.shape
    level = store.level(min(height, width))
    if level.shape[1:] != (height, width, channels):
        found = "x".join(map(str, level.shape[1:]))
        raise DataError(
            f"{store.path}: no images of {height}x{width}x{channels} (height x width x channels), as generated\n"
            f"  found: {found}\n"
            f"  fix:   pass the store that the generator was trained on"
        )
    return level


_ANALYSES = {"neighbours": Neighbours}


def main(args: Sequence[str]) -> int:
    """Parse the arguments and run the command."""
    if not args or args[0] in ("-h", "--help"):
        print("usage: progan analyse ANALYSIS ...     progan analyse ANALYSIS --help for details\n")
        print(
            "\n".join(
                f"  {name:<12} {inspect.cleandoc(kind.__doc__ or '').splitlines()[0]}"
                for name, kind in _ANALYSES.items()
            )
        )
        return 0 if args else 2
    if args[0] not in _ANALYSES:
        raise ConfigError(f"unknown analysis {args[0]!r}; {nearest_name(args[0], list(_ANALYSES))}")
    return tyro.cli(_ANALYSES[args[0]], args=list(args[1:]), prog=f"progan analyse {args[0]}").run()
