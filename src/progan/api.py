"""Training and runs from Python; the command 'progan train' parses its options and calls this."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from progan.data.loader import Loader
from progan.data.options import PrepareOptions
from progan.data.store import Store, cached
from progan.devices import pick_device
from progan.errors import ConfigError, DataError
from progan.evaluation.monitor import MetricMonitor
from progan.presets import AUTO, PRESETS
from progan.presets.progressive import auto
from progan.sizes import growable, parse_size
from progan.training.config import RunConfig
from progan.training.distributed import Ranks, process_group
from progan.training.run import Run
from progan.training.session import Callback
from progan.training.train import train as train_stores

Change = Callable[[RunConfig], RunConfig]


def preset(name: str) -> RunConfig:
    """The settings of a preset, to be changed with ``dataclasses.replace``.

    Raises:
        ConfigError: if there is no such preset.
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]()


def train(
    settings: str | RunConfig,
    *data: str | Path | Store,
    change: Change | None = None,
    out: str | Path = "runs",
    name: str | None = None,
    epochs: float | None = None,
    resolution: str | int | None = None,
    crop: str = "none",
    workers: int | None = None,
    device: str = "auto",
    metrics: Sequence[str] = (),
    metric_kimg: float = 100,
    metric_count: int = 2048,
    callbacks: Sequence[Callback] = (),
    dry_run: bool = False,
) -> Run:
    """Train a GAN, or resume the run of the same name where it stopped.

    Ctrl-C (in a notebook: interrupting the cell) saves the run and returns. Under torchrun all processes call this.

    Args:
        settings: name of a preset, such as "auto" or "cifar10", or the settings themselves.
        data: a store written by 'progan prepare', or any source that it reads; one for each source of the GAN.
        change: takes the settings of a preset to those that are wanted. Those of "auto" depend on data and device.
        out: where run directories are.
        name: of the run directory; preset and data when not given.
        epochs: length of the run, in place of the settings' ``total_kimg``: how often each image is shown. Of several
            sources the largest one counts.
        resolution: final size like 64 or "64x128" (height x width); the settings', or the data's, when not given.
        crop: what to cut out of images that are no store yet: "center" or "X,Y,W,H" (see 'progan prepare').
        workers: processes that prepare a source.
        device: "cuda", "cuda:1", "mps", "cpu", or "auto".
        metrics: names of what to measure while training (see 'progan metric').
        metric_kimg: measure every so many thousands of images; also at the end of every stage.
        metric_count: images of each set to measure with.
        callbacks: called with a ``Progress`` whenever statistics, a sheet or a snapshot were written.
        dry_run: print the settings' plan of memory and time, and stop.

    Returns:
        the run, for its statistics, samples and snapshots; ``ended_by`` tells whether a signal ended it early.

    Raises:
        ConfigError: if settings, data and the run that is there do not fit each other.
        DataError: if the data cannot be used.
        CheckpointError: if a checkpoint cannot be read or written.
    """
    if not data:
        raise ConfigError("training needs DATA: a store, or a folder or an archive of images")
    kind = pick_device(device).type
    if not isinstance(settings, str | RunConfig):
        raise ConfigError(f"settings must be the name of a preset or a RunConfig, got {type(settings).__name__}")
    size = None if resolution is None else str(resolution)
    config = None if settings == AUTO else _sized(settings, change, size)
    with process_group(kind) as ranks:
        where = pick_device(device, ranks.local)
        columns = (config or _sized(settings, change, None)).label_columns
        stores = [_store(one, _wanted(config, one, size), crop, columns, workers, ranks) for one in data]
        if config is None or epochs is not None:
            begin = _auto(stores, where, size, ranks) if config is None else settings
            shown = None if epochs is None else (epochs, max(store.count for store in stores))
            config = _sized(begin, change, size, shown)
        path = Path(out) / (name or _name(settings, data))
        ended_by = train_stores(
            config,
            *stores,
            path=path,
            about=_about(settings, data),
            device=where,
            ranks=ranks,
            monitor=_monitor(config, stores, where, metrics, metric_kimg, metric_count) if ranks.first else None,
            callbacks=callbacks if ranks.first else (),
            dry_run=dry_run,
        )
    return Run(path, ended_by)


