"""The command 'progan metric', with 'metric compare', 'metric digits' and 'metric codes'."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from progan.cli import optional
from progan.cli.metric_codes import MetricCodes
from progan.curation.digits import train_digit_classifier
from progan.devices import pick_device
from progan.evaluation.measure import Measurement, check_names
from progan.evaluation.report import comparison, table
from progan.evaluation.sets import open_pair
from progan.files import cache_path
from progan.metrics import METRICS


@dataclass(frozen=True)
class Measure:
    """Measure generated images; some metrics compare them with real ones.

    Every value is printed with the number of images, the seed, the extractor's hash, and the same metric of real images
    instead of generated ones: the floor, which no generator can be expected to beat.

    Other commands: progan metric compare A.json B.json, progan metric digits MNIST, progan metric codes TEST.npz.
    """

    fake: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FAKE")]
    """Generated images: a store, folder, zip or tar file, a snapshot, or a run directory (its latest snapshot)."""
    real: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="REAL")] = None
    """Real images, in any of the same forms. Without them, only metrics that compare nothing can be measured."""
    metrics: Annotated[tuple[str, ...], tyro.conf.arg(help=f"Metrics to measure: any of {', '.join(METRICS)}.")] = (
        "swd",
        "ms_ssim",
    )
    count: Annotated[int | None, optional("INT", "the paper's number, or all images")] = None
    """Number of images of each set; the paper's number differs from metric to metric."""
    seed: int = 0
    """Seed of the order of the images, of the latents and classes, and of every other random choice."""
    order: Literal["seed", "file"] = "seed"
    """Order of the images: random, drawn by the seed, or that of the files. It decides which images MS-SSIM pairs, and
    which images of a larger set are used."""
    resolution: Annotated[str | None, optional("SIZE", "FAKE's size")] = None
    """Size at which to measure, such as 64 or 64x128; images of other sizes are scaled to it."""
    mirror: bool = False
    """Mirror real images horizontally at random, as in training."""
    inputs: Annotated[Path | None, optional("DATA", "none")] = None
    """Images for FAKE to translate, if it is a network of images, or to reconstruct, if it has an encoder."""
    direction: Annotated[str | None, optional("NAME", "the first")] = None
    """Direction of the translation, if FAKE supports several."""
    floor: bool = True
    """Also measure real images in place of generated ones, as a reference."""
    weights: Annotated[Path | None, optional("FILE", "the cache, or a download")] = None
    """File with the weights of the extractor."""
    device: str = "auto"
    """Device: cuda, cuda:1, mps, cpu or auto."""
    batch: int = 32
    """Number of images generated at once."""
    json: bool = False
    """Print a JSON object, which 'progan metric compare' reads, instead of a table."""

    def run(self) -> int:
        """Measure and print."""
        check_names(self.metrics, real=self.real is not None)
        device = pick_device(self.device)
        fake, real = open_pair(
            self.fake,
            self.real,
            resolution=self.resolution,
            seed=self.seed,
            order=self.order,
            device=device,
            batch=self.batch,
            inputs=self.inputs,
            direction=self.direction,
        )
        measurement = Measurement(
            real,
            self.metrics,
            count=self.count,
            seed=self.seed,
            mirror=self.mirror,
            floor=self.floor,
            weights=self.weights,
            device=device,
            progress=True,
        )
        report = measurement(fake)
        print(json.dumps(report.to_dict(), indent=1) if self.json else table(report))
        return 0


@dataclass(frozen=True)
class Compare:
    """Report whether two measurements can be compared, and if not, why."""

    a: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="A.json")]
    """Output of 'progan metric ... --json > A.json'."""
    b: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="B.json")]
    """Output of another measurement."""

    def run(self) -> int:
        """Compare and print; return 1 if some metric cannot be compared."""
        text, comparable = comparison(self.a, self.b)
        print(text)
        return 0 if comparable else 1


@dataclass(frozen=True)
class Digits:
    """Train the digit classifier that the metrics modes, digit_histogram and digit_accuracy require."""

    mnist: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MNIST")]
    """Folder with the four IDX files of MNIST."""
    out: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="OUT")] = None
    """File to write. Default: the file in the cache that 'progan metric' reads."""
    seed: int = 0
    """Seed of the weights and of the order of the images."""

    def run(self) -> int:
        """Train, and print the error on the test digits."""
        out = self.out or cache_path("weights/digits.safetensors")
        error = train_digit_classifier(self.mnist, out, seed=self.seed)
        print(f"{out}: misreads {error:.2%} of MNIST's test digits")
        return 0


def main(args: Sequence[str]) -> int:
    """Parse the arguments and run the command."""
    other = {"compare": Compare, "digits": Digits, "codes": MetricCodes}.get(args[0] if args else "")
    if other is not None:
        return tyro.cli(other, args=list(args[1:]), prog=f"progan metric {args[0]}").run()
    return tyro.cli(Measure, args=list(args), prog="progan metric").run()
