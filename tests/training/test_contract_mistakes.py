"""What a new GAN gets wrong is said before its first step, and what it may do is left alone."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from progan.errors import ConfigError
from progan.gans.base import Batch, ImageSpec, Optimizer, Phase, Terms
from progan.schedule import ScheduleConfig, Stage
from progan.training.config import RunConfig, completed
from progan.training.distributed import Ranks
from progan.training.loop import Trainer
from progan.training.preflight import probe
from toys import Clipped, ClippedConfig, Pictures, Vectors, toy_trainer

SPEC = ImageSpec(1, 4, 4)


class Odd(Clipped):
    """A GAN with other phases, networks or a look of its own."""

    config: "OddConfig"

    def phases(self, stage: Stage) -> list[Phase]:
        return [replace(phase, **(self.config.change or {})) for phase in super().phases(stage)]

    def look(self, batches: Iterator[Batch]) -> None:
        for _ in range(self.config.batches):
            self.config.seen.append(len(next(batches).images))


@dataclass(frozen=True, kw_only=True)
class OddConfig(ClippedConfig):
    change: Any = None
    batches: int = 0
    seen: Any = None

    def make(self, spec: ImageSpec) -> Odd:
        return Odd(self, spec)


def trainer(gan: Any, **settings: Any) -> Trainer:
    schedule = ScheduleConfig(resolution=4, start_resolution=4, batch=8, total_kimg=0.1)
    config = RunConfig(gan=gan, schedule=schedule, **settings)
    return Trainer(config, SPEC, Pictures(SPEC, 0), device=torch.device("cpu"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shows_images": False}, "no phase shows images, so the run would never end"),
        ({"trains": ("critics",)}, r"phase 'critic' trains \['critics'\]; the networks are generator, critic"),
    ],
)
def test_phases_that_do_not_fit_are_named(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trainer(OddConfig(change=change))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"kind": "sgdd"}, "adam, rmsprop or sgd, not 'sgdd'"), ({"kind": "rmsprop", "beta1": 0.9}, "RMSprop has no mom")],
)
def test_optimizers_that_there_are_not_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Optimizer(**settings)


class Shared(Clipped):
    """Two critics with a trunk in common, one of which trains it, and a weight that stays as it is."""

    def __init__(self, config: ClippedConfig, spec: ImageSpec) -> None:
        super().__init__(config, spec)
        self.trunk = nn.Linear(16, 8)
        self.networks["critic"] = nn.Sequential(nn.Flatten(), self.trunk, nn.Linear(8, 1))
        self.networks["other"] = nn.Sequential(nn.Flatten(), self.trunk, nn.Linear(8, 1))
        self.networks["critic"][2].bias.requires_grad_(False)

    def phases(self, stage: Stage) -> list[Phase]:
        return [Phase("critic", ("critic",), self.loss), Phase("both", ("critic", "other"), self.loss)][: self.count]

    count = 1

    def loss(self, batch: Batch) -> Terms:
        return {"score": self.networks["critic"](batch.images)[:, 0]}


def test_shared_parameters_are_trained_and_frozen_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClippedConfig, "make", lambda self, spec: Shared(self, spec))
    one = trainer(ClippedConfig())
    before = [p.detach().clone() for p in (one.gan.trunk.weight, one.gan.networks["critic"][2].bias)]
    one.iterate()
    assert not torch.equal(one.gan.trunk.weight, before[0])
    assert torch.equal(one.gan.networks["critic"][2].bias, before[1])
    monkeypatch.setattr(Shared, "count", 2)
    with pytest.raises(ValueError, match="phase 'both' trains networks that share parameters"):
        trainer(ClippedConfig())


class Normed(Clipped):
    torchs = False

    def __init__(self, config: ClippedConfig, spec: ImageSpec) -> None:
        super().__init__(config, spec)
        own = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8))
        body = own if self.torchs else Vectors(16, 8, 8, norm=True)
        self.networks["critic"] = nn.Sequential(nn.Flatten(), body, nn.Linear(8, 1))


def test_batch_norm_of_whole_batches_must_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClippedConfig, "make", lambda self, spec: Normed(self, spec))
    with pytest.raises(ValueError, match=r"ClippedConfig\.whole_share must be True"):
        trainer(ClippedConfig())
    monkeypatch.setattr(Normed, "torchs", True)
    config = RunConfig(gan=ClippedConfig(), schedule=ScheduleConfig(resolution=4, start_resolution=4, batch=8))
    with pytest.raises(ValueError, match=r"torch's batch norm differs between ranks"):
        Trainer(config, SPEC, Pictures(SPEC, 0), device=torch.device("cpu"), ranks=Ranks(0, 2))


def test_the_probe_does_not_let_a_gan_look_at_noise() -> None:
    seen: list[int] = []
    config = trainer(OddConfig(batches=3, seen=seen)).config
    probe(config, SPEC, torch.device("cpu"), budget_s=0.1)
    assert seen == []
    some = trainer(OddConfig(batches=3, seen=seen))
    some.iterate()
    assert seen == [8, 8, 8]


def test_every_rank_takes_over_what_the_first_one_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    shared: list[Tensor] = []
    monkeypatch.setattr(Ranks, "share", lambda self, tensors: shared.extend(tensors))
    one = toy_trainer("aae")
    one._look(one.stage)
    assert {id(t) for t in shared} >= {id(p) for p in one.gan.networks.parameters()}


def test_a_load_size_does_not_grow() -> None:
    with pytest.raises(ConfigError, match="load_size is for runs that do not grow"):
        RunConfig(schedule=ScheduleConfig(resolution=16), load_size=32)


def test_settings_without_defaults_resume() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Needy(ClippedConfig):
        wanted: int

    config = RunConfig(gan=Needy(wanted=3))
    assert completed(config.to_dict(), config) == config.to_dict()
