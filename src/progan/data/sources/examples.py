"""The protocol buffer tf.train.Example, read without TensorFlow: features by name, each a list of values."""

from collections.abc import Iterator

import numpy as np

_BYTES, _FLOATS, _INTEGERS = 1, 2, 3  # numbers of the fields of Feature

Values = list[memoryview] | list[float] | list[int]


def features_of(example: memoryview) -> dict[str, memoryview]:
    """Parse the features of an Example: Example.features = 1, Features.feature = 1, its key = 1 and value = 2.

    Raises:
        ValueError: if it is not a valid protocol buffer.
    """
    found = {}
    for features in _parts(example, 1):
        for entry in _parts(features, 1):
            key, value = [*_parts(entry, 1)], [*_parts(entry, 2)]
            if key and value:
                found[bytes(key[-1]).decode("utf-8", "replace")] = value[-1]
    return found


def values_of(feature: memoryview) -> Values:
    """Return the values of a feature: bytes, floats or integers.

    Raises:
        ValueError: if it is not a valid protocol buffer.
    """
    if found := [value for values in _parts(feature, _BYTES) for value in _parts(values, 1)]:
        return found
    if found := [number for values in _parts(feature, _FLOATS) for number in _floats(values)]:
        return found
    return [number for values in _parts(feature, _INTEGERS) for number in _integers(values)]


def _floats(values: memoryview) -> Iterator[float]:
    """Parse FloatList.value = 1, packed or one by one."""
    for part in _parts(values, 1):
        yield from np.frombuffer(part[: len(part) // 4 * 4], "<f4").tolist()


def _integers(values: memoryview) -> Iterator[int]:
    """Parse Int64List.value = 1, packed (one string of varints) or one by one."""
    for number, value in _fields(values):
        if number == 1 and isinstance(value, int):
            yield _signed(value)
        elif number == 1 and not isinstance(value, int):
            at = 0
            while at < len(value):
                one, at = _varint(value, at)
                yield _signed(one)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _parts(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """Yield the fields with the given number that are strings or messages, or numbers of fixed length."""
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
