"""One training iteration of any GAN: the file to read first."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from progan import draws
from progan.gans.base import Batch, ImageSpec, Phase
from progan.images import to_float
from progan.schedule import Stage, stage_at
from progan.training.config import RunConfig, check, split_batch
from progan.training.distributed import Ranks
from progan.training.ema import WeightAverage
from progan.training.precision import Precision, gradients_of

SINGLE = Ranks()


class Data(Protocol):
    """Where batches come from; see data/loader.py."""

    def batch(
        self, position: int, count: int, resolution: int, *, offset: int = 0, stride: int = 1
    ) -> tuple[Tensor, Tensor | None]:
        """Images uint8 [n, C, H, W] and labels [n] of positions position + offset, + stride, ... < position + count."""
        ...


class Trainer:
    """Networks, optimizers and the number of real images seen; ``iterate`` moves all of them on by one iteration.

    What an iteration does is a function of this state, the configuration and the data: every random draw is
    addressed by (seed, position), so a trainer that loads the state of another goes on exactly as that one would.
    """

    def __init__(
        self, config: RunConfig, spec: ImageSpec, data: Data, *, device: torch.device, ranks: Ranks = SINGLE
    ) -> None:
        check(config, spec, ranks.world)
        self.config, self.spec, self.data, self.device, self.ranks = config, spec, data, device, ranks
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.gan = config.gan.make(spec)
        self.gan.networks.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizers = {
            name: torch.optim.Adam(
                network.parameters(), betas=(config.beta1, config.beta2), eps=config.adam_eps, fused=True
            )
            for name, network in self.gan.networks.items()
        }
        self.precision = Precision(config.precision, device)
        self.ema = WeightAverage(self.gan.networks["generator"], decay=config.ema_decay, half_life_kimg=config.ema_kimg)
        self.images_seen = 0
        self.optimizers_of: tuple[int, bool] | None = None
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, float] = {}

    @property
    def stage(self) -> Stage:
        """The stage of the next iteration."""
        return stage_at(self.config.schedule, self.images_seen)

    def iterate(self) -> Stage:
        """One step of every phase; returns the stage it belonged to."""
        stage = self.stage
        if stage.key != self.optimizers_of:  # when a fade begins and when it ends (ProGAN appendix A.1)
            for optimizer in self.optimizers.values():
                optimizer.state.clear()
            self.optimizers_of = stage.key
        shown = 0
        for phase in self.gan.phases():
            for repeat in range(phase.repeats):
                self._run(phase, stage, self.images_seen + repeat * stage.batch)
            shown += phase.repeats * stage.batch * phase.shows_images
        self.ema.update(shown)
        self.images_seen += shown
        return stage

    def _run(self, phase: Phase, stage: Stage, first: int) -> None:
        """One step of the networks that ``phase`` trains, on the global samples from ``first`` on."""
        for name, network in self.gan.networks.items():
            network.requires_grad_(name in phase.trains)
        parts = split_batch(self.config, stage.batch, self.ranks.world)
        ranks = self.ranks
        for part in range(parts):  # samples are dealt out in turn, so that groups stay whole
            batch = self._batch(phase.name, stage, first, ranks.rank + ranks.world * part, ranks.world * parts)
            with self.precision.autocast():
                terms = phase.loss(batch)
            means = {name: term.mean() / parts for name, term in terms.items()}
            self.precision.scaled(torch.stack(list(means.values())).sum()).backward()
            for name, mean in means.items():
                self._add(f"{phase.name}/{name}", mean.detach(), 1 / parts)
        optimizers = [self.optimizers[name] for name in phase.trains]
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = stage.lr
            self.ranks.average(gradients_of(optimizer))
        for name, norm in zip(phase.trains, self.precision.step(*optimizers), strict=True):
            self._add(f"{name}/gradient_norm", norm, 1)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        if phase.after_step:
            trained = (self.gan.networks[name] for name in phase.trains)
            ranks.average([b for network in trained for b in network.buffers() if b.is_floating_point()])
            phase.after_step()

    @torch.no_grad()
    def samples(self, stage: Stage, count: int) -> Tensor:
        """What the averaged generator shows at a stage, [count, C, H, W] in about [-1, 1]; always of the same draws."""
        return self.gan.samples(self.ema.network, self._batch("samples", replace(stage, batch=count), 0, 0, 1))

    def _batch(self, name: str, stage: Stage, first: int, offset: int, stride: int) -> Batch:
        """Every ``stride``-th sample of the batch that begins at ``first``; ``name`` makes its draws its own."""

        def drawn(make: Callable[..., np.ndarray]) -> Callable[[str, int], Tensor]:
            def draw(stream: str, width: int) -> Tensor:
                rows = make(self.config.seed, f"{name}/{stream}", first, stage.batch, width)[offset::stride]
                return torch.from_numpy(rows.astype(np.float32)).to(self.device, non_blocking=True)

            return draw

        def load() -> tuple[Tensor, Tensor | None]:
            images, labels = self.data.batch(first, stage.batch, stage.resolution, offset=offset, stride=stride)
            return to_float(images), labels

        alpha = torch.full((), stage.alpha, device=self.device) if stage.fading else None
        return Batch(
            level=stage.level, alpha=alpha, load=load, normal=drawn(draws.normal), uniform=drawn(draws.uniform)
        )

    def _add(self, name: str, value: Tensor, weight: float) -> None:
        """Add to the statistics without waiting for the device."""
        self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.counts[name] = self.counts.get(name, 0) + weight

    def take_statistics(self) -> dict[str, float]:
        """Means since the last call, over all ranks; the one place where the host waits for the device."""
        names = sorted(self.sums)
        values = torch.stack([self.sums[n] / self.counts[n] for n in names] + [self.precision.skipped])
        means = self.ranks.mean(values).tolist()
        self.sums, self.counts = {}, {}
        return {**dict(zip(names, means, strict=False)), "skipped_steps": means[-1]}

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next iterations depend on, as tensors and plain values."""
        return {
            "images_seen": self.images_seen,
            "optimizers_of": self.optimizers_of,
            "networks": self.gan.networks.state_dict(),
            "ema": self.ema.network.state_dict(),
            "optimizers": {name: o.state_dict()["state"] for name, o in self.optimizers.items()},
            "precision": self.precision.state_dict(),
            "sums": self.sums,
            "counts": self.counts,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the trainer that gave ``state`` was."""
        self.gan.networks.load_state_dict(state["networks"])
        self.ema.network.load_state_dict(state["ema"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state["optimizers"][name]})
        self.precision.load_state_dict(state["precision"])
        self.images_seen = state["images_seen"]
        self.optimizers_of = state["optimizers_of"] and tuple(state["optimizers_of"])
        self.sums = {name: value.to(self.device) for name, value in state["sums"].items()}
        self.counts = dict(state["counts"])
