"""Training from settings and stores to a trained network; called by the Python interface and the experiments."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from progan.data.loader import Loader, split
from progan.data.store import Store
from progan.devices import Share
from progan.errors import BlowupError, DataError
from progan.files import locked
from progan.gans.base import ImageSpec
from progan.schedule import stage_at
from progan.training.config import RunConfig, check, check_phases
from progan.training.distributed import Ranks
from progan.training.loop import SINGLE, Trainer
from progan.training.monitor import Monitor
from progan.training.opening import Opened
from progan.training.preflight import Plan, fitting_plan
from progan.training.session import Callback, Session
from progan.training.transfer import Source, begin_with


def train(
    config: RunConfig,
    *stores: Store,
    path: Path,
    about: dict[str, Any],
    device: torch.device,
    ranks: Ranks = SINGLE,
    monitor: Monitor | None = None,
    callbacks: Sequence[Callback] = (),
    init: Path | None = None,
    dry_run: bool = False,
) -> int | None:
    """Train in the run directory ``path``, or resume its run.

    Args:
        stores: images of each source, with a level of the schedule's resolution, or of ``config.load_size``.
        about: further facts about the run for config.json, as plain values.
        monitor: measures the run; on the first rank only.
        callbacks: called whenever something is written; on the first rank only.
        init: run or snapshot whose weights a new run begins with.
        dry_run: print the plan of memory and time, and stop.

    Returns:
        Number of the signal that ended the run early, or None.

    Raises:
        ConfigError: if the settings do not fit the data, the run in the directory or the GPU's memory, or if another
            process trains there.
        DataError: if a store lacks the level.
        CheckpointError: if a checkpoint cannot be read or written.
        BlowupError: if training blows up, and nothing is to be changed or no change has helped.
    """
    rows, held_rows = _split(config, stores[0])
    loaders = [_loader(config, store, number, device, None if number else rows) for number, store in enumerate(stores)]
    held_out = None if held_rows is None else _loader(config, stores[0], 0, device, held_rows)
    spec = spec_of(config, stores, loaders)
    _check(config, spec, ranks)
    sizes = " and ".join(
        f"{one.height}x{one.width}x{one.channels}, {store.count} images"
        for one, store in zip(spec.every, stores, strict=True)
    )
    about_it = f"{sizes}, on {device}, {config.precision}"
    if dry_run:
        if init is not None:
            Source.read(init)
        config, plan = fitting_plan(config, spec, device, ranks=ranks)
        if ranks.first:
            print(f"{about_it}\n{plan.table(config.schedule)}")
        return None

    fitted: tuple[RunConfig, Plan] | None = None

    def start() -> tuple[Session, Plan]:
        # In this order: what is wrong with the directory is said at once, and the networks of the probe are gone
        # before those of the run need the memory.
        nonlocal fitted
        opened = Opened.read(path, config, spec, stores, about, None if init is None else str(init))
        source = None if init is None or opened.state is not None else Source.read(init)
        if fitted is None:
            done = opened.finished(config)
            fitted = (config, Plan([])) if done else fitting_plan(config, spec, device, ranks=ranks)
        fitting, plan = fitted
        trainer, classes = (
            Trainer(fitting, spec, *loaders, held_out=held_out, device=device, ranks=ranks),
            loaders[0].classes,
        )
        lines = [] if source is None else begin_with(source, trainer)
        more: dict[str, Any] = {"classes": classes, "monitor": monitor, "callbacks": callbacks}
        session = Session(path, trainer, *stores, opened=opened, **more)
        for line in lines if ranks.first else ():
            session.log.say(line)
        return session, plan

    with locked(path) if ranks.first else nullcontext():
        while True:
            session, plan = start()  # the checkpoint that was read is gone with the function
            if ranks.first and plan.costs:
                session.log.say(f"{about_it}\n{plan.table(config.schedule)}")
            needed = Share(device, needed=plan.memory)  # before anything else is held on the device
            try:
                return session.train(plan)
            except BlowupError:
                if config.on_blowup == "stop":
                    raise
                if session.stopped:
                    return session.stopped
            finally:
                if ranks.first:
                    session.log.close()
                del needed, session  # the next one needs the memory


def _check(config: RunConfig, spec: ImageSpec, ranks: Ranks) -> None:
    """Raise what is wrong with the settings before the run directory is touched."""
    check(config, spec, ranks.world)
    with torch.device("meta"):
        gan = config.gan.make(spec)
    check_phases(config, gan, gan.phases(stage_at(config.schedule, 0)), ranks.world)


def _split(config: RunConfig, store: Store) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Indices of the images to train on and of those to hold out; None if all are trained on."""
    if not config.gan.held_out:
        return None, None
    if store.count < 2:
        raise DataError(f"{store.path}: has a single image, so that none can be held out of training")
    return split(store.count, config.gan.held_out, config.seed)


def _loader(
    config: RunConfig, store: Store, source: int, device: torch.device, rows: np.ndarray | None = None
) -> Loader:
    side = config.load_size or config.schedule.resolution
    store.level(side)  # raises a DataError that lists the levels of the store
    return Loader(
        store,
        seed=config.seed,
        mirror=config.mirror,
        device=device,
        source=source,
        columns=config.label_columns,
        load_size=config.load_size,
        size=_size(config, store) if config.load_size else None,
        rows=rows,
    )


def _size(config: RunConfig, store: Store) -> tuple[int, int]:
    """Height and width of the training images; random crops of larger images are square."""
    side, shorter = config.schedule.resolution, min(store.height, store.width)
    return (side, side) if config.load_size else (store.height * side // shorter, store.width * side // shorter)


def spec_of(config: RunConfig, stores: Sequence[Store], loaders: Sequence[Loader]) -> ImageSpec:
    """Describe the data to the networks."""
    first, *others = [
        ImageSpec(store.channels, *_size(config, store), len(loader.classes), loader.attributes)
        for store, loader in zip(stores, loaders, strict=True)
    ]
    return replace(first, others=tuple(others))
