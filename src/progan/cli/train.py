"""The command 'progan train'."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Generic

import torch
import tyro

from progan.cli import nearest
from progan.data.options import PrepareOptions
from progan.data.store import Store, cached
from progan.devices import pick_device
from progan.errors import ConfigError, DataError
from progan.evaluation.monitor import Monitor
from progan.images import parse_size
from progan.metrics import METRICS
from progan.presets import AUTO, PRESETS
from progan.presets.progressive import auto
from progan.training import train as session
from progan.training.config import AnyGAN, RunConfig
from progan.training.distributed import Ranks, process_group


@dataclass(frozen=True)
class Train(Generic[AnyGAN]):
    """Train a GAN. Run the same command again to go on where it stopped."""

    data: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DATA")]
    """Store written by 'progan prepare', or any source that it reads."""
    config: Annotated[RunConfig[AnyGAN], tyro.conf.arg(name="")]
    """Settings of the run."""
    resolution: str | None = None
    """Final size like 64 or 64x128 (height x width); the preset's, or the data's, when not given."""
    crop: str = "none"
    """If DATA is no store: what to cut out, center or X,Y,W,H (see 'progan prepare')."""
    out: Path = Path("runs")
    """Where run directories are."""
    name: str | None = None
    """Name of the run directory; PRESET-DATA when not given."""
    device: str = "auto"
    """cuda, cuda:1, mps, cpu, or auto."""
    workers: int | None = None
    """Processes that prepare a source."""
    metrics: Annotated[tuple[str, ...], tyro.conf.arg(help=f"Measure these while training: {', '.join(METRICS)}.")] = ()
    metric_kimg: float = 100
    """Measure every so many thousands of images; also at the end of every stage."""
    metric_count: int = 2048
    """Images of each set to measure with; fewer than in the papers, so compare such numbers only with each other."""
    dry_run: bool = False
    """Print the configuration, memory and time estimates, and stop."""


def _about(preset: Callable[[], RunConfig]) -> str:
    """The first line of its docstring."""
    doc = getattr(preset, "func", preset).__doc__  # of a partial function, not of partial
    return (doc or "").partition("\n")[0]


def main(args: Sequence[str]) -> int:
    """Parse 'PRESET DATA --options', prepare the data if need be, and train."""
    if not args or args[0] in ("-h", "--help"):
        print("usage: progan train PRESET DATA [--schedule.batch 8 ...]     progan train PRESET --help tells more\n")
        docs = {name: _about(make) for name, make in PRESETS.items()}
        docs[AUTO] = "Resolution, networks, batch and schedule picked from the data and the machine."
        width = max(map(len, docs))
        print("\n".join(f"  {name:<{width}} {doc}" for name, doc in docs.items()))
        return 0 if args else 2
    preset, *rest = args
    if preset not in PRESETS:
        raise ConfigError(f"unknown preset {preset!r}; {nearest(preset, list(PRESETS))}")
    options = _parse(preset, rest, PRESETS[preset]())
    device = pick_device(options.device)
    with process_group(device.type) as ranks:
        device = pick_device(options.device, ranks.local)
        store = _store(preset, options, ranks)
        if preset == AUTO:
            chosen, reasons = auto(_side(options, store), store.count, device.type)
            options = _parse(preset, rest, chosen)
            if ranks.first:
                print("\n".join(f"auto: {reason}" for reason in reasons))
        return _train(preset, options, store, device, ranks)


def _parse(preset: str, args: Sequence[str], default: RunConfig) -> Train:
    """The options, with those of ``default`` where none are given."""
    start = Train(data=tyro.MISSING, config=default)
    kind = Train[type(default.gan)]  # so that the options are those of this GAN
    options = tyro.cli(kind, args=list(args), default=start, prog=f"progan train {preset}")
    if options.resolution is None:
        return options
    side = min(parse_size(options.resolution))
    return replace(options, config=replace(options.config, schedule=options.config.schedule.resized(side)))


def _store(preset: str, options: Train, ranks: Ranks) -> Store:
    """The data as a store; the first process prepares it while the others wait."""
    as_it_is = preset == AUTO or (options.data / "manifest.json").is_file()  # a store may have any aspect ratio
    size = options.resolution or ("auto" if as_it_is else str(options.config.schedule.resolution))
    wanted = PrepareOptions(resolution=size, crop=options.crop)

    def open_it() -> Store:
        try:
            return cached(options.data, wanted, workers=options.workers, progress=ranks.first)
        except DataError as error:
            hint = f"\n  (these are options of 'progan prepare {options.data} STORE'; then train on STORE)"
            raise DataError(f"{error}{hint * ('--on-error' in str(error))}") from error

    store = open_it() if ranks.first else None
    ranks.wait()
    return store or open_it()


def _watcher(options: Train, store: Store, device: torch.device) -> Monitor | None:
    """What measures the run, if metrics were asked for; what they lack is said before the run begins."""
    if not options.metrics:
        return None
    if options.metric_kimg <= 0:
        raise ConfigError(f"metric_kimg must be positive, got {options.metric_kimg}")
    return Monitor(
        store,
        options.metrics,
        kimg=options.metric_kimg,
        seed=options.config.seed,
        count=min(options.metric_count, store.count),
        mirror=options.config.mirror,
        device=device,
    )


def _side(options: Train, store: Store) -> int:
    return min(parse_size(options.resolution)) if options.resolution else min(store.height, store.width)


def _train(preset: str, options: Train, store: Store, device: torch.device, ranks: Ranks) -> int:
    name = options.name or f"{preset}-{options.data.resolve().name.split('.')[0]}"
    ended_by = session.train(
        options.config,
        store,
        options.out / name,
        about={"preset": preset, "source": str(options.data)},
        device=device,
        ranks=ranks,
        watcher=_watcher(options, store, device) if ranks.first else None,
        dry_run=options.dry_run,
    )
    return 128 + ended_by if ended_by else 0
