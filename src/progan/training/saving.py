"""When a run is saved, and in which states."""

import time
from pathlib import Path

from progan.training import checkpoint
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
        self._at, self._refused = time.monotonic(), False
        self._applied = trainer.statistics.applied()

    @property
    def due(self) -> bool:
        """Whether it is time for another checkpoint."""
        usual = 60 * self.trainer.config.checkpoint_minutes
        return time.monotonic() - self._at >= (usual if self.saved is not None else min(usual, FIRST_S))

    def save(self, since: tuple[float, float]) -> None:
        """Write a checkpoint if the state is sound and not saved yet; all ranks call this.

        Args:
            since: seconds since the last row of statistics, and its position [thousands of images].
        """
        trainer = self.trainer
        trainer.statistics.share()  # each rank has the statistics of its own samples
        problem = ""
        if self.log is not None and self.saved != trainer.images_seen:
            problem = self._problem()
            if not problem:
                checkpoint.save(self.path, {"trainer": trainer.state_dict(), "since": since})
            elif not self._refused:
                self.log.say(f"warning: no checkpoint at {trainer.images_seen / 1000:.1f} kimg, because {problem}")
        if not problem:
            self.saved, self._applied = trainer.images_seen, trainer.statistics.applied()
        self._at, self._refused = time.monotonic(), bool(problem)
        trainer.ranks.wait()

    def _problem(self) -> str:
        """Why the state is not sound, or ""."""
        applied, streaks = self.trainer.statistics.applied(), self.trainer.statistics.streaks()
        for phase, streak in streaks.items():
            if streak and applied[phase] <= self._applied.get(phase, 0):
                return f"no step of the phase '{phase}' was applied since the previous one"
            if streak >= BLOWN_AT_END:
                return f"the last {streak:.0f} steps of the phase '{phase}' were skipped"
        return "" if self.trainer.all_finite() else "its state has numbers that are not finite"
