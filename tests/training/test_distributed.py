"""Two gloo processes against one: the same batch dealt out in turn gives the same weights, through growths."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import children
from progan.data.loader import Loader
from progan.data.store import Store
from progan.errors import ConfigError
from progan.gans.base import ImageSpec
from progan.training.config import RunConfig, split_batch
from progan.training.distributed import Ranks
from progan.training.log import read_stats
from progan.training.loop import Trainer
from toys import STEPS as TOY_STEPS
from toys import TOYS, run, tensors, toy_trainer
from two_ranks import KINDS, STEPS, config, train, two_ranks

TOLERANCE = 1e-5
"""Largest difference of a weight after 30 steps of lr 0.001 through a growth; only the order of sums differs.

Right after a reset Adam's step is lr times the sign of the gradient, if its epsilon is small, so that a gradient of the
size of rounding errors could turn into a whole step. So epsilon is far above those errors here.
"""


@pytest.fixture(scope="module")
def two(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two ranks made of every kind and of every toy, in one go."""
    folder = tmp_path_factory.mktemp("two")
    children.run_ranks(2, two_ranks, store.path, folder, folder=folder)
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


def test_command_on_two_ranks_writes_once_and_resumes(store: Store, tmp_path: Path) -> None:
    small = ["--gan.fmap-base", "64", "--gan.fmap-max", "8", "--schedule.batch", "8", "--log-kimg", "0.016"]
    times = ["--schedule.hold-kimg", "0.016", "--schedule.fade-kimg", "0.016", "--schedule.total-kimg"]
    run = ["train", "demo", str(store.path), "--out", str(tmp_path), "--name", "run", "--device", "cpu", *small, *times]
    for total in ("0.04", "0.08"):
        children.run_ranks(2, children.command, *run, total, folder=tmp_path, PROGAN_CACHE=str(tmp_path))
        assert read_stats(tmp_path / "run")[-1]["kimg"] == pytest.approx(float(total))
    assert (tmp_path / "run/log.txt").read_text().count("resuming at 0.0 kimg") == 1
    kimg = [row["kimg"] for row in read_stats(tmp_path / "run")]
    assert kimg == sorted(set(kimg))


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
