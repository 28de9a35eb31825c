"""Small data and a small run that many tests share."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from progan.gans import ProGANConfig
from progan.gans.base import Batch, Draw, ImageSpec
from progan.schedule import ScheduleConfig, Stage
from progan.training.config import RunConfig
from progan.training.preflight import Plan, StageCost


def write_images(folder: Path, *, count: int = 40, size: tuple[int, int] = (16, 16), classes: int = 2) -> Path:
    """Random smooth RGB images, in one sub-folder for each class."""
    rng = np.random.default_rng(0)
    for i in range(count):
        rough = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        path = folder / f"class{i % classes}" / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        rough.resize((size[1], size[0]), Image.Resampling.BICUBIC).save(path)
    return folder


FIRST = Stage(level=0, fading=False, alpha=1.0, resolution=4, batch=8, lr=0.001)
"""The first stage of a run."""


def batch_with(
    images: Tensor,
    labels: Tensor | None = None,
    *,
    level: int = 0,
    alpha: Tensor | None = None,
    normal: Draw,
    uniform: Draw | None = None,
) -> Batch:
    """Given images, labels and draws as a batch of one source."""
    return Batch(
        level=level,
        alpha=alpha,
        positions=torch.arange(len(images)),
        load=lambda source: images,
        load_labels=lambda source: labels,
        normal=normal,
        uniform=uniform or normal,
        step_uniform=lambda stream, *shape: (uniform or normal)(stream, *shape)[0],
    )


def small_run(**schedule: object) -> RunConfig:
    """4 -> 16 pixels with a stage every 32 images; 160 images in all."""
    timetable = ScheduleConfig(resolution=16, hold_kimg=0.032, fade_kimg=0.032, total_kimg=0.16, batch=8)
    return RunConfig(
        gan=ProGANConfig(fmap_base=64, fmap_max=8, latent_size=8),
        schedule=replace(timetable, **schedule),  # type: ignore[arg-type]
        log_kimg=0.02,
        sample_kimg=0.05,
        snapshot_kimg=0.05,
    )


def quick_plan(config: RunConfig, spec: ImageSpec, device: torch.device, **_: object) -> Plan:
    """In place of ``preflight.probe``, which takes longer than a small run and has tests of its own."""
    levels = range(config.schedule.first_level, config.schedule.levels)
    return Plan([StageCost(level, 0, 1.0, seconds_per_kimg=1.0) for level in levels])
