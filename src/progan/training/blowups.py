"""Blow-ups of a run: where it stopped learning, and what was changed to continue it.

Every random draw is addressed by its position, so that replaying a run from its checkpoint leads to the same blow-up.
It is therefore continued only with a change, which config.json records: half the learning rate from the checkpoint on.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from progan.errors import BlowupError
from progan.training import checkpoint

MOST = 10
"""Number of times that the learning rate of a run is halved."""


@dataclass(frozen=True)
class Blowup:
    """One blow-up of a run."""

    kimg: float
    """Thousands of real images seen when it was noticed."""
    reason: str
    halved_at: int | None = None
    """Number of real images seen at the checkpoint from which on the learning rate is halved; None: not yet."""


@dataclass(frozen=True)
class History:
    """All blow-ups of a run, in the order in which they happened."""

    blowups: tuple[Blowup, ...] = ()

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self:
        """The history in a run's config.json."""
        return cls(tuple(Blowup(**values) for values in facts.get("blowups", [])))

    def facts(self) -> dict[str, Any]:
        """What config.json says of it."""
        return {"blowups": [asdict(blowup) for blowup in self.blowups]} if self.blowups else {}

    @property
    def halvings(self) -> tuple[int, ...]:
        """Numbers of real images at each of which the learning rate is halved."""
        return tuple(blowup.halved_at for blowup in self.blowups if blowup.halved_at is not None)

    @property
    def open(self) -> bool:
        """Whether nothing was changed since the last blow-up."""
        return bool(self.blowups) and self.blowups[-1].halved_at is None

    def repeats(self, images_seen: int | None) -> bool:
        """Whether the last blow-up followed another one after the checkpoint at ``images_seen`` had been resumed."""
        return len(self.blowups) > 1 and images_seen is not None and self.blowups[-2].halved_at == images_seen

    def resumed(self, path: Path, on_blowup: str, images_seen: int) -> "History":
        """The history of the run in ``path`` once it continues from a checkpoint.

        Raises:
            BlowupError: if it would blow up again, because nothing changes.
        """
        if not self.open:
            return self
        if on_blowup != "halve-lr" or len(self.blowups) > MOST:
            raise BlowupError(self.message(path))
        # An older checkpoint than before is used only where the later ones are gone.
        past = [replace(one, halved_at=min(one.halved_at or 0, images_seen)) for one in self.blowups[:-1]]
        return History((*past, replace(self.blowups[-1], halved_at=images_seen)))

    def message(self, path: Path) -> str:
        """What happened last, what is left, and what to type."""
        last, start = self.blowups[-1], "continue from it"
        files = [path / name for name in (checkpoint.NAME, checkpoint.SPARE) if (path / name).exists()]
        if files:
            kept = f"the last good checkpoint, {files[0]}"
        else:
            kept, start = "no checkpoint", "start again"
        fix = f"run the same command with --on-blowup halve-lr to {start} at half the learning rate"
        if len(self.blowups) > MOST:
            fix = f"start a new run (--name) with another learning rate; this one was halved {MOST} times"
        return f"{path}: training blew up at {last.kimg:.1f} kimg: {last.reason}\n  kept:  {kept}\n  fix:   {fix}"
