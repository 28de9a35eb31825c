"""Scaled-down experiments: fewer training images, narrower networks and fewer images for the metrics."""

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from progan.errors import ConfigError
from progan.metrics import METRICS
from progan.schedule import at_resolution
from progan.training.config import RunConfig

HALF_LIFE_SHARE = 0.02
"""Longest half-life of the average of G as a fraction of a shortened run, so that it does not average early weights."""
_MOST = {"log_kimg": 500, "sample_kimg": 20, "snapshot_kimg": 20}  # lines, grids and snapshots of a shortened run
_LEAST_KIMG = {"log_kimg": 0.0, "sample_kimg": 0.2, "snapshot_kimg": 0.1}  # between two of them


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Size of an experiment relative to the paper, which has 1 everywhere."""

    name: str = "paper"
    kimg: float = 1.0
    """Fraction of the training images shown."""
    maps: float = 1.0
    """Fraction of the feature maps of growing networks. The networks of MNIST-1K are tiny already and do not change."""
    lr: float = 1.0
    """Factor on every learning rate: a short run of narrow networks learns little with the rates of a long run."""
    count: float = 1.0
    """Fraction of the images that metrics are computed with."""
    resolution: int | None = None
    """Largest shorter side of the images [pixels]."""
    seeds: int | None = None
    """Number of runs per row. None: as in the paper."""

    def __post_init__(self) -> None:
        for name in ("kimg", "maps", "count"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"scale: {name} must be above 0 and at most 1, got {getattr(self, name)}")
        side = self.resolution
        if side is not None and (side < 4 or side & (side - 1)):
            raise ConfigError(f"resolution must be a power of two, at least 4; got {side}")
        if not 0 < self.lr <= 100:
            raise ConfigError(f"scale: lr must be a factor above 0 and at most 100, got {self.lr}")
        if self.seeds is not None and self.seeds < 1:
            raise ConfigError(f"seeds must be at least 1, got {self.seeds}")

    @property
    def run_name(self) -> str:
        """Name without the fraction of images for the metrics, on which training does not depend."""
        return self.name.partition("-count")[0]

    @property
    def as_paper(self) -> bool:
        """Whether this scale is that of the paper, so that results can be compared with the paper's."""
        return self.kimg == self.maps == self.lr == self.count == 1 and self.resolution is None


SCALES = {
    "smoke": Scale(name="smoke", kimg=5e-5, maps=1 / 32, count=1 / 256, resolution=16, seeds=1),
    "small": Scale(name="small", kimg=1 / 100, maps=1 / 8, count=1 / 8, resolution=64, seeds=1),
    "paper": Scale(),
}
"""Named scales: smoke only tests that everything runs, small takes hours on a laptop, paper is as published."""


def parse_scale(text: str, **changes: Any) -> Scale:
    """Return the scale of a name, or of a number: that fraction of the training images, and all else as in the paper.

    Args:
        text: "smoke", "small", "paper", or a number such as "0.01" or "1/100".
        changes: values of fields that replace those of the scale; None keeps a field.

    >>> parse_scale("1/50").kimg, parse_scale("small", maps=0.25).name
    (0.02, 'small-maps0.25')
    """
    if text in SCALES:
        scale = SCALES[text]
    else:
        try:
            share = float(Fraction(text))
        except (ValueError, ZeroDivisionError, OverflowError):
            raise ConfigError(f"scale must be {', '.join(SCALES)} or a number such as 0.01, got {text!r}") from None
        scale = SCALES["paper"] if share == 1 else Scale(name=f"{share:g}", kimg=share)
    given = {name: value for name, value in changes.items() if value is not None}
    parts = [f"{name}{given[name]:g}" for name in ("maps", "lr", "resolution", "count") if name in given]
    name = "-".join([scale.name, *parts])
    return replace(scale, name=name, **given)


