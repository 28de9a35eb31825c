"""What a run makes of measurements of its generator: metrics.jsonl, the best snapshot so far, warnings."""

from collections.abc import Sequence
from typing import Any, Protocol

from progan.errors import ProganError
from progan.snapshot import Snapshot
from progan.training.log import METRICS, RunLog, read_stats

Row = dict[str, Any]


class Monitor(Protocol):
    """Measures snapshots while a run trains; see evaluation/monitor.py."""

    kimg: float
    """Thousands of real images between two measurements."""

    def __call__(self, snapshot: Snapshot) -> Row:
        """Values by name."""
        ...

    def better(self, row: Row, rows: Sequence[Row]) -> str | None:
        """Name of the metric by which ``row`` is better than all of ``rows``, or None."""
        ...

    def alarms(self, rows: Sequence[Row], stats: Sequence[Row], networks: Sequence[str]) -> list[str]:
        """What the newest rows warn of; ``networks`` are those that the sampler is made of."""
        ...


def measure(monitor: Monitor, snapshot: Snapshot, log: RunLog, networks: Sequence[str]) -> None:
    """Measure a snapshot, keep it if it is the best of its resolution, and warn; a failure does not end the run."""
    try:
        values = monitor(snapshot)
    except ProganError as error:
        log.say(f"warning: no metrics at {snapshot.kimg:.1f} kimg: {'; '.join(str(error).splitlines())}")
        return
    if not values:
        return
    height, width = snapshot.spec.size(snapshot.level)
    row = {"kimg": snapshot.kimg, "resolution": min(height, width), "alpha": snapshot.alpha, **values}
    rows = read_stats(log.run, METRICS)
    log.row(row, METRICS)
    log.say(f"at {snapshot.kimg:.1f} kimg: {_main_values(values)}")
    if metric := monitor.better(row, rows):
        snapshot.save(log.run / "best.safetensors")
        log.say(f"best {metric} at {row['resolution']} pixels so far: best.safetensors")
    for warning in monitor.alarms([*rows, row], read_stats(log.run), networks):
        log.say(f"warning: {warning}")


def _main_values(values: Row) -> str:
    """Values beside those of real images, without the parts of a value like swd_16.

    >>> _main_values({"swd": 3.5, "swd_16": 4.0, "real/swd": 1.0, "ms_ssim": 0.25})
    'swd 3.5 (real 1), ms_ssim 0.25'
    """
    names = [n for n in values if "/" not in n and not any(n.startswith(f"{other}_") for other in values)]
    reals = {n: f" (real {values[f'real/{n}']:.4g})" for n in names if f"real/{n}" in values}
    return ", ".join(f"{n} {values[n]:.4g}{reals.get(n, '')}" for n in names)
