"""Files of TFRecords: where the records are, and their contents.

A file is a sequence of records: length (uint64), masked CRC-32C of the length, data, masked CRC-32C of the data, all
little-endian. It may be compressed by gzip.
"""

import contextlib
import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from progan.data.sources.crc32c import crc32c
from progan.data.sources.rows import WHOLE_BYTES
from progan.errors import DataError

_HEADER_BYTES, _FOOTER_BYTES = 12, 4
_CHECKED = 4096  # headers whose checksums are computed at once
_GZIP = b"\x1f\x8b"
_BROKEN_GZIP = (EOFError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True, kw_only=True)
class RecordFile:
    """A file of records whose lengths are sound."""

    path: Path
    starts: np.ndarray
    """Where every record starts, and the end of the file: int64 [N + 1]."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    def read(self, positions: Sequence[int], *, check: bool = True) -> Iterator[memoryview | DataError]:
        """Yield the data of records at ascending positions, or the reason why it cannot be read.

        Args:
            positions: numbers of the records.
            check: whether to read and compare the checksums; if not, no more than what is looked at is read from disk.
        """
        done = 0
        try:
            with _opened(self.path) as stream:
                if not check and not isinstance(stream, gzip.GzipFile):
                    yield from self._mapped(positions)
                    return
                for i in positions:
                    stream.seek(self.starts[i] + _HEADER_BYTES)
                    size = int(self.starts[i + 1] - self.starts[i]) - _HEADER_BYTES
                    large = f"a record of {size} bytes, more than the {WHOLE_BYTES} allowed"
                    yield DataError(large) if size > WHOLE_BYTES else _data(stream.read(size), check)
                    done += 1
        except _BROKEN_GZIP as error:
            for _ in range(len(positions) - done):
                yield DataError(f"damaged, or located after damaged data ({error})")

    def _mapped(self, positions: Sequence[int]) -> Iterator[memoryview]:
        content = np.memmap(self.path, np.uint8, "r")
        for i in positions:
            yield content[self.starts[i] + _HEADER_BYTES : self.starts[i + 1] - _FOOTER_BYTES].data


def is_record_file(path: Path) -> bool:
    """Return whether a file, packed or not, begins with a length and its checksum."""
    try:
        with _opened(path) as stream:
            head = np.frombuffer(stream.read(_HEADER_BYTES), np.uint8)
    except _BROKEN_GZIP:
        return False
    return len(head) == _HEADER_BYTES and bool(_sound_lengths(head[None])[0])


def record_file(path: Path) -> RecordFile:
    """Find the records of a file.

    Raises:
        DataError: if a length is wrong, or the file ends inside a record.
    """
    starts, headers = [0], bytearray()
    try:
        with _opened(path) as stream:
            packed = isinstance(stream, gzip.GzipFile)
            size = path.stat().st_size
            while packed or starts[-1] + _HEADER_BYTES <= size:
                size = max(stream.seek(starts[-1]), size) if not packed else stream.seek(starts[-1])
                if size < starts[-1] or len(head := stream.read(_HEADER_BYTES)) < _HEADER_BYTES:
                    size = stream.tell()
                    break
                headers += head
                starts.append(starts[-1] + _HEADER_BYTES + int.from_bytes(head[:8], "little") + _FOOTER_BYTES)
                if len(headers) == _CHECKED * _HEADER_BYTES:
                    _check(path, headers, starts)
                    headers.clear()
            _check(path, headers, starts)
    except _BROKEN_GZIP as error:
        what = f"{path}: broken gzip file ({error})"
        raise DataError(f"{what}\n  found: {len(starts) - 1} records before\n  fix:   download it again") from error
    if starts[-1] != size or len(starts) == 1:
        whole = max(len(starts) - 2, 0) if starts[-1] > size else len(starts) - 1
        raise DataError(
            f"{path}: truncated in record {whole} (counted from 0)\n"
            f"  found: {size} bytes with {whole} complete records\n"
            f"  fix:   download or copy the file again"
        )
    return RecordFile(path=path, starts=np.array(starts, np.int64))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
        file.seek(0)
        if not packed:
            yield file
            return
        with gzip.GzipFile(fileobj=file, mode="rb") as stream:
            unpacked: Any = stream
            yield unpacked


def _check(path: Path, headers: bytearray, starts: Sequence[int]) -> None:
    """Compare the checksums of the lengths of the last records found."""
    sound = _sound_lengths(np.frombuffer(bytes(headers), np.uint8).reshape(-1, _HEADER_BYTES))
    if not sound.all():
        first = len(starts) - 1 - len(sound) + int(sound.argmin())
        raise DataError(
            f"{path}: bad checksum of the length of record {first} (counted from 0)\n"
            f"  found: damage at byte {starts[first]}, after {first} valid lengths\n"
            f"  fix:   download or copy the file again"
        )


def _masked(crc: np.ndarray) -> np.ndarray:
    return ((crc >> 15) | (crc << 17)) + np.uint32(0xA282EAD8)


def _sound_lengths(headers: np.ndarray) -> np.ndarray:
    """Return whether the lengths in uint8 [N, 12] match their checksums."""
    stored = np.ascontiguousarray(headers[:, 8:]).view("<u4")[:, 0]
    return _masked(crc32c(headers[:, :8])) == stored


def _data(record: bytes, check: bool) -> memoryview | DataError:
    body, stored = np.frombuffer(record[:-_FOOTER_BYTES], np.uint8), record[-_FOOTER_BYTES:]
    sound = len(record) >= _FOOTER_BYTES
    if check and not (sound and int(_masked(crc32c(body[None]))[0]) == int.from_bytes(stored, "little")):
        return DataError("bad checksum of the record; download or copy the file again")
    return memoryview(record)[:-_FOOTER_BYTES]
