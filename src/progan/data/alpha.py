"""Stores of format 1 with alpha: version 1 averaged colors without it."""

import dataclasses
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from progan.data.options import PrepareOptions
from progan.data.printing import printable

_told: set[Path] = set()


def counts_alpha(manifest: dict[str, Any]) -> bool:
    """Whether the pixels are those that this version would make."""
    if manifest["version"] > 1 or manifest["channels"] != 4:
        return True
    sizes, crop = manifest.get("sizes", {}), manifest.get("options", {}).get("crop", "none")
    size = [manifest["height"], manifest["width"]]
    resized = not sizes.get("smallest") == sizes.get("largest") == size or crop not in ("none", "center")
    return len(manifest["levels"]) == 1 and not resized


def warn_of_alpha(path: Path, manifest: dict[str, Any], smallest: np.ndarray) -> None:
    """Say once of a store, and in the first process alone, that they are not, if anything is transparent.

    Args:
        path: of the store.
        manifest: of the store.
        smallest: images of the smallest level, [N, H, W, 4].
    """
    if path in _told or os.environ.get("RANK", "0") not in ("", "0"):
        return
    _told.add(path)
    if (smallest[..., 3] == 255).all():
        return
    options = manifest.get("options", {}) | {"channels": 4}
    tqdm.write(
        f"warning: {path}: colors are too dark where they are partly transparent, because an older version averaged "
        f"them without alpha; progan prepare SOURCE {shlex.quote(str(path))} {_flags(options)} makes it anew",
        file=sys.stderr,
    )


def _flags(options: dict[str, Any]) -> str:
    """What to type for options that are not the defaults.

    >>> _flags({"resolution": "8x16", "on_error": "skip", "upscale": True, "crop": "none"})
    '--resolution 8x16 --upscale --on-error skip'
    """
    words: list[str] = []
    for name, default in dataclasses.asdict(PrepareOptions()).items():
        value = options.get(name, default)
        if value != default and isinstance(value, str | int):
            flag = f"--{name.replace('_', '-')}"
            words += [flag] if isinstance(value, bool) else [flag, shlex.quote(printable(str(value), 1000))]
    return " ".join(words)
