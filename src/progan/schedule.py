"""Schedule of a run (ProGAN section 2 and appendix A): a pure function from images seen to the stage."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from progan.errors import ConfigError

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, kw_only=True)
class DecayConfig:
    """Decay of the learning rate. Times are in thousands of real images."""

    kind: Literal["constant", "linear", "exponential", "steps"] = "constant"
    """Shape of the decay: none (constant), to 0 in a straight line (linear), by halving (exponential), or in steps."""
    start_kimg: float = 0.0
    """Start of a linear or exponential decay; the learning rate is constant before it."""
    end_kimg: float | None = None
    """End of a linear decay, where the learning rate reaches 0; by default the end of the run."""
    half_life_kimg: float = 1000.0
    """Half-life of an exponential decay."""
    steps: dict[float, float] = field(default_factory=dict)
    """Steps of the decay as pairs of time and remaining share of the learning rate, such as 50 0.1 1000 0.01."""
    floor: float = 0.0
    """Smallest remaining share of the learning rate."""

    def __post_init__(self) -> None:
        for name in ("start_kimg", "half_life_kimg", "floor"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"schedule.decay.{name} must be a number of at least 0, got {getattr(self, name)}")
        if self.half_life_kimg == 0:
            raise ConfigError("schedule.decay.half_life_kimg must be above 0")
        if self.end_kimg is not None and self.end_kimg < self.start_kimg:
            raise ConfigError(
                f"schedule.decay.end_kimg {self.end_kimg:g} is before schedule.decay.start_kimg {self.start_kimg:g}"
            )
        if self.kind == "steps" and not self.steps:
            raise ConfigError("schedule.decay.kind steps requires schedule.decay.steps, such as 50 0.1 1000 0.01")

    def stretched(self, factor: float) -> "DecayConfig":
        """Return the same decay for a run that is ``factor`` times as long."""
        if self.kind == "constant":
            return self
        return replace(
            self,
            start_kimg=self.start_kimg * factor,
            end_kimg=None if self.end_kimg is None else self.end_kimg * factor,
            half_life_kimg=self.half_life_kimg * factor,
            steps={kimg * factor: share for kimg, share in self.steps.items()},
        )

    def share(self, kimg: float, total_kimg: float) -> float:
        """Return the remaining share of the learning rate at ``kimg`` in a run of ``total_kimg``.

        >>> [DecayConfig(kind="linear", start_kimg=100).share(kimg, 200) for kimg in (50, 150, 200)]
        [1.0, 0.5, 0.0]
        >>> [DecayConfig(kind="steps", steps={50: 0.1, 90: 0.01}).share(kimg, 100) for kimg in (0, 50, 99)]
        [1.0, 0.1, 0.01]
        """
        late = kimg - self.start_kimg
        if self.kind == "steps":
            left = [share for start, share in sorted(self.steps.items()) if start <= kimg]
            return max(left[-1] if left else 1.0, self.floor)
        if self.kind == "constant" or late <= 0:
            return 1.0
        if self.kind == "exponential":
            return max(0.5 ** (late / self.half_life_kimg), self.floor)
        length = (total_kimg if self.end_kimg is None else self.end_kimg) - self.start_kimg
        return max(1 - late / length if late < length else 0.0, self.floor)


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Growth of the networks, batch sizes and learning rates. Durations are in thousands of real images."""

    resolution: int = 1024
    """Shorter side of the final images [pixels]. A run that grows requires a power of two, at least 4."""
    start_resolution: int = 4
    """Shorter side of the first images [pixels], a power of two; equal to the resolution for a run without growing."""
    hold_kimg: float = 600
    """Duration of training at each resolution before the next block is added."""
    fade_kimg: float = 600
    """Duration of the fade-in of a new block."""
    total_kimg: float = 12_000
    """Length of the whole run; what remains after the last fade is spent at full resolution."""
    batch: int | dict[int, int] = 16
    """Real images per step, over all devices: one number, or pairs of lowest resolution and number (4 128 32 64)."""
    lr: float | dict[int, float] = 0.001
    """Learning rate of both networks: one number, or pairs of lowest resolution and number (4 0.001 512 0.0015)."""

    decay: DecayConfig = field(default_factory=DecayConfig)
    """Decay of the learning rate."""

    def __post_init__(self) -> None:
        for name in ("resolution", "start_resolution"):
            side = getattr(self, name)
            if self.grows and (side < 4 or side & (side - 1)):
                raise ConfigError(
                    f"schedule.{name} must be a power of two, at least 4, if networks grow; got {side}; "
                    f"to train without growing, use --schedule.resolution {side} --schedule.start-resolution {side}"
                )
            if side < 1:
                raise ConfigError(f"schedule.{name} must be at least 1, got {side}")
        if self.start_resolution > self.resolution:
            raise ConfigError(
                f"schedule.start_resolution {self.start_resolution} is above schedule.resolution {self.resolution}"
            )
        for name in ("hold_kimg", "fade_kimg", "total_kimg"):
            if not 0 <= getattr(self, name) < 1e12:
                raise ConfigError(f"schedule.{name} must be a number of at least 0, got {getattr(self, name)}")
        for name, least in (("batch", 1), ("lr", 0)):
            table = getattr(self, name)
            values = list(table.values()) if isinstance(table, Mapping) else [table]
            if not values or not all(least <= value < float("inf") for value in values):
                raise ConfigError(f"schedule.{name} must be at least {least}, such as 16 or 4 16 64 8; got {table}")

    def resized(self, resolution: int) -> "ScheduleConfig":
        """Return the same schedule for images of another size; whether the run grows stays the same."""
        start = resolution if self.start_resolution == self.resolution else self.start_resolution
        return replace(self, resolution=resolution, start_resolution=start)

    @property
    def grows(self) -> bool:
        """Whether the run has more than one resolution."""
        return self.start_resolution != self.resolution

    def for_epochs(self, epochs: float, count: int) -> "ScheduleConfig":
        """Return the schedule with a length such that each of ``count`` images is shown ``epochs`` times."""
        if not 0 < epochs < float("inf"):
            raise ConfigError(f"epochs must be above 0, got {epochs:g}")
        total = epochs * count / 1000
        factor = total / self.total_kimg if self.total_kimg else 1.0
        return replace(self, total_kimg=total, decay=self.decay.stretched(factor))

    @property
    def first_level(self) -> int:
        """Level of ``start_resolution``; if the sides of images are powers of two, level 0 has 4 pixels."""
        return levels_of(self.start_resolution) - 1

    @property
    def levels(self) -> int:
        """Number of levels up to ``resolution``."""
        return levels_of(self.resolution)

    def side(self, level: int) -> int:
        """Return the shorter side of the images of a level [pixels]."""
        return self.resolution >> (self.levels - 1 - level)


