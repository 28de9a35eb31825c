"""Labels of images, from a file that the user chooses or from the source itself."""

import dataclasses
import unicodedata
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from progan.data.columns import LABEL, Column
from progan.data.printing import counted, printable, some
from progan.data.records import Payload, Source, Table
from progan.data.sources.columns import column, without_clashes
from progan.data.sources.deflate64 import open_zip
from progan.data.sources.label_files import LABEL_NAMES, no_labels, normal, read_labels
from progan.data.sources.meaning import Kind, labelled
from progan.data.sources.names import base_of, strip_wrapper
from progan.data.sources.npy import NPY_BROKEN, load_npy
from progan.data.sources.samples import stem_of
from progan.data.sources.splits import split_of
from progan.errors import DataError

KEYWORDS = ("auto", "folder", "none")
_KINDS: dict[str, Kind] = {"class": "class", "number": "number"}


class Wanted(NamedTuple):
    """A value of --labels, taken apart: KEYWORD, FILE, FILE:COLUMN or COLUMN, each perhaps with :class or :number."""

    keyword: str
    file: Path | None
    column: str
    kind: Kind


def label(source: Source, labels: str = "auto", *, skip: bool = False) -> Source:
    """Return the source with the requested labels and further columns.

    What the labels mean is decided by ``meaning``. Files are matched by their path inside the source, with or without
    the folders that all images have in common, otherwise by their base name if only one image has it, with or without
    its extension. A file without a column of labels leaves the classes of the source as they are.

    Args:
        source: images with the labels of their folders or arrays.
        labels: 'auto' (labels of a label file inside the source if there is one, else those of the source), 'folder'
            (labels of the source, which must exist), 'none', a label file as FILE or FILE:COLUMN, or a COLUMN of the
            source. With ':class' or ':number' behind any of these, every value is a class, or must be a number.
        skip: whether to ignore labels of missing files and skip images without a label, instead of failing.

    Raises:
        DataError: if the labels cannot be read, or images and labels do not match.
    """
    wanted = split_labels(labels)
    if wanted.keyword == "none":
        return dataclasses.replace(source.bare(), columns=())
    if wanted.file:
        source = _from_file(source, wanted.file, wanted.column, wanted.kind, skip=skip)
    else:
        own = source.own_labels() if wanted.keyword != "folder" and source.own_labels else None
        if own is not None:
            if own.labels is not None or not own.files:  # folders are then not classes
                source = source.bare() if own.files else source.bare("none, as the dataset.json says")
            if own.files:
                source = _attach(source, own, f"labels in {source.description}", "auto", skip=skip)
        if wanted.column or wanted.kind != "auto":
            source = _again(source, wanted.column or _own_name(source), wanted.kind)
    if wanted.keyword == "folder" and not source.classes:
        raise DataError(
            f"{source.description}: no labels, but --labels folder requires them\n"
            f"  found: {len(source)} images such as {source.names[0]}\n"
            f"  fix:   put every image into a subfolder named after its class, with at least two classes"
        )
    source = _without_unlabelled(source, skip=skip)
    taken = () if source.labels is None else (LABEL,)
    notes = [
        f"column {one.name!r} tells splits ({some(one.classes)}), but all images are used"
        for one in source.columns
        if len({split_of(name) for name in one.classes} - {None}) > 1 and all(map(split_of, one.classes))
    ]
    return dataclasses.replace(source, columns=without_clashes(source.columns, taken), notes=(*source.notes, *notes))


def label_files(labels: str) -> tuple[Path, ...]:
    """Return the file given by --labels, if it is a file."""
    file = split_labels(labels).file
    return (file,) if file else ()


def split_labels(labels: str) -> Wanted:
    """Take a value of --labels apart. What is no file is a column of the source."""
    before, _, after = labels.rpartition(":")
    kind = _KINDS.get(after, "auto") if before and not Path(labels).is_file() else "auto"
    labels = labels if kind == "auto" else before
    if labels in KEYWORDS:
        return Wanted(labels, None, "", kind)
    before, _, after = labels.rpartition(":")
    for path, name in ((Path(labels), ""), (Path(before or labels), after)):
        if path.is_file():
            return Wanted("", path, name, kind)
    return Wanted("", None, labels, kind)


def _from_file(source: Source, path: Path, name: str, kind: Kind, *, skip: bool) -> Source:
    if path.suffix.lower() in (".npy", ".npz"):
        return _from_array(source, path, kind)
    known, table = source.columns, read_labels(path, name, signs=kind != "number")
    source = _attach(source, table, str(path), kind, skip=skip)
    if table.by_the_way and source.columns == known:
        raise no_labels(path)
    if table.labels is None and table.columns:
        names = f"{some(list(table.columns), 5)} (--labels FILE:COLUMN takes one)"
        note = f"{path.name} has no column {LABEL!r}, but others: {names}"
        return dataclasses.replace(source, notes=(*source.notes, note))
    return source


