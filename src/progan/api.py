"""Training from Python; the command 'progan train' parses its options and calls this module."""

import re
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from progan.data.loader import Loader
from progan.data.options import PrepareOptions
from progan.data.preparing import cached
from progan.data.printing import printable
from progan.data.store import Store
from progan.devices import pick_device
from progan.errors import CheckpointError, ConfigError, DataError
from progan.evaluation.monitor import MetricMonitor
from progan.files import short_name
from progan.gans import ProGANConfig
from progan.presets import AUTO, PRESETS
from progan.presets.progressive import auto
from progan.sizes import growable, parse_size
from progan.snapshot import Snapshot
from progan.training.config import RunConfig
from progan.training.distributed import Ranks, process_group
from progan.training.run import Run
from progan.training.session import Callback
from progan.training.train import train as train_stores

Change = Callable[[RunConfig], RunConfig]
_PREPARE_ONLY = re.compile(r"--(on-error|labels|split|member|column|exclude)\b")
"""Options of 'progan prepare' that messages about data mention and 'progan train' does not have."""


def preset(name: str) -> RunConfig:
    """Return the settings of a preset, which can be changed with ``dataclasses.replace``.

    Args:
        name: name of the preset, such as "cifar10".

    Raises:
        ConfigError: if no preset has this name.
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}; choose from {', '.join(PRESETS)}")
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
    init: str | Path | None = None,
    dry_run: bool = False,
) -> Run:
    """Train a GAN, or resume the run of the same name.

    Ctrl-C (or interrupting the cell in a notebook) saves the run and returns. Under torchrun, every process must call
    this function.

    Args:
        settings: name of a preset, such as "auto" or "cifar10", or the settings themselves.
        data: a store written by 'progan prepare', or any source that it can read; one for each data set of the GAN.
        change: function that modifies the settings of a preset. Those of "auto" depend on the data and the device.
        out: folder that contains the run directories.
        name: name of the run directory. Default: the names of the preset and the data.
        epochs: length of the run in epochs (how many times each image is shown) instead of the ``total_kimg`` of the
            settings. With several data sets, the largest one counts.
        resolution: final image size, such as 64 or "64x128" (height x width). Default: that of the settings, or of
            the data.
        crop: region to crop from each image if ``data`` is not a store: "center" or "X,Y,W,H" (see 'progan prepare').
        workers: number of processes that decode images if ``data`` is not a store. Default: one per CPU.
        device: "cuda", "cuda:1", "mps", "cpu" or "auto".
        metrics: names of metrics to compute during training (see 'progan metric').
        metric_kimg: compute the metrics every ``metric_kimg`` thousand images, and at the end of every stage.
        metric_count: number of images per set for the metrics.
        callbacks: functions called with a ``Progress`` after statistics, a grid of samples or a snapshot are written.
        init: run directory or snapshot whose weights a new run begins with, as far as they fit ("auto" takes the
            networks' settings from there, too, and does not grow).
        dry_run: whether to print the configuration with estimates of memory and time and return without training.

    Returns:
        The run, with its statistics, samples and snapshots. Its ``ended_by`` is the signal that ended it early, if any.

    Raises:
        ConfigError: if the settings, the data and an existing run do not match.
        DataError: if the data cannot be used.
        CheckpointError: if a checkpoint cannot be read or written.
        BlowupError: if training blows up, that is, when no gradient is finite any more; see ``RunConfig.on_blowup``.
    """
    if not data:
        raise ConfigError("training requires DATA: a store, or a folder or an archive of images")
    kind = pick_device(device).type
    if not isinstance(settings, str | RunConfig):
        raise ConfigError(f"settings must be the name of a preset or a RunConfig, got {type(settings).__name__}")
    if crop != "none" and all(map(_is_store, data)):
        raise ConfigError(
            f"crop is for images that are not prepared yet, but {_path(data[0])} is a store; remove it, or prepare the "
            "images again with it"
        )
    size = None if resolution is None else str(resolution)
    path = Path(out) / (name or _name(settings, data))
    config = None if settings == AUTO else _sized(settings, change, size)
    with process_group(kind) as ranks:
        where = pick_device(device, ranks.local)
        columns = (config or _sized(settings, change, None)).label_columns
        stores = [_store(one, _wanted(config, one, size), crop, columns, workers, ranks) for one in data]
        if config is None or epochs is not None:
            begin = _auto(stores, where, size, ranks, init, path) if config is None else settings
            shown = None if epochs is None else (epochs, max(store.count for store in stores))
            config = _sized(begin, change, size, shown)
        ended_by = train_stores(
            config,
            *stores,
            path=path,
            about=_about(settings, data),
            device=where,
            ranks=ranks,
            monitor=_monitor(config, stores, where, metrics, metric_kimg, metric_count) if ranks.first else None,
            callbacks=callbacks if ranks.first else (),
            init=None if init is None else Path(init),
            dry_run=dry_run,
        )
    return Run(path, ended_by)


def _sized(
    settings: str | RunConfig, change: Change | None, size: str | None, epochs: tuple[float, int] | None = None
) -> RunConfig:
    """Return the settings after all changes, resized if a size is given.

    ``epochs`` is the number of epochs and of images. It scales the settings before they are changed.
    """
    config = preset(settings) if isinstance(settings, str) else settings
    if epochs is not None:
        config = replace(config, schedule=config.schedule.for_epochs(*epochs))
    config = change(config) if change else config
    if size is None:
        return config
    return replace(config, schedule=config.schedule.resized(min(parse_size(size))))


def _auto(
    stores: Sequence[Store], device: torch.device, size: str | None, ranks: Ranks, init: str | Path | None, path: Path
) -> RunConfig:
    """Return settings that suit the data and the device, with the networks of ``init`` if that is given.

    A run in ``path`` that was begun by a version without augmentation continues without.
    """
    height, width = parse_size(size) if size else (stores[0].height, stores[0].width)
    trained = None if init is None else Snapshot.load(init).config
    if not isinstance(trained, ProGANConfig | None):
        raise ConfigError(f"auto trains a ProGAN, but {init} is another GAN; use a preset of that one with --init")
    old = None
    with suppress(CheckpointError):
        old = Run.open(path).config["gan"]
    config, reasons = auto(
        min(height, width),
        stores[0].count,
        device.type,
        grows=growable(height, width),
        augments=old is None or "tricks" in old,
        trained=trained,
    )
    if ranks.first:
        print("\n".join(f"auto: {reason}" for reason in reasons))
    return config


def _path(data: str | Path | Store) -> Path:
    return data.path if isinstance(data, Store) else Path(data)


def _is_store(data: str | Path | Store) -> bool:
    return isinstance(data, Store) or (Path(data) / "manifest.json").is_file()


def _wanted(config: RunConfig | None, data: str | Path | Store, size: str | None) -> str:
    """Return the size to which a source is prepared."""
    if size is not None or config is None or _is_store(data):  # stores have any aspect ratio
        return size or "auto"
    return str(config.load_size or config.schedule.resolution)


def _store(
    data: str | Path | Store, size: str, crop: str, columns: Sequence[str], workers: int | None, ranks: Ranks
) -> Store:
    """Open the data as a store. The first process prepares it while the others wait."""
    if isinstance(data, Store):
        return data

    def open_it() -> Store:
        # A resolution that was chosen for the data suits most of the images; one that was asked for, all of them.
        options = PrepareOptions(resolution=size, crop=crop, upscale=size == "auto")
        try:
            return cached(data, options, columns=columns, workers=workers, progress=ranks.first)
        except DataError as error:
            hint = f"\n  (use these options with 'progan prepare {data} STORE', then train on STORE)"
            raise DataError(f"{error}{hint * bool(_PREPARE_ONLY.search(str(error)))}") from error

    store = open_it() if ranks.first else None
    if store is not None and not _is_store(data):
        for note in store.manifest.get("notes", ()):
            hint = f"; use this option with 'progan prepare {data} STORE'" if _PREPARE_ONLY.search(note) else ""
            print(f"data: {printable(note, 400)}{hint}")
    if store is not None and size == "auto" and not _is_store(data):
        smallest = store.manifest["sizes"]["smallest"]
        if smallest[0] < store.height or smallest[1] < store.width:
            print(
                f"auto: images smaller than {store.height}x{store.width} are enlarged, the smallest from "
                f"{smallest[0]}x{smallest[1]}; --resolution sets another size"
            )
    ranks.wait()
    return store or open_it()


def _monitor(
    config: RunConfig, stores: Sequence[Store], device: torch.device, metrics: Sequence[str], kimg: float, count: int
) -> MetricMonitor | None:
    """Return the monitor of the run if metrics are requested; missing requirements are reported before training."""
    if not metrics:
        return None
    names = (metrics,) if isinstance(metrics, str) else metrics
    if kimg <= 0:
        raise ConfigError(f"metric_kimg must be positive, got {kimg}")
    if config.load_size:
        raise ConfigError("metrics compare whole images, but load_size trains on crops; evaluate the run afterwards")
    labels, classes = None, stores[0].classes
    if config.label_columns:
        loader = Loader(stores[0], seed=config.seed, mirror=False, columns=config.label_columns)
        labels, classes = loader.labels, loader.classes
    real = stores[-1]
    if count > real.count:
        print(f"metrics: {real.count} images per set, as many as the data has, instead of {count}")
    return MetricMonitor(
        real,
        names,
        kimg=kimg,
        seed=config.seed,
        size=real.level(config.schedule.resolution).shape[1:3],
        inputs=stores[0],
        labels=labels,
        classes=classes if config.gan.takes_labels else (),
        count=min(count, real.count),
        mirror=config.mirror,
        device=device,
    )


def _name(settings: str | RunConfig, data: Sequence[str | Path | Store]) -> str:
    places = [_path(one).resolve().name.split(".")[0] for one in data]
    return short_name("-".join([settings if isinstance(settings, str) else "run", *places]))


def _about(settings: str | RunConfig, data: Sequence[str | Path | Store]) -> dict[str, str]:
    """Return what config.json contains besides the settings."""
    source = ", ".join(str(_path(one)) for one in data)
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return {"source": source, "command": command} | ({"preset": settings} if isinstance(settings, str) else {})