def scaled(config: RunConfig, scale: Scale) -> RunConfig:
    """Scale the settings of a run: a shorter schedule and narrower networks, or no change at the paper's scale.

    A growing run still grows, and one that does not grow still starts at its full size. The moving average of G keeps
    its half-life, up to a fraction of the run, because an average over the whole run would include its beginning.
    """
    if scale.as_paper:
        return config
    before = config.schedule
    lr = {at: rate * scale.lr for at, rate in _rates(config).items()}
    schedule = before.resized(min(before.resolution, scale.resolution or before.resolution))
    schedule = replace(schedule, lr=lr if isinstance(before.lr, dict) else lr[0])
    config = replace(config, schedule=schedule, gan=config.gan.narrower(scale.maps) if scale.maps < 1 else config.gan)
    if scale.kimg == 1:
        return config
    times = {name: getattr(before, name) * scale.kimg for name in ("hold_kimg", "fade_kimg", "total_kimg")}
    if not before.grows:  # a short run is not to end within its first iteration
        batch = max(before.batch.values()) if isinstance(before.batch, dict) else before.batch
        times["total_kimg"] = max(times["total_kimg"], 2 * batch * config.gan.batches_shown / 1000)
    total = times["total_kimg"]
    intervals = {
        name: max(getattr(config, name) * scale.kimg, total / most, _LEAST_KIMG[name]) for name, most in _MOST.items()
    }
    if config.ema_decay > 0:
        intervals["ema_kimg"] = min(_half_life_kimg(config), HALF_LIFE_SHARE * total)
    return replace(config, schedule=replace(schedule, **times), **intervals)


def _rates(config: RunConfig) -> dict[int, float]:
    """Return the learning rates by resolution; a single one for all resolutions has the key 0."""
    lr = config.schedule.lr
    return lr if isinstance(lr, dict) else {0: lr}


def images_measured(metric: str, scale: Scale, repeats: int = 1) -> tuple[int, int]:
    """Return the number of measurements and of images per measurement; repeats are reduced before images.

    >>> [images_measured("modes", Scale(count=count), 10) for count in (1, 0.25, 0.1, 0.01)]
    [(10, 25600), (2, 25600), (1, 25600), (1, 2560)]
    """
    times = max(int(repeats * scale.count), 1)
    share = min(repeats * scale.count / times, 1)
    return times, max(round(METRICS[metric].paper_count * share), METRICS[metric].least)


def differences(paper: RunConfig, ours: RunConfig) -> list[str]:
    """Describe how a scaled run differs from the paper's; empty if they are equal."""
    found, a, b = [], paper.schedule, ours.schedule
    if a.total_kimg != b.total_kimg:
        found.append(
            f"{b.total_kimg:,.6g} thousand images shown instead of {a.total_kimg:,.6g} "
            f"({share_text(b.total_kimg / a.total_kimg)})"
        )
    if a.resolution != b.resolution:
        found.append(f"{b.resolution} pixels a side instead of {a.resolution}")
    sizes = ours.gan.sizes()
    for text, wanted in paper.gan.sizes().items():
        if sizes[text] != wanted:
            found.append(f"{text.format(sizes[text])} instead of {wanted} ({share_text(sizes[text] / wanted)})")
    rates = {high / low for high, low in zip(_rates(ours).values(), _rates(paper).values(), strict=True) if low}
    if rates - {1.0}:
        found.append(f"learning rate times {max(rates):.3g}")
    long, short = _half_life_kimg(paper), _half_life_kimg(ours)
    if abs(short / long - 1) > 0.01:
        found.append(f"average of G with a half-life of {short:.3g} thousand images instead of {long:.3g}")
    return found


def _half_life_kimg(config: RunConfig) -> float:
    """Return the half-life of the moving average of G at the end of the run [thousands of images]."""
    if config.ema_kimg is not None or config.ema_decay == 0:
        return config.ema_kimg or math.inf
    images = at_resolution(config.schedule.batch, config.schedule.resolution) * config.gan.batches_shown
    return math.log(0.5) / math.log(config.ema_decay) * images / 1000


def share_text(share: float) -> str:
    """Format a fraction for reading.

    >>> share_text(0.01), share_text(0.3)
    ('1/100', '0.3')
    """
    whole = round(1 / share)
    return f"1/{whole:,}" if abs(whole * share - 1) < 1e-3 else f"{share:.3g}"
