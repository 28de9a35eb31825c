"""Checkpoints: written completely or not at all, verified when read; the previous one is kept as a spare."""

import zipfile
from pathlib import Path
from typing import Any

import torch

from progan.errors import CheckpointError
from progan.files import replacing

NAME, SPARE = "checkpoint.pt", "checkpoint.previous.pt"
DAMAGED, BLOWN = "checkpoint.damaged.pt", "checkpoint.blown.pt"
FORMAT = 1


def save(run: Path, state: dict[str, Any]) -> None:
    """Write ``state`` (tensors and plain values) as the run's checkpoint; the previous one becomes the spare.

    Raises:
        CheckpointError: if the disk does not take it; the checkpoints already there are kept.
    """
    path = run / NAME
    try:
        with replacing(path, spare=run / SPARE) as file:
            torch.save({"format": FORMAT, **state}, file)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        kept = "the previous one is kept; " if path.exists() or (run / SPARE).exists() else ""
        raise CheckpointError(
            f"{path}: cannot write the checkpoint ({_first_line(error)}); {kept}"
            f"free some space and run the same command again"
        ) from error


def set_aside(run: Path, name: str) -> None:
    """Rename the latest checkpoint, so that the spare is used and the next one does not replace it."""
    if (run / NAME).exists():
        (run / NAME).replace(run / name)


def load(run: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """Read the latest checkpoint that is intact.

    Returns:
        The state, None if the run has no checkpoint yet, and a warning for each checkpoint that cannot be read.

    Raises:
        CheckpointError: if there are checkpoints and none can be read.
    """
    warnings = []
    for path in (run / NAME, run / SPARE):
        if path.exists():
            try:
                return _read(path), warnings
            except CheckpointError as error:
                warnings.append(str(error))
    if warnings:
        raise CheckpointError(f"{'; '.join(warnings)}; no checkpoint is left: remove {run} to start again")
    return None, warnings


def _read(path: Path) -> dict[str, Any]:
    """Read one checkpoint. ``torch.load`` does not compare the checksums in the file, so they are compared first."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        if broken is not None:
            raise CheckpointError(f"{path}: is corrupt ({broken} has a wrong checksum)")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # zipfile and torch raise many kinds for a damaged file
        raise CheckpointError(f"{path}: is not a complete checkpoint ({_first_line(error)})") from error
    form = state.get("format") if isinstance(state, dict) else None
    if form != FORMAT:
        raise CheckpointError(f"{path}: has format {form}, this version reads format {FORMAT}")
    return state


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
