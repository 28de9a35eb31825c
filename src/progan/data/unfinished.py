"""The folder of a piece of work that may be interrupted, with a log of what is done, so that it can be gone on with."""

import contextlib
import errno
import functools
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm

from progan.files import hold, sync_folder

_LOG, _OLD = "progress.jsonl", "old"
_GOES_ON = os.name == "posix"  # Windows does not move folders of open files; what was interrupted starts anew there


def quiet(_: str) -> None:
    """Say nothing."""


def sayer(progress: bool) -> Callable[[str], object]:
    """What says a line on stderr, above a progress bar if there is one, or nothing without ``progress``."""
    return functools.partial(tqdm.write, file=sys.stderr) if progress else quiet


class Unfinished:
    """The folder ``TARGET.KEY.partial``, where a folder is made before it moves to its target.

    One process holds it at a time, at most as long as it lives. The next one with the same key goes on where the log
    ends. Where files cannot be locked every process has a folder of its own, and nobody goes on.

    Args:
        target: the folder that is made.
        key: of everything that the work depends on; "" for work that nobody goes on with.
        say: told, in one line each, of waiting for another process and of what others left.

    Raises:
        OSError: if the folder cannot be made.
    """

    def __init__(self, target: Path, key: str = "", *, say: Callable[[str], object] = quiet) -> None:
        self.target, self.path, self._kept = target, _folder(target, key), bool(key)
        self._held = contextlib.ExitStack()
        try:
            self._held.enter_context(_lock(self.path))
        except BlockingIOError:
            say(f"{target}: another process is making it; waiting for that")
            self._held.enter_context(_lock(self.path, wait=True))
        except OSError:  # no locks here
            self.path, self._kept = _folder(target, ""), False
            self.path.mkdir(parents=True)
        self._log = (self.path / _LOG).open("a+b", buffering=0)
        _bring_back(self.path, target)
        for other in _folders(target, but=self.path):
            with contextlib.suppress(OSError), _lock(other):
                _bring_back(other, target)
                say(f"{other}: {_megabytes(other):.0f} MB of interrupted work with other images or settings, "
                    f"removed when {target.name} is complete; rm -r it if it is in the way")  # fmt: skip

    def go_on(self, take: Callable[[Any], bool]) -> None:
        """Give the values that were logged to ``take``, until one is not whole or is refused; the rest is forgotten."""
        self._log.seek(0)
        end = 0
        for line in self._log.readlines():
            try:
                if not line.endswith(b"\n") or not take(json.loads(line)):
                    break
            except ValueError:
                break
            end += len(line)
        self._log.truncate(end)

    def log(self, value: Any) -> None:
        """Note something as done, after it was written."""
        write_all(self._log, json.dumps(value).encode() + b"\n")

    def put(self, made: Path) -> None:
        """Move a finished folder from here to the target; what was there comes back if that fails."""
        if self.target.exists():
            self.target.rename(self.path / _OLD)
        try:
            made.rename(self.target)
        except OSError:
            _bring_back(self.path, self.target)
            raise
        sync_folder(self.target.parent)
        self._kept = False
        remove_abandoned(self.target, but=self.path)

    def close(self, *, keep: bool = True) -> bool:
        """Let go of the folder; whether it is kept to be gone on with, as it is if wanted and if anything is done."""
        kept = keep and self._kept and os.fstat(self._log.fileno()).st_size > 0
        self._log.close()
        if not kept:
            _discard(self.path)
        self._held.close()
        return kept


def remove_abandoned(target: Path, *, but: Path | None = None) -> None:
    """Remove what interrupted work on a target left, once the target is complete; what somebody holds stays."""
    for folder in _folders(target, but=but):
        with contextlib.suppress(OSError), _lock(folder):
            _discard(folder)


def write_all(file: BinaryIO, data: bytes | memoryview) -> None:
    """Write every byte; an unbuffered file may take fewer at a time."""
    rest = memoryview(data).cast("B") if len(data) else memoryview(b"")
    while rest:
        rest = rest[file.write(rest) :]


def _folder(target: Path, key: str) -> Path:
    return target.with_name(f"{target.name}.{key or secrets.token_hex(8)}.partial")


def _folders(target: Path, *, but: Path | None) -> list[Path]:
    """Those of work on a target, one of them left out."""
    name = re.compile(re.escape(target.name) + r"\.[0-9a-f]+\.partial")
    return [p for p in sorted(target.parent.iterdir()) if name.fullmatch(p.name) and p != but and p.is_dir()]


def _lock(folder: Path, *, wait: bool = False) -> contextlib.AbstractContextManager[None]:
    """Hold a folder, which is made, by its log, as ``files.hold``."""
    if not _GOES_ON:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    return hold(folder / _LOG, wait=wait)


def _bring_back(folder: Path, target: Path) -> None:
    """What was moved aside goes back to the target if nothing took its place; else it is removed."""
    if (folder / _OLD).exists() and not target.exists():
        (folder / _OLD).rename(target)
    shutil.rmtree(folder / _OLD, ignore_errors=True)


def _discard(folder: Path) -> None:
    """Remove a folder that we hold, under another name, so that whoever comes next makes a new one."""
    gone = folder.with_name(f"{folder.name.rsplit('.', 2)[0]}.{secrets.token_hex(8)}.partial")
    with contextlib.suppress(OSError):
        folder = folder.rename(gone)
    shutil.rmtree(folder, ignore_errors=True)


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
