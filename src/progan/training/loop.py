"""One training iteration of any GAN: the file to read first."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from progan import draws
from progan.batchnorm import batch_over_ranks
from progan.gans.base import GAN, Batch, ImageSpec, Optimizer, Phase
from progan.images import to_float
from progan.schedule import Stage, stage_at
from progan.snapshot import MOST_PIXELS
from progan.training.config import RunConfig, check, check_phases, split_batch
from progan.training.distributed import Ranks
from progan.training.ema import WeightAverage
from progan.training.optimizers import Stepper
from progan.training.precision import Precision, gradients_of
from progan.training.statistics import Statistics, all_finite

SINGLE = Ranks()


class Data(Protocol):
    """Images of one source by their position in training; see data/loader.py.

    Positions are ``position + offset``, + stride, ... < ``position + count``.
    """

    def images(self, position: int, count: int, resolution: int, *, offset: int = 0, stride: int = 1) -> Tensor:
        """Return images, uint8 [n, C, H, W], or float32 in [-1, 1]."""
        ...

    def labels(self, position: int, count: int, *, offset: int = 0, stride: int = 1) -> Tensor | None:
        """Return their labels, int64 [n] or float32 [n, K], or None."""
        ...

    def __len__(self) -> int:
        """Number of images; each is shown once in as many positions."""
        ...


class Trainer:
    """Networks, optimizers and the number of real images seen; ``iterate`` advances all of them by one iteration.

    An iteration is a function of this state, the configuration and the data alone: every random draw is addressed by
    (seed, position), so that a trainer that loads the state of another continues exactly as that one would.
    """

    def __init__(
        self,
        config: RunConfig,
        spec: ImageSpec,
        *data: Data,
        held_out: Data | None = None,
        device: torch.device,
        ranks: Ranks = SINGLE,
    ) -> None:
        check(config, spec, ranks.world)
        self.config, self.spec, self.data, self.device, self.ranks = config, spec, data, device, ranks
        self.held_out = held_out  # images of the first source that are never shown in training
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.gan = config.gan.make(spec)
        check_phases(config, self.gan, self.gan.phases(stage_at(config.schedule, 0)), ranks.world)
        self.gan.networks.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.gan.memory.to(device)
        self.steppers = {key: self._stepper(key) for key in (*self.gan.networks, *self.gan.optimizers)}
        self.precision = Precision(config.precision, device)
        self.ema = WeightAverage(self.gan.sampler, decay=config.ema_decay, half_life_kimg=config.ema_kimg)
        self.images_seen = 0
        self.optimizers_of: tuple[int, bool] | None = None
        self.statistics = Statistics(device, ranks)
        self._loading_s = 0.0
        self.halvings: tuple[int, ...] = ()
        """Numbers of real images from each of which on the learning rate is halved once more."""
        self.consistent = True
        """Whether the state is that between two iterations, so that it may be saved."""

    def _stepper(self, key: str) -> Stepper:
        """The optimizer of a network, or of a network in one phase: "phase/network"."""
        how = self.gan.optimizers.get(key, Optimizer())
        return Stepper(self.gan.networks[key.rpartition("/")[2]], how, self.config)

    @property
    def stage(self) -> Stage:
        """The stage of the next iteration."""
        stage = stage_at(self.config.schedule, self.images_seen)
        halved = sum(images <= self.images_seen for images in self.halvings)
        return replace(stage, lr=stage.lr * 0.5**halved) if halved else stage

    @cached_property
    def sampled(self) -> tuple[str, ...]:
        """Names of the networks that the sampler is made of."""
        shown = {id(p) for p in self.gan.sampler.parameters()}
        return tuple(n for n, network in self.gan.networks.items() if any(id(p) in shown for p in network.parameters()))

    @cached_property
    def _kept(self) -> list[Tensor]:
        """What networks keep of their inputs, as batch norm does; a skipped step must not change it either."""
        return [buffer for buffer in self.gan.networks.buffers() if buffer.is_floating_point()]

    @cached_property
    def _buffered(self) -> bool:
        """Whether there are buffers, which forward passes may change."""
        return any(True for module in (self.gan.networks, self.gan.memory) for _ in module.buffers())

    def iterate(self) -> Stage:
        """Run one step of every phase; return the stage to which it belonged."""
        stage = self.stage
        if self.optimizers_of is None:
            self._look(stage)
        if stage.key != self.optimizers_of:  # when a fade begins and when it ends (ProGAN appendix A.1)
            for stepper in self.steppers.values():
                stepper.torch.state.clear()
            self.optimizers_of = stage.key
        phases, shown = self.gan.phases(stage), 0
        images = sum(phase.repeats * phase.batch * stage.batch * phase.shows_images for phase in phases)
        for phase in phases:
            count = phase.batch * stage.batch
            for repeat in range(phase.repeats):
                if phase.shows_images:
                    self._run(phase, stage, phase.name, self.images_seen + shown, count)
                    shown += count
                else:  # a larger batch takes as many numbers more of its streams as it has samples more
                    name = f"{phase.name}#{repeat}" if repeat else phase.name
                    self._run(phase, stage, name, self.images_seen * phase.batch, count)
            if phase.moves_average:
                self.ema.update(images)
        if not any(phase.moves_average for phase in phases):
            self.ema.update(images)
        self.images_seen += images
        self.consistent = True
        return stage

    def _run(self, phase: Phase, stage: Stage, name: str, first: int, count: int) -> None:
        """One step of the networks that ``phase`` trains, on ``count`` samples of all ranks from ``first`` on."""
        self.gan.freeze_all_but(phase.trains)
        self.consistent &= not (phase.before_step or self._buffered)
        if phase.before_step:
            phase.before_step()
        ranks, parts = self.ranks, split_batch(self.config, count, self.ranks.world)
        before, found = [buffer.clone() for buffer in self._kept], []
        for part in range(parts):  # samples are dealt out in turn, so that groups stay whole
            batch = self._batch(name, stage, first, count, ranks.rank + ranks.world * part, ranks.world * parts)
            with self.precision.autocast(), batch_over_ranks(ranks.total if ranks.world > 1 else None):
                terms = phase.loss(batch)
            means = {term: value.mean() / parts for term, value in terms.items()}
            self.precision.scaled(torch.stack(list(means.values())).sum()).backward()
            found.append({f"{phase.name}/{term}": mean.detach() for term, mean in means.items()})
        self.consistent = False
        norms, skipped = self._step(phase, stage)
        for buffer, old in zip(self._kept, before, strict=True):
            buffer.data.copy_(torch.where(skipped > 0, old, buffer))  # data: no graph kept for a later phase uses them
        if parts == 1:
            self.statistics.add(found[0] | norms)
        else:
            for means in found:
                self.statistics.add(means, parts=parts)
            self.statistics.add(norms)
        if phase.after_step:
            trained = (self.gan.networks[name] for name in phase.trains)
            ranks.average([b for network in trained for b in network.buffers() if b.is_floating_point()])
            phase.after_step()

    def _step(self, phase: Phase, stage: Stage) -> tuple[dict[str, Tensor], Tensor]:
        """Step with the accumulated gradients, averaged over all ranks.

        Returns:
            The norm of each network's gradients by its name in the statistics, and 1 if the step was skipped, else 0.
        """
        own = (f"{phase.name}/{name}" for name in phase.trains)
        keys = [key if key in self.steppers else name for key, name in zip(own, phase.trains, strict=True)]
        steppers = [self.steppers[key] for key in keys]
        for stepper in steppers:
            stepper.set(stage.lr * phase.lr, self.images_seen)
            self.ranks.average(gradients_of(stepper.torch))
        norms, skipped = self.precision.step(*(stepper.torch for stepper in steppers))
        self.statistics.stepped(phase.name, skipped)
        for stepper in steppers:
            stepper.torch.zero_grad(set_to_none=True)
        named = {f"{name}/gradient_norm": norm for name, norm in zip(phase.trains, norms, strict=True)}
        return named, skipped

    @torch.no_grad()
    def _look(self, stage: Stage) -> None:
        """Let the GAN look at real images before its first step."""
        if type(self.gan).look is GAN.look:
            return
        total = len(self.data[0])

        def batches() -> Iterator[Batch]:
            for first in range(0, total, stage.batch):
                yield self._batch("look", stage, first, min(stage.batch, total - first), 0, 1)

        self.gan.look(batches())
        modules: tuple[nn.Module, ...] = (self.gan.networks, self.gan.memory)
        self.ranks.share([t for module in modules for t in (*module.parameters(), *module.buffers())])
        self.ema.reset()

    def latents(self, count: int) -> Tensor:
        """Latents of the first samples, for a sampler of latents."""
        batch = self._batch("samples", self.stage, 0, count, 0, 1)
        return self.gan.sampler.latent.draw(batch.normal, batch.uniform)  # type: ignore[union-attr, operator]

    @torch.no_grad()
    def samples(self, stage: Stage, count: int) -> Tensor:
        """Samples of the averaged sampler at a stage, [count, C, H, W] in about [-1, 1]; always of the same draws."""
        some = max(1, MOST_PIXELS // math.prod(self.spec.size(stage.level)))  # all at once would take gigabytes
        batches = [self._batch("samples", stage, i, min(some, count - i), 0, 1) for i in range(0, count, some)]
        return torch.cat([self.gan.samples(self.ema.network, batch) for batch in batches])

    @torch.no_grad()
    def codes(self, stage: Stage, count: int) -> Tensor:
        """Codes of the first real images, by the averaged encoder of a sampler that has one."""
        images = self._batch("samples", stage, 0, count, 0, 1).images
        return self.ema.network.encode(images, stage.level)  # type: ignore[operator]

    def _batch(
        self,
        name: str,
        stage: Stage,
        first: int,
        count: int,
        offset: int,
        stride: int,
        data: Sequence[Data] | None = None,
    ) -> Batch:
        """Every ``stride``-th of ``count`` samples from ``first`` on; ``name`` keeps its random draws apart."""
        held_out = self.held_out if data is None else None
        data = self.data if data is None else data
        seed, where = self.config.seed, {"offset": offset, "stride": stride}

        def put(rows: np.ndarray, *shape: int) -> Tensor:
            numbers = torch.from_numpy(rows.astype(np.float32)).reshape(shape)
            return numbers.to(self.device, non_blocking=self.device.type == "cuda")  # elsewhere that corrupts numbers

        def drawn(make: Callable[..., np.ndarray]) -> Callable[..., Tensor]:
            def draw(stream: str, *shape: int) -> Tensor:
                rows = make(seed, f"{name}/{stream}", first, count, math.prod(shape))[offset::stride]
                return put(rows, len(rows), *shape)

            return draw

        def once(stream: str, *shape: int) -> Tensor:
            return put(draws.uniform(seed, f"{name}/{stream}", first, 1, math.prod(shape)), *shape)

        def load(source: int) -> Tensor:
            start = time.perf_counter()
            real = data[source].images(first, count, stage.resolution, **where)
            self._loading_s += time.perf_counter() - start
            return real if real.is_floating_point() else to_float(real)

        return Batch(
            level=stage.level,
            alpha=torch.full((), stage.alpha, device=self.device) if stage.fading else None,
            positions=torch.arange(first + offset, first + count, stride),
            load=load,
            load_labels=lambda source: data[source].labels(first, count, **where),
            images_seen=stage.images_seen,
            held_out=None
            if held_out is None
            else lambda: self._batch(f"{name}/held_out", stage, first, count, offset, stride, [held_out]),
            normal=drawn(draws.normal),
            uniform=drawn(draws.uniform),
            step_uniform=once,
            gather=(self.ranks if stride > 1 else SINGLE).gather,  # what one rank sees alone has all samples
        )

    def take_statistics(self) -> dict[str, float | None]:
        """Means since the last call over all ranks (see ``Statistics.take``), and the number of all skipped steps."""
        return self.statistics.take() | {"skipped_steps": self.precision.skipped.item()}

    def take_loading_s(self) -> float:
        """Seconds that this process has waited for images since the last call."""
        seconds, self._loading_s = self._loading_s, 0.0
        return seconds

    def all_finite(self) -> bool:
        """Whether every number of the state is finite: weights, averages and what the optimizers keep."""
        modules: tuple[nn.Module, ...] = (self.gan.networks, self.gan.memory, self.ema.network)
        kept = (value for stepper in self.steppers.values() for value in stepper.torch.state.values())
        return all_finite(
            [
                *(t for module in modules for t in (*module.parameters(), *module.buffers())),
                *(t for values in kept for t in values.values() if isinstance(t, Tensor)),
            ]
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that ``load_state_dict`` needs, as tensors and plain values."""
        return {
            "images_seen": self.images_seen,
            "optimizers_of": self.optimizers_of,
            "networks": self.gan.networks.state_dict(),
            "memory": self.gan.memory.state_dict(),
            "ema": self.ema.network.state_dict(),
            "optimizers": {key: stepper.torch.state_dict()["state"] for key, stepper in self.steppers.items()},
            "precision": self.precision.state_dict(),
            "statistics": self.statistics.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where the trainer that returned ``state`` was."""
        self.gan.networks.load_state_dict(state["networks"])
        self.gan.memory.load_state_dict(state.get("memory", {}))  # checkpoints of version 0.1.0 have none
        self.ema.network.load_state_dict(state["ema"])
        for key, values in state["optimizers"].items():
            optimizer = self.steppers[key].torch
            optimizer.load_state_dict({**optimizer.state_dict(), "state": values})
        self.precision.load_state_dict(state["precision"])
        self.images_seen = state["images_seen"]
        self.optimizers_of = state["optimizers_of"] and tuple(state["optimizers_of"])
        self.statistics.load_state_dict(state["statistics"] if "statistics" in state else _statistics_of(state))


def _statistics_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of ``Statistics`` in a checkpoint of version 0.1.0, which kept a sum and a number for each name."""
    counts = state["counts"]
    numbers = {name: [[float(value)], [counts[name]], [counts[name]]] for name, value in state["sums"].items()}
    return {"sums": {f"1\n{name}": torch.tensor(rows) for name, rows in numbers.items()}, "steps": {}}
