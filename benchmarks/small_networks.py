"""Speed of training small networks (MNIST-1K), and how much of it is spent outside of forward and backward passes.

python benchmarks/small_networks.py [--rows k2_wgan_gp ...] [--data STORE] [--repeats 5] [--iterations 4]

Counted in processor time of one thread, which other programs on the machine change least. "Passes" are the losses of
all phases and their backward passes on a batch held in memory; the rest of an iteration draws, gathers images, steps,
averages and adds up statistics. One JSON line for each row.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from machine import machine
from torch import Tensor

from progan.data.loader import Loader
from progan.data.store import Store
from progan.gans.base import Batch, ImageSpec
from progan.presets.mnist_1k import PRESETS
from progan.training.loop import Trainer

PREFIX = "mnist_1k_"


class Noise:
    """Stands in for a store: 4096 random images of 32x32."""

    def __init__(self) -> None:
        self.pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4096, 32, 32, 3), dtype=np.uint8))

    def images(self, position: int, count: int, resolution: int, *, offset: int = 0, stride: int = 1) -> Tensor:
        rows = torch.arange(position + offset, position + count, stride) * 997 % len(self.pixels)
        return self.pixels.index_select(0, rows).permute(0, 3, 1, 2)

    def labels(self, *_: int, **__: int) -> None:
        return None

    def __len__(self) -> int:
        return len(self.pixels)


def make_trainer(row: str, data: Path | None) -> Trainer:
    """A trainer of this row at its last stage's networks."""
    config = PRESETS[PREFIX + row]()
    source = Noise() if data is None else Loader(Store.open(data), seed=0, mirror=False)
    some = Trainer(config, ImageSpec(3, 32, 32), source, device=torch.device("cpu"))
    if config.schedule.start_resolution < config.schedule.resolution:
        some.images_seen = 14_000_000  # after all fades
    return some


def passes(some: Trainer) -> Callable[[], None]:
    """All losses of an iteration and their backward passes, on draws and images that are there already."""
    batch: Batch = some._batch("benchmark", some.stage, 0, some.stage.batch, 0, 1)
    kept: dict[tuple[str, int], Tensor] = {}

    def draw(stream: str, width: int) -> Tensor:
        if (stream, width) not in kept:
            kept[stream, width] = (batch.uniform if stream == "mix" else batch.normal)(stream, width)
        return kept[stream, width]

    images = batch.images
    held = replace(batch, load=lambda source: images, normal=draw, uniform=draw)

    def run() -> None:
        for phase in some.gan.phases(some.stage):
            some.gan.freeze_all_but(phase.trains)
            for _ in range(phase.repeats):
                torch.stack([term.mean() for term in phase.loss(held).values()]).sum().backward()
                for name in phase.trains:
                    some.gan.networks[name].zero_grad(set_to_none=True)

    return run


def seconds(run: Callable[[], object], iterations: int) -> float:
    """Processor time of one call."""
    start = time.process_time()
    for _ in range(iterations):
        run()
    return (time.process_time() - start) / iterations


def measure(row: str, data: Path | None, repeats: int, iterations: int) -> dict:
    """One row's rate, from repeats of whole iterations and of passes alone in turn."""
    some = make_trainer(row, data)
    alone, before = passes(some), some.images_seen
    some.iterate()  # warm up
    alone()
    images = some.images_seen - before
    times = [(seconds(some.iterate, iterations), seconds(alone, iterations)) for _ in range(repeats)]
    whole, best = statistics.median(t[0] for t in times), min(t[0] for t in times)
    return {
        "row": row,
        "images_per_s": images / whole,
        "best_images_per_s": images / best,
        "outside_passes": statistics.median(1 - t[1] / t[0] for t in times),
        "hours_of_10000_kimg": 1e7 / images * whole / 3600,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    rows = [name.removeprefix(PREFIX) for name in PRESETS]
    parser.add_argument("--rows", nargs="+", choices=rows, default=rows, metavar="ROW", help=", ".join(rows))
    parser.add_argument("--data", type=Path, help="a store of 32x32 RGB images (default: noise)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=4)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for row in args.rows:
        print(json.dumps(measure(row, args.data, args.repeats, args.iterations) | machine()), flush=True)


if __name__ == "__main__":
    main()
