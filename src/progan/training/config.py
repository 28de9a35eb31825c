"""Everything one training run is made of, as one frozen value."""

from dataclasses import asdict, dataclass, field
from typing import Any, Generic, Literal, TypeVar

from progan.errors import ConfigError
from progan.gans import ProGANConfig
from progan.gans.base import WHOLE_BATCH, GANConfig, ImageSpec
from progan.schedule import ScheduleConfig, at_resolution

AnyGAN = TypeVar("AnyGAN", bound=GANConfig)


@dataclass(frozen=True, kw_only=True)
class RunConfig(Generic[AnyGAN]):
    """Settings of a training run; a preset is a function that returns one."""

    gan: AnyGAN = field(default_factory=ProGANConfig)  # type: ignore[assignment]  # the most wanted one
    """Networks and objective."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """When the networks grow."""
    seed: int = 0
    """Of the weights and of every random draw."""
    mirror: bool = True
    """Mirror each image left to right with probability 1/2, each time it is shown."""
    beta1: float = 0.0
    """Adam's decay of the gradients' mean (appendix A.1)."""
    beta2: float = 0.99
    """Adam's decay of the squared gradients (appendix A.1)."""
    adam_eps: float = 1e-8
    """Adam's epsilon."""
    ema_decay: float = 0.999
    """Moving average of G: kept share at each of its steps (appendix A.1), if ema_kimg is not given."""
    ema_kimg: float | None = None
    """Half-life of that average in thousands of real images, the same for every batch size."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the networks; bf16 and fp16 are for GPUs. The gradient penalty is always fp32."""
    micro_batch: int | None = None
    """Most samples of one pass on one device; larger batches are split and their gradients added."""
    log_kimg: float = 5
    """A line in stats.jsonl every so many thousands of images."""
    sample_kimg: float = 50
    """A sheet of samples every so many thousands of images; also at the end of every stage."""
    snapshot_kimg: float = 500
    """The generator is kept every so many thousands of images; also at the end of every stage."""
    checkpoint_minutes: float = 10
    """Time between checkpoints; one is also made at the end and when the run is interrupted."""

    def __post_init__(self) -> None:
        for name in ("log_kimg", "sample_kimg", "snapshot_kimg"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed must be 0 ... 2^63 - 1, got {self.seed}")
        if self.micro_batch is not None and self.micro_batch < 1:
            raise ConfigError(f"micro_batch must be at least 1, got {self.micro_batch}")
        if self.ema_kimg is not None and self.ema_kimg <= 0:
            raise ConfigError(f"ema_kimg must be positive, got {self.ema_kimg}")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"ema_decay must be in [0, 1), got {self.ema_decay}")

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)


RESUMABLE = {
    *("schedule.total_kimg", "log_kimg", "sample_kimg", "snapshot_kimg", "checkpoint_minutes", "micro_batch"),
}
"""Settings that may differ when a run goes on: they leave what was trained so far valid."""


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as {"schedule.batch": 16, ...}; keys of tables become text, as JSON makes them.

    >>> flatten({"a": 1, "b": {"c": {4: 8}}})
    {'a': 1, 'b.c.4': 8}
    """
    flat = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def completed(old: dict[str, Any], like: RunConfig) -> dict[str, Any]:
    """Settings that an older version wrote, with the defaults of what it did not know, which leave all as it was."""
    defaults = RunConfig(gan=type(like.gan)()).to_dict()
    return {**defaults, **old, **{part: {**defaults[part], **old[part]} for part in ("gan", "schedule")}}


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What keeps a run with settings ``new`` from going on where one with ``old`` stopped, in words."""
    a, b = flatten(old), flatten(new)
    keys = [k for k in sorted(a.keys() | b.keys()) if a.get(k) != b.get(k) and k not in RESUMABLE]
    return [f"{k} {a.get(k, 'not set')} -> {b.get(k, 'not set')}" for k in keys]


def split_batch(config: RunConfig, batch: int, world: int) -> int:
    """Number of micro-batches into which each of ``world`` ranks splits its share of a batch.

    Samples are dealt out in turn, so a group stays whole when the number of parts divides the number of groups.

    Raises:
        ConfigError: if no such split exists.
    """
    group = min(config.gan.group, batch)
    if batch % (group * world):
        shared = f" on each of {world} processes" if world > 1 else ""
        raise ConfigError(
            f"schedule.batch {batch} is not a multiple of {_group_name(config)} {group}{shared}; "
            f"try {_suggestion(config, batch, world)}"
        )
    groups = batch // group
    per_rank = groups // world
    limit = config.micro_batch or batch
    fitting = [n for n in range(1, per_rank + 1) if per_rank % n == 0 and batch // world // n <= limit]
    if not fitting:
        raise ConfigError(
            f"micro_batch {limit} is smaller than {_group_name(config)} {group}; try --micro-batch {group}"
        )
    return fitting[0]


def check(config: RunConfig, spec: ImageSpec, world: int) -> None:
    """Raise ConfigError for any stage of the run that could not be trained, before hours are spent on earlier ones."""
    if spec.shorter != config.schedule.resolution:
        raise ConfigError(
            f"schedule.resolution {config.schedule.resolution} does not fit data of {spec.height}x{spec.width}"
        )
    for level in range(config.schedule.first_level, config.schedule.levels):
        split_batch(config, at_resolution(config.schedule.batch, 4 << level), world)


def _group_name(config: RunConfig) -> str:
    one = config.gan.group != WHOLE_BATCH and hasattr(config.gan, "stddev_group")
    return "gan.stddev_group" if one else "the samples that one pass must see,"


def _suggestion(config: RunConfig, batch: int, world: int) -> str:
    """Settings near those given that ``world`` processes can share."""
    if config.gan.group == WHOLE_BATCH:
        return "one process, because batch statistics are those of a whole batch"
    group = min(config.gan.group, batch)
    step = group * world
    fitting = [g for g in range(1, group) if batch % (g * world) == 0]
    other = f" or --gan.stddev-group {max(fitting)}" if fitting and hasattr(config.gan, "stddev_group") else ""
    return f"--schedule.batch {max(batch // step, 1) * step}{other}"
