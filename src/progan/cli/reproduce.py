"""The command 'progan reproduce', with 'reproduce page'."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from progan.cli import nearest
from progan.errors import ConfigError, DataError
from progan.experiments import EXPERIMENTS
from progan.experiments.curves import compare, plot, read_curve
from progan.experiments.page import copy_figures, fill
from progan.experiments.results import read, report
from progan.experiments.run import Request, reproduce
from progan.experiments.scale import parse_scale
from progan.files import replacing


@dataclass(frozen=True)
class Reproduce:
    """Train and measure the rows of a table or figure of the paper, and print ours beside the paper's.

    Run the same command again to go on where it stopped; finished rows are not made again.

    Other commands: progan reproduce --list, progan reproduce page docs/results.md RESULTS ...
    """

    table: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TABLE")]
    """Which one; 'progan reproduce --list' shows all."""
    data: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="DATA")] = None
    """Store; or any source that 'progan prepare' reads, where the paper cuts and chooses nothing. Scale smoke makes its
    own if none is given."""
    scale: str = "paper"
    """How much of the paper's images shown: smoke (does it run), small
    (laptop hours), paper (all), or a number like 0.01."""
    rows: tuple[str, ...] = ()
    """Only these rows."""
    seeds: int | None = None
    """Runs of each row; 1 at scales smoke and small, else the paper's number, when not given."""
    maps: float | None = None
    """Share of the feature maps, if not the scale's."""
    lr: float | None = None
    """Times the learning rates, for short runs of narrow networks."""
    count: float | None = None
    """Share of the images that metrics are measured with, if not the scale's."""
    resolution: int | None = None
    """Most pixels of the shorter side, if not the scale's."""
    out: Path = Path("reproduced")
    """Folder of run directories and results."""
    jobs: int = 1
    """Runs at the same time, in processes of one thread each."""
    device: str = "auto"
    """cuda, cuda:1, mps, cpu, or auto."""
    runs: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="RUN")] = ()
    """Of figure4: train nothing, and draw the curves of these run directories."""

    def run(self) -> int:
        """Make what is missing, and print the table."""
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
        """What was typed, without paths of this machine."""
        words = ["progan", "reproduce", self.table, *([self.data.name] if self.data else [])]
        for name in ("scale", "rows", "seeds", "maps", "lr", "count", "resolution", "jobs"):
            value, default = getattr(self, name), getattr(type(self), name)
            if value != default:
                words += [f"--{name}", *(map(str, value) if isinstance(value, tuple) else [str(value)])]
        return shlex.join(words)


@dataclass(frozen=True)
class Page:
    """Write results into a page of the documentation, as tables beside the paper's."""

    page: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PAGE")]
    """Markdown file with a section for each experiment, like docs/results.md."""
    results: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RESULTS")]
    """Folders that 'progan reproduce' wrote; all that a section shall have."""

    def run(self) -> int:
        """Fill the sections and copy the pictures."""
        if not self.page.is_file():
            raise DataError(f"{self.page}: is not there; wanted a page with sections like docs/results.md")
        folders = [path if path.is_dir() else path.parent for path in self.results]
        measured = [copy_figures(read(folder), folder, self.page.parent) for folder in folders]
        text = fill(self.page.read_text(), EXPERIMENTS, measured)
        with replacing(self.page) as file:
            file.write(text.encode())
        print(f"{self.page}: {', '.join(dict.fromkeys(results['experiment'] for results in measured))}")
        return 0


def main(args: Sequence[str]) -> int:
    """Parse and run."""
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
        lines.append(f"{name:<15} {experiment.title}: {len(rows)} rows ({some})")
        lines.append(f"{'':<15} {experiment.caption}")
        if experiment.trains:
            runs = f"; {experiment.seeds} runs of each row" if experiment.seeds > 1 else ""
            lines.append(f"{'':<15} measured: {', '.join(experiment.metrics)}{runs}")
            lines.append(f"{'':<15} DATA: {experiment.prepare}")
    return "\n".join(lines)