@dataclass(frozen=True)
class Stage:
    """State of the schedule at one point of the run."""

    level: int
    """Index of the latest block; 0 is 4 pixels."""
    fading: bool
    """Whether the latest block is being faded in."""
    alpha: float
    """Weight of the latest block, 0 ... 1."""
    resolution: int
    """Shorter side of the images [pixels]."""
    batch: int
    """Real images per step, over all devices."""
    lr: float
    """Learning rate."""
    images_seen: int = 0
    """Real images shown so far."""

    @property
    def key(self) -> tuple[int, bool]:
        """Key of the stage; the optimizers are reset when it changes."""
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


def levels_of(side: int) -> int:
    """Return the number of levels of images with a shorter side of ``side`` pixels, which is halved down to 4.

    >>> [levels_of(side) for side in (1, 4, 8, 28, 1024)]
    [1, 1, 2, 3, 9]
    """
    return max(side.bit_length() - 2, 1)


def at_resolution(table: Number | Mapping[int, Number], resolution: int) -> Number:
    """Return the value of the highest entry that is not above ``resolution``, or of the first entry.

    >>> [at_resolution({4: 128, 32: 64, 64: 32}, r) for r in (4, 16, 32, 1024)]
    [128, 128, 64, 32]
    """
    if not isinstance(table, Mapping):
        return table
    reached = [side for side in table if side <= resolution]
    return table[max(reached) if reached else min(table)]


def spans(config: ScheduleConfig) -> list[Span]:
    """Return all fades and holds of a run in order, without empty ones and those after the end of the run."""
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
    """Return the stage after ``images_seen`` real images; after the end of the run, its last one.

    >>> config = ScheduleConfig(resolution=16, hold_kimg=600, fade_kimg=600)
    >>> [str(stage_at(config, kimg * 1000)) for kimg in (0, 600, 900, 1200, 2100, 12000)]
    ['4', '8 fade 0.00', '8 fade 0.50', '8', '16 fade 0.50', '16']
    """
    timetable, seen = spans(config), images_seen
    span = next((s for s in timetable if images_seen < s.end), None)
    if span is None:
        span = timetable[-1] if timetable else Span(config.first_level, False, 0, 0)
        images_seen = span.end
    # A fade that the end of the run cuts off still goes at its own speed, hence not divided by span.end - span.first.
    alpha = min((images_seen - span.first) / (1000 * config.fade_kimg), 1.0) if span.fading else 1.0
    side = config.side(span.level)
    lr = at_resolution(config.lr, side) * config.decay.share(seen / 1000, config.total_kimg)
    return Stage(span.level, span.fading, alpha, side, at_resolution(config.batch, side), lr, seen)
