"""What the metrics say of sets of images whose faults are known: one table, for CIFAR-10 or any other data.

    python examples/metrics.py CIFAR10 --out docs/metrics_cifar10.md

The data are cut into halves. One is the real set; the fakes are the other half, as it is, blurred, shifted in color,
and with only 100 distinct images.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from PIL import Image, ImageFilter

import progan
from progan.data.options import PrepareOptions
from progan.data.preparing import cached
from progan.draws import permutation
from progan.evaluation.measure import Measurement, Result
from progan.evaluation.report import number
from progan.evaluation.sets import of_array


def blurred(images: np.ndarray) -> np.ndarray:
    """Each image under a Gaussian of 1 pixel."""
    return np.stack([np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(1))) for image in images])


def shifted(images: np.ndarray) -> np.ndarray:
    """Red 16 grey levels up, blue 16 down."""
    return np.clip(images + np.array([16, 0, -16]), 0, 255).astype(np.uint8)


def repeated(images: np.ndarray) -> np.ndarray:
    """Only the first 100 images, again and again."""
    return images[np.arange(len(images)) % 100]


FAKES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "other half": lambda images: images,
    "blurred": blurred,
    "color shifted": shifted,
    "100 images repeated": repeated,
}


@dataclass(frozen=True)
class Table:
    """Measure known faults."""

    data: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DATA")]
    """A store, or anything 'progan prepare' reads, in color."""
    metrics: tuple[str, ...] = ("swd", "ms_ssim", "fd_lite0", "kd_lite0", "pr_lite0")
    """Which metrics."""
    count: int | None = None
    """Images of each set; when not given, the paper's number for each metric, as far as there are enough."""
    seed: int = 0
    """Seed of the halves and of the metrics."""
    device: str = "cpu"
    """Where to calculate."""
    out: Path | None = None
    """File for the table."""


def main(options: Table) -> None:
    """Measure every fake set and print a Markdown table."""
    store = cached(options.data, PrepareOptions())
    images = store.level(min(store.height, store.width))[permutation(options.seed, "halves", 0, store.count)]
    reals, others = np.array_split(images, 2)
    measurement = Measurement(
        of_array(reals, name="half", seed=options.seed),
        options.metrics,
        count=options.count,
        seed=options.seed,
        device=options.device,
        progress=True,
    )
    reports = [measurement(of_array(make(others), name=name, seed=options.seed)) for name, make in FAKES.items()]
    first = {key: result for result in reports[0].results for key in result.values}
    lines = [
        f"| value | {' | '.join(FAKES)} | real in place of fakes | fakes / reals | paper's N |",
        "|---|" + "---|" * (len(FAKES) + 3),
    ]
    for key, result in first.items():
        values = [number(next(r.values[key] for r in report.results if key in r.values)) for report in reports]
        lines.append(f"| {key} | {' | '.join(values)} | {_rest(result, key)} |")
    used = sorted({f"{r.extractor} {r.extractor_hash}" for r in reports[0].results if r.extractor})
    about = (
        f"{store.manifest['source']}, {store.height}x{store.width}, seed {options.seed}, progan {progan.__version__}"
    )
    lines += ["", f"{about}{'; ' if used else ''}{', '.join(used)}."]
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out is not None:
        options.out.write_text(text)


def _rest(result: Result, key: str) -> str:
    """The columns that are the same for all fakes."""
    floor = f"{number(result.real_values[key])} ({result.floor_count})" if key in result.real_values else "-"
    return f"{floor} | {result.count} / {result.real_count or '-'} | {result.paper_count}"


if __name__ == "__main__":
    main(tyro.cli(Table))
