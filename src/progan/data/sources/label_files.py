"""Label files: text tables, the attributes of CelebA, and the dataset.json of StyleGAN."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from progan.data.columns import LABEL
from progan.data.records import Table
from progan.data.sources.fields import LABELS
from progan.data.sources.names import IMAGE_SUFFIXES
from progan.errors import DataError

_FILE_NAME = re.compile(r"(?:file|image|img|photo|picture)?[ _-]?(?:file|name|path|id|image|img)", re.IGNORECASE)
_LOOKED_AT = 100  # rows
_SEPARATOR = re.compile(r"sep=([^\w\s\"]|\t)\r?\n", re.IGNORECASE)
_DECIMAL = re.compile(r"(?:[+-]?\d+(?:,\d+)?(?:[eE][+-]?\d+)?)?")
LABEL_NAMES = tuple(name for name in LABELS if name != "y")
"""Usual names of the label in a table of files or in JSON, where y is a coordinate."""


def read_labels(path: Path, column: str = "", *, signs: bool = True) -> Table:
    """Read a label file: a text table, lines of JSON (.jsonl) or a list of such objects, or a dataset.json.

    The names of the images are in the column whose cells end like those of images, in the one that is named so, or in
    the first one. The labels are the column named ``column``, the only other one, or the one named 'label', if there
    is one.

    Args:
        path: label file.
        column: name of the column of the labels.
        signs: whether a column of -1 and 1 that was asked for is two classes, as in CelebA: not NAME, and NAME.

    Raises:
        DataError: if the file cannot be read or has no such column.
    """
    try:
        data = path.read_bytes()
        if path.suffix.lower() == ".json":
            table = dataset_json(data, where=str(path)) or _json_table(data, column, where=str(path), signs=signs)
            if table is None or not table.files:
                raise no_labels(path)
            return _with_label(table, column, where=str(path)) if column else table
        return table_of(data, column, where=str(path), signs=signs, lines=path.suffix.lower() == ".jsonl")
    except (OSError, ValueError, csv.Error) as error:
        fix = "repair it, or save it again as UTF-8 text"
        raise DataError(f"{path}: not a readable label file ({error})\n  fix:   {fix}") from error


def _json_table(data: bytes, column: str, *, where: str, signs: bool) -> Table | None:
    """Parse a list of JSON objects, one for each image, or an object with the label of each; None for anything else."""
    content = json.loads(data)
    if isinstance(content, list) and content and all(isinstance(one, dict) for one in content):
        lines = "\n".join(map(json.dumps, content)).encode()
        return table_of(lines, column, where=where, signs=signs, lines=True)
    if isinstance(content, dict) and not any(isinstance(value, dict | list) for value in content.values()):
        return _table(where, list(content), list(content.values()), {})
    return None


def _with_label(table: Table, column: str, *, where: str) -> Table:
    """Return the table with the column of this name as the label."""
    if column == table.name:
        return table
    if column not in table.columns:
        raise _no_column(where, column, list(table.columns))
    others = {name: cells for name, cells in table.columns.items() if name != column}
    return replace(table, labels=table.columns[column], columns=others, name=column, classes=(), by_the_way=False)


def _no_column(where: str, column: str, places: Sequence[str]) -> DataError:
    return DataError(
        f"{where}: no column {column!r}\n"
        f"  found: {', '.join(places[:8]) or 'only names of images'}{', ...' if len(places) > 8 else ''}\n"
        f"  fix:   use --labels {where}:COLUMN with one of these columns"
    )


def no_labels(path: Path) -> DataError:
    """Return the error for a label file without labels of the images."""
    return DataError(f"{path}: contains no labels of these images\n  fix:   use --labels none, or another label file")


def normal(name: str) -> str:
    """Return a path in the form used for comparison: with forward slashes and no surrounding whitespace."""
    return str(PurePosixPath(name.strip().replace("\\", "/")))


def dataset_json(data: bytes, *, where: str = "dataset.json") -> Table | None:
    """Parse the dataset.json of StyleGAN; return no files if "labels" is empty, None if the format is different.

    It contains ["path", label] for each image under "labels", or a dictionary from path to label. Lists of the same
    form under other keys are further columns; they may cover only some of the images, and other files. ``where`` is
    the name of the file in messages.

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
    if isinstance(entries, dict):
        entries = [[name, value] for name, value in entries.items()]
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
    return replace(_table(where, files, values if entries else None, columns), name="labels", by_the_way=not entries)


def _is_pair(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str)


def _not_labels(where: str, found: object) -> DataError:
    return DataError(
        f"{where}: invalid entry in its labels\n  found: {str(found)[:80]}\n"
        f'  fix:   write ["path", 3] for each image, or use --labels folder or --labels none'
    )


def _table(
    where: str, names: Sequence[str], labels: Sequence[Any] | None, columns: Mapping[str, Sequence[Any]]
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
        columns={name: [cells[i] for i in rows.values()] for name, cells in columns.items()},
    )


