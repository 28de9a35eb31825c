"""Parquet files with a column of encoded images, such as the data sets of the Hugging Face Hub."""

import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from progan.data.records import Choice, Payload, Source, numbered
from progan.data.sources.arrow_images import Place, check_names, image_of
from progan.data.sources.arrows import TableFile, first_line, table_source
from progan.data.sources.fields import pick_split
from progan.data.sources.names import IMAGE_SUFFIXES
from progan.data.sources.splits import split_in
from progan.errors import DataError

_MAGIC = b"PAR1"
_BATCH = 32  # images decoded from the file at a time
_DEEPEST = 3  # folders around the files: CONFIGURATION/SPLIT/0000.parquet
_LOOKED_AT = 100  # entries of a folder; where none of them is parquet it is taken for one of images


def parquet_files(path: Path) -> list[Path]:
    """Return the .parquet files of a folder from the Hub, or the file itself if it is one.

    Files in subfolders count only if there are no images around them, to which they would belong.
    """
    if path.is_dir():
        found, images = _inside(path, _DEEPEST)
        return sorted(file for file in found if file.parent == path or not images)
    with path.open("rb") as file:
        return [path] if file.read(4) == _MAGIC or path.suffix.lower() == ".parquet" else []


def _inside(folder: Path, deepest: int) -> tuple[list[Path], bool]:
    """Return the parquet files in a folder and those below it, and whether there are images."""
    try:
        with os.scandir(folder) as entries:
            first = list(itertools.islice(entries, _LOOKED_AT))
            several = any(entry.name.lower().endswith(".parquet") for entry in first)
            visible = [entry for entry in [*first, *(entries if several else ())] if not entry.name.startswith(".")]
            folders = sorted(entry.name for entry in visible if entry.is_dir(follow_symlinks=False))
            files = [entry.name for entry in visible if entry.is_file()]
    except OSError:  # told when it is read as a folder of images
        return [], False
    found = [folder / name for name in files if name.lower().endswith(".parquet") and not name.startswith("metadata.")]
    about = {*folders, *(name[:-4] for name in files if name.endswith(".tar"))}  # img2dataset: 00000.tar, 00000.parquet
    found = [file for file in found if file.stem not in about]
    images = any(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in files)
    for name in folders if deepest > 1 and not images else ():
        more, images = _inside(folder / name, deepest - 1)
        found += more
        if images:
            break
    return found, images


def parquet_source(path: Path, files: Sequence[Path], choice: Choice) -> Source:
    """Return the images of a column of parquet files, read in small batches, with the labels of another.

    Which column contains the images is decided by ``image_place``. Paths to other files are not followed.

    Args:
        path: path that the user passed, for messages.
        files: all parquet files; words such as train and validation in their names, or in those of their folders, are
            the splits.
        choice: split and column to use.

    Raises:
        DataError: if the split is missing, or a file is broken or has no such column.
    """
    chosen, notes, heeds = list(files), (), frozenset()
    if path.is_dir():
        places = {file.relative_to(path).as_posix(): [file] for file in files}
        _refuse_several(path, list(places))
        chosen, notes, heeds = pick_split(places, choice.split, where=str(path))
    source = table_source(f"parquet {path.resolve().name}", [_table(file) for file in chosen], choice.column)
    return replace(source, notes=(*source.notes, *notes), heeds=source.heeds | heeds)


def _refuse_several(path: Path, places: Sequence[str]) -> None:
    """Refuse a folder of several configurations, which are different data sets, each with its own splits."""
    tops = {place.split("/")[0] for place in places if "/" in place and split_in(place)}
    found = sorted(top for top in tops if not split_in(top) and top != "data")
    if len(found) > 1:
        raise DataError(
            f"{path}: several data sets in one folder\n"
            f"  found: {', '.join(found[:8])}, each with parquet files of its own splits\n"
            f"  fix:   pass one of these folders, such as {path / found[0]}"
        )


def _table(file: Path) -> TableFile:
    data = _open(file)
    return TableFile(
        file=file,
        schema=data.schema_arrow,
        count=data.metadata.num_rows,
        column=lambda name: data.read([name])[name],
        images=lambda place: list(_groups(file, data.metadata, place)),
    )


def _groups(file: Path, metadata: Any, place: Place) -> Iterator[Source]:
    """Yield the images of every row group of a file."""
    first = 0
    for i in range(metadata.num_row_groups):
        count = metadata.row_group(i).num_rows
        yield numbered(file.name, count, functools.partial(_read_rows, file, i, place), first=first)
        first += count


def _open(file: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(f"{file}: reading parquet requires pyarrow\n  fix:   pip install 'progan[parquet]'") from None
    try:
        data = pyarrow.parquet.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)
        check_names(data.schema_arrow)
        return data
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{file}: not a readable parquet file ({first_line(error)})\n"
            f"  found: {file.stat().st_size} bytes\n"
            f"  fix:   download it again"
        ) from error


def _read_rows(file: Path, group: int, place: Place, positions: Sequence[int]) -> Iterator[Payload]:
    """Yield the images of ascending rows of a group."""
    data, rows, start, done = _open(file), np.asarray(positions, np.int64), 0, 0
    try:
        for batch in data.iter_batches(_BATCH, row_groups=[group], columns=[place.leaf], use_threads=False):
            stop = int(rows.searchsorted(start + len(batch)))
            values = batch.column(batch.schema.get_field_index(place.path[0]))
            for row in rows[done:stop]:
                payload = image_of(values[int(row) - start].as_py(), place)
                done += 1
                yield payload
            start += len(batch)
            if done == len(rows):
                return
        reason = "fewer rows than it says"
    except (ValueError, OSError, LookupError) as error:  # pyarrow's errors are among these
        reason = first_line(error)
    for _ in rows[done:]:
        yield DataError(f"damaged in the parquet file ({reason})")
