"""Files that are written whole or not at all, folders for one process, and the folder of what can be made again."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from progan.errors import ConfigError


def cache_path(name: str) -> Path:
    """Where the file or folder ``name``, like ``weights/NAME.pth``, is kept that can be made or fetched again.

    Below ``$PROGAN_CACHE``, or else ``~/.cache/progan``.
    """
    return Path(os.environ.get("PROGAN_CACHE") or Path.home() / ".cache" / "progan") / name


@contextmanager
def replacing(path: Path, *, token: str = "", spare: Path | None = None) -> Iterator[BinaryIO]:
    """A new file that takes the place of ``path`` once it is complete and on the disk; folders are made.

    After an error nothing of it is left and what was at ``path`` is as it was.

    Args:
        path: the file to make or to replace.
        token: part of the name it has meanwhile, for files that two processes may write at the same time.
        spare: name under which the file that was at ``path`` is kept.

    Raises:
        OSError: if the disk does not take it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}{token and '.' + token}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if spare is not None and path.exists():
            path.replace(spare)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Keep other processes that ask for it out of a folder, which is made, until the end or the death of this one.

    Where the file system has no locks, nothing is kept out.

    Raises:
        ConfigError: if another one is there, unless this one is to ``wait``.
    """
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout as error:
        raise ConfigError(f"{folder}: another process works there; wait for its end, or take another folder") from error
    except (OSError, NotImplementedError):  # what cannot be written is said by who writes it
        pass
    try:
        yield
    finally:
        lock.release()
