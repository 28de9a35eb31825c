"""Parquet files with a column of encoded images, such as the data sets of the Hugging Face Hub."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from progan.data.records import Payload, Source, joined, numbered
from progan.data.sources.arrows import first_line, image_columns, labels_of, other_columns
from progan.errors import DataError

_MAGIC = b"PAR1"
_PLACES = ("*.parquet", "data/*.parquet", "train/*.parquet", "test/*.parquet")
_BATCH = 32  # images decoded from the file at a time


def parquet_files(path: Path) -> list[Path]:
    """Return the .parquet files of a folder from the Hub, or the file itself if it is one."""
    if path.is_dir():
        found = sorted(file for place in _PLACES for file in path.glob(place))
        return [file for file in found if file.is_file() and not file.name.startswith((".", "metadata."))]
    with path.open("rb") as file:
        return [path] if file.read(4) == _MAGIC or path.suffix == ".parquet" else []


def parquet_source(path: Path, files: Sequence[Path], split: str) -> Source:
    """Return the encoded images of a column struct<bytes, path> or binary, and integer labels, read in small batches.

    If the file has the Hub's metadata, it determines the Image and ClassLabel columns and the names of the classes.
    Otherwise images are the first column of such a type, and labels are the column with a common name for them. Paths
    to other files are not followed.

    Args:
        path: path that the user passed, for messages.
        files: all parquet files; if some are named train... and test..., or are in such folders, those are the splits.
        split: 'train', 'test' or 'all'.

    Raises:
        DataError: if the split is missing, or a file is broken or has no such column.
    """
    chosen = list(files) if path.is_file() else _choose_split(path, files, split)
    opened = [(file, _open(file)) for file in chosen]
    schema = opened[0][1].schema_arrow
    column, label, classes = image_columns(chosen[0], schema)
    read = [(file, lambda name, data=data: data.read([name])[name]) for file, data in opened]
    labels, classes = labels_of(read, label, classes)
    parts = [part for file, data in opened for part in _groups(file, data.metadata, column)]
    whole = joined(f"parquet {path.resolve().name}", parts)
    columns = other_columns(read, schema, len(whole), (column.partition(".")[0], label))
    return replace(whole, labels=labels, classes=classes, columns=columns)


def _groups(file: Path, metadata: Any, column: str) -> Iterator[Source]:
    """Yield the images of every row group of a file."""
    first = 0
    for i in range(metadata.num_row_groups):
        count = metadata.row_group(i).num_rows
        yield numbered(file.name, count, functools.partial(_read_rows, file, i, column), first=first)
        first += count


def _choose_split(folder: Path, files: Sequence[Path], split: str) -> list[Path]:
    """Return the files of a split, training files first, or all files if their names contain no splits."""
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
        f"  fix:   use --split {next(part for part in parts if parts[part])}, or pass one of the files"
    )


def _open(file: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(f"{file}: reading parquet requires pyarrow\n  fix:   pip install 'progan[parquet]'") from None
    try:
        return pyarrow.parquet.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"{file}: not a readable parquet file ({first_line(error)})\n"
            f"  found: {file.stat().st_size} bytes\n"
            f"  fix:   download it again"
        ) from error


def _read_rows(file: Path, group: int, column: str, positions: Sequence[int]) -> Iterator[Payload]:
    """Yield the images of ascending rows of a group."""
    data, rows, start, done = _open(file), np.asarray(positions, np.int64), 0, 0
    try:
        for batch in data.iter_batches(_BATCH, row_groups=[group], columns=[column], use_threads=False):
            stop = int(rows.searchsorted(start + len(batch)))
            values = batch.column(0)
            values = values.field("bytes") if "." in column and hasattr(values, "field") else values
            for row in rows[done:stop]:
                value = values[int(row) - start].as_py()
                yield value or DataError("no image bytes in this row; paths to other files are not followed")
            start, done = start + len(batch), stop
            if done == len(rows):
                break
    except (ValueError, OSError, LookupError) as error:  # pyarrow's errors are among these
        for _ in rows[done:]:
            yield DataError(f"damaged in the parquet file ({first_line(error)})")
