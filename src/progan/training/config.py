"""Everything one training run is made of, as one frozen value."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, Literal, TypeVar

from progan.batchnorm import whole_batch_norm
from progan.errors import ConfigError
from progan.gans import ProGANConfig
from progan.gans.base import GAN, WHOLE_BATCH, GANConfig, ImageSpec, Phase
from progan.schedule import ScheduleConfig, at_resolution
from progan.sizes import growable

AnyGAN = TypeVar("AnyGAN", bound=GANConfig)


@dataclass(frozen=True, kw_only=True)
class RunConfig(Generic[AnyGAN]):
    """Settings of a training run; a preset is a function that returns one."""

    gan: AnyGAN = field(default_factory=ProGANConfig)  # type: ignore[assignment]  # the most wanted one
    """Networks and objective."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """Resolutions, batches and learning rates, and how long the run is."""
    seed: int = 0
    """Seed of the weights and of every random draw."""
    label_columns: tuple[str, ...] = ()
    """Columns of the data set that labels are made of, for conditional GANs; its classes when not given."""
    load_size: int | None = None
    """Shorter side of the images in the data set [pixels], if they are larger than those trained on: a random part of
    an image is cut out each time it is shown."""
    mirror: bool = True
    """Mirror each image left to right with probability 1/2, each time it is shown."""
    beta1: float = 0.0
    """Adam's decay of the gradients' mean (appendix A.1), where the GAN has no value of its own."""
    beta2: float = 0.99
    """Adam's decay of the squared gradients (appendix A.1), where the GAN has no value of its own."""
    adam_eps: float = 1e-8
    """Adam's epsilon."""
    ema_decay: float = 0.999
    """Moving average of G: kept share at each iteration (appendix A.1), if ema_kimg is not given. 0: the current
    weights."""
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
        if self.load_size is not None and self.schedule.grows:
            raise ConfigError(
                "load_size is for runs that do not grow; set schedule.start_resolution to "
                f"schedule.resolution {self.schedule.resolution}"
            )
        if self.load_size is not None and self.load_size < self.schedule.resolution:
            raise ConfigError(
                f"load_size {self.load_size} is below schedule.resolution {self.schedule.resolution}: no part of the "
                "trained size could be cut out"
            )
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
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat


def completed(old: dict[str, Any], like: RunConfig) -> dict[str, Any]:
    """Settings that an older version wrote, with the defaults of what it did not know, which leave all as it was."""
    try:
        defaults = RunConfig(gan=type(like.gan)()).to_dict()
    except TypeError:  # settings without defaults
        defaults = RunConfig(gan=like.gan).to_dict()
    return _filled(old, defaults)


def _filled(old: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """``old`` with what it lacks, also in the parts that both have."""
    parts = {key: _filled(old[key], value) for key, value in defaults.items() if _both(old.get(key), value)}
    return {**defaults, **old, **parts}


def _both(a: Any, b: Any) -> bool:
    return isinstance(a, dict) and isinstance(b, dict)


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
    group, limit = min(config.gan.group, batch), config.micro_batch or batch
    if batch % (group * world):
        shared = f" on each of {world} processes" if world > 1 else ""
        raise ConfigError(
            f"schedule.batch {batch} is not a multiple of {_group_name(config)} {group}{shared}; "
            f"try {_suggestion(config, batch, world)}"
        )
    share = batch // world
    if config.gan.whole_share:
        if limit < share:
            raise ConfigError(
                f"micro_batch {limit} would split the {share} samples whose statistics batch norm takes; leave it out, "
                f"or let fewer samples share statistics with --gan.bn-group {_largest_divisor(share, limit)}"
            )
        return 1
    groups = share // group
    fitting = [n for n in range(1, groups + 1) if groups % n == 0 and share // n <= limit]
    if not fitting:
        raise ConfigError(
            f"micro_batch {limit} is smaller than {_group_name(config)} {group}; try --micro-batch {group}"
        )
    return fitting[0]


def _largest_divisor(number: int, limit: int) -> int:
    return next(n for n in range(min(number, limit), 0, -1) if number % n == 0)


def check(config: RunConfig, spec: ImageSpec, world: int) -> None:
    """Raise ConfigError for any stage of the run that could not be trained, before hours are spent on earlier ones."""
    if spec.shorter != config.schedule.resolution:
        raise ConfigError(
            f"schedule.resolution {config.schedule.resolution} does not fit data of {spec.height}x{spec.width}"
        )
    if config.schedule.grows and not growable(spec.height, spec.width):
        raise ConfigError(
            f"a run that grows wants a longer side that is a multiple of the shorter one, the data has "
            f"{spec.height}x{spec.width}; --schedule.start-resolution {spec.shorter} trains without growing"
        )
    if config.gan.sources != len(spec.every):
        raise ConfigError(
            f"this GAN takes {config.gan.sources} data set{'s' * (config.gan.sources > 1)}, got {len(spec.every)}"
        )
    for batch in batches(config):
        split_batch(config, batch, world)


def check_phases(config: RunConfig, gan: GAN, phases: Sequence[Phase], world: int) -> None:
    """Look for what is wrong with a GAN before its first step.

    Raises:
        ConfigError: if a phase has batches that cannot be shared.
        ValueError: if phases and networks do not fit each other.
    """
    if not any(phase.shows_images for phase in phases):
        raise ValueError("no phase shows images, so that the run would never end")
    for phase in phases:
        if unknown := [name for name in phase.trains if name not in gan.networks]:
            raise ValueError(f"phase {phase.name!r} trains {unknown}; there are {', '.join(gan.networks)}")
        parameters = [id(p) for name in phase.trains for p in gan.networks[name].parameters()]
        if len(set(parameters)) < len(parameters):
            raise ValueError(f"phase {phase.name!r} trains networks that share parameters: they would be stepped twice")
    kinds = {whole_batch_norm(network, world) for network in gan.networks.values()}
    if True in kinds and not config.gan.whole_share and config.gan.group != WHOLE_BATCH:
        raise ValueError(f"{type(config.gan).__name__}.whole_share must be True: its batch norm takes whole batches")
    for factor in {phase.batch for phase in phases} - {1}:
        for batch in batches(config):
            split_batch(config, factor * batch, world)


def batches(config: RunConfig) -> set[int]:
    """The batches of all stages."""
    schedule = config.schedule
    return {
        at_resolution(schedule.batch, schedule.side(level)) for level in range(schedule.first_level, schedule.levels)
    }


def _group_name(config: RunConfig) -> str:
    setting = config.gan.group_setting
    return f"gan.{setting}" if setting and config.gan.group != WHOLE_BATCH else "the samples that one pass must see,"


def _suggestion(config: RunConfig, batch: int, world: int) -> str:
    """Settings near those given that ``world`` processes can share."""
    if config.gan.group == WHOLE_BATCH:
        return "one process, because all samples of a batch are compared with each other"
    group, setting = min(config.gan.group, batch), config.gan.group_setting
    step = group * world
    fitting = [g for g in range(1, group) if batch % (g * world) == 0]
    other = f" or --gan.{setting.replace('_', '-')} {max(fitting)}" if fitting and setting else ""
    return f"--schedule.batch {max(batch // step, 1) * step}{other}"
