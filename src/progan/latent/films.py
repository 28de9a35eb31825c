"""Frames of videos: a walk through the latents of a generator, and the training of a generator."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from progan.errors import CheckpointError
from progan.images import opaque, scaled, sheet
from progan.latent.walks import Walk
from progan.snapshot import Snapshot, snapshots_in

_TILE, _GAP = 256, 2  # pixels: shorter side to which small images are enlarged, and between two of them


@dataclass(frozen=True, kw_only=True)
class Screen:
    """Layout of the images in a frame."""

    columns: int
    rows: int
    size: tuple[int, int]
    """Height and width to which each image is scaled [pixels]."""
    smooth: bool = False
    """Whether to use Lanczos filtering instead of repeating pixels."""

    @classmethod
    def of(
        cls, size: tuple[int, int], *, columns: int = 4, rows: int = 2, enlarge: int | None = None, smooth: bool = False
    ) -> "Screen":
        """Return a layout of images of ``size``, enlarged by a factor; by default, to a shorter side of 256 pixels."""
        factor = enlarge or max(1, _TILE // min(size))
        return cls(columns=columns, rows=rows, size=(size[0] * factor, size[1] * factor), smooth=smooth)

    @property
    def cells(self) -> int:
        """Number of images."""
        return self.columns * self.rows

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of frames without a caption [pixels]."""
        return self.rows * (self.size[0] + _GAP) - _GAP, self.columns * (self.size[1] + _GAP) - _GAP

    def frame(self, images: Tensor, caption: str | None = None) -> np.ndarray:
        """Draw images uint8 [cells, C, H, W] with white gaps, above a caption if there is one; uint8 [H, W, 3]."""
        tiles = scaled(opaque(images), self.size, smooth=self.smooth)
        picture = sheet(tiles, self.columns, gap=_GAP, enlarge=1).convert("RGB")
        if caption is None:
            return np.asarray(picture)
        height = max(16, picture.height // 24)
        canvas = Image.new("RGB", (picture.width, picture.height + height), "white")
        canvas.paste(picture)
        font = ImageFont.load_default(height * 0.7)
        ImageDraw.Draw(canvas).text((4, picture.height + height // 2), caption, "black", font, anchor="lm")
        return np.asarray(canvas)


def interpolation(
    snapshot: Snapshot,
    walk: Walk,
    screen: Screen,
    *,
    label: int | str | Sequence[float] | None = None,
    level: int | None = None,
    batch: int = 32,
) -> Iterator[np.ndarray]:
    """Yield the frames of a walk, uint8 [H, W, 3]; a conditional generator shows one class in each cell, in turn.

    Args:
        snapshot: generator of the images.
        walk: latents of as many cells as the layout has.
        screen: layout of the images.
        label: class of all cells, by number or name, or their attributes (see ``Snapshot.generate``).
        level: level of the images; by default, the latest.
        batch: number of images generated at once.
    """
    labels = _labels(snapshot, screen.cells, label)
    step = max(1, batch // screen.cells)  # frames
    for block in walk.blocks():
        for i in range(0, len(block), step):
            steps = torch.from_numpy(block[i : i + step])
            z = snapshot.latent.of_normal(steps.flatten(0, 1))
            images = snapshot.generate(z, label=labels and labels * len(steps), level=level, batch=batch)
            yield from map(screen.frame, images.split(screen.cells))


def training(
    files: Sequence[Path],
    screen: Screen,
    *,
    frames: int,
    seed: int = 0,
    label: int | str | Sequence[float] | None = None,
    caption: bool = True,
    batch: int = 32,
    device: object = "cpu",
) -> Iterator[np.ndarray]:
    """Yield frames uint8 [H, W, 3] of the same latents in all snapshots of a run, each for the same time.

    Args:
        files: snapshots in order; one is in memory at a time.
        screen: layout of the images; those of each snapshot are enlarged to its size.
        frames: length of the video, at least one frame for each snapshot.
        seed: seed of the first cell; the others have ``seed + 1``, ``seed + 2`` and so on.
        label: class of all cells, by number or name, or their attributes (see ``Snapshot.generate``).
        caption: whether to write thousands of images, resolution and fade below the images.
        batch: number of images generated at once.
        device: device of the generator.
    """
    for i, file in enumerate(files):
        snapshot = Snapshot.load(file, device=device)  # type: ignore[arg-type]
        images = snapshot.generate(
            seeds=range(seed, seed + screen.cells), label=_labels(snapshot, screen.cells, label), batch=batch
        )
        frame = screen.frame(images, _caption(snapshot) if caption else None)
        for _ in range(frames * i // len(files), frames * (i + 1) // len(files)):
            yield frame


def snapshots_of(run: Path) -> list[Path]:
    """Return all snapshots of a run directory, in order.

    Raises:
        CheckpointError: if it has none.
    """
    files = snapshots_in(run)
    if not files:
        found = "is a file" if run.is_file() else "has no snapshots" if run.is_dir() else "does not exist"
        raise CheckpointError(f"{run}: {found}; a video of training requires a run directory of 'progan train'")
    return files


def _labels(snapshot: Snapshot, cells: int, label: int | str | Sequence[float] | None) -> list[Any] | None:
    """The class or the attributes of each cell; the snapshot refuses invalid ones."""
    if not snapshot.conditional:
        return None if label is None else [label] * cells
    if snapshot.spec.attributes:
        return None if label is None else [label] * cells  # without any, the snapshot raises the error
    return [cell % snapshot.spec.classes if label is None else label for cell in range(cells)]


def _caption(snapshot: Snapshot) -> str:
    height, width = snapshot.spec.size(snapshot.level)
    fade = f", fading in: {snapshot.alpha:.0%}" if snapshot.alpha < 1 else ""
    return f"{snapshot.kimg:.1f} kimg, {height}x{width}{fade}"
