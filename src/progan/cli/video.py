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

from progan.cli import optional
from progan.devices import pick_device
from progan.errors import ConfigError
from progan.latent.films import Screen, interpolation, snapshots_of, training
from progan.latent.video import CRF, check_film, check_size, save_film
from progan.latent.walks import LEAST_LENGTH, SIGMA_S, Walk
from progan.snapshot import Snapshot

_FPS = {".gif": 25}


@dataclass(frozen=True)
class Video:
    """Make a video of a walk through the latents of a trained generator, or of the training of a run.

    A walk ends where it begins, so that it can be shown in a loop. Equal seeds give equal videos.
    """

    snapshot: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SNAPSHOT")]
    """A .safetensors file, a shared folder, or a run directory (its latest snapshot; with --kind training, all)."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """File to write, .mp4 or .gif, or a new folder for PNG files."""
    kind: Literal["interpolation", "training"] = "interpolation"
    """What to show: a walk through the latents, or the same latents in all snapshots of a run."""
    grid: str = "4x2"
    """Columns and rows of images, such as 4x2."""
    seed: int = 0
    """Seed of the walk. With --kind training, the images are those of this seed and the following ones."""
    seconds: float = 10.0
    """Length of the video [seconds]."""
    fps: Annotated[int | None, optional("INT", "60, as in the paper; 25 for a GIF")] = None
    """Frames per second."""
    sigma: float = SIGMA_S
    """Standard deviation of the Gaussian that smooths a walk [seconds]; larger values are slower."""
    label: Annotated[str | None, optional("CLASS", "all classes in turn")] = None
    """Class of all images, for conditional generators: its name, or its number (from 0) if no name is a number."""
    attributes: tuple[float, ...] = ()
    """Attributes of all images, for generators trained with --label-columns of numbers."""
    resolution: Annotated[int | None, optional("INT", "the one trained last")] = None
    """Shorter side of the images of a walk [pixels]; at most the resolution trained last."""
    enlarge: Annotated[int | None, optional("INT", "up to 256 pixels")] = None
    """Factor by which images are enlarged."""
    filter: Literal["nearest", "lanczos"] = "nearest"
    """Filter for enlarging: nearest repeats pixels, lanczos is smooth."""
    caption: bool = True
    """With --kind training, write thousands of images, resolution and fade below the images."""
    crf: int = CRF
    """Constant rate factor of an MP4: 0 is lossless, 51 is the lowest quality."""
    batch: int = 32
    """Number of images generated at once."""
    device: str = "auto"
    """Device: cuda, cuda:1, mps, cpu or auto."""

    def run(self) -> int:
        """Make the video and print where it is."""
        columns, rows = self._check()
        fps = self.fps or _FPS.get(self.out.suffix.lower(), 60)
        check_film(self.out, fps)
        count = max(1, round(self.seconds * fps))
        frames, count = getattr(self, f"_{self.kind}")(columns, rows, count, fps)
        save_film(tqdm(frames, total=count, unit=" frames", disable=None), self.out, fps=fps, crf=self.crf)
        print(f"{self.out}: {count} frames, {count / fps:.1f} s at {fps} frames per second")
        return 0

    def _interpolation(self, columns: int, rows: int, count: int, fps: int) -> tuple[Iterator[np.ndarray], int]:
        snapshot = Snapshot.load(self.snapshot, device=pick_device(self.device))
        level = None if self.resolution is None else snapshot.level_of(self.resolution)
        screen = self._screen(columns, rows, snapshot.size(snapshot.level if level is None else level))
        if self.seconds < LEAST_LENGTH * self.sigma:
            print(
                f"warning: a loop of {self.seconds:g} s hardly moves with a sigma of {self.sigma:g} s; "
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
        return interpolation(
            snapshot, walk, screen, label=list(self.attributes) or self.label, level=level, batch=self.batch
        ), count

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
            label=list(self.attributes) or self.label,
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
        """Check the options before anything is read; return columns and rows."""
        for name in ("fps", "enlarge", "batch"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        for name in ("seconds", "sigma"):
            if not 0 < (value := getattr(self, name)) < 1e6:
                raise ConfigError(f"{name} must be greater than 0 seconds, got {value}")
        if not 0 <= self.crf <= 51:
            raise ConfigError(f"crf must be 0 ... 51, got {self.crf}")
        if not 0 <= self.seed < 2**62:
            raise ConfigError(f"seed must be 0 ... 2^62 - 1, got {self.seed}")
        if self.label is not None and self.attributes:
            raise ConfigError("pass either --label or --attributes, not both")
        if self.kind == "training" and self.resolution is not None:
            raise ConfigError("a video of training shows every resolution; omit --resolution")
        match = re.fullmatch(r"([1-9]\d{0,2})x([1-9]\d{0,2})", self.grid)
        if not match:
            raise ConfigError(f"grid must be columns x rows, such as 4x2; got {self.grid!r}")
        return int(match[1]), int(match[2])


def main(args: Sequence[str]) -> int:
    """Parse the arguments and run the command."""
    return tyro.cli(Video, args=list(args), prog="progan video").run()
