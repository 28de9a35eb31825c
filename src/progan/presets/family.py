"""Runs of the classic GANs: one resolution, one batch size, no average of the weights."""

from typing import Any

from progan.gans.base import GANConfig
from progan.schedule import DecayConfig, ScheduleConfig
from progan.training.config import RunConfig


def constant(
    gan: GANConfig,
    resolution: int,
    *,
    batch: int,
    lr: float,
    total_kimg: float,
    decay: DecayConfig | None = None,
    **more: Any,
) -> RunConfig:
    """Return settings of a run without growing, averaging or mirroring.

    Args:
        gan: networks and loss.
        resolution: shorter side of the images [pixels].
        batch: real images per step.
        lr: learning rate.
        total_kimg: length of the run [thousands of images].
        decay: decay of the learning rate.
        more: further settings of the run.
    """
    schedule = ScheduleConfig(
        resolution=resolution,
        start_resolution=resolution,
        batch=batch,
        lr=lr,
        total_kimg=total_kimg,
        decay=decay or DecayConfig(),
    )
    return RunConfig(**{"gan": gan, "schedule": schedule, "mirror": False, "ema_decay": 0.0, **more})
