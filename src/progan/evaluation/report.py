"""Measurements as text: a table of one, and the reasons why two of them cannot be compared."""

import json
from pathlib import Path
from typing import Any

from progan.errors import ConfigError, DataError
from progan.evaluation.results import FORMAT, Report, Result
from progan.metrics import METRICS

_HEADINGS = ("metric", "value", "real", "fakes", "reals", "paper's N", "seed", "extractor")


def table(report: Report) -> str:
    """Return a table with one line for each value and what decides it, and notes below it."""
    rows = [line for result in report.results for line in _lines(result)]
    text = _columns([_HEADINGS, *rows])
    height, width, channels = report.size
    about = [f"{height}x{width}, {'grayscale' if channels == 1 else 'RGB'}; generated images: {_set(report.fake)}"]
    if report.real is not None:
        about.append(f"real images: {_set(report.real)}{', mirrored at random' if report.mirror else ''}")
    notes = [f"{result.metric}: {result.note}" for result in report.results if result.note]
    if any(result.real_values for result in report.results):
        notes.append("real: the metric of other real images instead of the generated ones (in brackets: their number)")
    return "\n".join([*about, "", text, *([""] if notes else []), *notes])


def _lines(result: Result) -> list[tuple[str, ...]]:
    paper = "yes" if result.count == result.paper_count else f"no, {result.paper_count}"
    extractor = f"{result.extractor} {result.extractor_hash}".strip() or "-"
    lines = []
    for key, value in result.values.items():
        real = result.real_values.get(key)
        floor = "-" if real is None else f"{number(real)} ({result.floor_count})"
        name = key if key == result.key or not key.startswith(result.key) else f"  {key}"
        counts = (str(result.count), str(result.real_count or "-"), paper, str(result.seed), extractor)
        lines.append((name, number(value), floor, *counts))
    return lines


def number(value: float) -> str:
    """Return a number with four significant digits.

    >>> number(12.3456), number(0.28301), number(1000.0), number(-0.00002908)
    ('12.35', '0.283', '1000', '-2.908e-05')
    """
    return f"{value:.4g}"


def read(path: Path) -> dict[str, Any]:
    """Read a measurement written by 'progan metric ... --json'.

    Raises:
        DataError: if the file is not a measurement.
    """
    try:
        report = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DataError(f"{path}: is not JSON ({error}); expected the output of 'progan metric ... --json'") from error
    if not isinstance(report, dict) or report.get("format") != FORMAT:
        raise DataError(f"{path}: is not a measurement; expected the output of 'progan metric ... --json'")
    return report


def compare(a: dict[str, Any], b: dict[str, Any]) -> list[tuple[str, float, float, list[str], list[str]]]:
    """Return (name of the value, in a, in b, reasons why they cannot be compared, remarks) for each metric in both.

    Raises:
        ConfigError: if the two have no metric in common.
    """
    ours, theirs = ({r["metric"]: r for r in report["results"]} for report in (a, b))
    if not (both := [name for name in ours if name in theirs]):
        raise ConfigError(f"no metric in common: one has {', '.join(ours)}, the other {', '.join(theirs)}")
    rows = []
    for name in both:
        reasons, remarks = _differences(a, b, ours[name], theirs[name])
        key = ours[name]["key"]
        rows.append((key, ours[name]["values"][key], theirs[name]["values"][key], reasons, remarks))
    return rows


def _differences(a: dict[str, Any], b: dict[str, Any], x: dict[str, Any], y: dict[str, Any]) -> tuple[list, list]:
    """Reasons and remarks about one metric measured twice."""
    reasons = []

    def same(what: str, one: Any, other: Any) -> None:
        if one != other:
            reasons.append(f"{what}: {one or 'none'} against {other or 'none'}")

    same("image size", "x".join(map(str, a["size"])), "x".join(map(str, b["size"])))
    same("number of generated images", x["count"], y["count"])
    for key, what in (("resize", "resizing"), ("order", "order"), ("labels", "classes")):
        same(f"{what} of the generated images", _fact(a["fake"], key), _fact(b["fake"], key))
    same(
        "extractor",
        f"{x['extractor']} {x['extractor_hash']}".strip(),
        f"{y['extractor']} {y['extractor_hash']}".strip(),
    )
    if x["real_count"] or y["real_count"]:
        same("number of real images", x["real_count"], y["real_count"])
        one, other = a["real"] or {}, b["real"] or {}
        if one.get("hash") != other.get("hash"):
            reasons.append(
                f"real set: {one.get('name')} ({one.get('hash')}) against {other.get('name')} ({other.get('hash')})"
            )
        for key, what in (("resize", "resizing"), ("order", "order")):
            same(f"{what} of the real images", _fact(one, key), _fact(other, key))
        same("mirroring of the real images", "at random" if a["mirror"] else "", "at random" if b["mirror"] else "")
    remarks = []
    if a["seed"] != b["seed"]:
        remarks.append(f"seeds {a['seed']} and {b['seed']} differ, so part of the difference is due to chance")
    if a["version"] != b["version"]:
        remarks.append(f"measured by progan {a['version']} and {b['version']}")
    if METRICS.get(x["metric"]) and METRICS[x["metric"]].compares and x["real_values"]:
        remarks.append(f"real against real gives {number(x['real_values'][x['key']])} ({x['floor_count']} images)")
    return reasons, remarks


def comparison(path_a: Path, path_b: Path) -> tuple[str, bool]:
    """Return the comparison of two measurement files as text, and whether all their metrics can be compared."""
    rows = compare(read(path_a), read(path_b))
    lines = []
    for key, one, other, reasons, remarks in rows:
        lines.append(
            f"{key}: {number(one)} in {path_a}, {number(other)} in {path_b}: "
            + ("CANNOT be compared" if reasons else "can be compared")
        )
        lines += [f"  {reason}" for reason in reasons] + [f"  ({remark})" for remark in remarks]
    return "\n".join(lines), not any(row[3] for row in rows)


def _fact(about: dict[str, Any], key: str) -> str:
    """A fact about a set; those of files of version 0.1.0, which had one order only and did not name it."""
    return about.get(key) or {"order": "seed"}.get(key, "")


def _set(about: dict[str, Any]) -> str:
    facts = [
        "generator" if about["count"] is None else f"{about['count']} images",
        about["hash"],
        about["resize"],
        "in file order" if about["order"] == "file" else "",
        f"classes {about['labels']}" if about["labels"] else "",
    ]
    return f"{about['name']} ({', '.join(filter(None, facts))})"


def _columns(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
