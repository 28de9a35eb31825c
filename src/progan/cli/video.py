"""The command 'progan video'."""

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from tqdm import tqdm

from progan.devices import pick_device
from progan.errors import ConfigError
from progan.latent.films import Screen, interpolation, snapshots_of, training
from progan.latent.video import CRF, check_film, check_size, save_film
from progan.latent.walks import LEAST_LENGTH, SIGMA_S, Walk
from progan.snapshot import Snapshot

_FPS = {".gif": 25}


@dataclass(frozen=True)
class Video:
    """Film a walk through the latents of a trained generator, or the training of a run.

    A walk ends where it begins, so that it can be shown in a loop; one seed gives the same film every time.
    """

    snapshot: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SNAPSHOT")]
    """A .safetensors file, a shared folder, or a run directory (its newest snapshot; of training: all)."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """An .mp4 or .gif file, or a new folder for PNG files."""
    kind: Literal["interpolation", "training"] = "interpolation"
    """A walk through the latents, or the same latents in all snapshots of a run."""
    grid: str = "4x2"
    """Columns x rows of images."""
    seed: int = 0
    """Of the walk; of training: the images are those of this seed and the next ones."""
    seconds: float = 10.0
    """Length of the film."""
    fps: int | None = None
    """Frames a second. Default: 60, as in the paper; 25 for a GIF."""
    sigma: float = SIGMA_S
    """Standard deviation of the Gaussian that makes a walk smooth [seconds]; larger is slower."""
    label: int | None = None
    """Class of all images, for conditional generators; a class for each image, in turn, when not given."""
    resolution: int | None = None
    """Shorter side of a walk's images, if smaller than what was trained last [pixels]."""
    enlarge: int | None = None
    """Factor to enlarge images by. Default: up to a shorter side of 256 pixels."""
    filter: Literal["nearest", "lanczos"] = "nearest"
    """How: by repeated pixels, or smoothly."""
    caption: bool = True
    """Write thousands of images, resolution and fade below a film of training."""
    crf: int = CRF
    """Quality of an MP4: 0 is lossless, 51 the worst."""
    batch: int = 32
    """Images made at once."""
    device: str = "auto"
    """cuda, mps, cpu, or auto."""

    def run(self) -> int:
        """Make the film and say where it is."""
        columns, rows = self._check()
        fps = self.fps or _FPS.get(self.out.suffix.lower(), 60)
        check_film(self.out, fps)
        count = max(1, round(self.seconds * fps))
        frames, count = getattr(self, f"_{self.kind}")(columns, rows, count, fps)
        save_film(tqdm(frames, total=count, unit=" frames", disable=None), self.out, fps=fps, crf=self.crf)
        print(f"{self.out}: {count} frames, {count / fps:.1f} s at {fps} frames a second")
        return 0

    def _interpolation(self, columns: int, rows: int, count: int, fps: int) -> tuple[Iterator[np.ndarray], int]:
        snapshot = Snapshot.load(self.snapshot, device=pick_device(self.device))
        level = None if self.resolution is None else snapshot.level_of(self.resolution)
        screen = self._screen(columns, rows, snapshot.spec.size(snapshot.level if level is None else level))
        if self.seconds < LEAST_LENGTH * self.sigma:
            print(
                f"warning: a loop of {self.seconds:g} s hardly moves at a sigma of {self.sigma:g} s; "
                f"try --seconds {LEAST_LENGTH * self.sigma:g} or --sigma {self.seconds / LEAST_LENGTH:.2g}",
                file=sys.stderr,
            )
        walk = Walk(
            frames=count,
            cells=screen.cells,
            components=snapshot.latent_size,
            sigma=self.sigma * fps,
            seed=self.seed,
        )
        return interpolation(snapshot, walk, screen, label=self.label, level=level, batch=self.batch), count

    def _training(self, columns: int, rows: int, count: int, _fps: int) -> tuple[Iterator[np.ndarray], int]:
        files, device = snapshots_of(self.snapshot), pick_device(self.device)
        newest = Snapshot.load(files[-1])
        screen = self._screen(columns, rows, newest.spec.size(newest.level))
        count = max(count, len(files))
        frames = training(
            files,
            screen,
            frames=count,
            seed=self.seed,
            label=self.label,
            caption=self.caption,
            batch=self.batch,
            device=device,
        )
        return frames, count

    def _screen(self, columns: int, rows: int, size: tuple[int, int]) -> Screen:
        smooth = self.filter == "lanczos"
        screen = Screen.of(size, columns=columns, rows=rows, enlarge=self.enlarge, smooth=smooth)
        if self.out.suffix.lower() == ".mp4":
            check_size(*screen.frame_size)
        return screen

    def _check(self) -> tuple[int, int]:
        """What can be wrong before anything is read; returns columns and rows."""
        for name in ("fps", "enlarge", "batch"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        for name in ("seconds", "sigma"):
            if not 0 < (value := getattr(self, name)) < 1e6:
                raise ConfigError(f"{name} must be more than 0 seconds, got {value}")
        if not 0 <= self.crf <= 51:
            raise ConfigError(f"crf must be 0 ... 51, got {self.crf}")
        if not 0 <= self.seed < 2**62:
            raise ConfigError(f"seed must be 0 ... 2^62 - 1, got {self.seed}")
        if self.kind == "training" and self.resolution is not None:
            raise ConfigError("a film of training shows every resolution; leave --resolution away")
        match = re.fullmatch(r"([1-9]\d{0,2})x([1-9]\d{0,2})", self.grid)
        if not match:
            raise ConfigError(f"grid must look like 4x2 (columns x rows), got {self.grid!r}")
        return int(match[1]), int(match[2])


def main(args: Sequence[str]) -> int:
    """Parse and run."""
    return tyro.cli(Video, args=list(args), prog="progan video").run()
