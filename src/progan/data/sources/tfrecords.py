"""TFRecord files of the official multi-resolution data sets, read without TensorFlow.

A file is a sequence of records: length (uint64), masked CRC-32C of the length, data, masked CRC-32C of the data, all
little-endian. The data is a protocol buffer, tf.train.Example, with the features ``shape`` (int64: C, H, W) and
``data`` (that many uint8).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from progan.data.records import Payload, Source, numbered
from progan.data.sources.columns import column
from progan.data.sources.crc32c import crc32c
from progan.errors import DataError

_LEVEL_NAME = re.compile(r"(?P<stem>.*)-r(?P<level>\d\d)\.tfrecords")
_HEADER_BYTES, _FOOTER_BYTES = 12, 4


def tfrecord_files(path: Path) -> list[Path]:
    """Return the .tfrecords files directly in a folder, or the file itself if it begins with a length and checksum."""
    if path.is_dir():
        return sorted(file for file in path.glob("*.tfrecords") if file.is_file() and not file.name.startswith("."))
    with path.open("rb") as file:
        head = np.frombuffer(file.read(_HEADER_BYTES), np.uint8)
    sound = len(head) == _HEADER_BYTES and bool(_sound_lengths(head[None])[0])
    return [path] if sound or path.suffix == ".tfrecords" else []


def tfrecord_source(path: Path, files: Sequence[Path]) -> Source:
    """Return the images of the largest resolution of a multi-resolution data set, or of one file.

    The checksums of all lengths are verified first, and that of each image when it is read. Labels come from
    NAME-rxx.labels next to the file: classes if each image has a row with a single 1, else a column of vectors.

    Args:
        path: path that the user passed, for messages.
        files: NAME-r02.tfrecords ... of one data set, or one file of any name.

    Raises:
        DataError: if a file is broken, or it is unclear which one to use.
    """
    file = _largest(path, files)
    starts = _starts(file)

    def read(positions: Sequence[int]) -> Iterator[Payload]:
        with file.open("rb") as stream:
            for i in positions:
                stream.seek(starts[i] + _HEADER_BYTES)
                yield _image(stream.read(starts[i + 1] - starts[i] - _HEADER_BYTES))

    found = numbered(file.name, len(starts) - 1, read, **_facts(_labels(file, len(starts) - 1)))
    return replace(found, description=f"TFRecords {file.name}")


def _facts(labels: np.ndarray | None) -> dict[str, Any]:
    """Return labels [N, K] as classes if each row has a single 1, else as a column."""
    if labels is None:
        return {}
    if ((labels != 0).sum(1) == 1).all() and (labels.max(1) == 1).all():
        return {"labels": labels.argmax(1).tolist(), "classes": tuple(str(i) for i in range(labels.shape[1]))}
    one = column("labels", labels)
    return {"columns": (one,) if one else ()}


def _masked(crc: np.ndarray) -> np.ndarray:
    return ((crc >> 15) | (crc << 17)) + np.uint32(0xA282EAD8)


def _sound_lengths(headers: np.ndarray) -> np.ndarray:
    """Return whether the lengths in uint8 [N, 12] match their checksums."""
    stored = np.ascontiguousarray(headers[:, 8:]).view("<u4")[:, 0]
    return _masked(crc32c(headers[:, :8])) == stored


def _starts(path: Path) -> np.ndarray:
    """Return where every record starts, and the end of the file: int64 [N + 1].

    Raises:
        DataError: if a length is wrong, or the file ends inside a record.
    """
    size = path.stat().st_size
    starts, headers = [0], []
    with path.open("rb") as stream:
        while starts[-1] + _HEADER_BYTES <= size:
            stream.seek(starts[-1])
            headers.append(stream.read(_HEADER_BYTES))
            starts.append(starts[-1] + _HEADER_BYTES + int.from_bytes(headers[-1][:8], "little") + _FOOTER_BYTES)
    sound = _sound_lengths(np.frombuffer(b"".join(headers), np.uint8).reshape(-1, _HEADER_BYTES))
    if not sound.all():
        first = int(sound.argmin())
        raise DataError(
            f"{path}: bad checksum of the length of record {first} (counted from 0)\n"
            f"  found: damage at byte {starts[first]}, after {first} valid lengths\n"
            f"  fix:   download or copy the file again"
        )
    if starts[-1] != size or not headers:
        whole = max(len(starts) - 2, 0) if starts[-1] > size else len(starts) - 1
        raise DataError(
            f"{path}: truncated in record {whole} (counted from 0)\n"
            f"  found: {size} bytes with {whole} complete records\n"
            f"  fix:   download or copy the file again"
        )
    return np.array(starts, np.int64)


def _image(record: bytes) -> Payload:
    """Return the pixels [H, W] or [H, W, C] of a record, or the reason why it cannot be used."""
    body, stored = np.frombuffer(record[:-_FOOTER_BYTES], np.uint8), record[-_FOOTER_BYTES:]
    if len(record) < _FOOTER_BYTES or int(_masked(crc32c(body[None]))[0]) != int.from_bytes(stored, "little"):
        return DataError("bad checksum of the record; download or copy the file again")
    try:
        features = _features(memoryview(record)[:-_FOOTER_BYTES])
        shape, data = _integers(features["shape"]), np.frombuffer(_bytes(features["data"]), np.uint8)
    except (KeyError, ValueError) as error:
        what = "no example with the features 'shape' and 'data'"
        return DataError(f"{what} ({type(error).__name__}: {error}); encoded images are not supported")
    if len(shape) != 3 or shape[0] not in (1, 3, 4) or min(shape) < 1 or len(data) != shape[0] * shape[1] * shape[2]:
        return DataError(f"expected uint8 of shape [1, 3 or 4, H, W], found {len(data)} bytes for shape {shape}")
    pixels = np.ascontiguousarray(data.reshape(shape).transpose(1, 2, 0))
    return pixels[:, :, 0] if shape[0] == 1 else pixels


def _features(example: memoryview) -> dict[str, memoryview]:
    """Parse the features of an Example: Example.features = 1, Features.feature = 1, its key = 1 and value = 2."""
    found = {}
    for features in _parts(example, 1):
        for entry in _parts(features, 1):
            key, value = [*_parts(entry, 1)], [*_parts(entry, 2)]
            if key and value:
                found[bytes(key[-1]).decode("utf-8", "replace")] = value[-1]
    return found


def _bytes(feature: memoryview) -> memoryview:
    """Parse Feature.bytes_list = 1, BytesList.value = 1, which must have one value."""
    (value,) = (value for values in _parts(feature, 1) for value in _parts(values, 1))
    return value


def _integers(feature: memoryview) -> list[int]:
    """Parse Feature.int64_list = 3, Int64List.value = 1, packed (one string of varints) or one by one."""
    found: list[int] = []
    for values in _parts(feature, 3):
        for number, value in _fields(values):
            if number == 1 and isinstance(value, int):
                found.append(value)
            elif number == 1 and not isinstance(value, int):
                at = 0
                while at < len(value):
                    one, at = _varint(value, at)
                    found.append(one)
    return found


def _parts(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """Yield the fields with the given number that are strings or messages."""
    return (value for number, value in _fields(message) if number == wanted and not isinstance(value, int))


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the number and value of every field of a protocol buffer.

    Raises:
        ValueError: if it is not a valid protocol buffer.
    """
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
        elif kind in (1, 2, 5):
            length, at = _varint(message, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            value, at = message[at : at + length], at + length
        else:
            raise ValueError(f"a field of unknown type {kind}")
        if at > len(message):
            raise ValueError("a field that exceeds the message")
        yield tag >> 3, value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Parse an integer of 7 bits per byte, lowest first; return it and where the next field starts."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("an integer that exceeds the message")
        value |= (message[at] & 0x7F) << shift
        at += 1
        if message[at - 1] < 0x80:
            return value, at
    raise ValueError("an integer of more than 64 bits")


def _largest(path: Path, files: Sequence[Path]) -> Path:
    """Return the file of the largest resolution of a data set."""
    if len(files) == 1:
        return files[0]
    matches = [_LEVEL_NAME.fullmatch(file.name) for file in files]
    if len({match and match["stem"] for match in matches}) == 1 and matches[0]:
        return max(files, key=lambda file: file.name)
    raise DataError(
        f"{path}: several TFRecords that are not one multi-resolution data set\n"
        f"  found: {', '.join(file.name for file in files[:8])}; expected NAME-r02.tfrecords ... with one NAME\n"
        f"  fix:   pass one of these files"
    )


def _labels(file: Path, count: int) -> np.ndarray | None:
    """Return the labels next to a file [N, K], or None if there are none."""
    match = _LEVEL_NAME.fullmatch(file.name)
    path = file.with_name(f"{match['stem']}-rxx.labels" if match else f"{file.stem}.labels")
    if not path.is_file():
        return None
    try:
        with path.open("rb") as stream:
            labels = np.load(stream, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"{path}: not a NumPy array ({error})\n  fix:   download it again") from error
    numbers = isinstance(labels, np.ndarray) and labels.dtype.kind in "biuf" and labels.ndim == 2
    if not numbers or len(labels) != count:
        raise DataError(
            f"{path}: the labels do not match the images\n"
            f"  found: {labels.dtype} of shape {list(labels.shape)}; expected numbers [{count}, K]\n"
            f"  fix:   download it again, or move it away to continue without labels"
        )
    return labels
