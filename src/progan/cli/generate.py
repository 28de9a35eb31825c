"""The command 'progan generate'."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from progan.cli import optional, parse_seeds, write_png
from progan.devices import pick_device
from progan.errors import ConfigError, DataError
from progan.evaluation.sets import open_images
from progan.images import beside, opaque, sheet, to_pil
from progan.snapshot import Label, Snapshot


@dataclass(frozen=True)
class Generate:
    """Generate images with a trained generator: one PNG file each, or one grid of all."""

    snapshot: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SNAPSHOT")]
    """A .safetensors file, a shared folder, or a run directory (its latest snapshot)."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """Folder for the images, or a .png file for a grid of images."""
    count: Annotated[int | None, optional("INT", "16, or one for each row of attributes")] = None
    """Number of images if neither seeds nor latents are given; their seeds are 0, 1, 2, ..."""
    seeds: Annotated[str | None, optional("SEEDS", "0 to COUNT - 1")] = None
    """Seeds of the images, such as 0-15 or 3,7,20-29. A seed gives the same image everywhere."""
    latents: Annotated[Path | None, optional("FILE", "none")] = None
    """File of latents to use instead of seeds: .npy, [N, latent_size]."""
    label: Annotated[str | None, optional("CLASS", "all classes in turn")] = None
    """Class of all images, for conditional generators: its name, or its number (from 0) if no name is a number."""
    attributes: tuple[float, ...] = ()
    """Attributes of all images, for generators trained with --label-columns of numbers."""
    attributes_file: Annotated[Path | None, optional("FILE", "none")] = None
    """File of attributes, such as embeddings: .npy, [K] for all images, or [N, K] with a row for each."""
    grid: bool = False
    """Write one grid of images instead of single images."""
    columns: Annotated[int | None, optional("INT", "about square")] = None
    """Number of images in a row of the grid."""
    beside: Annotated[Path | None, optional("DATA", "none")] = None
    """Store, or anything that 'progan prepare' reads; as many random images of it are shown next to the grid."""
    resolution: Annotated[int | None, optional("INT", "the one trained last")] = None
    """Shorter side of the images [pixels]; at most the resolution trained last."""
    batch: int = 32
    """Number of images generated at once."""
    device: str = "auto"
    """Device: cuda, cuda:1, mps, cpu or auto."""

    def run(self) -> int:
        """Generate the images and print where they are."""
        self._check()
        snapshot = Snapshot.load(self.snapshot, device=pick_device(self.device))
        label = self._label(snapshot)
        names, inputs = self._inputs(snapshot, rows=len(label) if isinstance(label, np.ndarray) else None)
        level = None if self.resolution is None else snapshot.level_of(self.resolution)
        z, seeds = (None, inputs) if isinstance(inputs, list) else (inputs, None)
        images = chain.from_iterable(snapshot.batches(z, seeds=seeds, label=label, level=level, batch=self.batch))
        images = tqdm(images, total=len(names), unit=" images", disable=None if len(names) > self.batch else True)
        if self._as_sheet:
            path = self.out if self.out.suffix.lower() == ".png" else self.out / "grid.png"
            write_png(self._sheet(torch.stack(list(images))), path)
            print(path)
        else:
            for name, image in zip(names, images, strict=True):
                write_png(to_pil(image.permute(1, 2, 0).numpy()), self.out / f"{name}.png", kept=True)
            print(f"{len(names)} images in {self.out}")
        return 0

    @property
    def _as_sheet(self) -> bool:
        return self.grid or self.out.suffix.lower() == ".png"

    def _sheet(self, fakes: Tensor) -> Image.Image:
        """All images in one picture, with as many real ones to their right if requested."""
        if self.beside is None:
            return sheet(fakes, self.columns)
        reals = open_images(self.beside, resolution="x".join(map(str, fakes.shape[2:]))).read(0, len(fakes))
        return beside(sheet(opaque(fakes), self.columns), sheet(reals, self.columns))

    def _check(self) -> None:
        """Check the options before anything is read."""
        for name in ("count", "batch", "columns"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        if self.out.suffix.lower() in (".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"):
            raise ConfigError(f"{self.out}: images are written as PNG; name a .png file or a folder")
        if self.seeds is not None and self.latents is not None:
            raise ConfigError("pass either --seeds or --latents, not both")
        for name in ("beside", "columns"):
            if getattr(self, name) is not None and not self._as_sheet:
                raise ConfigError(f"--{name} requires a grid of images: pass --grid, or name a .png file")
        given = {"--label": self.label, "--attributes": self.attributes, "--attributes-file": self.attributes_file}
        if len(options := [option for option, value in given.items() if value]) > 1:
            raise ConfigError(f"pass either {options[0]} or {options[1]}, not both")

    def _label(self, snapshot: Snapshot) -> Label | None:
        """The class or the attributes of all images, or an array of attributes [N, K] of each image."""
        option = "--attributes-file" if self.attributes_file else "--attributes" if self.attributes else ""
        if option and not snapshot.spec.attributes:
            trained = f"with {snapshot.spec.classes} classes; use --label" if snapshot.conditional else "without labels"
            raise ConfigError(f"{option} has no effect: this generator was trained {trained}")
        if self.attributes_file is None:
            return list(self.attributes) or self.label
        rows = read_rows(self.attributes_file, snapshot.spec.attributes, what="attributes")
        return rows if len(rows) > 1 else rows[0].tolist()

    def _inputs(self, snapshot: Snapshot, *, rows: int | None) -> tuple[list[str], list[int] | np.ndarray]:
        """Names of the files of all images, and the seeds or latents; ``rows`` of attributes are for as many images."""
        if self.latents is None:
            count = self.count or rows or 16
            seeds = list(range(count)) if self.seeds is None else parse_seeds(self.seeds)
            return [f"seed{seed:06d}" for seed in seeds], seeds
        latents = read_rows(self.latents, snapshot.latent_size, what="latents")
        return [f"latent{i:06d}" for i in range(len(latents))], latents


def main(args: Sequence[str]) -> int:
    """Parse the arguments and run the command."""
    return tyro.cli(Generate, args=list(args), prog="progan generate").run()


def read_rows(path: Path, size: int, *, what: str) -> np.ndarray:
    """Read rows of numbers [N, size], or a single row [size], from a .npy file; nothing in the file is executed.

    Args:
        path: file to read.
        size: numbers in each row.
        what: what the rows are, for messages.

    Raises:
        DataError: if the file contains anything else.
    """
    try:
        with path.open("rb") as file:  # np.load would also read other formats, which may contain pickles
            rows = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, EOFError) as error:
        raise DataError(f"{path}: is not a whole .npy file of numbers ({error})") from error
    rows = rows[None] if rows.ndim == 1 else rows
    if rows.dtype.kind not in "fiu" or rows.ndim != 2 or rows.shape[1] != size or not len(rows):
        raise DataError(f"{path}: {what} must be real numbers [N, {size}], got {rows.dtype} {list(rows.shape)}")
    if not np.isfinite(rows).all():
        raise DataError(f"{path}: some {what} are not finite")
    return rows