def table_of(
    data: bytes, column: str = "", *, where: str, signs: bool = True, lines: bool = False, alone: bool = True
) -> Table:
    """Parse a text table, or lines of JSON; the other arguments are those of ``read_labels``.

    Args:
        data: contents of the file.
        column: name of the column of the labels.
        where: name of the file, for messages.
        signs: as for ``read_labels``.
        lines: whether it consists of lines of JSON.
        alone: whether the only column besides the names is the label, whatever its name.

    Raises:
        DataError: if there is no such column.
        ValueError: if the text cannot be read.
        csv.Error: if the table cannot be read.
    """
    text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    header, rows = _of_lines(text) if lines else _split(where, text)
    if short := next((row for row in rows if len(row) != len(header)), None):
        fix = "repair this row"
        raise DataError(f"{where}: expected {len(header)} cells in each row\n  found: {short[:9]}\n  fix:   {fix}")
    rows = [[cell.strip() if isinstance(cell, str) else cell for cell in row] for row in rows]
    if not any(header):
        raise ValueError("no columns")
    at = _place_of_names(header, rows)
    places = [name for i, name in enumerate(header) if i != at and name]
    usual = next((name for name in places if name.lower() in LABEL_NAMES), LABEL)
    wanted = column or (places[0] if alone and len(places) == 1 else usual)
    if wanted not in places and (column or (alone and not places)):
        raise _no_column(where, column or wanted, places)
    cells = {name: [row[header.index(name)] for row in rows] for name in places}  # of two of one name the first counts
    labels = cells.pop(wanted, None)
    if column and signs and labels and all(label in ("-1", "1") for label in labels):
        labels = [column if label == "1" else f"not {column}" for label in labels]
        return replace(
            _table(where, [row[at] for row in rows], labels, cells), name=wanted, classes=(f"not {column}", column)
        )
    return replace(_table(where, [str(row[at]) for row in rows], labels, cells), name=wanted)


def _place_of_names(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> int:
    """Return the number of the column that contains the names of the images."""
    for at in range(len(header)):
        named = sum(_is_image(row[at]) for row in rows[:_LOOKED_AT])
        if rows and 2 * named > len(rows[:_LOOKED_AT]):
            return at
    return next((at for at, name in enumerate(header) if _FILE_NAME.fullmatch(name)), 0)


def _of_lines(text: str) -> tuple[list[str], list[list[Any]]]:
    """Return the keys of all lines of JSON, and their values."""
    try:
        found = [json.loads(line) for line in text.splitlines() if line.strip()]
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if strange := next((one for one in found if not isinstance(one, dict)), None):
        raise ValueError(f"a line that is not a JSON object: {str(strange)[:80]}")
    header = list(dict.fromkeys(key for one in found for key in one))
    return header, [[one.get(key) for key in header] for one in found]


def _split(where: str, text: str) -> tuple[list[str], list[list[Any]]]:
    """Return the header and the rows of a text table."""
    said = _SEPARATOR.match(text)  # as Excel writes and reads it
    text = text[said.end() :] if said else text
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].strip().isdigit():  # CelebA: how many, names of the attributes, rows
        return ["file", *lines[1].split()], [line.split() for line in lines[2:]]
    mark = said[1] if said else next((mark for mark in ("\t", ",", ";") if lines and mark in lines[0]), "")
    cells = csv.reader(io.StringIO(text, newline=""), delimiter=mark) if mark else map(str.split, lines)
    rows = [row for row in cells if any(map(str.strip, row)) and (mark or not _is_comment(row))]
    if not rows:
        raise DataError(
            f"{where}: contains no labels\n  found: an empty file\n  fix:   write one line 'file,label' per image"
        )
    rows = rows if mark in ("", ",") else _with_points(rows)
    first = rows[0]
    named = not any(map(_is_image, first))
    named = named and not re.search(r"\d", first[0])
    more = (f"column {i}" for i in range(3, len(first) + 1))
    return [cell.strip() for cell in rows.pop(0)] if named else ["file", LABEL, *more], rows


def _with_points(rows: list[list[str]]) -> list[list[str]]:
    """Return the rows with decimal points in the columns whose numbers have decimal commas, as in Germany or France."""
    found = [list(row) for row in rows]
    for at in range(min(map(len, rows))):
        cells = [row[at].strip() for row in rows[1:]]
        if any("," in cell for cell in cells) and all(_DECIMAL.fullmatch(cell) for cell in cells):
            for row in found:
                row[at] = row[at].replace(",", ".") if _DECIMAL.fullmatch(row[at].strip()) else row[at]
    return found


def _is_comment(row: Sequence[str]) -> bool:
    return row[0].startswith("#") and not _is_image(row[0])


def _is_image(cell: object) -> bool:
    return PurePosixPath(str(cell).strip()).suffix.lower() in IMAGE_SUFFIXES
