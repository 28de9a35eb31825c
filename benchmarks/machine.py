"""What the numbers of a benchmark depend on."""

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path


def machine(*packages: str) -> dict:
    """The machine, torch and its threads, the versions of more ``packages``, and the date."""
    import torch

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "machine": f"{platform.system()} {platform.machine()}",
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **{name: version(name) for name in packages},
        "date": time.strftime("%Y-%m-%d"),
    }
