"""Progressive Growing of GANs: train, resume, sample and share."""

from progan.errors import ProganError
from progan.gans import ProGANConfig
from progan.schedule import ScheduleConfig
from progan.snapshot import Snapshot

__version__ = "0.1.0"
__all__ = ["ProGANConfig", "ProganError", "ScheduleConfig", "Snapshot", "__version__"]
