"""Labels of images, from a file that the user chooses or from the source itself."""

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from progan.data.columns import LABEL, Column
from progan.data.records import Payload, Source, Table
from progan.data.sources.columns import column, without_clashes
from progan.data.sources.label_files import no_labels, normal, read_labels
from progan.data.sources.names import strip_wrapper
from progan.errors import DataError

_WHOLE = re.compile(r"-?[0-9]+")

KEYWORDS = ("auto", "folder", "none")


def label(source: Source, labels: str = "auto", *, skip: bool = False) -> Source:
    """Return the source with the requested labels and further columns.

    Files are matched by their path inside the source, with or without the folders that all images have in common,
    otherwise by their base name if only one image has it. Classes are numbered in the order of their names, or by
    value if all of them are whole numbers. A file without a column of classes leaves the classes of the source as
    they are.

    Args:
        source: images with the labels of their folders or arrays.
        labels: 'auto' (labels of a label file inside the source if there is one, else those of the source), 'folder'
            (labels of the source, which must exist), 'none', or a CSV or JSON file as FILE or FILE:COLUMN.
        skip: whether to ignore labels of missing files and skip images without a label, instead of failing.

    Raises:
        DataError: if the labels cannot be read, or images and labels do not match.
    """
    if labels == "none":
        return dataclasses.replace(source, labels=None, classes=(), columns=())
    if labels == "folder" and not source.classes:
        raise DataError(
            f"{source.description}: no labels, but --labels folder requires them\n"
            f"  found: {len(source)} images such as {source.names[0]}\n"
            f"  fix:   put every image into a subfolder named after its class, with at least two classes"
        )
    if labels not in KEYWORDS:
        path, name = split_column(labels)
        known, table = source.columns, read_labels(path, name)
        source = _attach(source, table, str(path), skip=skip)
        if table.by_the_way and source.columns == known:
            raise no_labels(path)
    elif labels == "auto" and source.own_labels and (table := source.own_labels()) is not None:
        source = dataclasses.replace(source, labels=None, classes=())  # folders are then not classes
        if table.files:
            source = _attach(source, table, f"labels in {source.description}", skip=skip)
    taken = () if source.labels is None else (LABEL,)
    return dataclasses.replace(source, columns=without_clashes(source.columns, taken))


def label_files(labels: str) -> tuple[Path, ...]:
    """Return the file given by --labels, if it is a file."""
    return () if labels in KEYWORDS else (split_column(labels)[0],)


def split_column(labels: str) -> tuple[Path, str]:
    """Split FILE:COLUMN into file and column; the column is empty if there is none.

    Raises:
        DataError: if there is no such file.
    """
    before, _, after = labels.rpartition(":")
    for path, name in ((Path(labels), ""), (Path(before or labels), after)):
        if path.is_file():
            return path, name
    raise DataError(
        f"labels {labels!r}: no such file\n"
        f"  found: neither an existing file nor one of {', '.join(KEYWORDS)}\n"
        f"  fix:   use --labels FILE or --labels FILE:COLUMN, with a CSV file of 'file,label' or a dataset.json"
    )


def _attach(source: Source, table: Table, origin: str, *, skip: bool) -> Source:
    rows, unused = _match(source.names, table)
    if table.by_the_way:
        return _with_columns(source, _columns(table, rows, missing=True))
    unlabelled = [i for i, row in enumerate(rows) if row is None]
    if unused and not skip:
        fix = "correct the file names, or ignore these labels with --on-error skip"
        what = f"{len(unused)} of {len(table.files)} labels are for files that do not exist"
        raise DataError(f"{origin}: {what}\n  found: {unused[0]}\n  fix:   {fix}")
    if unlabelled and (not skip or len(unlabelled) == len(rows)):
        first = source.names[unlabelled[0]]
        fix = "add the missing labels, or omit these images with --on-error skip"
        what = f"{len(unlabelled)} of {len(rows)} images have no label"
        raise DataError(f"{origin}: {what}\n  found: {first}\n  fix:   {fix}")
    missing, inner = set(unlabelled), source.read

    def read(positions: Sequence[int]) -> Iterator[Payload]:
        for i, data in zip(positions, inner(positions), strict=True):
            yield DataError(f"no label in {origin}") if i in missing else data

    source = dataclasses.replace(_with_columns(source, _columns(table, rows)), read=read if missing else inner)
    if table.labels is None:
        return source
    values = [None if row is None else table.labels[row] for row in rows]
    classes = table.classes or _classes([value for value in values if value is not None])
    number = {name: i for i, name in enumerate(classes)}
    labels = [-1 if value is None else number[_text(value)] for value in values]
    return dataclasses.replace(source, labels=labels, classes=classes)


def _with_columns(source: Source, columns: Sequence[Column]) -> Source:
    """Return the source with more columns, which replace its own columns of the same names."""
    others = [other for other in source.columns if other.name not in {one.name for one in columns}]
    return dataclasses.replace(source, columns=(*columns, *others))


def _columns(table: Table, rows: Sequence[int | None], *, missing: bool = False) -> list[Column]:
    """Return the columns of a table for every image.

    Images without a row have missing values if ``missing`` is set, else zeros, because they are skipped later.
    """
    known = np.array([missing or row is not None for row in rows], bool)
    places = [row for row in rows if missing or row is not None]
    found = []
    for name, cells in table.columns.items():
        one = column(name, [None if place is None else cells[place] for place in places])
        if one is not None:
            values = np.zeros((len(rows), *one.values.shape[1:]), one.values.dtype)
            values[known] = one.values
            found.append(dataclasses.replace(one, values=values))
    return found


def _match(names: Sequence[str], table: Table) -> tuple[list[int | None], list[str]]:
    """Return the row of every image in a table, None without one, and the listed files that match no image."""
    position: dict[str, int] = {}
    counts = Counter(PurePosixPath(name).name for name in names)
    for i, (name, inner) in enumerate(zip(names, strip_wrapper(list(names)), strict=True)):
        base = PurePosixPath(name).name
        position |= {base: i} if counts[base] == 1 else {}
        position |= {inner: i}
    position |= {normal(name): i for i, name in enumerate(names)}  # whole paths win
    found: list[int | None] = [None] * len(names)
    labels, unused = table.labels, []
    order = sorted(range(len(table.files)), key=lambda row: table.files[row] not in position)  # whole paths first
    for row in order:
        file = table.files[row]
        i = position.get(file, position.get(PurePosixPath(file).name))
        before = None if i is None else found[i]
        if i is None or (before is not None and (labels is None or labels[before] != labels[row])):
            unused.append(file)
        elif before is None:
            found[i] = row
    return found, unused


def _text(value: str | int) -> str:
    """Return a label as text, with whole numbers in a canonical form.

    >>> _text("007"), _text(7), _text("seven")
    ('7', '7', 'seven')
    """
    text = str(value).strip()
    return str(int(text)) if _WHOLE.fullmatch(text) else text


def _classes(values: Sequence[str | int]) -> tuple[str, ...]:
    """Return the distinct classes, sorted by value if all are whole numbers, else by name.

    >>> _classes(["10", "9"]), _classes(["10", "b", "9"])
    (('9', '10'), ('10', '9', 'b'))
    """
    names = {_text(value) for value in values}
    numbers = all(_WHOLE.fullmatch(name) for name in names)
    return tuple(sorted(names, key=int)) if numbers else tuple(sorted(names))
