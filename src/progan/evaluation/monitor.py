"""Metrics during training: rows of metrics.jsonl, and warnings if the numbers indicate a collapse."""

from collections.abc import Callable, Sequence
from math import isfinite, nan
from typing import Any

from torch import Tensor

from progan.data.store import Store
from progan.errors import ConfigError
from progan.evaluation.measure import Measurement, check_names, check_size
from progan.evaluation.sets import of_snapshot, of_store
from progan.metrics import METRICS
from progan.metrics.base import Setup
from progan.snapshot import Snapshot

Row = dict[str, Any]

SIMILARITY_RISE = 0.1
"""Rise of MS-SSIM above its lowest value, and above that of real images, that causes a warning."""
DISTANCE_RISE = 2.0
"""Ratio of SWD to its best value that causes a warning."""
TRY = "the best generator so far is in best.safetensors; try a lower learning rate (--schedule.lr) in a new run"


class MetricMonitor:
    """Measures snapshots of one run against its own data, at the resolution of each snapshot.

    Args:
        store: data of the run.
        names: metrics; the first one decides which snapshot is the best.
        kimg: thousands of real images between two measurements.
        seed: seed of every random choice.
        size: height and width of the final images of the run [pixels]; by default, those of the store.
        inputs: images for a network that translates images; by default, those of the store.
        labels: (first, count) -> labels of the generated images; by default, classes as frequent as in the store.
        classes: names of the classes that a conditional generator is asked for.
        settings: further arguments of Measurement.

    Raises:
        ConfigError, DataError: if anything required is missing; raised here, before the run begins.
    """

    def __init__(
        self,
        store: Store,
        names: Sequence[str],
        *,
        kimg: float,
        seed: int,
        size: tuple[int, int] | None = None,
        inputs: Store | None = None,
        labels: Callable[[int, int], Tensor | None] | None = None,
        classes: tuple[str, ...] = (),
        **settings: Any,
    ) -> None:
        self.store, self.names, self.kimg, self.seed, self.settings = store, tuple(names), kimg, seed, settings
        self.inputs, self.labels, self.size = inputs or store, labels, size or (store.height, store.width)
        self.classes = classes
        check_names(names, real=True)
        for name in names:
            check_size(name, self._setup(self.size), "the final stage of the run")
            if METRICS[name].paired:
                raise ConfigError(
                    f"{name} compares reconstructions, which are not measured during training; when it has ended, "
                    f"use 'progan metric RUN DATA --inputs DATA --metrics {name}'"
                )
        self.measurement: Measurement | None = self._make(self.size)

    def __call__(self, snapshot: Snapshot) -> Row:
        """Return the values of a snapshot by name, and of real images as ``real/NAME``; {} if images are too small."""
        size = snapshot.spec.size(snapshot.level)
        if size != self.size:  # the reals of one resolution at a time
            self.size, self.measurement = size, self._make(size)
        if self.measurement is None:
            return {}
        inputs = None
        if snapshot.sampler.latent is None:
            side = str(min(snapshot.spec.height, snapshot.spec.width))
            inputs = of_store(self.inputs, resolution=side, seed=self.seed)
        report = self.measurement(
            of_snapshot(snapshot, name="snapshot", seed=self.seed, inputs=inputs, labels=self.labels)
        )
        row: Row = {}
        for result in report.results:
            row |= result.values | {f"real/{key}": value for key, value in result.real_values.items()}
        return row

    def better(self, row: Row, rows: Sequence[Row]) -> str | None:
        """Return the name of the deciding metric if ``row`` is the best of its resolution and in no fade, else None."""
        metric = METRICS[self.names[0]]
        if metric.higher_is_better is None or row["alpha"] < 1 or not isfinite(row.get(metric.key, nan)):
            return None
        sign = 1 if metric.higher_is_better else -1
        others = [sign * other[metric.key] for other in _alike(row, rows) if metric.key in other]
        return self.names[0] if all(sign * row[metric.key] > value for value in others) else None

    def alarms(self, rows: Sequence[Row]) -> list[str]:
        """Return warnings about the latest row of metrics.jsonl, and what to try."""
        *before, now = rows
        alike = _alike(now, before)
        return [warning for warning in (_similarity(now, alike), _distance(now, alike)) if warning]

    def _make(self, size: tuple[int, int]) -> Measurement | None:
        names = [name for name in self.names if self._defined(name, size)]
        if not names:
            return None
        real = of_store(self.store, resolution=f"{size[0]}x{size[1]}", seed=self.seed)
        return Measurement(real, names, seed=self.seed, **self.settings)

    def _setup(self, size: tuple[int, int]) -> Setup:
        return Setup(height=size[0], width=size[1], channels=min(self.store.channels, 3), classes=self.classes)

    def _defined(self, name: str, size: tuple[int, int]) -> bool:
        try:
            check_size(name, self._setup(size), "")
        except ConfigError:
            return False
        return True


def _alike(row: Row, rows: Sequence[Row]) -> list[Row]:
    """The rows of the same resolution and fade; others cannot be compared."""
    return [other for other in rows if other["resolution"] == row["resolution"] and other["alpha"] == row["alpha"]]


def _similarity(now: Row, before: Sequence[Row]) -> str:
    past = [row["ms_ssim"] for row in before if "ms_ssim" in row]
    real = now.get("real/ms_ssim", 0.0)
    if not past or now.get("ms_ssim", 0.0) <= max(min(past), real) + SIMILARITY_RISE:
        return ""
    return (
        f"the images become similar to each other (mode collapse?): MS-SSIM {now['ms_ssim']:.3f}, was {min(past):.3f}, "
        f"{real:.3f} for real images; {TRY}"
    )


def _distance(now: Row, before: Sequence[Row]) -> str:
    past = [row["swd"] for row in before if "swd" in row]
    if not past or now.get("swd", 0.0) <= DISTANCE_RISE * min(past):
        return ""
    return f"the images diverge from the data: SWD {now['swd']:.2f}, was {min(past):.2f}; {TRY}"
