"""One run of one row: train or resume it, and evaluate the result."""

import json
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from tqdm import tqdm

from progan.data.store import Store
from progan.devices import pick_device
from progan.errors import CheckpointError, ConfigError, ProganError
from progan.evaluation.measure import Measurement, check_size, extractors_of
from progan.evaluation.sets import of_store, open_images
from progan.experiments.base import Experiment, Row
from progan.experiments.scale import Scale, differences, images_measured, scaled
from progan.files import cache_path, replacing
from progan.metrics import METRICS
from progan.metrics.base import Setup
from progan.training.config import RunConfig, changes, completed
from progan.training.log import read_stats
from progan.training.train import train

KEPT = "evaluation.json"
"""File in the directory of a finished run with its measurements, so that the run is not repeated."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One run of one row."""

    experiment: Experiment
    row: Row
    seed: int
    scale: Scale
    store: Path
    """Folder of the prepared data."""
    runs: Path
    """Folder of the run directories; experiments with equal rows share them."""
    device: str = "auto"
    missing: Mapping[str, str] = field(default_factory=dict)
    """Metrics that cannot be computed here, and why."""

    @property
    def plans(self) -> dict[str, tuple[int, int]]:
        """Number of measurements and images per measurement, for each metric."""
        repeats = self.experiment.repeats
        return {name: images_measured(name, self.scale, repeats) for name in self.experiment.metrics}

    @property
    def run(self) -> Path:
        """Path of the run directory."""
        return self.runs / f"{self.row.variant}-{self.store.name}-{self.scale.run_name}-seed{self.seed}"

    def configs(self, store: Store) -> tuple[RunConfig, RunConfig]:
        """Return the settings of the paper's run and of ours, whose images are at most as large as the data's."""
        paper = replace(self.row.config(), seed=self.seed)
        side = min(self.scale.resolution or paper.schedule.resolution, store.height, store.width)
        fits = side >= paper.schedule.resolution
        return paper, scaled(paper, self.scale if fits else replace(self.scale, resolution=side))


def empty(row: str, seed: int = 0, run: str = "") -> Record:
    """Return the record of a run that has not started yet, in the format of results.json.

    ``run`` is the name of the run directory, ``kimg`` the thousands of images shown, ``differences`` those from the
    paper's run, ``measured`` the values by metric (see ``measure``), ``missing`` the reason why a metric has no value,
    and ``stopped`` whether the user stopped the run.
    """
    record: Record = {"row": row, "seed": seed, "run": run, "kimg": 0.0, "train_s": 0.0, "stopped": False}
    return record | {"differences": [], "measured": {}, "missing": {}, "notes": []}


def do(job: Job) -> Record:
    """Train and measure what is missing. Errors become notes of the record."""
    record = empty(job.row.name, job.seed, job.run.name)
    try:
        _do(job, record)
    except KeyboardInterrupt:
        record |= {"stopped": True, "notes": [*record["notes"], "interrupted; run the same command again to resume"]}
    except ProganError as error:
        record["notes"].append("; ".join(line.strip() for line in str(error).splitlines()))
    except Exception as error:  # a failed row must not stop the others
        traceback.print_exc()
        record["notes"].append(f"{type(error).__name__}: {error}")
    return record


def _do(job: Job, record: Record) -> None:
    """Fill in the record step by step, so that an error keeps what is finished."""
    store, device = Store.open(job.store), pick_device(job.device)
    paper, config = job.configs(store)
    record["differences"] = differences(paper, config)
    facts = json.loads(json.dumps({"config": config.to_dict(), "data": store.hash}))
    kept, plans = _kept(job.run / KEPT), job.plans
    if not _same(kept, facts, config):
        about = {"experiment": job.experiment.name, "row": job.row.name, "preset": job.row.preset}
        ended_by = train(config, store, path=job.run, about=about, device=device)
        stats = read_stats(job.run)
        record |= {"kimg": stats[-1]["kimg"] if stats else 0.0, "train_s": sum(row["seconds"] for row in stats)}
        if ended_by:
            share = f"{record['kimg']:.6g} of {config.schedule.total_kimg:.6g} kimg"
            record |= {"stopped": True, "notes": [f"stopped after {share}; run the same command again to resume"]}
            return
        kept = {"facts": facts, "kimg": record["kimg"], "train_s": record["train_s"], "measured": []}
    record |= {"kimg": kept["kimg"], "train_s": kept["train_s"]}
    record["measured"] = {m["metric"]: m for m in kept["measured"] if tuple(m["plan"]) == plans.get(m["metric"])}
    record["missing"] = {name: why for name, why in job.missing.items() if name not in record["measured"]}
    _keep(job, kept)
    for measured in _measure_missing(job, record, store, config, device):
        record["measured"] |= {m["metric"]: m for m in measured}
        kept["measured"] += measured
        _keep(job, kept)


