"""Curves of runs over training time (ProGAN figure 4)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from progan.data.store import Store
from progan.errors import ConfigError, DataError
from progan.evaluation.monitor import MetricMonitor
from progan.files import replacing
from progan.snapshot import Snapshot, snapshots_in
from progan.training.log import METRICS, clock, read_stats

SNAPSHOTS = "snapshots.jsonl"
_SHADES = ("0.6", "black", "tab:red", "tab:blue")  # of runs


@dataclass(frozen=True)
class Curve:
    """Curve of one run. Times are training times, without the time for measurements."""

    seconds: np.ndarray
    """Seconds since the run began, float64 [T]."""
    kimg: np.ndarray
    """Thousands of images shown until then, float64 [T]."""
    doublings: np.ndarray
    """Seconds at which the resolution doubled."""
    measured_s: np.ndarray
    """Seconds at which SWD was measured, float64 [M]."""
    swd: Mapping[str, np.ndarray]
    """SWD x 1e3 of each measured level and their mean "swd", float64 [M]; NaN where a level was not measured."""
    full: np.ndarray
    """Whether each measurement is at full size and outside a fade, bool [M]."""
    count: int = 0
    """Number of images per measurement; 0 if unknown."""


def measure_snapshots(run: Path, store: Store, *, count: int, mirror: bool, device: str = "cpu") -> None:
    """Measure SWD of all snapshots of a run at their own resolutions, unless already measured with ``count`` images.

    Measurements taken during training may use a different number of images, so these are kept in a separate file.
    """
    known = {row["kimg"]: row for row in read_stats(run, SNAPSHOTS) if row["count"] == count}
    monitor = MetricMonitor(store, ("swd",), kimg=1, seed=0, count=count, mirror=mirror, floor=False, device=device)
    for file in tqdm(snapshots_in(run), desc=f"SWD of {run.name}", disable=None):
        kimg = float(file.stem)
        if kimg not in known:
            snapshot = Snapshot.load(file, device=device)
            height, width = snapshot.spec.size(snapshot.level)
            facts = {"kimg": kimg, "resolution": min(height, width), "alpha": snapshot.alpha, "count": count}
            known[kimg] = {**facts, **monitor(snapshot)}
            with replacing(run / SNAPSHOTS) as lines:
                lines.write("".join(f"{json.dumps(known[key])}\n" for key in sorted(known)).encode())


def read_curve(run: Path) -> Curve:
    """Read the curve of a run directory from its measured snapshots, or else from measurements during training.

    Raises:
        DataError: if the directory has no statistics.
    """
    stats, rows = read_stats(run), read_stats(run, SNAPSHOTS) or read_stats(run, METRICS)
    if not stats:
        raise DataError(f"{run}: no statistics in stats.jsonl; expected a run directory of 'progan train'")
    seconds, kimg = np.cumsum([row["seconds"] for row in stats]), np.array([row["kimg"] for row in stats], np.float64)
    sides = np.array([row["resolution"] for row in stats])
    began = np.concatenate([[0.0], seconds[:-1]])
    names = dict.fromkeys(name for row in rows for name in row if name == "swd" or name.startswith("swd_"))
    at = np.array([row["kimg"] for row in rows], np.float64)
    return Curve(
        seconds=seconds,
        kimg=kimg,
        doublings=began[1:][np.diff(sides) > 0],
        measured_s=np.interp(at, np.concatenate([[0.0], kimg]), np.concatenate([[0.0], seconds])),
        swd={name: np.array([row.get(name, np.nan) for row in rows], np.float64) for name in names},
        full=np.array([row["resolution"] == sides.max() and row["alpha"] == 1 for row in rows], bool),
        count=rows[-1].get("count", 0) if rows else 0,
    )


def compare(curves: Mapping[str, Curve]) -> list[str]:
    """Describe how the speeds of two runs compare: time for equal numbers of images, and for an equal SWD."""
    (first, a), (second, b) = curves.items()
    shown = min(a.kimg[-1], b.kimg[-1])
    times = [float(np.interp(shown, [0.0, *c.kimg], [0.0, *c.seconds])) for c in (a, b)]
    lines = [_ratio(f"{shown:.6g} thousand images", first, second, times)]
    best = [_full_size(c) for c in (a, b)]
    if all(len(values) for _, values in best):
        target = max(float(values.min()) for _, values in best)
        times = [float(seconds[values <= target][0]) for seconds, values in best]
        of = f" of {a.count:,} images" if a.count == b.count and a.count else ""
        lines.append(_ratio(f"an SWD of {target:.4g}{of} (the best that both reach)", first, second, times))
    return lines


def _full_size(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Return times [seconds] and values of SWD at full size."""
    values = curve.swd.get("swd", np.empty(0))
    valid = curve.full & np.isfinite(values) if len(values) else np.zeros(0, bool)
    return curve.measured_s[valid], values[valid]


