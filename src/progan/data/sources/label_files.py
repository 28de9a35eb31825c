"""Label files: text tables, the attributes of CelebA, and the dataset.json of StyleGAN."""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from progan.data.columns import LABEL
from progan.data.records import Table
from progan.data.sources.columns import column as column_of
from progan.data.sources.names import IMAGE_SUFFIXES
from progan.errors import DataError


def read_labels(path: Path, column: str = "") -> Table:
    """Read a label file.

    The first column of a table is the file name. The classes are the column named ``column``, the only other one, or
    the one named 'label', if there is one.

    Raises:
        DataError: if the file cannot be read or has no such column.
    """
    try:
        data = path.read_bytes()
        if path.suffix.lower() == ".json":
            table = dataset_json(data, where=str(path))
            if table is None or not table.files:
                raise no_labels(path)
            return table
        return _from_text(path, data.decode("utf-8-sig"), column)
    except (OSError, ValueError, csv.Error) as error:
        fix = "repair it, or save it again as UTF-8 text"
        raise DataError(f"{path}: not a readable label file ({error})\n  fix:   {fix}") from error


def no_labels(path: Path) -> DataError:
    """Return the error for a label file without labels of the images."""
    return DataError(f"{path}: contains no labels of these images\n  fix:   use --labels none, or another label file")


def normal(name: str) -> str:
    """Return a path in the form used for comparison: with forward slashes and no surrounding whitespace."""
    return str(PurePosixPath(name.strip().replace("\\", "/")))


def dataset_json(data: bytes, *, where: str = "dataset.json") -> Table | None:
    """Parse the dataset.json of StyleGAN; return no files if "labels" is empty, None if the format is different.

    It contains ["path", class] or ["path", [numbers]] for each image under "labels". Lists of the same form under
    other keys are further columns; they may cover only some of the images, and other files. ``where`` is the name of
    the file in messages.

    Raises:
        DataError: if the labels have neither form.
        ValueError: if it is not JSON.
    """
    try:
        content = json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(content, dict) or "labels" not in content:
        return None
    entries = content.pop("labels") or []
    if not isinstance(entries, list):
        raise _not_labels(where, entries)
    for entry in entries:
        if not _is_pair(entry):
            raise _not_labels(where, entry)
    files, values = [name for name, _ in entries], [value for _, value in entries]
    more = {
        key: {normal(name): cell for name, cell in pairs}
        for key, pairs in content.items()
        if isinstance(pairs, list) and all(map(_is_pair, pairs))
    }
    files = files or list(dict.fromkeys(name for cells in more.values() for name in cells))
    columns = {key: [cells.get(normal(file)) for file in files] for key, cells in more.items()}
    strange = next((entry for entry in entries if not isinstance(entry[1], int | str)), None)
    if strange is None and entries:
        return _table(where, files, values, columns)
    if not entries:
        return replace(_table(where, files, None, columns), by_the_way=True)
    if None in values or column_of("labels", values) is None:
        raise _not_labels(where, strange)
    return _table(where, files, None, {"labels": values, **columns})


def _is_pair(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str)


def _not_labels(where: str, found: object) -> DataError:
    return DataError(
        f"{where}: invalid entry in its labels\n  found: {str(found)[:80]}\n"
        f'  fix:   write ["path", 3] for each image, or use --labels folder or --labels none'
    )


def _table(
    where: str,
    names: Sequence[str],
    labels: Sequence[str | int] | None,
    columns: Mapping[str, Sequence[Any]],
    classes: tuple[str, ...] = (),
) -> Table:
    """Return a table of files, of which some may be listed twice."""
    rows: dict[str, int] = {}
    for i, name in enumerate(names):
        first = rows.setdefault(normal(name), i)
        if labels is not None and labels[first] != labels[i]:
            raise DataError(
                f"{where}: two different labels for {name!r}\n"
                f"  found: {labels[first]!r} and {labels[i]!r}\n"
                f"  fix:   remove one of them"
            )
    return Table(
        files=list(rows),
        labels=None if labels is None else [labels[i] for i in rows.values()],
        classes=classes,
        columns={name: [cells[i] for i in rows.values()] for name, cells in columns.items()},
    )


def _from_text(path: Path, text: str, column: str) -> Table:
    header, rows = _split(path, text)
    places = header[1:]
    wanted = column or (places[0] if len(places) == 1 else LABEL)
    position = places.index(wanted) + 1 if wanted in places else None
    if position is None and (column or not places):
        raise DataError(
            f"{path}: no column {column!r}\n"
            f"  found: {', '.join(places[:8])}{', ...' if len(places) > 8 else ''}\n"
            f"  fix:   use --labels {path}:COLUMN with one of these columns"
        )
    if short := next((row for row in rows if len(row) != len(header)), None):
        raise DataError(
            f"{path}: expected {len(header)} cells in each row\n  found: {short[:9]}\n  fix:   repair this row"
        )
    rows = [[cell.strip() for cell in row] for row in rows if position is None or row[position].strip()]
    columns: dict[str, Sequence[str]] = {}
    for i, name in enumerate(places, start=1):  # of two of one name the first counts
        if name and (position is None or name != wanted):
            columns.setdefault(name, [row[i] for row in rows])
    files, labels = [row[0] for row in rows], None if position is None else [row[position] for row in rows]
    if column and labels is not None and set(labels) <= {"-1", "1"}:
        names = {"-1": f"not {column}", "1": column}
        return _table(str(path), files, [names[label] for label in labels], columns, tuple(names.values()))
    return _table(str(path), files, labels, columns)


def _split(path: Path, text: str) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of a table."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].strip().isdigit():  # CelebA: how many, names of the attributes, rows
        return ["file", *lines[1].split()], [line.split() for line in lines[2:]]
    mark = next((mark for mark in ("\t", ",", ";") if lines and mark in lines[0]), "")
    rows = list(csv.reader(lines, delimiter=mark)) if mark else [line.split() for line in lines]
    if not rows:
        raise DataError(
            f"{path}: contains no labels\n  found: an empty file\n  fix:   write one line 'file,label' per image"
        )
    first = rows[0][0].strip()
    named = PurePosixPath(first).suffix.lower() not in IMAGE_SUFFIXES and not re.search(r"\d", first)
    return [cell.strip() for cell in rows.pop(0)] if named else ["file", LABEL], rows
