"""The progressive timetable (ProGAN section 2 and appendix A): a pure function from images seen to the stage."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from progan.errors import ConfigError

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """When blocks arrive, and the batch and learning rate of each. Durations are in thousands of real images."""

    resolution: int = 1024
    """Shorter side of the final images [pixels]; a power of two, at least 4."""
    start_resolution: int = 4
    """Shorter side of the first images [pixels]; equal to ``resolution``: no growing."""
    hold_kimg: float = 600
    """Training at each resolution before the next block arrives."""
    fade_kimg: float = 600
    """Fading in of a new block."""
    total_kimg: float = 12_000
    """Length of the whole run; what is left after the last fade is spent at full size."""
    batch: int | dict[int, int] = 16
    """Real images a step, over all devices: one number, or from which resolution on which number (4 128 32 64)."""
    lr: float | dict[int, float] = 0.001
    """Learning rate of both networks: one number, or from which resolution on which number (4 0.001 512 0.0015)."""

    def __post_init__(self) -> None:
        for name in ("resolution", "start_resolution"):
            side = getattr(self, name)
            if side < 4 or side & (side - 1):
                raise ConfigError(f"schedule.{name} must be a power of two, at least 4; got {side}")
        if self.start_resolution > self.resolution:
            raise ConfigError(
                f"schedule.start_resolution {self.start_resolution} is above schedule.resolution {self.resolution}"
            )
        for name in ("hold_kimg", "fade_kimg", "total_kimg"):
            if not 0 <= getattr(self, name) < 1e12:
                raise ConfigError(f"schedule.{name} must be a number from 0 on, got {getattr(self, name)}")
        for name, least in (("batch", 1), ("lr", 0)):
            table = getattr(self, name)
            values = list(table.values()) if isinstance(table, Mapping) else [table]
            if not values or not all(least <= value < float("inf") for value in values):
                raise ConfigError(f"schedule.{name} must be at least {least}, as in 16 or 4 16 64 8; got {table}")

    def resized(self, resolution: int) -> "ScheduleConfig":
        """The same timetable for images of another size; a run that does not grow still does not."""
        start = resolution if self.start_resolution == self.resolution else self.start_resolution
        return replace(self, resolution=resolution, start_resolution=start)

    @property
    def first_level(self) -> int:
        """Level of ``start_resolution``; level 0 is 4 pixels."""
        return self.start_resolution.bit_length() - 3

    @property
    def levels(self) -> int:
        """Number of levels, 4 pixels and ``resolution`` included."""
        return self.resolution.bit_length() - 2


@dataclass(frozen=True)
class Stage:
    """What is trained at one moment of the run."""

    level: int
    """Index of the newest block; 0 is 4 pixels."""
    fading: bool
    """Whether that block is being faded in."""
    alpha: float
    """Weight of the newest block, 0 ... 1."""
    resolution: int
    """Shorter side of the images [pixels]."""
    batch: int
    """Real images a step, over all devices."""
    lr: float
    """Learning rate."""

    @property
    def key(self) -> tuple[int, bool]:
        """What the optimizers belong to: they are reset when it changes."""
        return self.level, self.fading

    def __str__(self) -> str:
        return f"{self.resolution} fade {self.alpha:.2f}" if self.fading else f"{self.resolution}"


@dataclass(frozen=True)
class Span:
    """One fade or hold of the run, from image ``first`` up to image ``end``."""

    level: int
    fading: bool
    first: int
    end: int


def at_resolution(table: Number | Mapping[int, Number], resolution: int) -> Number:
    """The value of the highest entry that is not above ``resolution``; below the first entry, that one's.

    >>> [at_resolution({4: 128, 32: 64, 64: 32}, r) for r in (4, 16, 32, 1024)]
    [128, 128, 64, 32]
    """
    if not isinstance(table, Mapping):
        return table
    reached = [side for side in table if side <= resolution]
    return table[max(reached) if reached else min(table)]


def spans(config: ScheduleConfig) -> list[Span]:
    """All fades and holds of a run in order, without those that the end of the run cuts off or leaves empty."""
    total, hold, fade = (round(1000 * k) for k in (config.total_kimg, config.hold_kimg, config.fade_kimg))
    result, first = [], 0
    for level in range(config.first_level, config.levels):
        lengths = [(False, hold)] if level == config.first_level else [(True, fade), (False, hold)]
        for fading, length in lengths:
            last = level == config.levels - 1 and not fading
            end = total if last else min(first + length, total)
            if end > first:
                result.append(Span(level, fading, first, end))
            first = max(first, end)
    return result


def stage_at(config: ScheduleConfig, images_seen: int) -> Stage:
    """The stage after ``images_seen`` real images; after the run's end, its last one.

    >>> config = ScheduleConfig(resolution=16, hold_kimg=600, fade_kimg=600)
    >>> [str(stage_at(config, kimg * 1000)) for kimg in (0, 600, 900, 1200, 2100, 12000)]
    ['4', '8 fade 0.00', '8 fade 0.50', '8', '16 fade 0.50', '16']
    """
    timetable = spans(config)
    span = next((s for s in timetable if images_seen < s.end), None)
    if span is None:
        span = timetable[-1] if timetable else Span(config.first_level, False, 0, 0)
        images_seen = span.end
    # A fade that the end of the run cuts off still goes at its own speed, hence not divided by span.end - span.first.
    alpha = min((images_seen - span.first) / (1000 * config.fade_kimg), 1.0) if span.fading else 1.0
    side = 4 << span.level
    batch, lr = at_resolution(config.batch, side), at_resolution(config.lr, side)
    return Stage(span.level, span.fading, alpha, side, batch, lr)
