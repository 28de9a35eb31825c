"""Files that are written whole or not at all, locks, and the folder of what can be made again."""

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from progan.errors import ConfigError

try:
    import fcntl
except ImportError:  # Windows, where filelock knows another way
    fcntl = None

_MOST_TRIES = 1000
"""For a lock whose file is removed again and again while we wait for it."""


def cache_path(name: str) -> Path:
    """Where the file or folder ``name``, like ``weights/NAME.pth``, is kept that can be made or fetched again.

    Below ``$PROGAN_CACHE``, or else ``~/.cache/progan``.
    """
    return Path(os.environ.get("PROGAN_CACHE") or Path.home() / ".cache" / "progan") / name


@contextmanager
def replacing(path: Path, *, token: str = "", spare: Path | None = None, resume: bool = False) -> Iterator[BinaryIO]:
    """A new file that takes the place of ``path`` once it is complete and on the disk; folders are made.

    After an error what was at ``path`` is as it was, and nothing is left of the new file, unless the next call is to
    ``resume``.

    Args:
        path: the file to make or to replace.
        token: part of the name it has meanwhile, for files that two processes may write at the same time.
        spare: name under which the file that was at ``path`` is kept.
        resume: begin with what an earlier call wrote before it failed, at its end.

    Raises:
        OSError: if the disk does not take it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}{token and '.' + token}.partial")
    try:
        with partial.open("ab" if resume else "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if spare is not None and path.exists():
            path.replace(spare)
        partial.replace(path)
    except BaseException:
        if not resume or (partial.exists() and not partial.stat().st_size):
            partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make sure that the names in a folder are on the disk, where the system can."""
    if os.name != "posix":  # a folder cannot be opened there
        return
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems do not do it
            raise
    finally:
        os.close(number)


@contextmanager
def hold(path: Path, *, wait: bool = False, brief: bool = False) -> Iterator[None]:
    """Keep other processes that ask for it out, until the end or the death of this one, however it dies.

    Whoever holds the file may remove it, alone or with its folder: others that wait for it notice that.

    Args:
        path: a file that is made if it is not there, and its folders.
        wait: for another one that is there.
        brief: remove the file at the end.

    Raises:
        BlockingIOError: if another one is there.
        OSError: if the file cannot be made, or there are no locks.
    """
    held = _held(path, wait=wait)
    try:
        yield
    finally:
        if brief:
            with contextlib.suppress(OSError):
                path.unlink()
        held.close()


def _held(path: Path, *, wait: bool) -> contextlib.ExitStack:
    """What lets go of the lock."""
    if fcntl is None:
        return _held_elsewhere(path, wait=wait)
    for _ in range(_MOST_TRIES):
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack, contextlib.suppress(FileNotFoundError):
            file = stack.enter_context(path.open("ab"))
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            stack.callback(fcntl.flock, file, fcntl.LOCK_UN)  # closing is not enough where a child process has it, too
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):  # else removed while we waited
                return stack.pop_all()
    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))


def _held_elsewhere(path: Path, *, wait: bool) -> contextlib.ExitStack:
    """The same without fcntl, and without a look at whether the file was removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(FileLock(path).acquire(timeout=-1 if wait else 0))
        except Timeout as error:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), str(path)) from error
        except NotImplementedError as error:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK), str(path)) from error
        return stack.pop_all()


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Keep other processes that ask for it out of a folder, which is made, until the end or the death of this one.

    Where the file system has no locks, nothing is kept out.

    Raises:
        ConfigError: if another one is there, unless this one is to ``wait``.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(hold(folder / ".lock", wait=wait))
        except BlockingIOError as error:
            raise ConfigError(
                f"{folder}: another process works there; wait for its end, or take another folder"
            ) from error
        except OSError:  # what cannot be written is said by who writes it
            pass
        yield
