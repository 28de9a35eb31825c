"""The command 'progan train'."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic

import tyro

from progan.api import train
from progan.cli import nearest
from progan.errors import ConfigError
from progan.metrics import METRICS
from progan.presets import AUTO, PRESETS
from progan.training.config import AnyGAN, RunConfig


@dataclass(frozen=True)
class Train(Generic[AnyGAN]):
    """Train a GAN. Run the same command again to go on where it stopped."""

    data: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="DATA")]
    """Store written by 'progan prepare', or any source that it reads; one for each source of the GAN."""
    config: Annotated[RunConfig[AnyGAN], tyro.conf.arg(name="")]
    """Settings of the run."""
    epochs: float | None = None
    """Length of the run, in place of schedule.total-kimg: how often each image is shown."""
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
    run = train(
        preset,
        *options.data,
        change=lambda config: _parse(preset, rest, config).config,
        **{name: getattr(options, name) for name in _PASSED},
    )
    return 128 + run.ended_by if run.ended_by else 0


_PASSED = (
    *("out", "name", "epochs", "resolution", "crop", "workers", "device"),
    *("metrics", "metric_kimg", "metric_count", "dry_run"),
)
"""Options that mean to ``progan.train`` what they mean here."""


def _parse(preset: str, args: Sequence[str], default: RunConfig) -> Train:
    """The options, with those of ``default`` where none are given."""
    start = Train(data=tyro.MISSING, config=default)
    kind = Train[type(default.gan)]  # so that the options are those of this GAN
    return tyro.cli(kind, args=list(args), default=start, prog=f"progan train {preset}")
