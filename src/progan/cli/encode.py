"""The command 'progan encode'."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from PIL import Image

from progan.analysis.latent_plot import latent_plot, manifold
from progan.cli import optional
from progan.devices import pick_device
from progan.errors import ConfigError, DataError
from progan.evaluation.codes import Codes, encode_images
from progan.evaluation.sets import ImageSet, open_images
from progan.images import save_png
from progan.sizes import size_text
from progan.snapshot import Snapshot, find


@dataclass(frozen=True)
class Encode:
    """Encode images with a trained encoder, and show where in the space of codes they are.

    The .npz file contains codes [N, F], index [N] (the position of each image in IMAGES), names, a header, and, if they
    are known, labels, classes, predictions, probabilities and categories. It is read by 'progan metric codes' and by
    numpy.load.
    """

    snapshot: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SNAPSHOT")]
    """A .safetensors file, a shared folder, or a run directory (its latest snapshot)."""
    images: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="IMAGES")]
    """Images to encode: a store, or anything that 'progan prepare' reads, which is scaled as for training."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT.npz")]
    """File for the codes."""
    features: bool = False
    """Write the features from which the encoder computes the codes, instead of the codes."""
    count: Annotated[int | None, optional("INT", "all images, in their order")] = None
    """Number of images, drawn at random by the seed."""
    seed: int = 0
    """Seed of the choice of --count images, and of the images that a plot shows."""
    plot: Annotated[Path | None, optional("FILE.png", "none")] = None
    """Picture of the codes in the plane, with images in place of dots; of more than 2 components, their first two
    principal components."""
    manifold: Annotated[Path | None, optional("FILE.png", "none")] = None
    """Grid of images generated from all over the plane of codes, if codes have 2 components."""
    batch: int = 32
    """Number of images encoded at once."""
    device: str = "auto"
    """Device: cuda, cuda:1, mps, cpu or auto."""

    def run(self) -> int:
        """Encode, write and print."""
        self._check()
        snapshot = Snapshot.load(self.snapshot, device=pick_device(self.device))
        order = "file" if self.count is None else "seed"
        images = open_for(snapshot, self.images, order=order, seed=self.seed)
        hash = hashlib.sha256(find(self.snapshot).read_bytes()).hexdigest()
        more = {"hash": hash, "count": self.count, "features": self.features, "batch": self.batch, "progress": True}
        grid = None if self.manifold is None else manifold(snapshot)
        codes = encode_images(snapshot, images, **more)
        codes.save(self.out)
        known = f" of {len(codes.classes)} classes" if codes.labels is not None else ""
        print(f"{self.out}: {codes.values.shape[1]} {codes.kind} of each of {len(codes.index)} images{known}")
        if self.plot is not None:
            print(f"{self.plot}: {self._draw(codes, images, self.plot)}")
        if grid is not None and self.manifold is not None:
            write(grid, self.manifold)
            print(self.manifold)
        return 0

    def _draw(self, codes: Codes, images: ImageSet, path: Path) -> str:
        """Write the plot and return its title."""
        picture, title = latent_plot(
            codes.values,
            lambda i: images.read(i, 1)[0],
            labels=codes.labels,
            classes=codes.classes,
            what=codes.kind,
            seed=self.seed,
        )
        write(picture, path)
        return title

    def _check(self) -> None:
        """Check the options before anything is read."""
        if self.batch < 1:
            raise ConfigError(f"batch must be at least 1, got {self.batch}")
        if self.out.suffix.lower() != ".npz":
            raise ConfigError(f"{self.out}: codes are written as .npz; name a file such as codes.npz")
        for name in ("plot", "manifold"):
            if (path := getattr(self, name)) is not None and path.suffix.lower() != ".png":
                raise ConfigError(f"{path}: the picture is written as PNG; name a .png file")


def open_for(snapshot: Snapshot, path: Path, *, order: str, seed: int) -> ImageSet:
    """Open images at the size of a network that encodes them.

    Raises:
        ConfigError: if the network has no encoder, or its images have another number of channels.
    """
    snapshot.encoder  # noqa: B018  # raises the error of a network without one
    height, width = snapshot.spec.size(snapshot.level)
    alpha = snapshot.spec.channels == 4
    images = open_images(path, resolution=f"{height}x{width}", order=order, seed=seed, alpha=alpha)  # type: ignore[arg-type]
    if images.channels != snapshot.spec.channels:
        side = size_text(height, width)
        raise ConfigError(
            f"{path}: has images of {images.channels} channel{'s' * (images.channels > 1)}, but the network encodes "
            f"images of {snapshot.spec.channels}; use 'progan prepare SOURCE STORE --resolution {side} "
            f"--channels {snapshot.spec.channels}' and pass STORE"
        )
    return images


def write(picture: Image.Image, path: Path) -> None:
    """Write a PNG file.

    Raises:
        DataError: if it cannot be written.
    """
    try:
        save_png(picture, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error


def main(args: Sequence[str]) -> int:
    """Parse the arguments and run the command."""
    return tyro.cli(Encode, args=list(args), prog="progan encode").run()
