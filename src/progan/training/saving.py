"""When a run is saved, and in which states."""

import time
from pathlib import Path
from typing import Any

from progan.errors import CheckpointError
from progan.training import checkpoint, identity
from progan.training.log import RunLog
from progan.training.loop import Trainer
from progan.training.watch import BLOWN_AT_END

FIRST_S = 60
"""Seconds until the first checkpoint of a run."""


class Saver:
    """Checkpoints of one run, of sound states only, so that they are not replaced once the run has blown up.

    Args:
        path: run directory.
        trainer: what is saved.
        log: where a state that may not be saved is reported; None for processes that do not write.
        resumed: whether the trainer was loaded from a checkpoint.
    """

    def __init__(self, path: Path, trainer: Trainer, log: RunLog | None, *, resumed: bool) -> None:
        self.path, self.trainer, self.log = path, trainer, log
        self.saved: int | None = trainer.images_seen if resumed else None
        """Number of real images seen at the latest checkpoint."""
        self.broken = ""
        """Why the state can never be saved again, if that is so."""
        self._at, self._refused = time.monotonic(), ""
        self._steps = dict(trainer.statistics.steps)

    @property
    def due(self) -> bool:
        """Whether it is time for another checkpoint."""
        usual = 60 * self.trainer.config.checkpoint_minutes
        return time.monotonic() - self._at >= (usual if self.saved is not None else min(usual, FIRST_S))

    def save(self, **more: Any) -> None:
        """Write a checkpoint if the state is sound and not saved yet; all ranks call this.

        Args:
            more: what it contains beside the state of the trainer, as plain values.

        Raises:
            CheckpointError: if it cannot be written, or the run directory is gone.
        """
        trainer = self.trainer
        trainer.statistics.share()  # each rank has the statistics of its own samples
        problem = ""
        if self.log is not None and self.saved != trainer.images_seen:
            problem = self._problem()
            if not problem:
                self._write({"trainer": trainer.state_dict(), **more})
            elif problem != self._refused:
                self.log.say(f"warning: no checkpoint at {trainer.images_seen / 1000:.1f} kimg, because {problem}")
        if not problem:
            self.saved, self._steps = trainer.images_seen, dict(trainer.statistics.steps)
        self._at, self._refused = time.monotonic(), problem
        trainer.ranks.wait()

    def _write(self, state: dict[str, Any]) -> None:
        if not (self.path / identity.NAME).exists():  # else a directory would be made that no command can read
            raise CheckpointError(f"{self.path}: was removed while the run was training, and cannot be saved to")
        checkpoint.save(self.path, state)

    def _problem(self) -> str:
        """Why the state is not sound, or ""."""
        statistics = self.trainer.statistics
        applied = statistics.applied()
        for phase, streak in statistics.streaks(since=self._steps).items():
            if applied[phase] <= self._steps.get(phase, 0):
                return f"no step of the phase '{phase}' was applied since the previous one"
            if streak >= BLOWN_AT_END:
                return f"the last {streak} steps of the phase '{phase}' were skipped"
        if not self.trainer.all_finite():
            self.broken = "weights, averages or statistics of the optimizers are not finite"
        return self.broken
