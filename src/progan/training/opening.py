"""What a run directory holds, read and compared with the run to be trained before anything is on the device."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from progan.data.store import Store
from progan.errors import ConfigError
from progan.gans.base import ImageSpec
from progan.training import checkpoint, identity
from progan.training.blowups import History
from progan.training.config import RunConfig


@dataclass(frozen=True)
class Opened:
    """Contents of a run directory that can be trained in."""

    facts: dict[str, Any]
    """Contents of config.json for the run to be trained."""
    state: dict[str, Any] | None
    """Checkpoint to resume from, on the CPU; None for a new run."""
    warnings: list[str]
    """Checkpoints that cannot be read."""
    history: History
    """Blow-ups of the run."""

    @classmethod
    def read(
        cls,
        path: Path,
        config: RunConfig,
        spec: ImageSpec,
        stores: Sequence[Store],
        about: dict[str, Any],
        init: str | None = None,
    ) -> Self:
        """Read the directory ``path``, which may not exist yet.

        Args:
            about: further facts for config.json, as plain values.
            init: run or snapshot whose weights the run is to begin with.

        Raises:
            ConfigError: if it contains a run with different settings, on different data or from other first weights.
            CheckpointError: if it has checkpoints and none can be read.
            BlowupError: if its run blew up and nothing is to be changed.
        """
        state, warnings = checkpoint.load(path)
        facts = identity.describe(config, spec, stores, about)
        old = identity.check_same(path, facts, config, needed=state is not None)
        began = init if state is None else old.get("init")
        if init not in (None, began):
            raise ConfigError(
                f"{path} holds a run that began with {began or 'new weights'}, not with {init}; choose another folder "
                "(--name or --out)"
            )
        facts |= {} if began is None else {"init": began}
        seen = 0 if state is None else state["trainer"]["images_seen"]
        history = History.of(old).resumed(path, config.on_blowup, seen)
        return cls(facts | history.facts(), state, warnings, history)

    def finished(self, config: RunConfig) -> bool:
        """Whether the end of the schedule is reached."""
        seen = 0 if self.state is None else self.state["trainer"]["images_seen"]
        return seen >= round(1000 * config.schedule.total_kimg)
