"""From settings and stores to a trained network: what the Python interface and the experiments call."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
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
from progan.training.monitor import Monitor
from progan.training.preflight import Plan, fit_micro_batch, probe
from progan.training.session import Callback, Session


def train(
    config: RunConfig,
    *stores: Store,
    path: Path,
    about: dict[str, Any],
    device: torch.device,
    ranks: Ranks = SINGLE,
    monitor: Monitor | None = None,
    callbacks: Sequence[Callback] = (),
    dry_run: bool = False,
) -> int | None:
    """Train in the run directory ``path``, or resume the run that is there.

    Args:
        stores: images of each source, with a level of the schedule's resolution, or of ``config.load_size``.
        about: what config.json says of the run besides, as plain values.
        monitor: measures the run; on the first rank only.
        callbacks: called whenever something is written; on the first rank only.
        dry_run: print the plan of memory and time, and stop.

    Returns:
        number of the signal that ended it early, or None.

    Raises:
        ConfigError: if the settings do not fit the data or the run that is there, or another process trains it.
        DataError: if a store lacks the level.
        CheckpointError: if a checkpoint cannot be read or written.
    """
    loaders = [_loader(config, store, number, device) for number, store in enumerate(stores)]
    spec = spec_of(config, stores, loaders)
    config = fit_micro_batch(config, spec, device, ranks.world)
    trainer = Trainer(config, spec, *loaders, device=device, ranks=ranks)
    sizes = " and ".join(
        f"{one.height}x{one.width}x{one.channels}, {store.count} images"
        for one, store in zip(spec.every, stores, strict=True)
    )
    about_it = f"{sizes}, on {device}, {trainer.precision.kind}"
    if dry_run:
        plan = probe(config, spec, device, world=ranks.world)
        if ranks.first:
            print(f"{about_it}\n{plan.table(config.schedule)}")
        return None
    with locked(path) if ranks.first else nullcontext():
        # Opened before the probe: what is wrong with the directory is said at once.
        session = Session(
            path, trainer, *stores, about=about, classes=loaders[0].classes, monitor=monitor, callbacks=callbacks
        )
        plan = Plan([])
        if not session.finished:
            plan = probe(config, spec, device, world=ranks.world)
            if ranks.first:
                session.log.say(f"{about_it}\n{plan.table(config.schedule)}")
        ended_by = session.train(plan)
        if ranks.first:
            session.log.close()
    return ended_by


def _loader(config: RunConfig, store: Store, source: int, device: torch.device) -> Loader:
    side = config.load_size or config.schedule.resolution
    store.level(side)  # says what is there, if this is not
    return Loader(
        store,
        seed=config.seed,
        mirror=config.mirror,
        device=device,
        source=source,
        columns=config.label_columns,
        load_size=config.load_size,
        size=_size(config, store) if config.load_size else None,
    )


def _size(config: RunConfig, store: Store) -> tuple[int, int]:
    """Height and width of what is trained on; random parts of larger images are square."""
    side, shorter = config.schedule.resolution, min(store.height, store.width)
    return (side, side) if config.load_size else (store.height * side // shorter, store.width * side // shorter)


def spec_of(config: RunConfig, stores: Sequence[Store], loaders: Sequence[Loader]) -> ImageSpec:
    """What networks must know of the data."""
    first, *others = [
        ImageSpec(store.channels, *_size(config, store), len(loader.classes), loader.attributes)
        for store, loader in zip(stores, loaders, strict=True)
    ]
    return replace(first, others=tuple(others))
