"""Parquet files with a column of encoded images, as the data sets of the Hugging Face hub come."""

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from progan.data.records import Payload, Source, joined, numbered
from progan.errors import DataError

_MAGIC = b"PAR1"
_PLACES = ("*.parquet", "data/*.parquet", "train/*.parquet", "test/*.parquet")
_LABEL_NAMES = ("label", "labels", "fine_label", "class", "y")
_BATCH = 32  # images decoded from the file at a time


def parquet_files(path: Path) -> list[Path]:
    """The .parquet files of a folder of the hub, or the file itself if it is one."""
    if path.is_dir():
        found = sorted(file for place in _PLACES for file in path.glob(place))
        return [file for file in found if file.is_file() and not file.name.startswith((".", "metadata."))]
    with path.open("rb") as file:
        return [path] if file.read(4) == _MAGIC or path.suffix == ".parquet" else []


def parquet_source(path: Path, files: Sequence[Path], split: str) -> Source:
    """Encoded images of a column struct<bytes, path> or binary, and integer labels; read some rows at a time.

    The hub's notes in the file, if there are any, tell which columns are the Image and the ClassLabel, and the names
    of the classes. Else images are the first column of such a type, and labels that of a usual name. Paths to files
    elsewhere are not followed.

    Args:
        path: what the user named, for messages.
        files: if some are called train... and test..., or lie in such folders, those are the splits.
        split: 'train', 'test' or 'all'.

    Raises:
        DataError: if the split is not there, or a file is broken or has no such column.
    """
    chosen = list(files) if path.is_file() else _choose_split(path, files, split)
    opened = [(file, _open(file)) for file in chosen]
    column, label, classes = image_columns(chosen[0], opened[0][1].schema_arrow)
    read = [(file, lambda data=data: data.read([label])[label]) for file, data in opened]
    labels, classes = labels_of(read, label, classes)
    parts = [part for file, data in opened for part in _groups(file, data.metadata, column)]
    return replace(joined(f"parquet {path.resolve().name}", parts), labels=labels, classes=classes)


def _groups(file: Path, metadata: Any, column: str) -> Iterator[Source]:
    """The images of every row group of a file."""
    first = 0
    for i in range(metadata.num_row_groups):
        count = metadata.row_group(i).num_rows
        yield numbered(file.name, count, functools.partial(_read_rows, file, i, column), first=first)
        first += count


def _choose_split(folder: Path, files: Sequence[Path], split: str) -> list[Path]:
    """The files of a split, training files first; all of them if their names tell no splits."""
    parts: dict[str, list[Path]] = {"train": [], "test": []}
    for file in files:
        place = file.relative_to(folder).as_posix().removeprefix("data/")
        for part in parts:
            if place.startswith(part):
                parts[part].append(file)
    if not any(parts.values()):
        return list(files)
    if split == "all":
        return parts["train"] + [file for file in files if file not in parts["train"]]
    if chosen := parts[split]:
        return chosen
    raise DataError(
        f"{folder}: no parquet files of the split {split!r}\n"
        f"  found: {', '.join(file.name for file in files[:8])}\n"
        f"  fix:   --split {next(part for part in parts if parts[part])}, or name one file"
    )


def _open(file: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(f"{file}: parquet needs one more package\n  fix:   pip install 'progan[parquet]'") from None
    try:
        return pyarrow.parquet.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"{file}: not a readable parquet file ({_first_line(error)})\n"
            f"  found: {file.stat().st_size} bytes\n"
            f"  fix:   download it again"
        ) from error


def image_columns(file: Path, schema: Any) -> tuple[str, str | None, tuple[str, ...]]:
    """Column of the images (with a dot, inside a struct), column of the labels if any, and the names of the classes.

    Args:
        file: for messages.
        schema: of Arrow, perhaps with the hub's notes.

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
            f"  fix:   name a parquet file with a column of struct<bytes, path> or binary"
        )
    numbers = [field.name for field in schema if types.is_integer(field.type)]
    usual = [name for name in _LABEL_NAMES if name in numbers]
    known = [name for name, kind in features.items() if kind.get("_type") == "ClassLabel" and name in numbers]
    label = next(iter(known or usual), None)
    names = features.get(label, {}).get("names") if label else None
    classes = tuple(map(str, names)) if isinstance(names, list) else ()
    return images[next(iter(marked or images))], label, classes


def _features(schema: Any) -> dict[str, dict]:
    """What the hub noted about the columns; nothing if the notes cannot be understood."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: kind for name, kind in features.items() if isinstance(kind, dict)}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def labels_of(
    parts: Sequence[tuple[Path, Callable[[], Any]]], column: str | None, classes: tuple[str, ...]
) -> tuple[list[int] | None, tuple[str, ...]]:
    """Labels and classes; none if all labels are -1 or missing, as in test sets whose labels are secret.

    Args:
        parts: files, and what reads the column of each.
        column: None if there is none.
        classes: their names, if they are known.

    Raises:
        DataError: if some labels are missing or above the number of classes, or a file is broken.
    """
    if column is None:
        return None, ()
    arrays = []
    for file, read in parts:
        try:
            arrays += [chunk.cast("int64").fill_null(-1).to_numpy(zero_copy_only=False) for chunk in read().chunks]
        except (ValueError, KeyError, OSError) as error:  # pyarrow's errors are among these
            raise DataError(
                f"{file}: no labels can be read ({_first_line(error)})\n  fix:   download it again"
            ) from error
    labels = np.concatenate(arrays).astype(np.int64) if arrays else np.empty(0, np.int64)
    if (labels < 0).all():
        return None, ()
    if (labels < 0).any():
        raise DataError(
            f"{parts[0][0]}: some images have no label in {column!r}\n"
            f"  found: {int((labels < 0).sum())} of {len(labels)}, the first is image {int((labels < 0).argmax())}\n"
            f"  fix:   --split, or name the files that are labelled"
        )
    classes = classes or tuple(str(i) for i in range(int(labels.max()) + 1))
    if labels.max() >= len(classes):
        raise DataError(
            f"{parts[0][0]}: label {labels.max()} in {column!r}, but only {len(classes)} classes\n"
            f"  fix:   download it again"
        )
    return labels.tolist(), classes


def _read_rows(file: Path, group: int, column: str, positions: Sequence[int]) -> Iterator[Payload]:
    """The images of ascending rows of a group."""
    data, rows, start, done = _open(file), np.asarray(positions, np.int64), 0, 0
    try:
        for batch in data.iter_batches(_BATCH, row_groups=[group], columns=[column], use_threads=False):
            stop = int(rows.searchsorted(start + len(batch)))
            values = batch.column(0)
            values = values.field("bytes") if "." in column and hasattr(values, "field") else values
            for row in rows[done:stop]:
                value = values[int(row) - start].as_py()
                yield value or DataError("has no bytes in the file; paths to files elsewhere are not followed")
            start, done = start + len(batch), stop
            if done == len(rows):
                break
    except (ValueError, OSError, LookupError) as error:  # pyarrow's errors are among these
        for _ in rows[done:]:
            yield DataError(f"damaged in the parquet file ({_first_line(error)})")


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
