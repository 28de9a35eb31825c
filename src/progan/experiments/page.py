"""Sections of docs/results.md: one per experiment, filled in from results.json and never by hand."""

import re
from collections.abc import Sequence
from pathlib import Path

from progan.errors import DataError
from progan.experiments.base import Experiment
from progan.experiments.results import Results, expected, report

_END = "<!-- end -->"
NOT_YET = "Not measured yet."


def section(experiment: Experiment, measured: Sequence[Results] = ()) -> str:
    """Return the section of an experiment: how it is reproduced, then all our results, or else the paper's alone."""
    about = [
        f"{experiment.caption} {experiment.source}.",
        f"    progan reproduce {experiment.name}{' DATA' * experiment.trains}",
    ]
    tables = [report(experiment, results) for results in measured]
    paper = expected(experiment)
    paper = f"The paper's numbers:\n\n{paper}" if paper else ""
    return "\n\n".join([*about, *(tables or [NOT_YET, paper])]).rstrip()


def fill(page: str, experiments: dict[str, Experiment], measured: Sequence[Results]) -> str:
    """Return the page with the sections of these results replaced. An experiment may have results at several scales.

    Sections are enclosed in ``<!-- results: NAME -->`` and ``<!-- end -->``. The rest of the page is not changed.

    Raises:
        DataError: if the page has no section for a result, or there is no such experiment.
    """
    for name in dict.fromkeys(results["experiment"] for results in measured):
        if name not in experiments:
            raise DataError(f"results of {name!r}: this version has no such experiment")
        some = [results for results in measured if results["experiment"] == name]
        start = f"<!-- results: {name} -->"
        pattern = re.compile(f"{re.escape(start)}.*?{re.escape(_END)}", re.DOTALL)
        text = f"{start}\n{section(experiments[name], some)}\n{_END}"
        page, found = pattern.subn(lambda _, text=text: text, page, count=1)
        if not found:
            raise DataError(f"the page has no section between '{start}' and '{_END}'")
    return page


def frame(experiments: dict[str, Experiment]) -> str:
    """Return a page with sections for all experiments and no results."""
    parts = [f"## {e.title}\n\n<!-- results: {n} -->\n{section(e)}\n{_END}\n" for n, e in experiments.items()]
    return "\n".join(parts)


def copy_figures(results: Results, source: Path, target: Path) -> Results:
    """Copy the PNG files of results to the folder of the page under unique names, and return results that name them."""
    files = []
    for name in results["figures"]:
        if name.endswith(".png"):
            new = f"{results['experiment']}-{results['scale']['name']}-{name}"
            (target / new).write_bytes((source / name).read_bytes())
            files.append(new)
    return {**results, "figures": files}
