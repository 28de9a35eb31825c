"""Labels of images: from a CSV file, StyleGAN's dataset.json, CelebA's attributes, or what lies inside the source."""

import csv
import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from progan.data.records import IMAGE_SUFFIXES, Payload, Source, strip_wrapper
from progan.errors import DataError

_WHOLE = re.compile(r"-?[0-9]+")

KEYWORDS = ("auto", "folder", "none")
Values = Mapping[str, str | int]
"""Name or number of the class of each file."""


def label(source: Source, labels: str = "auto", *, skip: bool = False) -> Source:
    """The source with the labels that are wanted.

    Files are matched by their path inside the source, with or without the folders that all images have in common,
    else by their base name if only one image has it. Classes are numbered in the order of their names, or of their
    numbers if all of them are whole numbers.

    Args:
        source: the images, with the labels of their folders or arrays.
        labels: 'auto' (those of a label file inside the source if there is one, else those of the source), 'folder'
            (insists on labels of the source), 'none', or a CSV or JSON file, FILE or FILE:COLUMN.
        skip: ignore labels of missing files, and let images without a label be skipped, instead of failing.

    Raises:
        DataError: if the labels cannot be read, or images and labels do not match.
    """
    if labels == "none":
        return dataclasses.replace(source, labels=None, classes=())
    if labels == "folder" and not source.classes:
        raise DataError(
            f"{source.description}: no labels, but --labels folder asks for them\n"
            f"  found: {len(source)} images like {source.names[0]}\n"
            f"  fix:   put every image into a sub-folder named after its class, at least two of them"
        )
    if labels not in KEYWORDS:
        path, column = split_column(labels)
        values, classes = read_labels(path, column)
        return _attach(source, values, classes, str(path), skip=skip)
    if labels == "auto" and source.own_labels and (values := source.own_labels()) is not None:
        if not values:  # a dataset.json without labels: its folders are no classes either
            return dataclasses.replace(source, labels=None, classes=())
        return _attach(source, values, (), f"the labels inside {source.description}", skip=skip)
    return source


def label_files(labels: str) -> tuple[Path, ...]:
    """The file that --labels names, if it names one."""
    return () if labels in KEYWORDS else (split_column(labels)[0],)


def split_column(labels: str) -> tuple[Path, str]:
    """FILE and COLUMN of FILE:COLUMN; the column is empty if there is none.

    Raises:
        DataError: if there is no such file.
    """
    before, _, after = labels.rpartition(":")
    for path, column in ((Path(labels), ""), (Path(before or labels), after)):
        if path.is_file():
            return path, column
    raise DataError(
        f"labels {labels!r}: no such file\n"
        f"  found: neither one of {', '.join(KEYWORDS)} nor a file\n"
        f"  fix:   --labels FILE or --labels FILE:COLUMN, with a CSV file of 'file,label' or a dataset.json"
    )


def read_labels(path: Path, column: str = "") -> tuple[Values, tuple[str, ...]]:
    """Values of a label file, and its classes if their order is given.

    Raises:
        DataError: if it cannot be read, or has no such column.
    """
    try:
        data = path.read_bytes()
        if path.suffix.lower() == ".json":
            values = dataset_json(data)
            if not values:
                raise DataError(f"{path}: no labels inside\n  fix:   --labels none, or name another file")
            return values, ()
        return _from_table(path, data.decode("utf-8-sig"), column)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: not a readable file of labels ({error})\n  fix:   save it as UTF-8 text") from error


def dataset_json(data: bytes) -> dict[str, str | int] | None:
    """Labels of StyleGAN's dataset.json; empty if it says that there are none, None if it is something else.

    Raises:
        DataError: if labels are not class numbers.
        ValueError: if it is not JSON.
    """
    try:
        content = json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(content, dict) or "labels" not in content:
        return None
    values: dict[str, str | int] = {}
    for entry in content["labels"] or ():
        name, value = entry if isinstance(entry, list) and len(entry) == 2 else ("", None)
        if not isinstance(name, str) or not isinstance(value, (int, str)):
            raise DataError(
                f"dataset.json: not labels of classes\n  found: {str(entry)[:80]}\n"
                f'  fix:   write ["path", 3] for each image, or use --labels folder or none'
            )
        _add(values, name, value)
    return values


def _add(values: dict[str, str | int], name: str, value: str | int) -> None:
    if values.setdefault(_normal(name), value) != value:
        raise DataError(f"two labels for {name!r}: {values[_normal(name)]!r} and {value!r}\n  fix:   keep one of them")


def _normal(name: str) -> str:
    return str(PurePosixPath(name.strip().replace("\\", "/")))


