"""Results of an experiment next to the paper's, as JSON and as a table that states all differences."""

import json
import os
import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from progan.errors import DataError
from progan.experiments.base import Experiment, Value
from progan.experiments.job import Record
from progan.experiments.scale import Scale
from progan.files import replacing
from progan.metrics import METRICS
from progan.version import __version__

FORMAT = "progan results 1"
FILE = "results.json"
_NONE = "-"

Results = dict[str, Any]


def collect(experiment: Experiment, scale: Scale, records: Sequence[Record], *, command: str, data: str) -> Results:
    """Return the contents of results.json; ``data`` describes the images."""
    return {
        "format": FORMAT,
        "experiment": experiment.name,
        "scale": asdict(scale),
        **origin(command, data),
        "records": list(records),
        "figures": [],
        "remarks": [],
    }


def origin(command: str, data: str) -> dict[str, str]:
    """Return how a result was made: command, data, machine, date and version."""
    now = {"machine": machine(), "date": time.strftime("%Y-%m-%d"), "version": __version__}
    return {"command": command, "data": data, **now}


def save(results: Results, path: Path) -> None:
    """Write results to a JSON file."""
    with replacing(path) as file:
        file.write(f"{json.dumps(results, indent=1)}\n".encode())


def read(path: Path) -> Results:
    """Read results written by 'progan reproduce'; ``path`` is the file or its folder.

    Raises:
        DataError: if there are none.
    """
    path = path / FILE if path.is_dir() else path
    try:
        results = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); expected a {FILE} of 'progan reproduce'") from error
    if not isinstance(results, dict) or results.get("format") != FORMAT:
        raise DataError(f"{path}: not written by 'progan reproduce' (expected format {FORMAT!r})")
    return results


def machine() -> str:
    """Describe the machine: CPU, GPUs and version of torch, on which training times depend."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cpu = models[0] if models else platform.processor() or platform.machine()
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return f"{os.cpu_count()} cores {cpu}, {', '.join(gpus) or 'no GPU'}; torch {torch.__version__}"


def report(experiment: Experiment, results: Results) -> str:
    """Return the table in Markdown, with all differences from the paper and reasons for empty cells below it."""
    differing = _differing(experiment, results)
    why = "smaller data" if _scale(results).as_paper else results["scale"]["name"]
    loud = [f"**SCALED ({why}): NOT comparable with the paper's numbers, only with each other.**"]
    missing = {name: why for record in results["records"] for name, why in record["missing"].items()}
    notes = [f"- {name} was not measured: {why}" for name, why in missing.items()]
    notes += [f"- row {r['row']}, seed {r['seed']}: {note}" for r in results["records"] for note in r["notes"]]
    parts = [
        loud if _is_scaled(results) else [],
        [markdown(_lines(experiment, results))],
        ["What differs from the paper:", "", *differing] if differing else [],
        ["Notes:", "", *notes] if notes else [],
        [f"- {remark}" for remark in results["remarks"]],
        _origins(results),
        [f"![{experiment.title}]({file})" for file in results["figures"] if file.endswith(".png")],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _made(results: Results) -> list[dict[str, Any]]:
    """Return how each record was made: data, command, machine, date and version."""
    return [record.get("made", results) for record in results["records"]] or [results]


def _origins(results: Results) -> list[str]:
    """Return commands, machines and dates, each with the rows that it applies to."""
    found: dict[str, list[str]] = {}
    for made, record in zip(_made(results), results["records"] or [{"row": ""}], strict=True):
        text = f"`{made['command']}`, {made['machine']}; {made['date']}, progan {made['version']}."
        found.setdefault(text, []).append(record["row"])
    if len(found) == 1:
        return list(found)
    return [f"- {', '.join(dict.fromkeys(rows))}: {text}" for text, rows in found.items()]


def expected(experiment: Experiment) -> str:
    """Return a table of the paper's numbers alone."""
    names = list(dict.fromkeys(key for row in experiment.rows for key in row.paper))
    lines = [[row.label, *(cell(row.paper.get(name)) for name in names)] for row in experiment.rows if row.paper]
    return markdown([["row", *names], *lines]) if lines else ""


def value_of(records: Iterable[Record], name: str) -> Value | None:
    """Return the mean over the runs of a row, with sample standard deviation and best value if there are several."""
    found = [v for r in records for m in r["measured"].values() if (v := m["values"].get(name)) is not None]
    if not found:
        return None
    better = next((metric.higher_is_better for metric in METRICS.values() if metric.key == name), None)
    best = None if better is None else max(found) if better else min(found)
    return Value(mean(found), stdev(found), best) if len(found) > 1 else Value(found[0])


