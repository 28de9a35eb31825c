"""The command 'progan metric', with 'metric compare' and 'metric digits'."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from progan.curation.digits import train_digit_classifier
from progan.devices import pick_device
from progan.evaluation.measure import Measurement, check_names
from progan.evaluation.report import comparison, table
from progan.evaluation.sets import open_pair
from progan.files import cache_path
from progan.metrics import METRICS


@dataclass(frozen=True)
class Measure:
    """Measure generated images, beside real ones where a metric compares.

    Every value is given with the number of images, the seed, the extractor's hash, and the same metric of real images
    in place of the fakes: the floor that no generator can be told apart from.

    Other commands: progan metric compare A.json B.json, progan metric digits MNIST.
    """

    fake: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FAKE")]
    """Generated images: a store, folder, zip or tar, a snapshot, or a run directory (its newest snapshot)."""
    real: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="REAL")] = None
    """Real images, of the same kinds. Left out, only metrics that compare nothing can be measured."""
    metrics: Annotated[tuple[str, ...], tyro.conf.arg(help=f"Which ones of {', '.join(METRICS)}.")] = ("swd", "ms_ssim")
    count: int | None = None
    """Images of each set. Default: the paper's number for each metric, or as many as there are."""
    seed: int = 0
    """Of the choice of images, the latents and all else that is drawn."""
    order: Literal["seed", "file"] = "seed"
    """Order of the images, which decides what MS-SSIM pairs and which images of a larger set are used: random, drawn by
    the seed, or that of the files."""
    resolution: str | None = None
    """Size like 64 or 64x128 to measure at; images of another size are scaled to it. Default: FAKE's own size."""
    mirror: bool = False
    """Mirror real images at random, as in training."""
    inputs: Path | None = None
    """Images that FAKE translates, if it is a network of images, or reconstructs, if it has an encoder."""
    direction: str | None = None
    """Which translation, if FAKE can do several."""
    floor: bool = True
    """Also measure real images in place of the fakes."""
    weights: Path | None = None
    """Weights of the extractor, if they are not in the cache."""
    device: str = "auto"
    """cuda, mps, cpu, or auto."""
    batch: int = 32
    """Images that a generator makes at once."""
    json: bool = False
    """Print one JSON object, which 'progan metric compare' reads, instead of a table."""

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
    """Tell whether two measurements can be compared, and if not, why."""

    a: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="A.json")]
    """Written by 'progan metric ... --json > A.json'."""
    b: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="B.json")]
    """Another one."""

    def run(self) -> int:
        """Compare and print; 1 if some metric cannot be compared."""
        text, comparable = comparison(self.a, self.b)
        print(text)
        return 0 if comparable else 1


@dataclass(frozen=True)
class Digits:
    """Train the digit classifier that the metric 'modes' reads generated digits with."""

    mnist: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MNIST")]
    """Folder with MNIST's four idx files."""
    out: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="OUT")] = None
    """File to write; where 'progan metric' looks for it when not given."""
    seed: int = 0
    """Of the weights and the order of the images."""

    def run(self) -> int:
        """Train, and say how well it reads."""
        out = self.out or cache_path("weights/digits.safetensors")
        error = train_digit_classifier(self.mnist, out, seed=self.seed)
        print(f"{out}: reads {error:.2%} of MNIST's test digits wrong")
        return 0


def main(args: Sequence[str]) -> int:
    """Parse and run."""
    other = {"compare": Compare, "digits": Digits}.get(args[0] if args else "")
    if other is not None:
        return tyro.cli(other, args=list(args[1:]), prog=f"progan metric {args[0]}").run()
    return tyro.cli(Measure, args=list(args), prog="progan metric").run()
