"""The critic's estimate of the Wasserstein distance beside the quality of the images (WGAN figures 3 and 4)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from progan.data.store import Store
from progan.devices import pick_device
from progan.errors import ConfigError, DataError
from progan.experiments.curves import SNAPSHOTS, measure_snapshots
from progan.experiments.job import Job
from progan.files import replacing
from progan.training.log import read_stats

_COUNT, _LEAST = 2048, 64  # images for each SWD, at full scale and at least
ESTIMATE = "discriminator/distance"


def distance(jobs: Sequence[Job], folder: Path) -> list[str]:
    """Plot the critic's estimate and SWD of all snapshots over the images shown to distance.png, a panel for each row.

    Returns:
        Rank correlation of the two for each row.

    Raises:
        ConfigError: if matplotlib is missing.
        DataError: if a run has no estimates, because its GAN has no critic.
    """
    curves = {}
    for job in jobs:
        store = Store.open(job.store)
        count = min(max(round(_COUNT * job.scale.count), _LEAST), store.count)
        measure_snapshots(
            job.run, store, count=count, mirror=job.row.config().mirror, device=str(pick_device(job.device))
        )
        curves[job.row.name] = read_distances(job.run)
    plot(curves, folder / "distance.png")
    return [
        f"{name}: rank correlation of the critic's estimate and SWD over {len(swd)} snapshots {correlation:.2f}"
        for name, (_, (_, swd)) in curves.items()
        for correlation in [rank_correlation(at_snapshots(*curves[name]), swd)]
    ]


Series = tuple[np.ndarray, np.ndarray]
"""Thousands of images, and values at these times, float64 [T] each."""


def read_distances(run: Path) -> tuple[Series, Series]:
    """Return the critic's estimates of a run, and SWD x 1e3 of its measured snapshots."""
    stats = [row for row in read_stats(run) if row.get(ESTIMATE) is not None]
    if not stats:
        raise DataError(f"{run}: stats.jsonl has no {ESTIMATE}; only WGAN and WGAN-GP write it")
    measured = read_stats(run, SNAPSHOTS)
    estimates, swd = ([(row["kimg"], row[key]) for row in rows] for rows, key in ((stats, ESTIMATE), (measured, "swd")))
    return tuple(tuple(np.array(values, np.float64).T) for values in (estimates, swd))  # type: ignore[return-value]


def at_snapshots(estimates: Series, swd: Series) -> np.ndarray:
    """Return the estimates at the times of the measurements, interpolated."""
    return np.interp(swd[0], *estimates)


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Spearman's rank correlation of two series without ties.

    >>> rank_correlation(np.array([1.0, 2.0, 9.0]), np.array([3.0, 4.0, 5.0]))
    1.0
    """
    one, other = (np.argsort(np.argsort(x)) for x in (a, b))
    return round(float(np.corrcoef(one, other)[0, 1]), 12) if len(a) > 1 else float("nan")


def plot(curves: dict[str, tuple[Series, Series]], path: Path) -> None:
    """Plot both series of each run into one PNG file."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("plots need matplotlib: pip install 'progan[plots]'") from error
    figure = Figure(figsize=(5.5 * len(curves), 3.8), layout="constrained")
    panels: Any = figure.subplots(1, len(curves), squeeze=False)[0]
    for panel, (name, (estimates, swd)) in zip(panels, curves.items(), strict=True):
        (first,) = panel.plot(*estimates, color="tab:blue", label="critic's estimate")
        panel.set(title=name, xlabel="thousands of real images", ylabel="critic's estimate")
        other = panel.twinx()
        (second,) = other.plot(*swd, "o-", color="tab:orange", label="SWD x 1e3")
        other.set_ylabel("SWD x 1e3")
        panel.legend(handles=[first, second])
    with replacing(path) as file:
        FigureCanvasAgg(figure).print_png(file)