def cell(value: float | Value | None, *, best: bool = True) -> str:
    """Format a number for a table.

    >>> cell(9.28), cell(Value(8.56, 0.06, 8.8)), cell(23079115), cell(None)
    ('9.28', '8.56 ± 0.06 (best 8.8)', '23,079,115', '-')
    """
    if value is None:
        return _NONE
    value = value if isinstance(value, Value) else Value(value)
    text = f"{value.mean:,}" if isinstance(value.mean, int) else f"{value.mean:.4g}"
    text += "" if value.deviation is None else f" ± {value.deviation:.4g}"
    return text + (f" (best {value.best:.4g})" if best and value.best is not None else "")


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table with aligned columns; the first line is the header.

    >>> print(markdown([["a", "b"], ["1", "22"]]))
    | a | b  |
    |---|----|
    | 1 | 22 |
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines]
    return "\n".join([text[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *text[1:]])


def _of(results: Results, row: str) -> list[Record]:
    return [record for record in results["records"] if record["row"] == row]


def _lines(experiment: Experiment, results: Results) -> list[list[str]]:
    """Return the table: for every row our values above the paper's, and the values of real images last."""
    rows = [row for row in experiment.rows if row.paper or _of(results, row.name)]
    paper = [key for row in rows for key in row.paper]
    every = [m for record in results["records"] for m in record["measured"].values()]
    ours = [key for m in every for key in m["values"] if "_std" not in key]
    absent = [METRICS[name].key for record in results["records"] for name in record["missing"]]
    names, times = list(dict.fromkeys([*paper, *ours, *absent])), ["kimg", "hours"] if experiment.trains else []
    names = [name for name in names if name in experiment.values] if experiment.values else names
    lines = [["row", "", *names, *times]]
    for row in rows:
        records, label = _of(results, row.name), row.label
        if records:
            ran = [record for record in records if record["measured"]] or [r for r in records if r["kimg"]]
            runs = f"ours, {len(ran)} runs" if len(ran) > 1 else "ours"
            costs = _costs(ran) if ran else [_NONE] * 2
            cells = [_cell(records, key, best=experiment.best) for key in names]
            lines.append([label, runs, *cells, *costs[: len(times)]])
            label = ""
        if row.paper:
            lines.append([label, "paper", *(cell(row.paper.get(key)) for key in names), *[""] * len(times)])
        if row.data:
            lines.append(_real_line("", records, names, len(times)))
    if any(m["real"] for m in every) and not rows[-1].data:
        lines.append(_real_line("real images", results["records"], names, len(times)))
    return lines


def _costs(ran: Sequence[Record]) -> list[str]:
    """Return the mean of the thousands of images shown and of the training hours."""
    kimg, hours = mean(r["kimg"] for r in ran), mean(r["train_s"] for r in ran) / 3600
    return [f"{kimg:,.6g}", f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"]


def _real_line(name: str, records: Sequence[Record], names: Sequence[str], empty: int) -> list[str]:
    """Return the line with the metrics of real images instead of generated ones."""
    real = {key: value for r in records for m in r["measured"].values() for key, value in m["real"].items()}
    return [name, "real", *(cell(real.get(key)) for key in names), *[""] * empty]


def _cell(records: Sequence[Record], key: str, *, best: bool) -> str:
    """Return our value, or that the metric was not measured."""
    missing = any(METRICS[name].key == key for record in records for name in record["missing"])
    value = value_of(records, key)
    return "not measured" if missing and value is None else cell(value, best=best)


def _counts(results: Results) -> list[tuple[str, dict[str, Any], list[str]]]:
    """Return every distinct way of measuring: the metric, a measurement, and the rows that it applies to."""
    found: dict[tuple, tuple[str, dict[str, Any], list[str]]] = {}
    for record in results["records"]:
        for name, m in record["measured"].items():
            if name in METRICS:
                key = (name, m["fakes"], m["reals"], m["floor_count"], m["plan"][0], m["note"])
                found.setdefault(key, (name, m, []))[2].append(record["row"])
    return list(found.values())


def _is_scaled(results: Results) -> bool:
    fewer = any(m["fakes"] < METRICS[name].paper_count for name, m, _ in _counts(results))
    return fewer or not _scale(results).as_paper or any(record["differences"] for record in results["records"])


def _scale(results: Results) -> Scale:
    return Scale(**results["scale"])


def _differing(experiment: Experiment, results: Results) -> list[str]:
    """Return the differences from the paper, one per line."""
    found: dict[str, list[str]] = {}
    for record in results["records"]:
        for text in (*experiment.row(record["row"]).differs, *record["differences"]):
            found.setdefault(text, []).append(record["row"])
    every = {record["row"] for record in results["records"]}

    def whose(rows: Sequence[str]) -> str:
        return "" if set(rows) == every else f"{', '.join(dict.fromkeys(rows))}: "

    lines = [f"{whose(rows)}{text}" for text, rows in found.items()]
    for name, m, rows in _counts(results):
        wanted, times = METRICS[name].paper_count, m["plan"][0]
        if m["fakes"] != wanted or times != experiment.repeats:
            often = f"{times} times " if times > 1 else ""
            instead = f"{experiment.repeats} times {wanted:,}" if experiment.repeats > 1 else f"{wanted:,}"
            reals = f" and {m['reals']:,} real ones" if m["reals"] not in (0, m["fakes"]) else ""
            lines.append(f"{whose(rows)}{name} of {often}{m['fakes']:,} images{reals} instead of {instead}")
        if m["floor_count"] not in (0, m["fakes"]):
            lines.append(f"{whose(rows)}{name} of real images: of {m['floor_count']:,}, so no floor for {m['fakes']:,}")
        if m["note"]:
            lines.append(f"{whose(rows)}{name}: {m['note']}")
    if experiment.trains:
        data = dict.fromkeys(made["data"] for made in _made(results))
        lines.append(f"data: {', '.join(data)}; the paper's: {experiment.data}")
    runs = {sum(bool(record["measured"]) for record in _of(results, row)) for row in every} or {0}
    if experiment.trains and min(runs) < experiment.seeds:
        some = f"{min(runs)}" if len(runs) == 1 else f"{min(runs)} to {max(runs)}"
        lines.append(f"{some} {'run' if runs == {1} else 'runs'} per row instead of {experiment.seeds}")
    return [f"- {line}" for line in lines]
