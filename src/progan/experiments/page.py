"""docs/results.md: one section for each experiment, filled in from results.json and never by hand."""

import re
from collections.abc import Sequence
from pathlib import Path

from progan.errors import DataError
from progan.experiments.base import Experiment
from progan.experiments.results import Results, expected, report

_END = "<!-- end -->"
NOT_YET = "Not measured yet."


def section(experiment: Experiment, measured: Sequence[Results] = ()) -> str:
    """What the page says of an experiment: how it is made, then every result of ours, or else the paper's alone."""
    about = [
        f"{experiment.caption} {experiment.source}.",
        f"    progan reproduce {experiment.name}{' DATA' * experiment.trains}",
    ]
    tables = [report(experiment, results) for results in measured]
    paper = expected(experiment)
    paper = f"The paper's numbers:\n\n{paper}" if paper else ""
    return "\n\n".join([*about, *(tables or [NOT_YET, paper])]).rstrip()


def fill(page: str, experiments: dict[str, Experiment], measured: Sequence[Results]) -> str:
    """The page with the sections of these results written anew; an experiment may have several, at different scales.

    Sections lie between ``<!-- results: NAME -->`` and ``<!-- end -->``; all else stays as it is.

    Raises:
        DataError: if the page has no such section, or there is no such experiment.
    """
    for name in dict.fromkeys(results["experiment"] for results in measured):
        if name not in experiments:
            raise DataError(f"results of {name!r}: there is no such experiment in this version")
        some = [results for results in measured if results["experiment"] == name]
        start = f"<!-- results: {name} -->"
        pattern = re.compile(f"{re.escape(start)}.*?{re.escape(_END)}", re.DOTALL)
        text = f"{start}\n{section(experiments[name], some)}\n{_END}"
        page, found = pattern.subn(lambda _, text=text: text, page, count=1)
        if not found:
            raise DataError(f"the page has no section between '{start}' and '{_END}'")
    return page


def frame(experiments: dict[str, Experiment]) -> str:
    """Sections for every experiment with nothing measured."""
    parts = [f"## {e.title}\n\n<!-- results: {n} -->\n{section(e)}\n{_END}\n" for n, e in experiments.items()]
    return "\n".join(parts)


def copy_figures(results: Results, source: Path, target: Path) -> Results:
    """The results with PNG files copied from their folder to that of the page, under names of their own."""
    files = []
    for name in results["figures"]:
        if name.endswith(".png"):
            new = f"{results['experiment']}-{results['scale']['name']}-{name}"
            (target / new).write_bytes((source / name).read_bytes())
            files.append(new)
    return {**results, "figures": files}
