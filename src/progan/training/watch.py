"""What a run makes of measurements of its generator: metrics.jsonl, the best snapshot so far, warnings."""

from collections.abc import Sequence
from typing import Any, Protocol

from progan.errors import ProganError
from progan.snapshot import Snapshot
from progan.training.log import METRICS, RunLog, read_stats

Row = dict[str, Any]


class Watcher(Protocol):
    """Measures snapshots; see evaluation/monitor.py."""

    kimg: float
    """Thousands of real images between two measurements."""

    def __call__(self, snapshot: Snapshot) -> Row:
        """Values by name."""
        ...

    def better(self, row: Row, rows: Sequence[Row]) -> str | None:
        """Name of the metric by which ``row`` is better than all of ``rows``, or None."""
        ...

    def alarms(self, rows: Sequence[Row], stats: Sequence[Row]) -> list[str]:
        """What the newest rows warn of."""
        ...


def watch(watcher: Watcher, snapshot: Snapshot, log: RunLog) -> None:
    """Measure a snapshot, keep it if it is the best of its resolution, and warn; a failure does not end the run."""
    try:
        values = watcher(snapshot)
    except ProganError as error:
        log.say(f"warning: no metrics at {snapshot.kimg:.1f} kimg: {'; '.join(str(error).splitlines())}")
        return
    if not values:
        return
    height, width = snapshot.spec.size(snapshot.level)
    row = {"kimg": snapshot.kimg, "resolution": min(height, width), "alpha": snapshot.alpha, **values}
    rows = read_stats(log.run, METRICS)
    log.row(row, METRICS)
    log.say(", ".join(f"{name} {value:.4g}" for name, value in values.items() if "/" not in name))
    if metric := watcher.better(row, rows):
        snapshot.save(log.run / "best.safetensors")
        log.say(f"best {metric} at {row['resolution']} pixels so far: best.safetensors")
    for warning in watcher.alarms([*rows, row], read_stats(log.run)):
        log.say(f"warning: {warning}")