def _keep(job: Job, kept: dict[str, Any]) -> None:
    with replacing(job.run / KEPT) as file:
        file.write(json.dumps(kept, indent=1).encode())


def _same(kept: dict[str, Any], facts: dict[str, Any], config: RunConfig) -> bool:
    """Return whether what was kept belongs to this run and data and is complete; logging intervals may differ."""
    if not kept or kept["facts"]["data"] != facts["data"]:
        return False
    old, new = completed(kept["facts"]["config"], config), facts["config"]
    return not changes(old, new) and old["schedule"]["total_kimg"] == new["schedule"]["total_kimg"]


def _kept(path: Path) -> dict[str, Any]:
    """Read what was kept of a run; empty if the file is missing, damaged, or from an older version."""
    try:
        kept = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept.get("measured"), list) else {}


def _measure_missing(
    job: Job, record: Record, store: Store, config: RunConfig, device: torch.device
) -> Iterator[list[dict[str, Any]]]:
    """Compute the metrics that are not in the record, one group at a time."""
    wanted: dict[tuple, list[str]] = {}
    for name, plan in job.plans.items():
        if name not in job.missing and name not in record["measured"]:
            wanted.setdefault((METRICS[name].extractor, *plan), []).append(name)  # one pass for each of these
    for (_, times, count), names in wanted.items():
        try:
            measured = measure(job.run, store, names, times=times, count=count, mirror=config.mirror, device=device)
        except CheckpointError:  # images that are not finite: no metric can be computed
            raise
        except ProganError as error:
            record["missing"] |= dict.fromkeys(names, _reason(error))
            continue
        yield [{"metric": name, "plan": [times, count], **values} for name, values in measured.items()]


def unfit(job: Job) -> dict[str, str]:
    """Return the metrics that are not defined for the images that a job will generate, and why."""
    store, found = Store.open(job.store), {}
    try:
        side, shorter = job.configs(store)[1].schedule.resolution, min(store.height, store.width)
    except ConfigError:  # the run will report it
        return found
    height, width = (pixels * side // shorter for pixels in (store.height, store.width))
    for name in job.experiment.metrics:
        try:
            check_size(name, Setup(height=height, width=width, channels=store.channels), store.path.name)
        except ConfigError as error:
            found[name] = _reason(error)
    return found


def unmeasurable(names: Sequence[str], device: str) -> dict[str, str]:
    """Return the metrics whose networks are not available here, and why, and print a warning with the remedy."""
    found: dict[str, str] = {}
    for extractor in dict.fromkeys(METRICS[name].extractor for name in names):
        of_it = [name for name in names if METRICS[name].extractor == extractor]
        try:
            extractors_of(of_it, None, pick_device(device))
        except ProganError as error:
            found |= dict.fromkeys(of_it, _reason(error))
            tqdm.write(f"warning: {', '.join(of_it)} will not be measured: {error}", file=sys.stderr)
    return found


def _reason(error: ProganError) -> str:
    """Return the first line of an error without the paths of this machine."""
    return str(error).splitlines()[0].replace(f"{cache_path('')}/", "")


def measure(
    run: Path, store: Store, names: list[str], *, times: int, count: int, mirror: bool, device: torch.device
) -> dict[str, dict[str, Any]]:
    """Compute metrics of a run's latest generator: means over ``times`` measurements, each with different latents.

    Each measurement uses ``count`` generated images. Metrics that compare two sets use no more than there are real
    images, unless ``count`` is the paper's number and the metric accepts fewer real images.

    Returns:
        For each metric ``values``, ``real`` (the values for real images, the floor), ``fakes``, ``reals``,
        ``floor_count`` and ``note``.
    """
    reports = []
    for seed in range(times):
        fake = open_images(run, seed=seed, device=device)
        real = of_store(store, resolution=f"{fake.height}x{fake.width}", seed=seed)
        exact = all(METRICS[name].paper_count == count for name in names)
        fewer = min(count, store.count) if any(METRICS[name].compares for name in names) else count
        some = None if exact else fewer
        measurement = Measurement(real, names, count=some, seed=seed, mirror=mirror, device=device, progress=True)
        reports.append(measurement(fake).results)
    found = {}
    for results in zip(*reports, strict=True):
        first = results[0]
        found[first.metric] = {
            "values": {key: mean(result.values[key] for result in results) for key in first.values},
            "real": {key: mean(result.real_values[key] for result in results) for key in first.real_values},
            **{"fakes": first.count, "reals": first.real_count, "floor_count": first.floor_count, "note": first.note},
        }
    return found
