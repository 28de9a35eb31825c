"""Columns of Arrow tables: images, labels, and further attributes."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from progan.data.columns import Column
from progan.data.sources.columns import column, is_text_of_its_own
from progan.errors import DataError

_LABEL_NAMES = ("label", "labels", "fine_label", "class", "y")
Parts = Sequence[tuple[Path, Callable[[str], Any]]]
"""Files, each with a function that reads a column by its name."""


def image_columns(file: Path, schema: Any) -> tuple[str, str | None, tuple[str, ...]]:
    """Find the column of the images, the column of the labels or None, and the names of the classes.

    The column of the images has a dot in its name if it is inside a struct.

    Args:
        file: file name for messages.
        schema: Arrow schema, with or without the metadata of the Hugging Face Hub.

    Raises:
        DataError: if there is no column of images.
    """
    import pyarrow.types as types

    def is_binary(kind: Any) -> bool:
        return types.is_binary(kind) or types.is_large_binary(kind)

    images = {}
    for field in schema:
        if is_binary(field.type):
            images[field.name] = field.name
        elif types.is_struct(field.type) and "bytes" in [part.name for part in field.type]:
            images[field.name] = f"{field.name}.bytes"
    features = _features(schema)
    marked = [name for name, kind in features.items() if kind.get("_type") == "Image" and name in images]
    if not images:
        raise DataError(
            f"{file}: no column of encoded images\n"
            f"  found: {', '.join(f'{field.name} {field.type}' for field in schema)[:300]}\n"
            f"  fix:   use a file with a column of type struct<bytes, path> or binary"
        )
    numbers = [field.name for field in schema if types.is_integer(field.type)]
    usual = [name for name in _LABEL_NAMES if name in numbers]
    known = [name for name, kind in features.items() if kind.get("_type") == "ClassLabel" and name in numbers]
    label = next(iter(known or usual), None)
    names = features.get(label, {}).get("names") if label else None
    classes = tuple(map(str, names)) if isinstance(names, list) else ()
    return images[next(iter(marked or images))], label, classes


def labels_of(parts: Parts, column: str | None, classes: tuple[str, ...]) -> tuple[list[int] | None, tuple[str, ...]]:
    """Read the labels and classes; there are none if all labels are -1 or missing, as in test sets with secret labels.

    Args:
        parts: all files.
        column: name of the column of labels, or None if there is none.
        classes: names of the classes, if they are known.

    Raises:
        DataError: if some labels are missing or above the number of classes, or a file is broken.
    """
    if column is None:
        return None, ()
    arrays = []
    for file, read in parts:
        try:
            arrays += [
                chunk.cast("int64").fill_null(-1).to_numpy(zero_copy_only=False) for chunk in read(column).chunks
            ]
        except (ValueError, KeyError, OSError) as error:  # pyarrow's errors are among these
            raise _unreadable(file, column, error) from error
    labels = np.concatenate(arrays).astype(np.int64) if arrays else np.empty(0, np.int64)
    if (labels < 0).all():
        return None, ()
    if (labels < 0).any():
        raise DataError(
            f"{parts[0][0]}: some images have no label in {column!r}\n"
            f"  found: {int((labels < 0).sum())} of {len(labels)}, the first is image {int((labels < 0).argmax())}\n"
            f"  fix:   use another --split, pass only the labeled files, or use --labels none"
        )
    classes = classes or tuple(str(i) for i in range(int(labels.max()) + 1))
    if labels.max() >= len(classes):
        raise DataError(
            f"{parts[0][0]}: label {labels.max()} in column {column!r}, but only {len(classes)} classes\n"
            f"  fix:   download it again"
        )
    return labels.tolist(), classes


def other_columns(parts: Parts, schema: Any, count: int, but: Sequence[str | None]) -> tuple[Column, ...]:
    """Read the further columns of numbers, text and lists of numbers; columns of other types are ignored.

    Args:
        parts: all files.
        schema: Arrow schema of the first file.
        count: number of images in all files.
        but: names of columns to ignore.

    Raises:
        DataError: if a file is broken.
    """
    features, found = _features(schema), []
    for field in schema:
        if field.name in but or not field.name:
            continue
        one = column(field.name, cells) if (cells := _cells(parts, field, count)) is not None else None
        names = features.get(field.name, {}).get("names")
        if one and isinstance(names, list) and one.values.ndim == 1 and one.values.dtype == np.int64:
            one = Column(one.name, one.values, tuple(map(str, names))) if _are_classes(one.values, len(names)) else one
        found += [one] if one else []
    return tuple(found)


def _are_classes(values: np.ndarray, count: int) -> bool:
    return bool(values.min() >= 0 and values.max() < count)


def _cells(parts: Parts, field: Any, count: int) -> Sequence[Any] | np.ndarray | None:
    """Read a column of all files; None if its type is not supported or differs between files."""
    chunks = _chunks(parts, field)
    if (kind := _kind(field.type)) == "text":
        return _texts(chunks, count)
    if kind == "list":
        return _lists(chunks)
    arrays = [None if chunk is None else _array(chunk) for chunk in chunks] if kind == "number" else []
    known = [array for array in arrays if array is not None]
    return np.concatenate(known) if known and len(known) == len(arrays) else None


def _kind(of: Any) -> str:
    """Return 'number', 'text', 'list' (of numbers), or '' for an unsupported type."""
    import pyarrow.types as types

    if types.is_boolean(of) or types.is_integer(of) or types.is_floating(of):
        return "number"
    text = of.value_type if types.is_dictionary(of) else of
    if types.is_string(text) or types.is_large_string(text):
        return "text"
    is_list = types.is_list(of) or types.is_large_list(of) or types.is_fixed_size_list(of)
    return "list" if is_list and _kind(of.value_type) == "number" else ""


def _chunks(parts: Parts, field: Any) -> Iterator[Any]:
    """Yield the arrays of a column, file by file; None for a file in which it is missing or has a different type."""
    for file, read in parts:
        try:
            data = read(field.name)
        except KeyError:
            yield None
            continue
        except (ValueError, OSError) as error:  # pyarrow's errors are among these
            raise _unreadable(file, field.name, error) from error
        yield from data.chunks if _kind(data.type) == _kind(field.type) else (None,)


def _array(chunk: Any) -> np.ndarray:
    """Return the numbers of an array, NaN where they are missing."""
    return (chunk.cast("float64") if chunk.null_count else chunk).to_numpy(zero_copy_only=False)


def _texts(chunks: Iterator[Any], count: int) -> list[str | None] | None:
    """Return all texts, or None if there are too many different ones to be classes."""
    seen: dict[str | None, str | None] = {}
    texts: list[str | None] = []
    for chunk in chunks:
        if chunk is None:
            return None
        texts += [seen.setdefault(text, text) for text in chunk.to_pylist()]
        if is_text_of_its_own(len(seen), count):
            return None
    return texts


def _lists(chunks: Iterator[Any]) -> np.ndarray | None:
    """Return lists of numbers as an array [N, K], or None if their lengths differ."""
    import pyarrow.compute

    arrays, known, lengths = [], [], set()
    for chunk in chunks:
        if chunk is None:
            return None
        present = chunk.drop_null()
        lengths |= set(pyarrow.compute.call_function("list_value_length", [present]).unique().to_pylist())
        if len(lengths) > 1:
            return None
        arrays.append(_array(present.flatten()))
        known.append(chunk.is_valid().to_numpy(zero_copy_only=False))
    if not lengths or 0 in lengths:
        return None
    values, rows = np.concatenate(arrays).reshape(-1, *lengths), np.concatenate(known)
    if rows.all():
        return values
    whole = np.full((len(rows), *lengths), np.nan)
    whole[rows] = values
    return whole


def _unreadable(file: Path, column: str, error: Exception) -> DataError:
    return DataError(f"{file}: column {column!r} cannot be read ({first_line(error)})\n  fix:   download it again")


def first_line(error: BaseException) -> str:
    """Return the first line of the message of an exception."""
    return str(error).partition("\n")[0]


def _features(schema: Any) -> dict[str, dict]:
    """Return the hub's metadata about the columns; empty if there is none or it is not valid."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: kind for name, kind in features.items() if isinstance(kind, dict)}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
