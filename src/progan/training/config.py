"""Configuration of a training run as one frozen value."""

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
    """Settings of a training run. A preset is a function that returns a ``RunConfig``."""

    gan: AnyGAN = field(default_factory=ProGANConfig)  # type: ignore[assignment]  # the default GAN
    """Networks and loss."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """Resolutions, batch sizes, learning rates and length of the run."""
    seed: int = 0
    """Seed of the weights and of every random draw."""
    label_columns: tuple[str, ...] = ()
    """Columns of the data set to use as labels of a conditional GAN; the classes if none are given."""
    load_size: int | None = None
    """Shorter side of the data set's images [pixels], which are then cropped at random. None: the training size."""
    mirror: bool = True
    """Mirror each image horizontally with probability 1/2 each time it is shown."""
    beta1: float = 0.0
    """Decay rate of Adam's first moment (appendix A.1), unless the GAN sets its own."""
    beta2: float = 0.99
    """Decay rate of Adam's second moment (appendix A.1), unless the GAN sets its own."""
    adam_eps: float = 1e-8
    """Epsilon of Adam."""
    ema_decay: float = 0.999
    """Decay per iteration of the moving average of G (appendix A.1); ignored if ema_kimg is set. 0: no averaging."""
    ema_kimg: float | None = None
    """Half-life of the moving average of G in thousands of real images, for any batch size. None: use ema_decay."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Floating-point format of the networks; bf16 and fp16 require a GPU. The gradient penalty is always fp32."""
    micro_batch: int | None = None
    """Largest number of samples per pass and device. Gradients of larger batches are accumulated. None: no limit."""
    log_kimg: float = 5
    """Write a line to stats.jsonl every N thousand images."""
    sample_kimg: float = 50
    """Save a grid of samples every N thousand images, and at the end of every stage."""
    snapshot_kimg: float = 500
    """Save a snapshot of the generator every N thousand images, and at the end of every stage."""
    checkpoint_minutes: float = 10
    """Minutes between checkpoints. The first is written after one minute.
    More are written at the end of every stage, before measurements and on interruption."""
    on_blowup: Literal["stop", "halve-lr"] = "stop"
    """If gradients are no longer finite: stop, or continue from the last good checkpoint at half the learning rate."""

    def __post_init__(self) -> None:
        for name, value in flatten(asdict(self)).items():
            if value != value:  # only NaN differs from itself
                raise ConfigError(f"{name} must be a number, got nan")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")
        if self.adam_eps < 0:
            raise ConfigError(f"adam_eps must be at least 0, got {self.adam_eps}")
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
                f"load_size {self.load_size} is below schedule.resolution {self.schedule.resolution}: the images are "
                "too small to crop"
            )
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"ema_decay must be in [0, 1), got {self.ema_decay}")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values for JSON."""
        return asdict(self)


RESUMABLE = {
    *(
        "schedule.total_kimg",
        "log_kimg",
        "sample_kimg",
        "snapshot_kimg",
        "checkpoint_minutes",
        "micro_batch",
        "on_blowup",
    ),
}
"""Settings that may change when a run is resumed, because the training so far stays valid."""


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings to {"schedule.batch": 16, ...}; keys of tables become strings, as in JSON.

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
    """Complete settings written by an older version with the defaults of newer ones, which keep the old behavior."""
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
    """Describe the changes from ``old`` to ``new`` settings that prevent a run from being resumed."""
    a, b = flatten(old), flatten(new)
    keys = [k for k in sorted(a.keys() | b.keys()) if a.get(k) != b.get(k) and k not in RESUMABLE]
    return [f"{k} {a.get(k, 'not set')} -> {b.get(k, 'not set')}" for k in keys]


def split_batch(config: RunConfig, batch: int, world: int) -> int:
    """Return the number of micro-batches into which each of ``world`` ranks splits its share of a batch.

    Samples are dealt out in turn, so groups stay whole if the number of micro-batches divides the number of groups.

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
                f"micro_batch {limit} would split the {share} samples that share batch-norm statistics; omit it, "
                f"or share statistics among fewer samples with --gan.bn-group {_largest_divisor(share, limit)}"
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
    """Check that every stage of a run can be trained, before hours are spent on the first ones.

    Raises:
        ConfigError: if a stage cannot be trained on this data with ``world`` processes.
    """
    if spec.shorter != config.schedule.resolution:
        raise ConfigError(
            f"schedule.resolution {config.schedule.resolution} does not match the data of {spec.height}x{spec.width}"
        )
    if config.schedule.grows and not growable(spec.height, spec.width):
        raise ConfigError(
            f"a run that grows requires a longer side that is a multiple of the shorter one, the data has "
            f"{spec.height}x{spec.width}; to train without growing, use --schedule.start-resolution {spec.shorter}"
        )
    if config.gan.sources != len(spec.every):
        raise ConfigError(
            f"this GAN requires {config.gan.sources} data set{'s' * (config.gan.sources > 1)}, got {len(spec.every)}"
        )
    config.gan.check_length(spec, config.schedule.total_kimg)
    for batch in batches(config):
        split_batch(config, batch, world)


def check_phases(config: RunConfig, gan: GAN, phases: Sequence[Phase], world: int) -> None:
    """Check the phases of a GAN before its first step.

    Raises:
        ConfigError: if the batches of a phase cannot be split among the processes.
        ValueError: if phases and networks do not match.
    """
    if not any(phase.shows_images for phase in phases):
        raise ValueError("no phase shows images, so the run would never end")
    for phase in phases:
        if unknown := [name for name in phase.trains if name not in gan.networks]:
            raise ValueError(f"phase {phase.name!r} trains {unknown}; the networks are {', '.join(gan.networks)}")
        parameters = [id(p) for name in phase.trains for p in gan.networks[name].parameters()]
        if len(set(parameters)) < len(parameters):
            raise ValueError(
                f"phase {phase.name!r} trains networks that share parameters, which would be updated twice"
            )
    kinds = {whole_batch_norm(network, world) for network in gan.networks.values()}
    if True in kinds and not config.gan.whole_share and config.gan.group != WHOLE_BATCH:
        raise ValueError(
            f"{type(config.gan).__name__}.whole_share must be True, because its batch norm uses whole batches"
        )
    for factor in {phase.batch for phase in phases} - {1}:
        for batch in batches(config):
            split_batch(config, factor * batch, world)


def batches(config: RunConfig) -> set[int]:
    """Return the batch sizes of all stages."""
    schedule = config.schedule
    return {
        at_resolution(schedule.batch, schedule.side(level)) for level in range(schedule.first_level, schedule.levels)
    }


def _group_name(config: RunConfig) -> str:
    setting = config.gan.group_setting
    return f"gan.{setting}" if setting and config.gan.group != WHOLE_BATCH else "the number of samples per pass,"


def _suggestion(config: RunConfig, batch: int, world: int) -> str:
    """Suggest settings close to the given ones that ``world`` processes can share."""
    if config.gan.group == WHOLE_BATCH:
        return "a single process, because all samples of a batch are compared with each other"
    group, setting = min(config.gan.group, batch), config.gan.group_setting
    step = group * world
    fitting = [g for g in range(1, group) if batch % (g * world) == 0]
    other = f" or --gan.{setting.replace('_', '-')} {max(fitting)}" if fitting and setting else ""
    return f"--schedule.batch {max(batch // step, 1) * step}{other}"
