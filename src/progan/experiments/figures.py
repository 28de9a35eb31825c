"""Figures of an experiment: images of all rows, curves, nearest neighbors and videos."""

import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from progan.analysis.neighbours import Crop, nearest, neighbours_sheet, pixels
from progan.data.store import Store
from progan.devices import pick_device
from progan.errors import ProganError
from progan.evaluation.sets import of_store, open_images
from progan.experiments.curves import compare, measure_snapshots, plot, read_curve
from progan.experiments.distances import distance
from progan.experiments.job import Job, unmeasurable
from progan.images import save_png, sheet
from progan.latent.films import Screen, interpolation
from progan.latent.video import save_film
from progan.latent.walks import LEAST_LENGTH, SIGMA_S, Walk
from progan.metrics.extractors import load_extractor
from progan.snapshot import Snapshot

COLUMNS = 12
"""Number of images of each row in a grid."""
FPS = 60
CURVE_COUNT, CURVE_LEAST = 2048, 64  # images for each point of a curve, at the paper's scale and at least


def rows_sheet(jobs: Sequence[Job], folder: Path) -> list[str]:
    """Write images of each row, from equal latents if the networks allow it, to rows.png and real images to real.png.

    Real images are in a separate file because some may not be published with the results.
    """
    lines, names, reals = [], [], []
    fakes = [open_images(job.run, device=pick_device(job.device)) for job in jobs]
    largest = max(fake.height for fake in fakes)
    for job, fake in zip(jobs, fakes, strict=True):
        if fake.height < largest:  # a run that ended in an earlier stage
            continue
        if not reals or job.row.data:
            real = of_store(Store.open(job.store), resolution=f"{fake.height}x{fake.width}")
            reals.append(real.read(0, min(COLUMNS, real.count)))
        lines.append(fake.read(0, COLUMNS))
        names.append(job.row.name)
    for name, images in (("rows.png", lines), ("real.png", reals)):
        save_png(sheet(torch.cat(images), columns=COLUMNS), folder / name)
    return [f"rows.png, from top to bottom: {', '.join(names)}; real images are in real.png in the folder of results"]


def growing(jobs: Sequence[Job], folder: Path) -> list[str]:
    """Plot SWD of all snapshots at their own resolutions, and images shown over time, to growing.png."""
    for job in jobs:
        store = Store.open(job.store)
        count = min(max(round(CURVE_COUNT * job.scale.count), CURVE_LEAST), store.count)
        device = str(pick_device(job.device))
        measure_snapshots(job.run, store, count=count, mirror=job.row.config().mirror, device=device)
    curves = {job.row.name: read_curve(job.run) for job in jobs}
    plot(curves, folder / "growing.png")
    return compare(curves) if len(curves) == 2 else []


def walk(jobs: Sequence[Job], folder: Path) -> list[str]:
    """Render a walk through the latent space of the first row to interpolation.mp4: 10 s at 60 Hz, less if scaled."""
    job = jobs[0]
    snapshot = Snapshot.load(job.run, device=pick_device(job.device))
    screen, frames = Screen.of(snapshot.spec.size(snapshot.level)), max(round(10 * FPS * job.scale.count), FPS)
    sigma = min(SIGMA_S * FPS, frames / LEAST_LENGTH)
    steps = Walk(frames=frames, cells=screen.cells, components=snapshot.latent_size, sigma=sigma)
    save_film(interpolation(snapshot, steps, screen), folder / "interpolation.mp4", fps=FPS)
    return [f"interpolation.mp4: {frames / FPS:.3g} s, sigma {sigma:.3g} frames, seed 0"]


def neighbours(jobs: Sequence[Job], folder: Path) -> list[str]:
    """Write generated images of the first row and their nearest real images to neighbours.png."""
    job = jobs[0]
    device = str(pick_device(job.device))
    snapshot = Snapshot.load(job.run, device=device)
    fakes = snapshot.generate(seeds=range(8))
    reals = Store.open(job.store).level(min(fakes.shape[2:]))
    missing = unmeasurable(["fd_lite0"], device)
    extractor = None if missing else load_extractor("efficientnet_lite0", None, device)
    features = pixels if extractor is None else lambda images: extractor(images).features
    found = nearest(fakes, reals, features=features, mirror=job.row.config().mirror, progress=True)
    save_png(neighbours_sheet(fakes, reals, found, Crop()), folder / "neighbours.png")
    by = "pixels" if missing else "features of EfficientNet-Lite0 (not of the paper's network)"
    return [f"neighbours.png: seeds 0 to 7 and their five nearest real images by {by}, of central crops"]


FIGURES: dict[str, tuple[str, Callable[[Sequence[Job], Path], list[str]]]] = {
    "rows": ("rows.png", rows_sheet),
    "growing": ("growing.png", growing),
    "neighbours": ("neighbours.png", neighbours),
    "walk": ("interpolation.mp4", walk),
    "distance": ("distance.png", distance),
}
"""Figures by name: the file, and the function that writes it for the jobs of an experiment and returns remarks."""


def draw(names: Sequence[str], jobs: Sequence[Job], folder: Path) -> dict[str, list[str]]:
    """Draw figures and return their files and remarks for the results. A figure that fails becomes a remark."""
    figures: list[str] = []
    remarks: list[str] = []
    for name in names if jobs else ():
        file, make = FIGURES[name]
        try:
            remarks += make(jobs, folder)
            figures.append(file)
        except Exception as error:  # a failed figure must not cost the table
            if not isinstance(error, ProganError):
                traceback.print_exc()
            text = f"no {file}: {'; '.join(line.strip() for line in str(error).splitlines())}"
            remarks.append(text)
            tqdm.write(text, file=sys.stderr)
    return {"figures": figures, "remarks": remarks}
