"""From settings and a store to a trained network: what the command line and the experiments call."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from progan.data.loader import Loader
from progan.data.store import Store
from progan.files import locked
from progan.gans.base import ImageSpec
from progan.training.config import RunConfig
from progan.training.distributed import Ranks
from progan.training.loop import SINGLE, Trainer
from progan.training.preflight import Plan, fit_micro_batch, probe
from progan.training.run import Run
from progan.training.watch import Watcher


def train(
    config: RunConfig,
    store: Store,
    path: Path,
    *,
    about: dict[str, Any],
    device: torch.device,
    ranks: Ranks = SINGLE,
    watcher: Watcher | None = None,
    dry_run: bool = False,
) -> int | None:
    """Train in the run directory ``path``, or go on with the run that is there.

    Args:
        store: images, with a level of the schedule's resolution.
        about: what config.json says of the run besides, as plain values.
        watcher: measures the run; on the first rank only.
        dry_run: print the plan of memory and time, and stop.

    Returns:
        number of the signal that ended it early, or None.

    Raises:
        ConfigError: if the settings do not fit the data or the run that is there, or another process trains it.
        DataError: if the store lacks the level.
        CheckpointError: if a checkpoint cannot be read or written.
    """
    side, shorter = config.schedule.resolution, min(store.height, store.width)
    spec = ImageSpec(store.channels, store.height * side // shorter, store.width * side // shorter, len(store.classes))
    store.level(side)  # says what is there, if this is not
    loader = Loader(store, seed=config.seed, mirror=config.mirror, device=device)
    config = fit_micro_batch(config, spec, device, ranks.world)
    trainer = Trainer(config, spec, loader, device=device, ranks=ranks)
    size = f"{spec.height}x{spec.width}x{spec.channels}"
    about_it = f"{size}, {store.count} images, on {device}, {trainer.precision.kind}"
    if dry_run:
        plan = probe(config, spec, device, world=ranks.world)
        if ranks.first:
            print(f"{about_it}\n{plan.table(config.schedule)}")
        return None
    with locked(path) if ranks.first else nullcontext():
        # Opened before the probe: what is wrong with the directory is said at once.
        run, plan = Run(path, trainer, store, about=about, watcher=watcher), Plan([])
        if not run.finished:
            plan = probe(config, spec, device, world=ranks.world)
            if ranks.first:
                run.log.say(f"{about_it}\n{plan.table(config.schedule)}")
        ended_by = run.train(plan)
        if ranks.first:
            run.log.close()
    return ended_by
