"""Inputs: files in a folder, and how they are opened."""

import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    to: str


@dataclass(frozen=True)
class Special:
    """Something that is no file: 'fifo', 'socket' or 'folder'."""

    kind: str


@dataclass(frozen=True)
class Lazy:
    """A large content that is made when it is written, and not kept."""

    make: Callable[[], bytes]


Content = bytes | Link | Special | Lazy


@dataclass(frozen=True, kw_only=True)
class Case:
    """One input."""

    files: dict[str, Content]
    """Contents by path; lone surrogates are bytes that are no UTF-8."""
    open: str = ""
    """Path of the source; empty for the folder of all files."""
    labels: str = "auto"
    """As for --labels; '@FILE' is a file of the case, perhaps with ':COLUMN'."""
    choice: dict[str, Any] = field(default_factory=dict)
    """What to use of the source, by the names of ``Choice``."""
    how: str = "read"
    """'read' (decode every picture), 'prepare' (write a store) or 'store' (open one)."""
    note: str = "sound"
    """What was done to it."""
    sound: bool = True
    """Whether it must be read."""

    def changed(self, note: str, **facts: object) -> "Case":
        """Return a damaged variant."""
        return replace(self, sound=False, note=note, **facts)  # pyright: ignore[reportArgumentType]


def write(case: Case, folder: Path) -> Path:
    """Write the files of a case into a folder; return the path to open. Names that no file can have are left out."""
    for name, content in case.files.items():
        path = folder / name
        try:
            if len(path.parts) - len(folder.parts) > 1:
                path.parent.mkdir(parents=True, exist_ok=True)
            _put(path, content)
        except (OSError, ValueError):
            continue
    return folder / case.open if case.open else folder


def _put(path: Path, content: Content) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, Lazy):
        path.write_bytes(content.make())
    elif isinstance(content, Link):
        path.symlink_to(content.to)
    elif content.kind == "fifo":
        os.mkfifo(path)
    elif content.kind == "folder":
        path.mkdir(parents=True, exist_ok=True)
    else:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(path))


def clear(folder: Path) -> None:
    """Remove everything inside a folder."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            Path(entry.path).unlink()


def pick(rng: Random, files: dict[str, Content]) -> str:
    """Return the name of a file of a case."""
    return rng.choice([name for name, content in files.items() if isinstance(content, bytes)])
