"""Pictures that a run writes into its directory: real images, samples, and the growth of the samples."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from progan.data.store import Store
from progan.errors import CheckpointError
from progan.gans.base import ImageSpec
from progan.images import save_png, sheet, to_uint8
from progan.snapshot import Snapshot, snapshots_in
from progan.training.loop import Trainer

REALS, GROWTH = "reals", "growth.png"


def count(side: int) -> int:
    """Number of images of a shorter ``side`` [pixels] in a grid."""
    return 64 if side <= 128 else 16


def write_reals(path: Path, stores: Sequence[Store], specs: Sequence[ImageSpec], load_size: int | None) -> None:
    """Write samples/reals.png, and one such file for each further source.

    The images are spread evenly over each data set, because many are sorted by class.
    """
    for number, (store, spec) in enumerate(zip(stores, specs, strict=True)):
        side = load_size or spec.shorter
        rows = np.linspace(0, store.count - 1, min(count(side), store.count)).astype(int)
        images = torch.from_numpy(store.level(side)[rows]).permute(0, 3, 1, 2)
        save_png(sheet(images), path / f"samples/{REALS}{f'-{number}' if number else ''}.png")


def write_samples(images: Tensor, file: Path) -> None:
    """Write images in about [-1, 1] as a grid; small ones are enlarged without smoothing."""
    save_png(sheet(to_uint8(images).cpu()), file)


def write_growth(path: Path, trainer: Trainer) -> list[str]:
    """Write growth.png: the same latents at the end of every resolution, one row for each.

    Returns:
        What there is to say about it.
    """
    if trainer.gan.sampler.latent is None:
        return []
    newest: dict[int, Snapshot] = {}
    said = []
    for file in snapshots_in(path):
        try:
            snapshot = Snapshot.load(file, device=trainer.device)
        except CheckpointError as error:
            said.append(f"warning: omitted from {GROWTH}: {error}")
            continue
        if snapshot.alpha == 1:
            newest[snapshot.level] = snapshot
    if not newest:
        return said
    rows, spec = [], trainer.spec
    z = trainer.latents(12)
    label = trainer.data[0].labels(0, 12) if trainer.config.gan.takes_labels and spec.attributes else None
    for level, snapshot in sorted(newest.items()):
        factor = (1 << (spec.levels - 1 - level)) * max(1, 64 // spec.shorter)
        images = snapshot.generate(z, label=label)
        rows.append(images.repeat_interleave(factor, 2).repeat_interleave(factor, 3))
    save_png(sheet(torch.cat(rows), columns=12), path / GROWTH)
    return [*said, f"growth of 12 latents: {path / GROWTH}"]
