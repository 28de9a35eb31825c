"""Plan of a run: parameters, memory and time of every stage, from a short probe of real training steps."""

import functools
import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from progan.devices import free_bytes
from progan.errors import ConfigError
from progan.gans.base import Batch, ImageSpec
from progan.schedule import ScheduleConfig, at_resolution, spans, stage_at
from progan.training.config import RunConfig, batches, split_batch
from progan.training.counting import Arithmetic, saved_bytes
from progan.training.distributed import Ranks
from progan.training.log import clock
from progan.training.loop import SINGLE, Trainer

NOTHING = (-1, False)
"""Key that no stage has."""


@dataclass
class StageCost:
    """Cost of training at one level."""

    level: int
    """Index of the latest block."""
    parameters: int
    """Parameters of all networks that are in use at this level."""
    flops: float
    """Additions and multiplications per iteration and image of a batch; NaN: unknown, must be probed."""
    batches: int = 1
    """Batches of real images per iteration."""
    features: float = 0.0
    """Numbers in the outputs of all layers, per image of a batch."""
    image_s: float = 0.0
    """Seconds per iteration and image of a batch."""
    step_s: float = 0.0
    """Seconds per iteration that do not depend on the batch."""
    image_bytes: float = 0.0
    """Bytes kept for backward passes, per image of a batch."""
    seconds_per_kimg: float = 0.0
    """Seconds per thousand real images."""
    memory: int = 0
    """Approximate number of bytes on the device."""
    probed: bool = False
    """Whether the cost was measured rather than computed."""


class Plan:
    """Expected time and memory of every stage; times are corrected by those measured in training."""

    def __init__(self, costs: list[StageCost]) -> None:
        self.costs = {cost.level: cost for cost in costs}

    @property
    def memory(self) -> int:
        """Approximate number of bytes on the device at the most demanding stage."""
        return max((cost.memory for cost in self.costs.values()), default=0)

    def seconds_per_kimg(self, level: int) -> float:
        """Return the expected seconds per thousand images."""
        return self.costs[level].seconds_per_kimg

    def measured(self, level: int, seconds_per_kimg: float) -> None:
        """Move the expectation a little towards a measured time, so that the remaining time does not jump."""
        cost = self.costs[level]
        cost.seconds_per_kimg += 0.1 * (seconds_per_kimg - cost.seconds_per_kimg)

    def table(self, schedule: ScheduleConfig) -> str:
        """Format the plan as a table with one line per resolution."""
        lines = ["resolution  batch      lr     kimg  parameters    memory    kimg/s      time"]
        total = 0.0
        for level, cost in sorted(self.costs.items()):
            side = schedule.side(level)
            kimg = sum(s.end - s.first for s in spans(schedule) if s.level == level) / 1000
            seconds = kimg * cost.seconds_per_kimg
            total += seconds
            about = " " if cost.probed else "~"
            rate = 1 / cost.seconds_per_kimg if cost.seconds_per_kimg else float("inf")
            batch, lr = at_resolution(schedule.batch, side), at_resolution(schedule.lr, side)
            lines.append(
                f"{side:>10} {batch:>6} {lr:>7.4g} {kimg:>8.6g} {cost.parameters:>11,} "
                f"{about}{cost.memory / 2**30:>5.2f} GiB {about}{rate:>8.3g} {about}{clock(seconds):>8}"
            )
        return "\n".join(
            [*lines, f"whole run about {clock(total)}; ~ marks estimates from arithmetic instead of a probe"]
        )


class _RandomImages:
    """Data set of random bytes."""

    def __init__(self, spec: ImageSpec, device: torch.device) -> None:
        self.spec, self.device = spec, device
        self.sizes = {min(spec.size(level)): spec.size(level) for level in range(spec.levels)}

    def images(self, position: int, count: int, resolution: int, *, offset: int = 0, stride: int = 1) -> Tensor:
        shape = (len(range(offset, count, stride)), *self.sizes[resolution], self.spec.channels)
        return torch.randint(0, 256, shape, dtype=torch.uint8, device=self.device).permute(0, 3, 1, 2)

    def labels(self, position: int, count: int, *, offset: int = 0, stride: int = 1) -> Tensor | None:
        return _labels(self.spec, len(range(offset, count, stride)), self.device)

    def __len__(self) -> int:
        return 1


def _labels(spec: ImageSpec, count: int, device: torch.device | str) -> Tensor | None:
    if spec.attributes:
        return torch.zeros(count, spec.attributes, device=device)
    return torch.arange(count, device=device) % spec.classes if spec.classes else None


def _random_data(spec: ImageSpec, device: torch.device) -> list[_RandomImages]:
    """Random data for each source."""
    return [_RandomImages(one, device) for one in spec.every]


