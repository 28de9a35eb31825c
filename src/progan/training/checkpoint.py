"""Checkpoints: written whole or not at all, verified when read, with the one before kept as a spare."""

import zipfile
from pathlib import Path
from typing import Any

import torch

from progan.errors import CheckpointError
from progan.files import replacing

NAME, SPARE, DAMAGED = "checkpoint.pt", "checkpoint.previous.pt", "checkpoint.damaged.pt"
FORMAT = 1


def save(run: Path, state: dict[str, Any]) -> None:
    """Write ``state`` (tensors and plain values) as the run's checkpoint; the last one becomes the spare.

    Raises:
        CheckpointError: if the disk does not take it; the checkpoints already there are kept.
    """
    path = run / NAME
    try:
        with replacing(path, spare=run / SPARE) as file:
            torch.save({"format": FORMAT, **state}, file)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        kept = "the one before is kept; " if path.exists() or (run / SPARE).exists() else ""
        raise CheckpointError(
            f"{path}: cannot write the checkpoint ({_first_line(error)}); {kept}"
            f"free some space and run the same command again"
        ) from error


def set_aside(run: Path) -> None:
    """Rename a newest checkpoint that cannot be read, lest the next one pushes it onto the good spare."""
    if (run / NAME).exists():
        (run / NAME).replace(run / DAMAGED)


def load(run: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest checkpoint that can be read, and a warning for each that cannot.

    Returns:
        (state or None if the run has no checkpoint yet, warnings)

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
        raise CheckpointError(f"{'; '.join(warnings)}; no checkpoint is left: remove {run} to start anew")
    return None, warnings


def _read(path: Path) -> dict[str, Any]:
    """One checkpoint; torch.load does not compare the checksums inside the file, so that is done first."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        if broken is not None:
            raise CheckpointError(f"{path}: is corrupt ({broken} has a wrong checksum)")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # zipfile and torch raise many kinds for a damaged file
        raise CheckpointError(f"{path}: is not a whole checkpoint ({_first_line(error)})") from error
    form = state.get("format") if isinstance(state, dict) else None
    if form != FORMAT:
        raise CheckpointError(f"{path}: has format {form}, this version reads format {FORMAT}")
    return state


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
