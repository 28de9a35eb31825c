"""Two gloo processes against one: the same batch dealt out in turn gives the same weights, through growths."""

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from progan.batchnorm import BatchNorm1d, batch_over_ranks
from progan.data.loader import Loader
from progan.data.store import Store
from progan.errors import ConfigError
from progan.gans.base import ImageSpec
from progan.training.config import RunConfig, split_batch
from progan.training.distributed import Ranks, process_group
from progan.training.log import read_stats
from progan.training.loop import Trainer
from small import small_run
from toys import STEPS as TOY_STEPS
from toys import TOYS, run, tensors, toy_trainer

TOLERANCE = 1e-5
"""Largest difference of a weight after 30 steps of lr 0.001 through a growth; only the order of sums differs.

Right after a reset Adam's step is lr times the sign of the gradient, if its epsilon is small, so that a gradient of the
size of rounding errors could turn into a whole step. So epsilon is far above those errors here.
"""
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


def torchrun(*args: str, cache: Path) -> subprocess.CompletedProcess[str]:
    places = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PROGAN_CACHE": str(cache), "PYTHONPATH": places}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run([*launcher, *args], env=env, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def two(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two ranks made of every kind and of every toy, from one launch."""
    folder = tmp_path_factory.mktemp("two")
    result = torchrun(__file__, str(store.path), str(folder), cache=folder)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_give_the_weights_of_one(kind: str, store: Store, two: Path) -> None:
    found = torch.load(two / f"{kind}0.pt", weights_only=True)
    trainer = train(store.path, Ranks(), kind)
    assert trainer.stage.resolution == 8
    one = tensors(trainer)
    assert one.keys() == found["weights"].keys()
    worst = max(float((one[k] - found["weights"][k]).abs().max()) for k in one)
    assert worst < TOLERANCE
    assert worst > 0  # the two really took different paths
    for name, value in trainer.take_statistics().items():
        assert found["statistics"][name] == pytest.approx(value, abs=1e-4), name


@pytest.mark.parametrize("name", TOYS)
def test_two_ranks_of_a_toy_give_the_weights_of_one(name: str, two: Path) -> None:
    one = tensors(run(toy_trainer(name), TOY_STEPS))
    ranks = [torch.load(two / f"toy_{name}{rank}.pt", weights_only=True)["weights"] for rank in range(2)]
    assert one.keys() == ranks[0].keys() == ranks[1].keys()
    worst = max(float((one[k].double() - ranks[0][k].double()).abs().max()) for k in one)
    assert worst < TOLERANCE
    assert all(torch.equal(ranks[0][k], ranks[1][k]) for k in one)  # pools and running statistics, too


def test_command_under_torchrun_writes_once_and_goes_on(images: Path, tmp_path: Path) -> None:
    def command(total: str) -> list[str]:
        small = ["--gan.fmap-base", "64", "--gan.fmap-max", "8", "--schedule.batch", "8", "--log-kimg", "0.05"]
        times = ["--schedule.hold-kimg", "0.05", "--schedule.fade-kimg", "0.05", "--schedule.total-kimg", total]
        return [
            "-m",
            "progan",
            "train",
            "demo",
            str(images),
            "--out",
            str(tmp_path),
            "--name",
            "run",
            "--device",
            "cpu",
            *small,
            *times,
        ]

    for total in ("0.2", "0.3"):
        result = torchrun(*command(total), cache=tmp_path)
        assert result.returncode == 0, result.stderr
    assert "going on at 0.2 kimg" in (tmp_path / "run/log.txt").read_text()
    kimg = [row["kimg"] for row in read_stats(tmp_path / "run")]
    assert kimg == sorted(set(kimg))
    assert kimg[-1] == pytest.approx(0.304)


@pytest.mark.parametrize(
    ("batch", "group", "micro", "world", "parts"),
    [
        (16, 4, None, 1, 1),
        (16, 4, None, 2, 1),
        (16, 4, 4, 2, 2),
        (16, 4, 4, 1, 4),
        (14, 16, None, 1, 1),
        (3, 16, 3, 1, 1),
    ],
)
def test_batch_is_split_into_as_few_parts_as_the_limit_allows(
    batch: int, group: int, micro: int | None, world: int, parts: int
) -> None:
    run = RunConfig(micro_batch=micro)
    assert split_batch(replace(run, gan=replace(run.gan, stddev_group=group)), batch, world) == parts


@pytest.mark.parametrize(
    ("batch", "group", "micro", "world", "words"),
    [
        (6, 4, None, 1, "schedule.batch 6 is not a multiple of gan.stddev_group 4"),
        (
            16,
            16,
            None,
            2,
            "16 on each of 2 processes; try --schedule.batch 32 or --gan.stddev-group 8$",
        ),
        (32, 4, None, 3, "try --schedule.batch 24$"),
        (16, 8, 4, 1, "micro_batch 4 is smaller than gan.stddev_group 8; try --micro-batch 8$"),
    ],
)
def test_batch_that_would_tear_a_stddev_group_is_refused(
    batch: int, group: int, micro: int | None, world: int, words: str
) -> None:
    run = RunConfig(micro_batch=micro)
    with pytest.raises(ConfigError, match=words):
        split_batch(replace(run, gan=replace(run.gan, stddev_group=group)), batch, world)


def test_micro_batches_give_the_weights_of_whole_batches(store: Store) -> None:
    spec = ImageSpec(store.channels, store.height, store.width, len(store.classes))
    weights = []
    for micro in (None, 4):
        loader = Loader(store, seed=0, mirror=True)
        trainer = Trainer(replace(config(), micro_batch=micro), spec, loader, device=torch.device("cpu"))
        for _ in range(STEPS):
            trainer.iterate()
        weights.append(trainer.gan.networks.state_dict())
    assert max(float((weights[0][k] - weights[1][k]).abs().max()) for k in weights[0]) < TOLERANCE


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


if __name__ == "__main__":
    with process_group("cpu") as ranks:
        assert ranks == Ranks(ranks.rank, 2, ranks.rank)
        trainers = {kind: train(Path(sys.argv[1]), ranks, kind) for kind in KINDS}
        trainers |= {f"toy_{name}": run(toy_trainer(name, ranks), TOY_STEPS) for name in TOYS}
        for name, trainer in trainers.items():
            found = {"weights": tensors(trainer), "statistics": trainer.take_statistics()}
            torch.save(found, Path(sys.argv[2]) / f"{name}{ranks.rank}.pt")
        x = torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        both = penalty_slopes(x[ranks.rank :: 2], ranks), penalty_slopes(x, Ranks())
        torch.testing.assert_close(*both, rtol=1e-9, atol=1e-12)
        assert ranks.gather(x[ranks.rank :: 2]).equal(x.detach())
    if sys.platform == "linux":
        time.sleep(0.1)  # a thread that is waited for may be listed a moment longer
        left = []
        for task in Path("/proc/self/task").glob("*/comm"):
            with contextlib.suppress(OSError):
                left.append(task.read_text().strip())
        assert not [name for name in left if "gloo" in name], left