def fitting_plan(
    config: RunConfig, spec: ImageSpec, device: torch.device, *, ranks: Ranks = SINGLE
) -> tuple[RunConfig, Plan]:
    """Return the run with micro-batches that fit the GPUs' memory at its most demanding stage, and its plan.

    Call it before anything of the run is on the device: it trains networks of its own there, which are gone afterwards.

    Raises:
        ConfigError: if the memory does not suffice for the micro-batch that is set, or for any.
    """
    counted = functools.cache(lambda: _counts(config, spec))  # once, however many limits are tried
    for limit in _limits(config, device, ranks.world):
        tried = replace(config, micro_batch=limit)
        plan = _tried(tried, spec, device, ranks.world, counted)
        if not any(ranks.most([plan is None])) and plan is not None:  # the same on all ranks
            return tried, plan
    side = config.schedule.resolution
    smaller = "" if config.micro_batch is None or config.gan.whole_share else " a smaller --micro-batch,"
    raise ConfigError(
        f"{device} has too little memory to train at {side} pixels, {free_bytes(device) / 2**30:.1f} GiB; "
        f"use{smaller} a smaller --schedule.batch or narrower networks"
    )


def _limits(config: RunConfig, device: torch.device, world: int) -> Iterator[int | None]:
    """Micro-batches to try, from the largest one down to the samples that must stay together."""
    yield config.micro_batch
    if device.type == "cuda" and config.micro_batch is None and not config.gan.whole_share:
        size = max(batches(config)) // world
        least = min(config.gan.group, size)
        while size > least:
            size = max(size // 2, least)
            yield size


def _tried(
    config: RunConfig, spec: ImageSpec, device: torch.device, world: int, counted: Callable[[], list[StageCost]]
) -> Plan | None:
    """The plan, or None where the GPU's memory does not suffice; all that was allocated is given back."""
    plan = None
    with suppress(torch.OutOfMemoryError):
        plan = probe(config, spec, device, world=world, counted=counted)
    # Not while the error is handled: its traceback holds the frames of the failed pass, and those hold its tensors.
    if plan is None or device.type == "cuda":
        gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return plan


def probe(
    config: RunConfig,
    spec: ImageSpec,
    device: torch.device,
    *,
    budget_s: float = 15.0,
    world: int = 1,
    counted: Callable[[], list[StageCost]] | None = None,
) -> Plan:
    """Run a few real iterations at each level, as far as ``budget_s`` seconds reach; compute the rest.

    Where a whole batch would take too long, two small ones give the time of a step and that of an image. On a GPU the
    most demanding level is probed first, however long it takes, so that a run cannot run out of memory days later.

    Args:
        budget_s: seconds that the iterations may take.
        world: number of processes that share a batch.
        counted: returns what is known of each level without iterations; it is counted here if not given.

    Raises:
        torch.OutOfMemoryError: if the GPU's memory does not suffice.
    """
    with torch.random.fork_rng():
        levels = range(config.schedule.first_level, config.schedule.levels)
        costs = [replace(cost) for cost in (counted() if counted else _counts(config, spec))]
        samples = {level: _samples_at_once(config, level, world) for level in levels}
        trainer = Trainer(replace(config, micro_batch=None), spec, *_random_data(spec, device), device=device)
        trainer.optimizers_of = NOTHING  # as if it had looked at images
        cuda = device.type == "cuda"
        hardest = max(costs, key=lambda cost: (cost.features * samples[cost.level], cost.level))
        rate = 5e12 if cuda else 2e10  # first guess, FLOP/s
        begin = time.monotonic()
        for cost in sorted(costs, key=lambda cost: cost is not hardest) if cuda else costs:
            must = cuda and cost is hardest
            batch, small = samples[cost.level], _fewest(config, samples[cost.level])
            slow = not cuda and batch > 2 * small and cost.flops * batch / rate > budget_s / 8
            sizes = [small, 2 * small] if slow else [batch]
            expected = 3 * cost.flops * sum(sizes) / rate
            if time.monotonic() - begin + expected > budget_s and not must:
                continue
            _measure(trainer, cost, sizes)
            if must and config.schedule.fade_kimg and cost.level > levels[0]:
                cost.image_bytes = max(cost.image_bytes, _iterate(trainer, cost.level, batch, fading=True)[1] / batch)
            rate = rate if math.isnan(cost.flops) else cost.flops / cost.image_s
    _estimate(config, costs, samples, rate, world=world, state=_state_bytes(trainer))
    return Plan(costs)


def _samples_at_once(config: RunConfig, level: int, world: int) -> int:
    """Samples of one pass of a rank at a level."""
    whole = at_resolution(config.schedule.batch, config.schedule.side(level))
    return whole // world // split_batch(config, whole, world)


def _estimate(
    config: RunConfig, costs: list[StageCost], samples: dict[int, int], rate: float, *, world: int, state: float
) -> None:
    """Compute what was not probed from the highest level that was, and the totals of all levels."""
    known = max((c for c in costs if c.probed), key=lambda c: c.level, default=None)
    for cost in costs:
        if not cost.probed:
            cost.image_s = known.image_s * cost.flops / known.flops if known else cost.flops / rate
            cost.step_s = known.step_s if known else 0.0
            each = known.image_bytes / known.features if known else 4
            cost.image_bytes = each * cost.features
        whole = at_resolution(config.schedule.batch, config.schedule.side(cost.level))
        cost.seconds_per_kimg = 1000 * (cost.step_s / whole + cost.image_s / world) / cost.batches
        cost.memory = round(state + cost.image_bytes * samples[cost.level])


def _fewest(config: RunConfig, batch: int) -> int:
    """Smallest number of samples in a pass; batch norm requires two."""
    return min(max(config.gan.group, 2), batch)


def _measure(trainer: Trainer, cost: StageCost, sizes: list[int]) -> None:
    """Measure time and memory of iterations of one or two batch sizes at a level; this changes the trainer."""
    seconds, kept = _iterate(trainer, cost.level, sizes[-1])
    cost.image_s = mean = seconds / sizes[-1]
    if len(sizes) > 1:
        slope = (seconds - _iterate(trainer, cost.level, sizes[0])[0]) / (sizes[-1] - sizes[0])
        cost.image_s = min(max(slope, mean / 10), mean)  # what else the machine does can make any slope
    cost.step_s = seconds - sizes[-1] * cost.image_s
    cost.image_bytes = kept / sizes[-1]
    cost.probed = True


def _iterate(trainer: Trainer, level: int, batch: int, *, fading: bool = False) -> tuple[float, float]:
    """Run two iterations; return the seconds of one and the bytes it keeps for its backward passes."""
    schedule, endless = trainer.config.schedule, 1e9
    timetable = ScheduleConfig(
        resolution=schedule.resolution,
        start_resolution=schedule.side(level - fading),
        batch=batch,
        lr=1e-6,
        hold_kimg=0 if fading else endless,
        fade_kimg=endless,
        total_kimg=2 * endless,
    )
    trainer.config, trainer.images_seen, trainer.ranks = replace(trainer.config, schedule=timetable), 0, Ranks()
    with saved_bytes() as saved:
        trainer.iterate()
    trainer.take_statistics()  # waits for the device
    before = _reset_peak(trainer.device)
    start = time.perf_counter()
    trainer.iterate()
    trainer.take_statistics()
    seconds = time.perf_counter() - start
    cuda = trainer.device.type == "cuda"
    return seconds, torch.cuda.max_memory_allocated(trainer.device) - before if cuda else saved[1]


def _reset_peak(device: torch.device) -> int:
    """Begin to look for the peak of a GPU's allocated memory [bytes] anew; returns what is allocated now."""
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _state_bytes(trainer: Trainer) -> float:
    """Bytes of weights and gradients of all networks, both moments of Adam, and the moving average of G."""
    return 4.5 * sum(p.numel() * p.element_size() for p in trainer.gan.networks.parameters())


def _counts(config: RunConfig, spec: ImageSpec) -> list[StageCost]:
    """Parameters, arithmetic and features of every level of the schedule."""
    with torch.random.fork_rng():
        return [_count(config, spec, level) for level in range(config.schedule.first_level, config.schedule.levels)]


def _count(config: RunConfig, spec: ImageSpec, level: int) -> StageCost:
    """Count parameters in use, arithmetic and features of an iteration at a level, without a device."""
    n = _fewest(config, at_resolution(config.schedule.batch, config.schedule.side(level)))

    def blank(stream: str, *shape: int) -> Tensor:
        return torch.empty(n, *shape, device="meta")

    with torch.device("meta"):
        gan = config.gan.make(spec)
    batch = Batch(
        level=level,
        alpha=None,
        positions=torch.arange(n),
        load=lambda source: blank("", spec.every[source].channels, *spec.every[source].size(level)),
        load_labels=lambda source: _labels(spec.every[source], n, "meta"),
        normal=blank,
        uniform=blank,
        step_uniform=lambda stream, *shape: torch.empty(shape, device="meta"),
    )
    phases = gan.phases(stage_at(config.schedule, 0))
    batches = sum(phase.repeats * phase.batch for phase in phases if phase.shows_images)
    flops = features = 0
    try:
        for phase in phases:
            gan.freeze_all_but(phase.trains)
            with Arithmetic() as counted:
                torch.stack([term.mean() for term in phase.loss(batch).values()]).sum().backward()
            flops += phase.repeats * phase.batch * counted.flops
            features = max(features, phase.batch * counted.features)
    except Exception:  # a loss that looks at values, as JPEG compression does; a real mistake shows when it is probed
        return StageCost(level, sum(p.numel() for p in gan.networks.parameters()), math.nan, batches)
    used = sum(p.numel() for p in gan.networks.parameters() if p.grad is not None)
    return StageCost(level, used, flops / n, batches, features / n)
