"""Generative adversarial networks: train, resume, sample and share."""

import importlib
from typing import TYPE_CHECKING, Any

from progan.errors import ProganError
from progan.version import __version__

if TYPE_CHECKING:
    from progan.api import preset, train
    from progan.gans import ProGANConfig
    from progan.schedule import ScheduleConfig
    from progan.snapshot import Snapshot
    from progan.training.config import RunConfig
    from progan.training.run import Run

__all__ = [
    "ProGANConfig",
    "ProganError",
    "Run",
    "RunConfig",
    "ScheduleConfig",
    "Snapshot",
    "__version__",
    "preset",
    "train",
]

_HOMES = {
    "ProGANConfig": "progan.gans",
    "Run": "progan.training.run",
    "RunConfig": "progan.training.config",
    "ScheduleConfig": "progan.schedule",
    "Snapshot": "progan.snapshot",
    "preset": "progan.api",
    "train": "progan.api",
}


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that processes which only decode images do not wait for PyTorch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'progan' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
