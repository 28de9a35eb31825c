"""What two ranks do in training/test_distributed.py, and one process that they are compared with."""

import contextlib
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from progan.batchnorm import BatchNorm1d, batch_over_ranks
from progan.data.loader import Loader
from progan.data.store import Store
from progan.gans.base import ImageSpec
from progan.training.config import RunConfig
from progan.training.distributed import Ranks, process_group
from progan.training.loop import Trainer
from small import small_run
from toys import STEPS as TOY_STEPS
from toys import TOYS, run, tensors, toy_trainer

STEPS = 30
KINDS: dict[str, dict[str, Any]] = {"wgan": {}, "lsgan": {"loss": "least_squares", "adaptive_noise": True}}


def config(kind: str = "wgan") -> RunConfig:
    """Batch 8 in stddev groups of 4: two groups, one for each of two ranks; half of 30 steps at 4, half at 8 pixels."""
    run = small_run(hold_kimg=0.12, fade_kimg=0.12, total_kimg=1.0)
    return replace(run, precision="fp32", adam_eps=1e-4, gan=replace(run.gan, **KINDS[kind]))


def train(path: Path, ranks: Ranks, kind: str) -> Trainer:
    store = Store.open(path)
    spec = ImageSpec(store.channels, store.height, store.width, len(store.classes))
    loader = Loader(store, seed=0, mirror=True)
    trainer = Trainer(config(kind), spec, loader, device=torch.device("cpu"), ranks=ranks)
    if kind == "lsgan":
        trainer.gan.networks["discriminator"].noise.average.fill_(0.9)  # some noise from the first step on
    for _ in range(STEPS):
        trainer.iterate()
    return trainer


def penalty_slopes(x: torch.Tensor, ranks: Ranks) -> list[torch.Tensor]:
    """Derivatives of a gradient penalty through batch norm by the weights in front of it, averaged over the ranks."""
    torch.manual_seed(0)
    layer, norm = torch.nn.Linear(3, 5).double(), BatchNorm1d(5).double()
    with batch_over_ranks(ranks.total if ranks.world > 1 else None):
        x = x.requires_grad_(True)
        (slope,) = torch.autograd.grad(norm(layer(x)).pow(3).sum(), x, create_graph=True)
        slope.square().sum(1).mean().backward()
    slopes = [p.grad for p in (*layer.parameters(), *norm.parameters()) if p.grad is not None]
    ranks.average(slopes)
    return [*slopes, norm.running_mean, norm.running_var]


def two_ranks(store: Path, folder: Path) -> None:
    """Train every kind and every toy, and save what each rank got; compare a penalty with that of one process."""
    with process_group("cpu") as ranks:
        assert ranks == Ranks(ranks.rank, 2, ranks.rank)
        trainers = {kind: train(store, ranks, kind) for kind in KINDS}
        trainers |= {f"toy_{name}": run(toy_trainer(name, ranks), TOY_STEPS) for name in TOYS}
        for name, trainer in trainers.items():
            found = {"weights": tensors(trainer), "statistics": trainer.take_statistics()}
            torch.save(found, folder / f"{name}{ranks.rank}.pt")
        x = torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        both = penalty_slopes(x[ranks.rank :: 2], ranks), penalty_slopes(x, Ranks())
        torch.testing.assert_close(*both, rtol=1e-9, atol=1e-12)
        assert ranks.gather(x[ranks.rank :: 2]).equal(x.detach())
    assert_no_thread_is_left()


def assert_no_thread_is_left() -> None:
    """Of gloo; one that is when Python exits now and then aborts the process."""
    if sys.platform == "linux":
        time.sleep(0.1)  # a thread that is waited for may be listed a moment longer
        left = []
        for task in Path("/proc/self/task").glob("*/comm"):
            with contextlib.suppress(OSError):
                left.append(task.read_text().strip())
        assert not [name for name in left if "gloo" in name], left
