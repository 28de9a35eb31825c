"""What an input must not do: write elsewhere, run a program, connect, load what a pickle names, take much memory."""

import ctypes
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

MOST_BYTES, MOST_S = 1 << 30, 10.0
"""Largest memory of the process [bytes], and longest processor time of one input [s]."""
_ALLOCATED_BYTES = 6 << 30  # beyond it the system refuses, so that a bomb cannot take the machine down
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {
    "os.mkdir": 1,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.truncate": 1,
    "os.rename": 2,
    "os.link": 2,
    "os.symlink": 2,
    "os.chmod": 1,
    "os.chown": 1,
    "os.utime": 1,
    "os.setxattr": 1,
    "os.removexattr": 1,
    "shutil.rmtree": 1,
    "shutil.move": 2,
    "shutil.copyfile": 2,
}
_NEVER = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.forkpty",
    "socket.connect",
    "socket.bind",
    "socket.getaddrinfo",
    "ctypes.dlopen",
    "pty.spawn",
    "webbrowser.open",
    "os.kill",
    "os.startfile",
)
_ARRAYS = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "_codecs")


class Watch:
    """Notes what happens in this process while it is armed."""

    def __init__(self, root: Path) -> None:
        self.root, self.armed, self.found = root, False, list[str]()
        self.allowed = ""
        """Folder that may be written to, apart from /dev/null; nothing if empty."""
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple) -> None:
        if not self.armed:
            return
        if event == "open":
            path, mode, flags = arguments
            if (isinstance(flags, int) and flags & _WRITES) or (isinstance(mode, str) and set(mode) & set("wax+")):
                self._changed(event, path)
        elif event in _CHANGES:
            places = arguments[: _CHANGES[event]]
            for path, folder in zip(places, _folders(event, arguments, len(places)), strict=True):
                self._changed(event, path if folder < 0 else f"/proc/self/fd/{folder}/{os.fsdecode(path)}")
        elif event.startswith(_NEVER) and "uname" not in arguments:  # which the standard library asks for the machine
            self.found.append(f"{event} {str(arguments)[:100]}")
        elif event == "pickle.find_class" and arguments[0] not in _ARRAYS:
            self.found.append(f"{event} {arguments}"[:100])

    def _changed(self, event: str, path: object) -> None:
        if isinstance(path, int) or path == os.devnull or not isinstance(path, str | bytes | os.PathLike):
            return
        place = os.path.realpath(os.fsdecode(path))
        if not self.allowed or not f"{place}/".startswith(f"{self.allowed}/"):
            self.found.append(f"{event} {place}"[:200])

    def tree(self, but: Path) -> list[tuple]:
        """Return names, sizes and times of everything below the root except for one folder."""
        found = []
        for entry in _walk(self.root, but):
            status = entry.stat(follow_symlinks=False)
            folder = entry.is_dir(follow_symlinks=False)
            found.append((entry.path, *((0, 0) if folder else (status.st_size, status.st_mtime_ns))))
        return sorted(found)


def _folders(event: str, arguments: tuple, count: int) -> tuple[int, ...]:
    """Return the open folders that the paths of an event are relative to; -1 for the working directory."""
    tail = arguments[-count:] if event.startswith("os.") else ()
    return tuple(f if isinstance(f, int) and len(arguments) > count else -1 for f in tail) or (-1,) * count


def _walk(folder: Path | str, but: Path):
    for entry in os.scandir(folder):
        yield entry
        if entry.is_dir(follow_symlinks=False) and entry.path != str(but):
            yield from _walk(entry.path, but)


def limit_memory() -> None:
    """Limit what this process can allocate, far above what counts as a finding."""
    resource.setrlimit(resource.RLIMIT_DATA, (_ALLOCATED_BYTES, _ALLOCATED_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def peak_bytes() -> int:
    """Return the largest memory of this process since the last ``reset_peak`` [bytes]."""
    with Path("/proc/self/status").open() as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM:"))


def held_bytes() -> int:
    """Return the memory of this process now [bytes]."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def reset_peak() -> None:
    """Begin to measure anew."""
    ctypes.CDLL(None).malloc_trim(0)  # memory that is free, but kept, would be used again and not be counted
    with Path("/proc/self/clear_refs").open("w") as file:
        file.write("5")


def quiet() -> tuple[int, Callable[[], int]]:
    """Send stdout and stderr to a file in memory; return the former stdout, and what tells the file's size."""
    sink, out = os.memfd_create("noise"), os.dup(1)
    os.dup2(sink, 1)
    os.dup2(sink, 2)

    def size() -> int:
        length = os.fstat(sink).st_size
        if length > 1 << 20:
            os.ftruncate(sink, 0)
            os.lseek(sink, 0, os.SEEK_SET)
            length = 0
        return length

    return out, size
