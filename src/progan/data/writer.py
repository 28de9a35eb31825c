"""The folder in which a store is written: it takes its place whole, or vanishes."""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from progan.data.pixels import Chunk, level_sizes
from progan.errors import DataError

try:
    import fcntl
except ImportError:  # not on Windows; abandoned folders stay there
    fcntl = None

HEADER_BYTES = 128
"""Length of the header of every array file, fixed so that the number of images can be filled in at the end."""
_STALE_S = 60


def npy_header(dtype: str, shape: Sequence[int]) -> bytes:
    """Header of a .npy file (format 1.0) of a fixed length.

    >>> len(npy_header("|u1", (10, 4, 4, 3)))
    128
    """
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {tuple(shape)}, }}"
    text = text.ljust(HEADER_BYTES - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode("ascii")


class PartialStore:
    """A store under way, in a folder of its own beside the place where it will be.

    Files are written with ordinary writes and not through memory maps, so that a full disk is an error and not a
    signal. Use it in a ``with`` block: unless ``commit`` was reached, its end removes the folder.

    Args:
        target: folder of the finished store.
        height: of the largest level [pixels].
        width: of the largest level [pixels].
        channels: of every level.
        expected: images to come, for messages.
    """

    def __init__(self, target: Path, height: int, width: int, channels: int, *, expected: int) -> None:
        self.target, self.channels, self.expected = target, channels, expected
        self.sizes = level_sizes(height, width)
        self.count = 0
        self.labels: list[int | None] = []
        self.hash = hashlib.sha256()
        self._token = secrets.token_hex(4)
        self.path = target.with_name(f"{target.name}.{self._token}.partial")
        self._files: list[BinaryIO] = []
        self._lock = -1

    def __enter__(self) -> "PartialStore":
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(self.target)
            self.path.mkdir()
            self._lock = _try_lock(self.path)
            for height, width in self.sizes:
                self._files.append((self.path / f"{height}x{width}.npy").open("wb", buffering=0))
                write_all(self._files[-1], bytes(HEADER_BYTES))
        except OSError as error:
            self.__exit__()
            raise self._failed(error) from error
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            with contextlib.suppress(OSError):
                file.close()
        if self._lock >= 0:
            os.close(self._lock)
        shutil.rmtree(self.path, ignore_errors=True)  # gone already if it was committed

    def append(self, chunk: Chunk) -> None:
        """Write some images at the end of every level.

        Raises:
            DataError: if the disk is full or cannot be written.
        """
        try:
            for file, level in zip(self._files, chunk.levels, strict=True):
                write_all(file, np.ascontiguousarray(level).data)
        except OSError as error:
            raise self._failed(error) from error
        self.hash.update(np.ascontiguousarray(chunk.levels[0]).data)
        self.count += len(chunk.labels)
        self.labels += chunk.labels

    def commit(self, manifest: dict[str, Any], *, with_labels: bool) -> None:
        """Complete the files, make sure that they are on the disk, and move the folder to its place.

        Args:
            manifest: what is known about the store beside what the files tell.
            with_labels: whether the labels of the images are kept.

        Raises:
            DataError: if the disk is full or cannot be written.
        """
        try:
            levels = self._finish_levels()
            if with_labels:
                self._finish_labels()
            height, width = self.sizes[0]
            facts = {"height": height, "width": width, "channels": self.channels, "count": self.count, "levels": levels}
            facts |= {"labels": "labels.npy" if with_labels else None, "hash": self._content_hash()}
            with (self.path / "manifest.json").open("wb") as file:
                write_all(file, (json.dumps(manifest | facts, indent=1) + "\n").encode())
                _sync(file)
            _sync_folder(self.path)
            _swap(self.path, self.target, self._token)
        except OSError as error:
            raise self._failed(error) from error

    def _finish_levels(self) -> list[dict[str, Any]]:
        levels = []
        for file, (height, width) in zip(self._files, self.sizes, strict=True):
            shape = [self.count, height, width, self.channels]
            file.seek(0)
            write_all(file, npy_header("|u1", shape))
            _sync(file)
            file.close()
            levels.append({"file": f"{height}x{width}.npy", "shape": shape})
        return levels

    def _finish_labels(self) -> None:
        labels = np.array(self.labels, "<i8")
        self.hash.update(labels.data)
        with (self.path / "labels.npy").open("wb") as file:
            write_all(file, npy_header("<i8", labels.shape) + labels.tobytes())
            _sync(file)

    def _content_hash(self) -> str:
        """Of the largest level, the labels and the shape; the other levels follow from these."""
        self.hash.update(repr((self.count, *self.sizes[0], self.channels)).encode())
        return self.hash.hexdigest()

    def _failed(self, error: OSError) -> DataError:
        needed = self.expected * self.channels * sum(h * w for h, w in self.sizes)
        folder = next(p for p in self.target.absolute().parents if p.exists())
        try:
            free = f"{shutil.disk_usage(folder).free / 1e9:.2f} GB free"
        except OSError:
            free = "unknown free space"
        return DataError(
            f"{self.target}: cannot write the store ({error.strerror or error})\n"
            f"  found: {free} in {folder}; the store needs about {needed / 1e9:.2f} GB\n"
            f"  fix:   make room, choose another place for it, or lower --resolution"
        )


def write_all(file: BinaryIO, data: bytes | memoryview) -> None:
    """Write every byte; an unbuffered file may take fewer at a time."""
    rest = memoryview(data).cast("B") if len(data) else memoryview(b"")
    while rest:
        rest = rest[file.write(rest) :]


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _swap(partial: Path, target: Path, token: str) -> None:
    """Put a finished folder into its place; an older store there is moved aside first, and back if that fails."""
    old = target.with_name(f"{target.name}.{token}.old.partial")
    replaces = target.exists()
    if replaces:
        target.rename(old)
        os.utime(old)  # brand new to whoever removes abandoned folders
    try:
        partial.rename(target)
    except OSError:
        if replaces:
            old.rename(target)
        raise
    _sync_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _try_lock(path: Path) -> int:
    """A lock on a folder that ends with this process, however it ends; -1 if somebody else has it."""
    if fcntl is None:
        return -1
    number = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(number)
        return -1
    return number


def _remove_abandoned(target: Path) -> None:
    """Remove folders of writers that were killed: nobody holds their lock, and they are not brand new.

    A store that was moved aside, and whose successor did not make it into its place, comes back.
    """
    for path in target.parent.glob("*.partial"):
        ours = path.name.startswith(f"{target.name}.") and path.is_dir()
        if fcntl is None or not ours or time.time() - path.stat().st_mtime < _STALE_S:
            continue
        lock = _try_lock(path)
        if lock >= 0 and path.name.endswith(".old.partial") and not target.exists():
            path.rename(target)
        elif lock >= 0:
            shutil.rmtree(path, ignore_errors=True)
        if lock >= 0:
            os.close(lock)