def _from_array(source: Source, path: Path, kind: Kind) -> Source:
    """Return the source with the labels in an array, whose rows are in the order in which the images are read."""
    try:
        values = _only_array(path)
    except (*NPY_BROKEN, OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        fix = "save it again with numpy.save, without objects"
        raise DataError(f"{path}: not a readable array of labels ({error})\n  fix:   {fix}") from error
    if values.shape[:1] != (len(source),):
        raise DataError(
            f"{path}: not the labels of these images\n"
            f"  found: {values.dtype} of shape {list(values.shape)}, {counted(len(source), 'image')} such as "
            f"{printable(source.names[0], 200)}\n"
            f"  fix:   save one row for each image, in the order in which they are read, or use a table with the names "
            f"of the images"
        )
    cells = values.tolist() if values.dtype.kind in "SU" else values
    found = labelled(dataclasses.replace(source.bare(), description=str(path)), cells, name=LABEL, kind=kind)
    ends = f"{printable(source.names[0], 200)} ... {printable(source.names[-1], 200)}"
    order = f"rows of {path.name} are taken in the order of the images: {ends}"
    return dataclasses.replace(found, description=source.description, notes=(*found.notes, order))


def _only_array(path: Path) -> np.ndarray:
    if path.suffix.lower() == ".npy":
        with path.open("rb") as file:
            return load_npy(file, path.stat().st_size)
    with open_zip(path) as archive:
        (one,) = archive.infolist()  # ValueError if there are several
        return load_npy(archive.open(one), one.file_size)


def _own_name(source: Source) -> str:
    """Return the name of the label of a source, which is a column if it is a number."""
    names = [one.name for one in source.columns if one.name.lower() in LABEL_NAMES]
    return names[0] if names and source.labels is None else LABEL


def _again(source: Source, name: str, kind: Kind) -> Source:
    """Return the source with one of its columns as the label."""
    cells: Sequence[Any] | np.ndarray
    declared: tuple[str, ...] = ()
    if source.cells and name in (LABEL, source.cells.name):
        name, cells, declared = source.cells
    elif name == LABEL and source.labels is not None:
        cells = [None if number < 0 else source.classes[number] for number in source.labels]
    elif one := next((one for one in source.columns if one.name == name), None):
        cells = _names(one) if one.classes and one.values.ndim == 1 else one.values
    else:
        found = ", ".join(printable(one.name) for one in source.columns) or "no columns"
        found = f"no such file, and the source has {found}" if name != LABEL else found
        raise DataError(
            f"labels {name!r}: neither a file nor a column of the source\n"
            f"  found: {found}\n"
            f"  fix:   use --labels FILE, FILE:COLUMN or COLUMN, perhaps with :class or :number behind it, or one of "
            f"{', '.join(KEYWORDS)}"
        )
    others = tuple(one for one in source.columns if one.name != name)
    bare = dataclasses.replace(source.bare(), columns=others)
    return labelled(bare, cells, name=name, declared=declared, kind=kind)


def _names(one: Column) -> list[str]:
    return [one.classes[i] for i in one.values.tolist()]


def _attach(source: Source, table: Table, origin: str, kind: Kind, *, skip: bool) -> Source:
    """Return the source with the labels and columns of a table."""
    rows, unused = _match(source.names, table, source.unused)
    missing = [i for i, row in enumerate(rows) if row is None]
    if unused and len(missing) == len(rows) and not table.by_the_way:
        raise DataError(
            f"{origin}: none of its files is an image of {source.description}\n"
            f"  found: labels of files such as {printable(unused[0], 200)}, images such as "
            f"{printable(source.names[0], 200)}\n"
            f"  fix:   correct the file names, or use another label file or --labels none"
        )
    if unused and not skip and not table.by_the_way:
        fix = "correct the file names, or ignore these labels with --on-error skip"
        what = "is for a file that does not exist" if len(unused) == 1 else "are for files that do not exist"
        what = f"{len(unused)} of {len(table.files)} labels {what}"
        raise DataError(f"{origin}: {what}\n  found: {printable(unused[0], 200)}\n  fix:   {fix}")
    if missing and not table.by_the_way and (not skip or len(missing) == len(rows)):
        raise _unlabelled(origin, len(missing), len(rows), source.names[missing[0]])
    source = _with_columns(source, _columns(table, rows))
    if table.labels is None:
        return source
    cells = [None if row is None else table.labels[row] for row in rows]
    bare = dataclasses.replace(source.bare(), description=origin)
    found = labelled(bare, cells, name=table.name, declared=table.classes, kind=kind)
    return dataclasses.replace(found, description=source.description)


def _by_base(names: Iterable[str]) -> dict[str, list[str]]:
    """Return all paths, with and without extension, by their base names."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        for path in (name, stem_of(name)):
            found[base_of(path)].append(f"/{path}")
    return found


def _is_end(file: str, known: Mapping[str, Sequence[str]]) -> bool:
    """Return whether a listed file is the end of one of these paths."""
    return any(path.endswith(f"/{file}") for path in known.get(base_of(file), ()))


def _without_unlabelled(source: Source, *, skip: bool) -> Source:
    """Refuse images that have no class although others have one, or replace them by the reason to skip them."""
    missing = set() if source.labels is None else set(np.flatnonzero(np.asarray(source.labels) < 0).tolist())
    if not missing:
        return source
    if not skip or len(missing) == len(source):
        first = min(missing)
        sign = source.cells is not None and source.cells.values[first] in (-1, "-1")
        raise _unlabelled(source.description, len(missing), len(source), source.names[first], sign=sign)
    inner = source.read

    def read(positions: Sequence[int]) -> Iterator[Payload]:
        for i, data in zip(positions, inner(positions), strict=True):
            yield DataError("no label") if i in missing else data

    return dataclasses.replace(source, read=read)


def _unlabelled(origin: str, missing: int, count: int, first: str, *, sign: bool = False) -> DataError:
    fix = "add the missing labels, omit these images with --on-error skip, or omit all labels with --labels none"
    fix = f"use --labels auto:class if -1 is a class; or {fix}" if sign else fix
    what = f"{missing} of {count} images {'has' if missing == 1 else 'have'} no label{', but -1' if sign else ''}"
    return DataError(f"{origin}: {what}\n  found: {printable(first, 200)}\n  fix:   {fix}")


def _with_columns(source: Source, columns: Sequence[Column]) -> Source:
    """Return the source with more columns, which replace its own columns of the same names."""
    others = [other for other in source.columns if other.name not in {one.name for one in columns}]
    return dataclasses.replace(source, columns=(*columns, *others))


def _columns(table: Table, rows: Sequence[int | None]) -> list[Column]:
    """Return the columns of a table for every image.

    Images without a row have missing values if the table may omit images, else zeros, because they are skipped later.
    """
    known = np.array([table.by_the_way or row is not None for row in rows], bool)
    places = [row for row in rows if table.by_the_way or row is not None]
    found = []
    for name, cells in table.columns.items():
        one = column(name, [None if place is None else cells[place] for place in places])
        if one is not None:
            values = np.zeros((len(rows), *one.values.shape[1:]), one.values.dtype)
            values[known] = one.values
            found.append(dataclasses.replace(one, values=values))
    return found


def _by_stem(names: Sequence[str]) -> dict[str, int]:
    """Return the images by their paths and base names without extension, such as the ids of Kaggle's tables."""
    found: dict[str, int] = {}
    for paths in (list(map(stem_of, strip_wrapper(list(names)))), [stem_of(base_of(name)) for name in names]):
        counts = Counter(paths)
        found = {path: i for i, path in enumerate(paths) if counts[path] == 1} | found
    return found


def _composed(path: str) -> str:
    return unicodedata.normalize("NFC", path)  # a Mac may write e and an accent where a table has one letter


def _match(names: Sequence[str], table: Table, left_out: Sequence[str]) -> tuple[list[int | None], list[str]]:
    """Return the row of every image in a table, None without one, and the listed files that match no image at all."""
    position: dict[str, int] = {}
    counts = Counter(map(base_of, names))
    for i, (name, inner) in enumerate(zip(names, strip_wrapper(list(names)), strict=True)):
        if counts[base := base_of(name)] == 1:
            position[base] = i
        position[inner] = i
    position |= {normal(name): i for i, name in enumerate(names)}  # whole paths win
    position = _by_stem(names) | position
    position = {_composed(key): i for key, i in position.items() if not key.isascii()} | position
    found: list[int | None] = [None] * len(names)
    labels, unused = table.labels, []
    order = sorted(range(len(table.files)), key=lambda row: table.files[row] not in position)  # whole paths first
    strange = left_out and any(file not in position for file in table.files)
    others, own = _by_base(left_out if strange else ()), _by_base(names if strange else ())
    for row in order:
        file = table.files[row]
        if strange and file not in position and _is_end(file, others) and not _is_end(file, own):
            continue
        i = position.get(file, position.get(base_of(file)))
        if i is None and not file.isascii():
            i = position.get(_composed(file), position.get(_composed(base_of(file))))
        before = None if i is None else found[i]
        if i is None or (before is not None and (labels is None or labels[before] != labels[row])):
            unused.append(file)
        elif before is None:
            found[i] = row
    return found, unused
