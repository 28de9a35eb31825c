"""The command 'progan encode'."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from progan.analysis.latent_plot import latent_plot, manifold
from progan.cli import check_output, optional, write_png
from progan.devices import pick_device
from progan.errors import ConfigError
from progan.evaluation.codes import Codes, encode_images, open_to_encode
from progan.evaluation.sets import ImageSet
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
    """Write the output of the encoder's last hidden layer, from which it computes the codes, instead of the codes."""
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
        file = find(self.snapshot)  # a run that is still being trained may write another one meanwhile
        snapshot = Snapshot.load(file, device=pick_device(self.device))
        order = "file" if self.count is None else "seed"
        images = open_to_encode(snapshot, self.images, order=order, seed=self.seed)
        if self.plot is not None and not self.features and snapshot.latent_size < 2:
            raise ConfigError(
                f"a plot requires codes of at least 2 components, got {snapshot.latent_size}; omit --plot"
            )
        hash = hashlib.sha256(file.read_bytes()).hexdigest()
        more = {"hash": hash, "count": self.count, "features": self.features, "batch": self.batch, "progress": True}
        grid = None if self.manifold is None else manifold(snapshot)
        codes = encode_images(snapshot, images, **more)
        codes.save(self.out)
        known = f" of {len(codes.classes)} classes" if codes.labels is not None else ""
        n = len(codes.index)
        print(f"{self.out}: {codes.kind} of {codes.sizes} of {n} image{'s' * (n > 1)}{known}")
        if self.plot is not None:
            print(f"{self.plot}: {self._draw(codes, images, self.plot)}")
        if grid is not None and self.manifold is not None:
            write_png(grid, self.manifold)
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
        write_png(picture, path)
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
        if self.plot is not None and self.plot == self.manifold:
            raise ConfigError(f"{self.plot}: is both --plot and --manifold; name two files")
        for path in filter(None, (self.out, self.plot, self.manifold)):
            check_output(path)


def main(args: Sequence[str]) -> int:
    """Parse the arguments and run the command."""
    return tyro.cli(Encode, args=list(args), prog="progan encode").run()
