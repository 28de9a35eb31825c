"""Metrics of one set of images compared with another, with everything that decides what the numbers mean."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from progan import draws
from progan.devices import exact_fp32
from progan.errors import ConfigError
from progan.evaluation import cache
from progan.evaluation.results import Report, Result
from progan.evaluation.sets import ImageSet, check_sizes
from progan.metrics import METRICS
from progan.metrics.base import Metric, Setup, Statistic
from progan.metrics.extractors import Extractor, load_extractor

BYTES = 1 << 24
"""Size of a batch of uint8 images [bytes]."""


def check_names(names: Sequence[str], *, real: bool) -> None:
    """Raise ConfigError for a metric that does not exist, or that requires real images if there are none."""
    for name in names:
        if name not in METRICS:
            raise ConfigError(f"unknown metric {name!r}; choose from {', '.join(METRICS)}")
        if METRICS[name].compares and not METRICS[name].alone and not real:
            raise ConfigError(f"{name} compares two sets: pass the real images too")
    if not names:
        raise ConfigError(f"no metric given; choose from {', '.join(METRICS)}")


def check_size(name: str, setup: Setup, images: str) -> None:
    """Raise ConfigError if a metric is not defined for images of this shape; ``images`` is their name in messages."""
    smallest = METRICS[name].smallest
    if min(setup.height, setup.width) < smallest:
        raise ConfigError(
            f"{name} is not defined below {smallest} pixels: {images} has {setup.height}x{setup.width}; "
            f"omit {name}, or use images of at least {smallest} pixels"
        )
    METRICS[name].statistic(setup)  # raises what else it requires


def extractors_of(names: Sequence[str], weights: Path | None, device: torch.device | str) -> dict[str, Extractor]:
    """Load the networks that these metrics require.

    Raises:
        ConfigError: if a file of weights is given, but several networks or none are required.
        DataError: if weights are missing or damaged.
    """
    wanted = list(dict.fromkeys(e for name in names if (e := METRICS[name].extractor)))
    if weights is not None and len(wanted) != 1:
        raise ConfigError(
            f"{weights}: one file of weights, but the networks required by {', '.join(names)} are: "
            f"{' and '.join(wanted) or 'none'}; measure with one network at a time"
        )
    return {name: load_extractor(name, weights, str(device)) for name in wanted}


class Measurement:
    """Metrics of any number of generated sets compared with one real set, whose statistics are gathered once.

    Args:
        real: the real images, or None for metrics that do not compare two sets.
        names: metrics, by their names in METRICS.
        count: number of images of each set; by default, the paper's number for each metric, or all if there are fewer.
        seed: seed of every random choice.
        mirror: whether real images are mirrored at random, as in training.
        floor: whether to measure real images in place of generated ones, too.
        weights: file with the extractor's weights; by default, the one in the cache.
        device: device of extractors and statistics.
        progress: whether to show progress bars.

    Raises:
        ConfigError, DataError: if a metric cannot be measured with these arguments.
    """

    def __init__(
        self,
        real: ImageSet | None,
        names: Sequence[str],
        *,
        count: int | None = None,
        seed: int = 0,
        mirror: bool = False,
        floor: bool = True,
        weights: Path | None = None,
        device: torch.device | str = "cpu",
        progress: bool = False,
    ) -> None:
        check_names(names, real=real is not None)
        if count is not None and count < 2:
            raise ConfigError(f"count must be at least 2, got {count}")
        for name in names:
            if count is not None and count < METRICS[name].least:
                raise ConfigError(f"{name} requires at least {METRICS[name].least} images of each set, got {count}")
        draws.check_seed(seed)
        self.names, self.count, self.seed, self.mirror, self.floor = tuple(names), count, seed, mirror, floor
        self.real = real.mirrored(seed) if real is not None and mirror else real
        self.device, self.progress = str(device), progress
        exact_fp32()  # of generators, extractors and statistics, so that numbers from all devices compare
        self.extractors = extractors_of(names, weights, device)
        self._known: dict[tuple, Any] = {}

    def __call__(self, fake: ImageSet) -> Report:
        """Measure a set of images; a conditional generator draws classes as often as the real images have them."""
        if self.real is not None:
            check_sizes(fake, self.real)
            self._check_pairs(fake, self.real)
        fake = fake.with_classes_of(self.real)
        for name in self.names:
            check_size(name, self._setup(fake, "fake"), fake.name)
        counts = {name: self._count(fake, name) for name in self.names}
        fakes = self._gather(fake, counts, "fake", 0)
        results = [self._result(name, fakes[name], counts[name]) for name in self.names]
        return Report(
            fake=fake.about(),
            real=None if self.real is None else self.real.about(),
            size=(fake.height, fake.width, fake.channels),
            mirror=self.mirror,
            seed=self.seed,
            results=results,
        )

    def _check_pairs(self, fake: ImageSet, real: ImageSet) -> None:
        """Raise ConfigError if a metric compares image by image, but the sets do not belong together."""
        for name in (name for name in self.names if METRICS[name].paired):
            if self.mirror:
                raise ConfigError(f"{name} compares images with their originals; omit --mirror")
            in_file_order = fake.order == real.order == "file" and fake.count == real.count
            if fake.inputs != real.hash and not in_file_order:
                raise ConfigError(
                    f"{name} compares images with their originals, which {real.name} does not contain; pass the same "
                    f"images as --inputs and REAL, as in 'progan metric SNAPSHOT {real.name} --inputs {real.name} "
                    f"--metrics {name}', or two sets of equally many images with --order file"
                )

    def _result(self, name: str, fake: Statistic, count: int) -> Result:
        metric = METRICS[name]
        compares = metric.compares and self.real is not None
        real_count = self._real_count(name, count) if compares else 0
        real = self._real(name, 0, real_count) if compares else None
        values = self._compute(metric, fake, real)
        real_values, floor_count = self._floor(name, count)
        extractor = self.extractors.get(metric.extractor or "")
        notes = []
        if extractor is not None and metric.few_note and min(count, real_count or count) <= extractor.features:
            notes.append(metric.few_note)
        if extractor is not None and extractor.note:
            notes.append(extractor.note)
        if metric.compares and not compares:
            notes.append(f"compared with {metric.alone}, because there are no real images")
        if metric.remark and (remark := metric.remark(fake, values)):
            notes.append(remark)
        return Result(
            metric=name,
            title=metric.title,
            key=metric.key,
            values=values,
            real_values=real_values,
            count=count,
            real_count=real_count,
            floor_count=floor_count,
            paper_count=metric.paper_count,
            seed=self.seed,
            extractor=metric.extractor or "",
            extractor_hash="" if extractor is None else extractor.hash,
            note="; ".join(notes),
        )

    def _compute(self, metric: Metric, fake: Statistic, real: Statistic | None) -> dict[str, float]:
        sets = (fake,) if real is None else (fake, real)
        with tqdm(desc=metric.title, disable=None if self.progress and metric.takes_long else True) as bar:

            def show(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            values = metric.compute(*sets, seed=self.seed, **({"progress": show} if metric.takes_long else {}))
        return {metric.names.get(key, key): value for key, value in values.items()}

    def _floor(self, name: str, count: int) -> tuple[dict[str, float], int]:
        """The metric of real images in place of generated ones, and the number of images."""
        if self.real is None or not self.floor:
            return {}, 0
        metric, there = METRICS[name], self.real.count
        if metric.paired or (metric.labeled and not self._reads_labels(name, self.real)):
            return {}, 0
        if not metric.compares:
            some = min(count, there)
            return (self._compute(metric, self._real(name, 0, some), None), some) if some >= metric.least else ({}, 0)
        some = min(self._real_count(name, count), count)
        some = some if there >= 2 * some else there // 2  # disjoint, or the two halves
        if some < metric.least:
            return {}, 0
        known = ("floor", name, some)
        if known not in self._known:
            facts = self._facts(metric, 0, some) | {"metric": name, "floor": True}
            self._known[known] = self._floor_values(name, some, cache.key(**facts))
        return self._known[known], some

    def _reads_labels(self, name: str, images: ImageSet) -> bool:
        """Whether a set has classes that a metric understands."""
        try:
            check_size(name, self._setup(images, "real"), images.name)
        except ConfigError:
            return False
        return True

    def _floor_values(self, name: str, some: int, key: str) -> dict[str, float]:
        if (kept := cache.load(key)) is not None:
            return {value: float(array) for value, array in kept.items()}
        metric = METRICS[name]
        values = self._compute(metric, self._real(name, some, some, keep=False), self._real(name, 0, some))
        cache.save(key, {value: torch.tensor(number, dtype=torch.float64).numpy() for value, number in values.items()})
        return values

    def _real(self, name: str, first: int, count: int, *, keep: bool = True) -> Statistic:
        """Statistic of real images: from memory, from the cache, or gathered now."""
        metric, real = METRICS[name], self._reals()
        known = (metric.statistic, metric.on, metric.extractor, first, count)
        if known in self._known:
            return self._known[known]
        setup = self._setup(real, "real" if first == 0 else "floor")
        key = cache.key(**self._facts(metric, first, count))
        if metric.cacheable and keep and (arrays := cache.load(key)) is not None:
            statistic = metric.statistic(setup).load(arrays)
        else:
            statistic = self._gather(real, {name: count}, setup.stream, first)[name]
            if metric.cacheable and keep:
                cache.save(key, statistic.arrays())
        if keep:
            self._known[known] = statistic
        return statistic

    def _facts(self, metric: Metric, first: int, count: int) -> dict[str, Any]:
        """Everything that decides a statistic of the real set."""
        extractor, real = self.extractors.get(metric.extractor or ""), self._reals()
        facts = {
            "set": real.hash,
            "size": [real.height, real.width],
            "mirror": self.mirror,
            "seed": self.seed,
            "order": real.order,
            "rows": [first, count],
            "statistic": metric.statistic.__name__,
            "on": metric.on,
            "extractor": None if extractor is None else extractor.hash,
        }
        return facts | ({"classes": real.classes} if metric.labeled else {})

    def _gather(self, images: ImageSet, counts: dict[str, int], stream: str, first: int) -> dict[str, Statistic]:
        """Every metric's statistic of its ``counts`` images from ``first`` on, in one pass over a set."""
        setup, made, by_name = self._setup(images, stream), {}, {}
        for name, count in counts.items():  # metrics may share a statistic
            metric = METRICS[name]
            kind = (metric.statistic, metric.on, metric.extractor, count)
            made.setdefault(kind, (metric, count, metric.statistic(setup)))
            by_name[name] = made[kind][2]
        total = max(counts.values())
        batch = max(1, min(64 if self.extractors else 256, BYTES // (images.height * images.width * images.channels)))
        what = f"{stream}: {', '.join(counts)}"
        with tqdm(total=total, unit=" images", desc=what, disable=None if self.progress else True) as bar:
            for start in range(0, total, batch):
                some = images.read(first + start, min(batch, total - start)).to(self.device)
                outputs: dict[str, Any] = {}
                for metric, count, statistic in made.values():
                    if count <= start:
                        continue
                    rows = self._rows(metric, some, outputs)[: count - start]
                    labels = [images.read_labels(first + start, len(rows))] if metric.labeled else []
                    statistic.update(rows, *labels)
                bar.update(len(some))
        return by_name

    def _rows(self, metric: Metric, images: Tensor, outputs: dict[str, Any]) -> Tensor:
        """Input of a metric's statistic; ``outputs`` keeps those of each extractor, which sees the images once."""
        if metric.extractor is None:
            return images
        if metric.extractor not in outputs:
            outputs[metric.extractor] = self.extractors[metric.extractor](images)
        return getattr(outputs[metric.extractor], metric.on)

    def _setup(self, images: ImageSet, stream: str) -> Setup:
        size = {"height": images.height, "width": images.width, "channels": images.channels}
        return Setup(**size, seed=self.seed, stream=stream, classes=images.classes, device=self.device)

    def _count(self, fake: ImageSet, name: str) -> int:
        """Number of generated images of a metric."""
        metric = METRICS[name]
        sets = [fake] if self.real is None or not metric.compares else [fake, self.real]
        for images in sets:
            if images.count < (wanted := max(self.count or 0, metric.least)):
                raise ConfigError(
                    f"too few images for {name}: {images.name} has {images.count}, expected {wanted} of each set"
                    + (f"; pass --count {images.count} or less" if images.count >= metric.least else "")
                )
        count = self.count or min(metric.paper_count, fake.count)
        return min(count, self.real.count) if self.real is not None and metric.equal_counts else count

    def _real_count(self, name: str, count: int) -> int:
        wanted = count if METRICS[name].equal_counts else self.count or METRICS[name].paper_count
        return min(wanted, self._reals().count)

    def _reals(self) -> ImageSet:
        if self.real is None:
            raise ConfigError("pass the real images too")
        return self.real
