"""Progressive Growing of GANs: train, resume, sample and share."""

import importlib
from typing import TYPE_CHECKING

from progan.errors import ProganError

if TYPE_CHECKING:
    from progan.gans import ProGANConfig
    from progan.schedule import ScheduleConfig
    from progan.snapshot import Snapshot

__version__ = "0.1.0"
__all__ = ["ProGANConfig", "ProganError", "ScheduleConfig", "Snapshot", "__version__"]

_HOMES = {"ProGANConfig": "progan.gans", "ScheduleConfig": "progan.schedule", "Snapshot": "progan.snapshot"}


def __getattr__(name: str) -> type:
    """Imported when it is first asked for, because PyTorch takes seconds that decoding processes need not wait."""
    if name not in _HOMES:
        raise AttributeError(f"module 'progan' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
