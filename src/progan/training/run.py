"""Reading a run directory: its settings, statistics, samples and snapshots."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from progan.errors import CheckpointError
from progan.snapshot import Snapshot, snapshots_in
from progan.training import checkpoint, identity
from progan.training.blowups import History
from progan.training.log import METRICS, read_stats


@dataclass(frozen=True)
class Run:
    """Contents of a run directory. Properties are read anew each time, so that a run can be followed."""

    path: Path
    ended_by: int | None = None
    """Number of the signal that ended the training early, for a run that ``progan.train`` returns."""

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Open the run in a directory.

        Raises:
            CheckpointError: if there is none, or its config.json is damaged.
        """
        identity.read(Path(path))
        return cls(Path(path))

    @property
    def config(self) -> dict[str, Any]:
        """Its settings, as plain values."""
        return identity.read(self.path)["config"]

    @property
    def stats(self) -> dict[str, np.ndarray]:
        """Columns of stats.jsonl by name, float64 [rows]; NaN where a row has no such number."""
        return _columns(read_stats(self.path))

    @property
    def metrics(self) -> dict[str, np.ndarray]:
        """Columns of metrics.jsonl, as ``stats``."""
        return _columns(read_stats(self.path, METRICS))

    @property
    def kimg(self) -> float:
        """Thousands of real images shown until the last row of statistics."""
        rows = read_stats(self.path)
        return rows[-1]["kimg"] if rows else 0.0

    @property
    def finished(self) -> bool:
        """Whether it has reached the end of its schedule, and is saved."""
        facts = identity.read(self.path)
        total = round(1000 * facts["config"]["schedule"]["total_kimg"])
        saved = (self.path / checkpoint.NAME).exists()
        return saved and round(1000 * self.kimg) >= total and not History.of(facts).open

    @property
    def samples(self) -> list[Path]:
        """Sheets of generated images, in the order of training."""
        return sorted(path for path in (self.path / "samples").glob("*.png") if not path.name.startswith("reals"))

    @property
    def snapshots(self) -> list[Path]:
        """Snapshot files, in the order of training."""
        return snapshots_in(self.path)

    def snapshot(self, number: int = -1, *, device: torch.device | str = "cpu") -> Snapshot:
        """Load one of its snapshots, by default the latest.

        Raises:
            CheckpointError: if there is none.
        """
        files = self.snapshots
        if not -len(files) <= number < len(files):
            raise CheckpointError(f"{self.path}: has {len(files)} snapshots, but no number {number}")
        return Snapshot.load(files[number], device=device)


def _columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([_number(row.get(name)) for row in rows]) for name in names}


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")
