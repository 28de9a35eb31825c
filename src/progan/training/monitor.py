"""What a run does with measurements of its generator: metrics.jsonl, the best snapshot so far, warnings."""

import traceback
from collections.abc import Sequence
from typing import Any, Protocol

from progan.errors import ProganError
from progan.snapshot import Snapshot
from progan.training.log import METRICS, RunLog, read_stats

Row = dict[str, Any]
BEST = "best.safetensors"


class Monitor(Protocol):
    """Measures snapshots while a run trains; see evaluation/monitor.py."""

    kimg: float
    """Thousands of real images between measurements."""

    def __call__(self, snapshot: Snapshot) -> Row:
        """Values by name."""
        ...

    def better(self, row: Row, rows: Sequence[Row]) -> str | None:
        """Name of the metric by which ``row`` is better than all of ``rows``, or None."""
        ...

    def alarms(self, rows: Sequence[Row]) -> list[str]:
        """Warnings about the newest of ``rows``."""
        ...


def measure(monitor: Monitor, snapshot: Snapshot, log: RunLog) -> list[str]:
    """Measure a snapshot, and keep it if it is the best of its resolution so far. A failure does not end the run.

    Returns:
        Warnings.
    """
    try:
        values = monitor(snapshot)
    except Exception as error:  # such as too little memory
        reason = "; ".join(line.strip() for line in str(error).splitlines()) or type(error).__name__
        details = "" if isinstance(error, ProganError) else traceback.format_exc()
        log.say(
            f"warning: no metrics at {snapshot.kimg:.1f} kimg: {reason}{' (see log.txt)' if details else ''}", details
        )
        return []
    if not values:
        return []
    height, width = snapshot.spec.size(snapshot.level)
    row = {"kimg": snapshot.kimg, "resolution": min(height, width), "alpha": snapshot.alpha, **values}
    rows = read_stats(log.run, METRICS)
    warnings = monitor.alarms([*rows, row])
    log.row(row | ({"warnings": warnings} if warnings else {}), METRICS)
    log.say(f"at {snapshot.kimg:.1f} kimg: {_main_values(values)}")
    if metric := monitor.better(row, rows):
        snapshot.save(log.run / BEST)
        log.say(f"best {metric} at {row['resolution']} pixels so far: {BEST}")
    return warnings


def _main_values(values: Row) -> str:
    """Format values next to those of real images, without parts of a value such as swd_16.

    >>> _main_values({"swd": 3.5, "swd_16": 4.0, "real/swd": 1.0, "ms_ssim": 0.25})
    'swd 3.5 (real 1), ms_ssim 0.25'
    """
    names = [n for n in values if "/" not in n and not any(n.startswith(f"{other}_") for other in values)]
    reals = {n: f" (real {values[f'real/{n}']:.4g})" for n in names if f"real/{n}" in values}
    return ", ".join(f"{n} {values[n]:.4g}{reals.get(n, '')}" for n in names)