def _from_table(path: Path, text: str, column: str) -> tuple[Values, tuple[str, ...]]:
    """The first column names the file; the one that is wanted, or the only other one, its class."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].strip().isdigit():  # CelebA: how many, names of the attributes, rows
        header, rows = ["file", *lines[1].split()], [line.split() for line in lines[2:]]
    else:
        mark = next((mark for mark in ("\t", ",", ";") if lines and mark in lines[0]), "")
        rows = list(csv.reader(lines, delimiter=mark)) if mark else [line.split() for line in lines]
        if not rows:
            raise DataError(
                f"{path}: no labels inside\n  found: an empty file\n  fix:   a line of 'file,label' for each image"
            )
        first = rows[0][0].strip()
        named = PurePosixPath(first).suffix.lower() not in IMAGE_SUFFIXES and not re.search(r"\d", first)
        header = [cell.strip() for cell in rows.pop(0)] if named else ["file", "label"]
    position = header.index(column) if column in header else 1 if not column and len(header) == 2 else 0
    if not position:
        raise DataError(
            f"{path}: {f'no column {column!r}' if column else 'several columns'}\n"
            f"  found: {', '.join(header[1:9])}{', ...' if len(header) > 9 else ''}\n"
            f"  fix:   --labels {path}:COLUMN"
        )
    values: dict[str, str | int] = {}
    for row in rows:
        if len(row) != len(header):
            raise DataError(f"{path}: wanted rows of {len(header)} cells\n  found: {row[:9]}\n  fix:   repair that row")
        if value := row[position].strip():
            _add(values, row[0], value)
    two = bool(column) and set(values.values()) <= {"-1", "1"}
    names = {"-1": f"not {column}", "1": column}
    return ({k: names[str(v)] for k, v in values.items()}, tuple(names.values())) if two else (values, ())


def _attach(source: Source, values: Values, classes: tuple[str, ...], origin: str, *, skip: bool) -> Source:
    found, unused = _match(source.names, values)
    unlabelled = [i for i, value in enumerate(found) if value is None]
    hint = f"\n  fix:   complete {origin}, or leave such files out with --on-error skip"
    if unused and not skip:
        raise DataError(f"{origin}: {len(unused)} labels are of files that are not there\n  found: {unused[0]}{hint}")
    if unlabelled and (not skip or len(unlabelled) == len(found)):
        first = source.names[unlabelled[0]]
        raise DataError(f"{origin}: {len(unlabelled)} of {len(found)} images have no label\n  found: {first}{hint}")
    classes = classes or _classes([value for value in found if value is not None])
    number = {name: i for i, name in enumerate(classes)}
    missing = set(unlabelled)

    def read(positions: Sequence[int]) -> Iterator[Payload]:
        for i, data in zip(positions, source.read(positions), strict=True):
            yield DataError(f"has no label in {origin}") if i in missing else data

    labels = [-1 if value is None else number[_text(value)] for value in found]
    return dataclasses.replace(source, labels=labels, classes=classes, read=read if missing else source.read)


def _match(names: Sequence[str], values: Values) -> tuple[list[str | int | None], list[str]]:
    """The value of every image, None without one, and the keys that belong to no image."""
    position: dict[str, int] = {}
    counts = Counter(PurePosixPath(name).name for name in names)
    for i, (name, inner) in enumerate(zip(names, strip_wrapper(list(names)), strict=True)):
        base = PurePosixPath(name).name
        position |= {base: i} if counts[base] == 1 else {}
        position |= {inner: i}
    position |= {_normal(name): i for i, name in enumerate(names)}  # whole paths win
    found: list[str | int | None] = [None] * len(names)
    unused = []
    for key, value in sorted(values.items(), key=lambda item: item[0] not in position):  # whole paths before names
        i = position.get(key, position.get(PurePosixPath(key).name))
        if i is None or found[i] not in (None, value):
            unused.append(key)
        else:
            found[i] = value
    return found, unused


def _text(value: str | int) -> str:
    """Whole numbers in one way of writing.

    >>> _text("007"), _text(7), _text("seven")
    ('7', '7', 'seven')
    """
    text = str(value).strip()
    return str(int(text)) if _WHOLE.fullmatch(text) else text


def _classes(values: Sequence[str | int]) -> tuple[str, ...]:
    """Distinct classes, by number if all are numbers, else by name.

    >>> _classes(["10", "9"]), _classes(["10", "b", "9"])
    (('9', '10'), ('10', '9', 'b'))
    """
    names = {_text(value) for value in values}
    numbers = all(_WHOLE.fullmatch(name) for name in names)
    return tuple(sorted(names, key=int)) if numbers else tuple(sorted(names))