def _sized(
    settings: str | RunConfig, change: Change | None, size: str | None, epochs: tuple[float, int] | None = None
) -> RunConfig:
    """The settings after all changes, for images of a size if one is asked for.

    ``epochs`` is their number and that of the images; it stretches the settings, but not what is changed in them.
    """
    config = preset(settings) if isinstance(settings, str) else settings
    if epochs is not None:
        config = replace(config, schedule=config.schedule.for_epochs(*epochs))
    config = change(config) if change else config
    if size is None:
        return config
    return replace(config, schedule=config.schedule.resized(min(parse_size(size))))


def _auto(stores: Sequence[Store], device: torch.device, size: str | None, ranks: Ranks) -> RunConfig:
    """Settings that suit the data and the device."""
    height, width = parse_size(size) if size else (stores[0].height, stores[0].width)
    config, reasons = auto(min(height, width), stores[0].count, device.type, grows=growable(height, width))
    if ranks.first:
        print("\n".join(f"auto: {reason}" for reason in reasons))
    return config


def _wanted(config: RunConfig | None, data: str | Path | Store, size: str | None) -> str:
    """The size to which a source is prepared."""
    is_store = isinstance(data, Store) or (Path(data) / "manifest.json").is_file()  # which has any aspect ratio
    if size is not None or config is None or is_store:
        return size or "auto"
    return str(config.load_size or config.schedule.resolution)


def _store(
    data: str | Path | Store, size: str, crop: str, columns: Sequence[str], workers: int | None, ranks: Ranks
) -> Store:
    """The data as a store; the first process prepares it while the others wait."""
    if isinstance(data, Store):
        return data

    def open_it() -> Store:
        options = PrepareOptions(resolution=size, crop=crop)
        try:
            return cached(data, options, columns=columns, workers=workers, progress=ranks.first)
        except DataError as error:
            hint = f"\n  (these are options of 'progan prepare {data} STORE'; then train on STORE)"
            raise DataError(f"{error}{hint * ('--on-error' in str(error))}") from error

    store = open_it() if ranks.first else None
    ranks.wait()
    return store or open_it()


def _monitor(
    config: RunConfig, stores: Sequence[Store], device: torch.device, metrics: Sequence[str], kimg: float, count: int
) -> MetricMonitor | None:
    """What measures the run, if metrics were asked for; what they lack is said before the run begins."""
    if not metrics:
        return None
    names = (metrics,) if isinstance(metrics, str) else metrics
    if kimg <= 0:
        raise ConfigError(f"metric_kimg must be positive, got {kimg}")
    if config.load_size:
        raise ConfigError("metrics compare whole images, but load_size trains on parts; measure the run afterwards")
    labels = None
    if config.label_columns:
        labels = Loader(stores[0], seed=config.seed, mirror=False, columns=config.label_columns).labels
    return MetricMonitor(
        stores[-1],
        names,
        kimg=kimg,
        seed=config.seed,
        inputs=stores[0],
        labels=labels,
        count=min(count, stores[-1].count),
        mirror=config.mirror,
        device=device,
    )


def _name(settings: str | RunConfig, data: Sequence[str | Path | Store]) -> str:
    places = [Path(one.path if isinstance(one, Store) else one).resolve().name.split(".")[0] for one in data]
    return "-".join([settings if isinstance(settings, str) else "run", *places])


def _about(settings: str | RunConfig, data: Sequence[str | Path | Store]) -> dict[str, str]:
    """What config.json says of a run beside its settings."""
    source = ", ".join(str(one.path if isinstance(one, Store) else one) for one in data)
    return {"source": source} | ({"preset": settings} if isinstance(settings, str) else {})
