"""What an abandoned attempt left in a run directory beyond the checkpoint from which the run is resumed."""

from pathlib import Path

from progan.errors import CheckpointError
from progan.snapshot import Snapshot
from progan.training.monitor import BEST

FOLDER = "abandoned"


def set_aside(path: Path, images_seen: int) -> int:
    """Move samples and snapshots of later positions into a folder of their own; return how many.

    The resumed run writes its own, and until then these must not pass for its latest.
    """
    written = [*(path / "samples").glob("[0-9]*"), *(path / "snapshots").glob("[0-9]*"), *path.glob(BEST)]
    later = [file for file in written if 1000 * _kimg(file) > images_seen + 0.5]
    for file in later:
        place = path / FOLDER / file.relative_to(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        file.replace(place)
    return len(later)


def _kimg(file: Path) -> float:
    """Thousands of real images seen when a file was written; infinite if that cannot be told."""
    try:
        if file.name == BEST:
            return Snapshot.load(file).kimg
        return float(".".join(file.name.split(".")[:2]))  # such as 0000012.345.discriminator.safetensors
    except (ValueError, CheckpointError):
        return float("inf")
