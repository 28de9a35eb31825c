"""The command 'progan reconstruct'."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from progan.cli import check_output, write_png
from progan.devices import pick_device
from progan.errors import ConfigError
from progan.evaluation.codes import open_to_encode
from progan.images import pairs_sheet, to_pil
from progan.metrics.psnr import psnr, summary
from progan.snapshot import Snapshot


@dataclass(frozen=True)
class Reconstruct:
    """Encode images, generate them again from their codes, and print how near they come to the originals.

    To measure many images, use 'progan metric SNAPSHOT IMAGES --inputs IMAGES --metrics psnr'.
    """

    snapshot: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SNAPSHOT")]
    """A .safetensors file, a shared folder, or a run directory (its latest snapshot)."""
    images: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="IMAGES")]
    """Images to reconstruct: a store, or anything that 'progan prepare' reads, which is scaled as for training."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """A .png file for a grid of the originals, each above its reconstruction, or a folder for the reconstructions."""
    count: int = 16
    """Number of images, drawn at random by the seed; all images if there are fewer."""
    seed: int = 0
    """Seed of the choice of the images."""
    batch: int = 32
    """Number of images encoded at once."""
    device: str = "auto"
    """Device: cuda, cuda:1, mps, cpu or auto."""

    def run(self) -> int:
        """Reconstruct, write and print."""
        for name in ("count", "batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.out.suffix.lower() in (".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"):
            raise ConfigError(f"{self.out}: images are written as PNG; name a .png file or a folder")
        check_output(self.out, folder=self.out.suffix.lower() != ".png")
        snapshot = Snapshot.load(self.snapshot, device=pick_device(self.device))
        images = open_to_encode(snapshot, self.images, order="seed", seed=self.seed)
        originals = images.read(0, min(self.count, images.count))
        rebuilt = snapshot.reconstruct(originals, batch=self.batch)
        if self.out.suffix.lower() == ".png":
            write_png(pairs_sheet(originals, rebuilt), self.out)
        else:
            index = range(len(rebuilt)) if images.rows is None else images.rows
            for i, image in zip(index, rebuilt, strict=False):
                write_png(to_pil(image.permute(1, 2, 0).numpy()), self.out / f"image{i:06d}.png", kept=True)
        print(f"{self.out}: {_said(summary(psnr(rebuilt, originals)), len(rebuilt))}")
        return 0


def _said(values: dict[str, float], count: int) -> str:
    """Mean and deviation in words."""
    equal = round(values["psnr_equal"] * count)
    text = f"PSNR {values['psnr']:.2f} dB, standard deviation {values['psnr_std']:.2f} dB, of {count - equal} images"
    if not equal:
        return text
    same = f"{equal} of {count} images equal their originals (infinite PSNR)"
    return same if equal == count else f"{text}; {same} and are not part of the mean"


def main(args: Sequence[str]) -> int:
    """Parse the arguments and run the command."""
    return tyro.cli(Reconstruct, args=list(args), prog="progan reconstruct").run()
