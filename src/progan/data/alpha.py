"""Stores of format 1 that have alpha: version 1 averaged their colors without it."""

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
    """Return whether the pixels of a store are those that this version would write."""
    if manifest["version"] > 1 or manifest["channels"] != 4:
        return True
    sizes, crop = manifest.get("sizes", {}), manifest.get("options", {}).get("crop", "none")
    size = [manifest["height"], manifest["width"]]
    resized = not sizes.get("smallest") == sizes.get("largest") == size or crop not in ("none", "center")
    return len(manifest["levels"]) == 1 and not resized


def warn_of_alpha(path: Path, manifest: dict[str, Any], smallest: np.ndarray) -> None:
    """Warn that the colors of a store are too dark if anything in it is transparent.

    The warning appears once per store, and only in the first process.

    Args:
        path: folder of the store.
        manifest: manifest of the store.
        smallest: images of the smallest level, [N, H, W, 4].
    """
    if path in _told or os.environ.get("RANK", "0") not in ("", "0"):
        return
    _told.add(path)
    if (smallest[..., 3] == 255).all():
        return
    options = manifest.get("options", {}) | {"channels": 4}
    tqdm.write(
        f"warning: {path}: partly transparent colors are too dark, because an older version averaged them without "
        f"alpha; to correct them, run: progan prepare SOURCE {shlex.quote(str(path))} {_flags(options)}",
        file=sys.stderr,
    )


def _flags(options: dict[str, Any]) -> str:
    """Return the command-line flags of all options that are not the defaults.

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
