"""The command 'progan train'."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic

import tyro

from progan.api import train
from progan.cli import nearest, optional
from progan.errors import ConfigError
from progan.metrics import METRICS
from progan.presets import AUTO, PRESETS, about
from progan.training.config import AnyGAN, RunConfig


@dataclass(frozen=True)
class Train(Generic[AnyGAN]):
    """Train a GAN. Run the same command again to resume an interrupted run."""

    data: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="DATA", help_behavior_hint="(required)")
    ]
    """Store written by 'progan prepare', or any source that it can read. Give one for each data set of the GAN."""
    config: Annotated[RunConfig[AnyGAN], tyro.conf.arg(name="")]
    """Settings of the run."""
    epochs: Annotated[float | None, optional("FLOAT", "set by schedule.total-kimg")] = None
    """Length of the run in epochs: how many times each image is shown."""
    resolution: Annotated[str | None, optional("SIZE", "that of the preset, or of the data")] = None
    """Final image size, such as 64 or 64x128 (height x width)."""
    crop: str = "none"
    """Region to crop from each image if DATA is not a store: none, center or X,Y,W,H (see 'progan prepare --help')."""
    out: Path = Path("runs")
    """Folder in which the run directories are created."""
    name: Annotated[str | None, optional("NAME", "PRESET-DATA")] = None
    """Name of the run directory."""
    device: str = "auto"
    """Device to train on: cuda, cuda:1, mps, cpu or auto."""
    init: Annotated[Path | None, optional("PATH", "new weights")] = None
    """Run directory or snapshot whose weights a new run begins with, as far as they fit."""
    workers: Annotated[int | None, optional("INT", "one per CPU")] = None
    """Number of processes that decode images if DATA is not a store."""
    metrics: Annotated[
        tuple[str, ...],
        tyro.conf.arg(
            help=f"Metrics to compute during training: {', '.join(METRICS)}.", help_behavior_hint="(default: none)"
        ),
    ] = ()
    metric_kimg: float = 100
    """Compute the metrics every N thousand images, and at the end of every stage."""
    metric_count: int = 2048
    """Images per set for the metrics. Fewer than in the papers, so compare such values only with each other."""
    dry_run: bool = False
    """Print the configuration with estimates of memory and time, then exit."""


def main(args: Sequence[str]) -> int:
    """Parse 'PRESET DATA --options', prepare the data if necessary, and train."""
    if not args or args[0] in ("-h", "--help"):
        print(
            "usage: progan train PRESET DATA [OPTIONS]     for example: progan train auto photos --seed 1\n\npresets:"
        )
        docs = {name: about(make) for name, make in PRESETS.items()}
        docs[AUTO] = "Resolution, networks, batch size and schedule chosen to suit the data and the machine."
        width = max(map(len, docs))
        print("\n".join(f"  {name:<{width}} {doc}" for name, doc in docs.items()))
        print("\nRun 'progan train PRESET --help' for all options of a preset.")
        return 0 if args else 2
    preset, *rest = args
    if preset not in PRESETS:
        raise ConfigError(f"unknown preset {preset!r}; {nearest(preset, list(PRESETS))}")
    options = _parse(preset, rest, PRESETS[preset]())
    run = train(
        preset,
        *options.data,
        change=lambda config: _parse(preset, rest, config).config,
        **{name: getattr(options, name) for name in _PASSED},
    )
    return 128 + run.ended_by if run.ended_by else 0


_PASSED = (
    *("out", "name", "epochs", "resolution", "crop", "workers", "device"),
    *("metrics", "metric_kimg", "metric_count", "init", "dry_run"),
)
"""Options that are passed to ``progan.train`` unchanged."""


def _parse(preset: str, args: Sequence[str], default: RunConfig) -> Train:
    """Parse the options; settings that are not given keep their value in ``default``."""
    start = Train(data=tyro.MISSING, config=default)
    kind = Train[type(default.gan)]  # so that the options are those of this GAN
    return tyro.cli(kind, args=list(args), default=start, prog=f"progan train {preset}")
