"""The folder in which a store is written: it moves to its place once complete, and what is written survives a kill."""

import contextlib
import errno
import hashlib
import itertools
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from progan.data.arrays import HEADER_BYTES, npy_header
from progan.data.columns import Column
from progan.data.levels import level_sizes
from progan.data.manifest import FORMAT, VERSION
from progan.data.names import NAMES, OFFSETS, encoded
from progan.data.pixels import Chunk
from progan.data.unfinished import Unfinished, quiet, sync_folder, write_all
from progan.errors import DataError

_NAMES_AT_ONCE = 4096


class PartialStore:
    """A store that is being written, in its own folder next to its final place.

    Files are written with ordinary writes instead of memory maps, so that a full disk is an error and not a signal.
    Use it in a ``with`` block. With a key, the images written so far are kept if the block ends before ``commit``, and
    the next store with that key resumes from them. Their checksums are compared first, so that images lost in a power
    failure are written again. Without a key, nothing is kept.

    Args:
        target: folder of the finished store.
        height: height of the largest level [pixels].
        width: width of the largest level [pixels].
        channels: number of channels of every level.
        expected: number of images in the source, for messages.
        key: hexadecimal hash of everything that the images depend on.
        say: receives one-line messages for the user.
    """

    def __init__(
        self,
        target: Path,
        height: int,
        width: int,
        channels: int,
        *,
        expected: int,
        key: str = "",
        say: Callable[[str], object] = quiet,
    ) -> None:
        self.target, self.channels, self.expected = target, channels, expected
        self.sizes = level_sizes(height, width)
        self.labels: list[int | None] = []
        self.skipped: list[str] = []
        """Name and reason of each skipped image."""
        self.left_out: list[int] = []
        """Positions of the skipped images in the source."""
        self.originals: set[tuple[int, int]] = set()
        """Heights and widths of the images of the source [pixels]."""
        self.hash = hashlib.sha256()
        """SHA-256 of the largest level and the labels, as in format 1."""
        self.columns_hash = hashlib.sha256()
        self._key, self._say = key, say
        self._files: list[BinaryIO] = []

    @property
    def count(self) -> int:
        """Number of images written."""
        return len(self.labels)

    @property
    def done(self) -> int:
        """Number of images of the source that are written or skipped."""
        return len(self.labels) + len(self.skipped)

    def __enter__(self) -> "PartialStore":
        try:
            self._work = Unfinished(self.target, self._key, say=self._say)
        except OSError as error:
            raise self._failed(error) from error
        try:
            self.path = self._work.path / "store"
            self.path.mkdir(exist_ok=True)
            for name in self._names():
                (self.path / name).touch()
                self._files.append((self.path / name).open("r+b", buffering=0))
                self._files[-1].seek(HEADER_BYTES)
            self._work.go_on(self._take)
            for file, item in zip(self._files, self._items(), strict=True):
                file.truncate(file.seek(HEADER_BYTES + item * self.count))
        except BaseException as error:
            self._close(keep=True)
            if isinstance(error, OSError):
                raise self._failed(error) from error
            raise
        if self.done:
            self._say(f"{self.target}: resuming after {self.done} of {self.expected} images")
        return self

    def __exit__(self, *_: object) -> None:
        self._close(keep=self.count > 0)

    def _close(self, *, keep: bool) -> None:
        for file in self._files:
            with contextlib.suppress(OSError):
                file.close()
        if self._work.close(keep=keep):
            self._say(
                f"{self.target}: {self.done} of {self.expected} images are kept in {self._work.path}; "
                f"run the same command again to resume, or delete that folder to start over"
            )

    def append(self, chunk: Chunk) -> None:
        """Append some images to every level, then record them as done.

        Raises:
            DataError: if the disk is full or cannot be written.
        """
        levels = [np.ascontiguousarray(level).data for level in chunk.levels]
        entry = {"labels": chunk.labels, "originals": sorted(set(chunk.sizes)), "skipped": chunk.skipped}
        entry |= {"left_out": [self.done + i for i in chunk.left_out]}
        try:
            for file, level in zip(self._files, levels, strict=True):
                write_all(file, level)
            self._work.log(entry | {"crc32": [zlib.crc32(level) for level in levels]})
        except OSError as error:
            raise self._failed(error) from error
        self._count(entry, levels[0])

    def _take(self, entry: dict[str, Any]) -> bool:
        """Accept images that were written earlier, if all their levels are still intact."""
        levels = [file.read(item * len(entry["labels"])) for file, item in zip(self._files, self._items(), strict=True)]
        if [zlib.crc32(level) for level in levels] != entry["crc32"]:
            return False
        self._count(entry, levels[0])
        return True

    def _count(self, entry: dict[str, Any], top: bytes | memoryview) -> None:
        self.hash.update(top)
        self.labels += entry["labels"]
        self.skipped += entry["skipped"]
        self.left_out += entry["left_out"]
        self.originals.update((height, width) for height, width in entry["originals"])

    def _names(self) -> list[str]:
        return [f"{height}x{width}.npy" for height, width in self.sizes]

    def _items(self) -> list[int]:
        """Number of bytes of one image of each level."""
        return [height * width * self.channels for height, width in self.sizes]

    def commit(
        self, manifest: dict[str, Any], *, with_labels: bool, names: Sequence[str], columns: Sequence[Column] = ()
    ) -> None:
        """Complete the files, flush them to disk, and move the folder to its place.

        Args:
            manifest: facts about the store that its files do not contain.
            with_labels: whether to store the labels of the images.
            names: names of all images of the source, including skipped ones.
            columns: further columns of all images of the source.

        Raises:
            DataError: if the disk is full or cannot be written.
        """
        head, (height, width) = {"format": FORMAT, "version": VERSION}, self.sizes[0]
        facts: dict[str, Any] = {"height": height, "width": width, "channels": self.channels, "count": self.count}
        try:
            facts["levels"] = self._finish_levels()
            facts["labels"] = self._finish_labels() if with_labels else None
            rows = np.delete(np.arange(self.done), self.left_out)
            facts["columns"] = [self._finish_column(i, column.of(rows)) for i, column in enumerate(columns)]
            facts["names"] = self._finish_names(names[i] for i in rows.tolist())
            facts["hash"] = self._content_hash()
            facts["columns_hash"] = self.columns_hash.hexdigest() if columns else ""
            self._write("manifest.json", [(json.dumps(head | manifest | facts | head, indent=1) + "\n").encode()])
            sync_folder(self.path)
            self._work.put(self.path)
        except OSError as error:
            raise self._failed(error) from error

    def _finish_levels(self) -> list[dict[str, Any]]:
        levels = []
        for file, name, (height, width) in zip(self._files, self._names(), self.sizes, strict=True):
            shape = [self.count, height, width, self.channels]
            file.seek(0)
            write_all(file, npy_header("|u1", shape))
            _sync(file)
            file.close()
            levels.append({"file": name, "shape": shape})
        return levels

    def _finish_labels(self) -> str:
        labels = np.array(self.labels, "<i8")
        self.hash.update(labels.data)
        return self._write_array("labels.npy", labels)

    def _finish_column(self, number: int, column: Column) -> dict[str, Any]:
        values = np.ascontiguousarray(column.values, column.values.dtype.newbyteorder("<"))
        facts = {"name": column.name, "dtype": values.dtype.str, "shape": list(values.shape)}
        facts |= {"classes": list(column.classes)}
        self.columns_hash.update(ascii(list(facts.values())).encode())
        self.columns_hash.update(values.data)
        return facts | {"file": self._write_array(f"column{number}.npy", values)}

    def _finish_names(self, names: Iterator[str]) -> dict[str, Any]:
        ends = [np.zeros(1, np.int64)]

        def parts() -> Iterator[bytes]:
            while part := list(itertools.islice(encoded(names), _NAMES_AT_ONCE)):
                ends.append(ends[-1][-1] + np.cumsum([len(name) for name in part]))
                yield b"".join(part)

        self._write(NAMES, parts())
        self._write_array(OFFSETS, np.concatenate(ends).astype("<i8"))
        return {"file": NAMES, "offsets": OFFSETS, "bytes": int(ends[-1][-1])}

    def _write_array(self, name: str, values: np.ndarray) -> str:
        return self._write(name, [npy_header(values.dtype.str, values.shape), values.data])

    def _write(self, name: str, parts: Iterable[bytes | memoryview]) -> str:
        """Write a complete file; return its name."""
        with (self.path / name).open("wb") as file:
            for part in parts:
                write_all(file, part)
            _sync(file)
        return name

    def _content_hash(self) -> str:
        """SHA-256 of the largest level, the labels and the shape."""
        self.hash.update(repr((self.count, *self.sizes[0], self.channels)).encode())
        return self.hash.hexdigest()

    def _failed(self, error: OSError) -> DataError:
        needed = self.expected * sum(self._items())
        folder = next(p for p in self.target.absolute().parents if p.exists())
        try:
            free = f"{shutil.disk_usage(folder).free / 1e9:.2f} GB free"
        except OSError:
            free = "unknown free space"
        fix = "check that you may write there, or choose another folder"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            fix = "free some space and run the same command again, choose another folder, or lower --resolution"
        return DataError(
            f"{self.target}: cannot write the store ({error.strerror or error})\n"
            f"  found: {free} in {folder}; the store requires about {needed / 1e9:.2f} GB in total\n"
            f"  fix:   {fix}"
        )


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
