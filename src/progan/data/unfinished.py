"""Folder of a piece of work that may be interrupted, with a log of what is done, so that it can be resumed."""

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

from progan.files import hold, short_name, sync_folder

_LOG, _OLD = "progress.jsonl", "old"
_ROOM = 40  # bytes for a key and what surrounds it in the name of a folder
_GOES_ON = os.name == "posix"  # Windows cannot move folders of open files, so interrupted work starts over there


def quiet(_: str) -> None:
    """Discard a message."""


def sayer(progress: bool) -> Callable[[str], object]:
    """Return a function that prints a line to stderr, above any progress bar, or nothing without ``progress``."""
    return functools.partial(tqdm.write, file=sys.stderr) if progress else quiet


class Unfinished:
    """The folder ``TARGET.KEY.partial``, in which a folder is built before it moves to its target.

    One process holds it at a time, at most as long as it lives. The next process with the same key resumes where the
    log ends. Where files cannot be locked, every process has its own folder, and nothing is resumed.

    Args:
        target: folder to build.
        key: hash of everything that the work depends on; "" for work that is never resumed.
        say: receives one-line messages, about waiting for another process and about interrupted work of others.

    Raises:
        OSError: if the folder cannot be made.
    """

    def __init__(self, target: Path, key: str = "", *, say: Callable[[str], object] = quiet) -> None:
        self.target, self.path, self._kept = target, _folder(target, key), bool(key)
        self._held = contextlib.ExitStack()
        try:
            self._held.enter_context(_lock(self.path))
        except BlockingIOError:
            say(f"{target}: waiting for another process that is writing it")
            self._held.enter_context(_lock(self.path, wait=True))
        except OSError:  # no locks here
            self.path, self._kept = _folder(target, ""), False
            self.path.mkdir(parents=True)
        self._log = (self.path / _LOG).open("a+b", buffering=0)
        _bring_back(self.path, target)
        for other in _folders(target, but=self.path):
            with contextlib.suppress(OSError), _lock(other):
                _bring_back(other, target)
                say(f"{other}: {_megabytes(other):.0f} MB of interrupted work with different images or settings; it "
                    f"will be removed when {target.name} is complete, or delete it now to free the space")  # fmt: skip

    def go_on(self, take: Callable[[Any], bool]) -> None:
        """Pass the logged values to ``take`` until one is incomplete or rejected; the rest is removed from the log."""
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
        """Record a value in the log, after the work it stands for was written."""
        write_all(self._log, json.dumps(value).encode() + b"\n")

    def put(self, made: Path) -> None:
        """Move a finished folder to the target; if that fails, what was there before is restored."""
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
        """Release the folder, and return whether it is kept for resuming: if ``keep`` is set and anything is done."""
        kept = keep and self._kept and os.fstat(self._log.fileno()).st_size > 0
        self._log.close()
        if not kept:
            _discard(self.path)
        self._held.close()
        return kept


def remove_abandoned(target: Path, *, but: Path | None = None) -> None:
    """Remove the folders of interrupted work on a complete target, except those that another process holds."""
    for folder in _folders(target, but=but):
        with contextlib.suppress(OSError), _lock(folder):
            _discard(folder)


def write_all(file: BinaryIO, data: bytes | memoryview) -> None:
    """Write all bytes; one write to an unbuffered file may write only some of them."""
    rest = memoryview(data).cast("B") if len(data) else memoryview(b"")
    while rest:
        rest = rest[file.write(rest) :]


def _folder(target: Path, key: str) -> Path:
    return target.with_name(_name(target) + f".{key or secrets.token_hex(8)}.partial")


def _name(target: Path) -> str:
    """The name of a target, short enough for what follows it."""
    return short_name(target.name, room=_ROOM)


def _folders(target: Path, *, but: Path | None) -> list[Path]:
    """Return the folders of work on a target, except ``but``."""
    name = re.compile(re.escape(_name(target)) + r"\.[0-9a-f]+\.partial")
    return [p for p in sorted(target.parent.iterdir()) if name.fullmatch(p.name) and p != but and p.is_dir()]


def _lock(folder: Path, *, wait: bool = False) -> contextlib.AbstractContextManager[None]:
    """Create a folder and hold it by its log, as ``files.hold`` does."""
    if not _GOES_ON:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    return hold(folder / _LOG, wait=wait)


def _bring_back(folder: Path, target: Path) -> None:
    """Move what was set aside back to the target if nothing has taken its place, else remove it."""
    if (folder / _OLD).exists() and not target.exists():
        (folder / _OLD).rename(target)
    shutil.rmtree(folder / _OLD, ignore_errors=True)


def _discard(folder: Path) -> None:
    """Rename a folder that this process holds and remove it, so that the next process creates a new one."""
    gone = folder.with_name(f"{folder.name.rsplit('.', 2)[0]}.{secrets.token_hex(8)}.partial")
    with contextlib.suppress(OSError):
        folder = folder.rename(gone)
    shutil.rmtree(folder, ignore_errors=True)


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