def _ratio(what: str, first: str, second: str, times: Sequence[float]) -> str:
    one, other = times
    share = f"{second} takes {other / max(one, 1e-9):.2f} of the time"
    return f"{what}: {first} {clock(one)}, {second} {clock(other)}; {share}"


def plot(curves: Mapping[str, Curve], path: Path) -> None:
    """Plot SWD of each level and images shown over time for every run into one PNG file.

    Raises:
        ConfigError: if matplotlib is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("plots need matplotlib: pip install 'progan[plots]'") from error
    longest = max(float(curve.seconds[-1]) for curve in curves.values())
    unit, unit_s = next((u, s) for u, s in (("h", 3600), ("min", 60), ("s", 1)) if longest >= 2 * s or s == 1)
    figure = Figure(figsize=(5 * (len(curves) + 1), 4), layout="constrained")
    panels: Any = figure.subplots(1, len(curves) + 1, squeeze=False)[0]
    colors = _colors(curves)
    for panel, (name, curve) in zip(panels, curves.items(), strict=False):
        _swd_panel(panel, curve, unit_s, colors)
        swd = f"SWD x 1e3 of {curve.count:,} images" if curve.count else "SWD x 1e3"
        panel.set(title=name, xlabel=f"training time [{unit}]", ylabel=swd, xlim=(0, longest / unit_s))
    every = np.concatenate([values for curve in curves.values() for values in curve.swd.values()] or [np.array([1.0])])
    for panel in panels[:-1]:
        panel.set_ylim(0.8 * np.nanmin(every), 1.25 * np.nanmax(every))
    for number, (name, curve) in enumerate(curves.items()):
        seconds, kimg = np.append(0, curve.seconds), np.append(0, curve.kimg)
        panels[-1].plot(seconds / unit_s, kimg, label=name, color=_SHADES[number % len(_SHADES)])
    panels[-1].set(title="images shown", xlabel=f"training time [{unit}]", ylabel="thousands of images")
    panels[-1].legend()
    with replacing(path) as file:
        FigureCanvasAgg(figure).print_png(file)


def _swd_panel(panel: Any, curve: Curve, unit_s: float, colors: Mapping[str, str]) -> None:
    """Plot one line per level, and dashed lines where the resolution doubled."""
    panel.set_yscale("log")
    for name, values in curve.swd.items():
        width = 2.5 if name == "swd" else 1.2
        label = "average" if name == "swd" else name.removeprefix("swd_")
        panel.plot(curve.measured_s / unit_s, values, ".-", color=colors[name], label=label, linewidth=width)
    for moment in curve.doublings:
        panel.axvline(moment / unit_s, color="0.6", linestyle="--", linewidth=0.8)
    if curve.swd:
        panel.legend(fontsize="small")
    else:
        panel.set_title("SWD was not measured", y=0.5)


def _colors(curves: Mapping[str, Curve]) -> dict[str, str]:
    """Return one color per level for all panels; the average is black."""
    names = {name for curve in curves.values() for name in curve.swd} - {"swd"}
    by_size = sorted(names, key=lambda name: int(name.removeprefix("swd_")))
    return {"swd": "black"} | {name: f"C{number}" for number, name in enumerate(by_size)}
