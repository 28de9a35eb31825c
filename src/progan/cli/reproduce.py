"""The commands 'progan reproduce' and 'progan reproduce page'."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from progan.cli import nearest, optional
from progan.errors import ConfigError, DataError
from progan.experiments import EXPERIMENTS
from progan.experiments.curves import compare, plot, read_curve
from progan.experiments.page import copy_figures, fill
from progan.experiments.results import read, report
from progan.experiments.run import Request, reproduce
from progan.experiments.scale import parse_scale
from progan.files import replacing

_OF_SCALE = "set by --scale"


@dataclass(frozen=True)
class Reproduce:
    """Train and evaluate the rows of a table or figure of the paper and print the results next to the paper's.

    Run the same command again to resume. Finished rows are not trained again.

    To list all tables and figures, run progan reproduce --list. To write results into a page of the documentation, see
    progan reproduce page --help.
    """

    table: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TABLE")]
    """Name of the table or figure; 'progan reproduce --list' lists all."""
    data: Annotated[
        tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="DATA", help_behavior_hint="(optional at scale smoke)")
    ] = None
    """Store with the data that 'progan reproduce --list' names. If the paper neither
    crops nor selects images, any source that 'progan prepare' can read."""
    scale: Annotated[str, tyro.conf.arg(metavar="SCALE")] = "paper"
    """Size of the experiment: smoke (a quick test), small (laptop hours), paper, or a fraction of it, such as 0.01."""
    rows: Annotated[tuple[str, ...], optional("ROW ...", "all")] = ()
    """Rows to reproduce."""
    seeds: Annotated[
        int | None,
        optional("INT", "1 at scales smoke and small, else as in the paper"),
    ] = None
    """Number of runs per row, each with its own seed."""
    maps: Annotated[float | None, optional("FLOAT", _OF_SCALE)] = None
    """Fraction of the paper's number of feature maps."""
    lr: Annotated[float | None, optional("FLOAT", _OF_SCALE)] = None
    """Factor on the paper's learning rates, for short runs of narrow networks."""
    count: Annotated[float | None, optional("FLOAT", _OF_SCALE)] = None
    """Fraction of the paper's number of images for the metrics."""
    resolution: Annotated[int | None, optional("INT", _OF_SCALE)] = None
    """Largest shorter side of the images [pixels]; a power of two."""
    out: Path = Path("reproduced")
    """Folder for run directories and results."""
    jobs: int = 1
    """Number of runs to train at the same time, in processes with one thread each."""
    device: str = "auto"
    """Device to train on: cuda, cuda:1, mps, cpu or auto."""
    runs: Annotated[tuple[Path, ...], optional("RUN ...", "none")] = ()
    """For figure4 and figure4c: draw the curves of these run directories and train nothing."""

    def run(self) -> int:
        """Train and evaluate what is missing, and print the table."""
        if self.table not in EXPERIMENTS:
            raise ConfigError(f"unknown table {self.table!r}; {nearest(self.table, list(EXPERIMENTS))}")
        experiment = EXPERIMENTS[self.table]
        if self.runs:
            if "growing" not in experiment.figures:
                raise ConfigError(f"--runs draws the curves of figure4 and figure4c, not {self.table}")
            return self._draw()
        if self.jobs < 1:
            raise ConfigError(f"jobs must be at least 1, got {self.jobs}")
        changes = {name: getattr(self, name) for name in ("maps", "lr", "count", "resolution", "seeds")}
        request = Request(
            experiment=experiment,
            scale=parse_scale(self.scale, **changes),
            data=self.data,
            out=self.out,
            rows=self.rows,
            processes=self.jobs,
            device=self.device,
            command=self._command(),
        )
        results, stopped = reproduce(request)
        print(f"{experiment.title}\n\n{report(experiment, results)}\n\n{request.folder}/results.md")
        return 130 if stopped else int(any(record["notes"] for record in results["records"]))

    def _draw(self) -> int:
        names = [path.name for path in self.runs]
        curves = {p.name if names.count(p.name) == 1 else str(p): read_curve(p) for p in self.runs}
        path = self.out / "growing.png"
        plot(curves, path)
        print("\n".join([str(path), *(compare(curves) if len(curves) == 2 else [])]))
        return 0

    def _command(self) -> str:
        """Return the command line without paths of this machine."""
        words = ["progan", "reproduce", self.table, *([self.data.name] if self.data else [])]
        for name in ("scale", "rows", "seeds", "maps", "lr", "count", "resolution", "jobs"):
            value, default = getattr(self, name), getattr(type(self), name)
            if value != default:
                words += [f"--{name}", *(map(str, value) if isinstance(value, tuple) else [str(value)])]
        return shlex.join(words)


@dataclass(frozen=True)
class Page:
    """Write results into a page of the documentation, as tables next to the paper's numbers."""

    page: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PAGE")]
    """Markdown file with one section per experiment, such as docs/results.md."""
    results: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RESULTS", help_behavior_hint="(required)")
    ]
    """Folders written by 'progan reproduce'. Sections are replaced: list all results that a section should contain."""

    def run(self) -> int:
        """Fill in the sections and copy the figures."""
        if not self.page.is_file():
            raise DataError(f"{self.page}: no such file; expected a page with sections such as docs/results.md")
        folders = [path if path.is_dir() else path.parent for path in self.results]
        measured = [copy_figures(read(folder), folder, self.page.parent) for folder in folders]
        text = fill(self.page.read_text(encoding="utf-8"), EXPERIMENTS, measured)
        with replacing(self.page) as file:
            file.write(text.encode())
        print(f"{self.page}: {', '.join(dict.fromkeys(results['experiment'] for results in measured))}")
        return 0


def main(args: Sequence[str]) -> int:
    """Parse the options and run the command."""
    if args and args[0] == "page":
        return tyro.cli(Page, args=list(args[1:]), prog="progan reproduce page").run()
    if "--list" in args:
        print(_list())
        return 0
    return tyro.cli(Reproduce, args=list(args), prog="progan reproduce").run()


def _list() -> str:
    lines = []
    for name, experiment in EXPERIMENTS.items():
        rows = [row.name for row in experiment.rows]
        some = ", ".join(rows if len(rows) <= 12 else [*rows[:3], "...", rows[-1]])
        lines.append(f"{name:<15} {experiment.title}: {len(rows)} {'row' if len(rows) == 1 else 'rows'} ({some})")
        lines.append(f"{'':<15} {experiment.caption}")
        if experiment.trains:
            runs = f"; {experiment.seeds} runs per row" if experiment.seeds > 1 else ""
            lines.append(f"{'':<15} metrics: {', '.join(experiment.metrics)}{runs}")
            lines.append(f"{'':<15} data: {experiment.prepare}")
    return "\n".join(lines)
