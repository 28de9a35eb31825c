"""What an abandoned attempt left in a run directory beyond the checkpoint that is resumed."""

from pathlib import Path

FOLDER = "abandoned"


def set_aside(path: Path, images_seen: int) -> int:
    """Move samples and snapshots of later positions into a folder of their own; returns their number.

    The run makes its own ones there. Until then nothing may take those for the newest of this run.
    """
    later = [
        file
        for folder in ("samples", "snapshots")
        for file in (path / folder).glob("[0-9]*")
        if round(1000 * _kimg(file)) > images_seen
    ]
    for file in later:
        place = path / FOLDER / file.relative_to(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        file.replace(place)
    return len(later)


def _kimg(file: Path) -> float:
    """Thousands of real images in a file name such as 0000012.345.discriminator.safetensors; 0 if there are none."""
    try:
        return float(".".join(file.name.split(".")[:2]))
    except ValueError:
        return 0.0
