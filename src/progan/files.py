"""Files that are written atomically, locks, and the cache folder."""

import contextlib
import errno
import hashlib
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

LONGEST_NAME = 255
"""Longest name of a file or folder on the usual file systems [bytes]."""
_MOST_TRIES = 1000
"""Attempts to lock a file that is removed again and again meanwhile."""


def cache_path(name: str) -> Path:
    """Return the path of a file or folder in the cache, such as ``weights/NAME.pth``.

    The cache is the folder ``$PROGAN_CACHE``, by default ``~/.cache/progan``.
    """
    return Path(os.environ.get("PROGAN_CACHE") or Path.home() / ".cache" / "progan") / name


def short_name(name: str, room: int = 0) -> str:
    """Return a name that, with ``room`` more bytes, is not too long for a file.

    A name that is cut ends in a hash of the whole, so that different names remain different.

    >>> short_name("photos", room=8), len(short_name("é" * 200, room=8).encode())
    ('photos', 247)
    """
    most = LONGEST_NAME - room
    if len(_bytes(name)) > most:
        mark = f"~{hashlib.sha256(_bytes(name)).hexdigest()[:8]}"
        while len(_bytes(name)) > most - len(mark):
            name = name[:-1]
        name += mark
    return name


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


@contextmanager
def replacing(path: Path, *, token: str = "", spare: Path | None = None, resume: bool = False) -> Iterator[BinaryIO]:
    """Open a new file that replaces ``path`` once it is complete and on the disk; missing folders are created.

    After an error, the file at ``path`` is unchanged and the new one is removed, unless it is to be resumed.

    Args:
        path: file to create or to replace.
        token: part of the temporary name, for files that several processes may write at the same time.
        spare: path under which the previous file is kept.
        resume: whether to continue the file of an earlier call that failed, and to keep the file after an error.

    Raises:
        OSError: if the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    ending = f"{token and '.' + token}.partial"
    partial = path.with_name(short_name(path.name, room=len(ending)) + ending)
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
    """Write the names in a folder to the disk, if the system supports it."""
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
    """Hold a lock that other processes respect until the end of the context or of this process, however it ends.

    The process that holds the file may remove it, alone or with its folder; waiting processes notice that.

    Args:
        path: lock file; it is created if necessary, with its folders.
        wait: whether to wait for another process that holds the lock.
        brief: whether to remove the file at the end.

    Raises:
        BlockingIOError: if another process holds the lock.
        OSError: if the file cannot be created, or locks are not supported.
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
    """Take the lock; return what releases it."""
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
    """Take the lock without fcntl, and without checking whether the file was removed."""
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
    """Lock a folder, which is created if necessary, until the end of the context or of this process.

    File systems without locks are not protected.

    Raises:
        ConfigError: if another process has locked it and ``wait`` is False.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(hold(folder / ".lock", wait=wait))
        except BlockingIOError as error:
            raise ConfigError(
                f"{folder}: another process is using it; wait until it ends or use another folder"
            ) from error
        except OSError:  # reported when something is written there
            pass
        yield
