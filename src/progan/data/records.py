"""Building blocks of every data source: records with their labels, and sources that can be concatenated."""

import bisect
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np

from progan.data.columns import LABEL, Column
from progan.errors import DataError

Payload = Path | bytes | np.ndarray | DataError
"""A file to open, an encoded image, uint8 pixels [H, W] or [H, W, 3 or 4], or the reason why it cannot be read."""
Reader = Callable[[Sequence[int]], Iterator[Payload]]
"""Function that yields the payloads of the images at ascending positions."""
_NUMBER = re.compile(r"[+-]?[0-9]{1,400}(\.[0-9]{1,400})?")


def image_kind(shape: Sequence[int]) -> tuple[bool, tuple[int, int]]:
    """Return whether pixels [H, W] or [H, W, C] are grayscale, and their height and width.

    >>> image_kind((4, 6)), image_kind((4, 6, 3))
    ((True, (4, 6)), (False, (4, 6)))
    """
    return len(shape) == 2, (shape[0], shape[1])


@dataclass(frozen=True)
class Record:
    """One image of a source, not decoded yet."""

    name: str
    """Path inside the source, with forward slashes."""
    data: Payload
    label: int | None
    """Number of its class, or None without labels."""


class Names(Sequence[str]):
    """Sequence of names that are computed on demand, so that those of millions of images need no memory."""

    def __init__(self, count: int, name: Callable[[int], str]) -> None:
        self._positions, self._name = range(count), name

    def __len__(self) -> int:
        return len(self._positions)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self._name(i) for i in self._positions[index]]
        return self._name(self._positions[index])


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What to use of a source, as chosen by the options of 'progan prepare'; a choice without effect is refused."""

    split: str = "train"
    """'train', 'val', 'test' or 'all' of a source that has splits."""
    column: str = ""
    """Column of the images in a table, or array of the images in a file of several; '' chooses one by its name."""
    member: str = ""
    """Picture to use where a sample has several, such as 'jpg' or 'seg.png'; '' chooses one by its name."""
    exclude: tuple[str, ...] = ()
    """Patterns of the names of images to leave out, such as '*_mask.png' or 'masks'."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Contents of a label file."""

    files: Sequence[str]
    """Names of the images, without duplicates."""
    labels: Sequence[Any] | None = None
    """Label of each image, or None if the file contains only further columns."""
    name: str = LABEL
    """Name of the column of the labels."""
    classes: tuple[str, ...] = ()
    """Names of all classes, if the file declares them."""
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Further cells of each image, by column: text, numbers, lists of numbers, or None if missing."""
    by_the_way: bool = False
    """Whether the file may omit images of the source and list files that are not in it."""


class Cells(NamedTuple):
    """Labels as a source has them, before it was decided what they mean."""

    name: str
    """Name of their column."""
    values: Sequence[Any] | np.ndarray
    """Label of every image; an array is [N] or [N, K]."""
    declared: tuple[str, ...] = ()
    """Names of all classes, if the source has a list of them."""

    def of(self, rows: np.ndarray) -> "Cells":
        """Return the labels of the images in ``rows`` only, in that order."""
        some = self.values[rows] if isinstance(self.values, np.ndarray) else [self.values[i] for i in rows.tolist()]
        return self._replace(values=some)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Images in one fixed order, read on demand."""

    description: str
    """Kind and name of the source, for messages."""
    names: Sequence[str]
    """Path of every image inside the source."""
    labels: Sequence[int] | None = None
    """Number of every image's class, -1 for images without a label, or None if there are no labels at all."""
    classes: tuple[str, ...] = ()
    """Names of the classes; empty without labels."""
    columns: tuple[Column, ...] = ()
    """Further attributes of the images, one row for each image in the same order."""
    cells: Cells | None = None
    """What the labels were made of, if they are not those of folders."""
    default_fit: str = "crop"
    """How images are fitted to the requested size if the user does not choose: 'crop' or 'pad'."""
    read: Reader
    """Yields the payloads of the images at the given ascending positions."""
    alike: tuple[bool, tuple[int, int]] | None = None
    """Whether the images are grayscale, and their height and width, if these are known to be the same for all."""
    own_labels: Callable[[], Table | None] | None = None
    """Reads the labels stored with the images; returns None if there are none."""
    unused: Sequence[str] = ()
    """Paths of images that were left out: excluded, of another split, or other pictures of a sample."""
    notes: tuple[str, ...] = ()
    """What was chosen or left out in reading the source, a sentence each, for the summary."""
    heeds: frozenset[str] = frozenset()
    """Fields of ``Choice`` that this source follows besides ``exclude``: 'split', 'column' or 'member'."""

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Record]:
        return self.records(range(len(self)))

    def records(self, positions: Sequence[int]) -> Iterator[Record]:
        """Yield the images at ``positions`` (ascending)."""
        for i, data in zip(positions, self.read(positions), strict=True):
            yield Record(self.names[i], data, None if self.labels is None else int(self.labels[i]))

    def bare(self, note: str = "") -> "Source":
        """Return the source without its labels and the notes about them, but with a note of that."""
        others = tuple(one for one in self.notes if not one.startswith("labels:"))
        return replace(
            self, labels=None, classes=(), cells=None, notes=(*others, f"labels: {note}") if note else others
        )

    def first(self, count: int) -> "Source":
        """Return a source of the first ``count`` images, or of all if there are fewer."""
        if len(self) <= count:
            return self
        return replace(self.only(np.arange(count)), description=f"first {count} of {self.description}")

    def only(self, rows: np.ndarray) -> "Source":
        """Return a source of the images at the given ascending positions."""
        labels = None if self.labels is None else np.asarray(self.labels, np.int64)[rows].tolist()
        return replace(
            self,
            names=Names(len(rows), lambda i: self.names[int(rows[i])]),
            labels=labels,
            columns=tuple(column.of(rows) for column in self.columns),
            cells=self.cells and self.cells.of(rows),
            read=lambda positions: self.read([int(rows[i]) for i in positions]),
        )

    def sample(self, count: int) -> Iterator[Record]:
        """Yield at most ``count`` images, evenly spread over the source."""
        positions = np.unique(np.linspace(0, len(self) - 1, count).round().astype(int))
        return self.records(positions.tolist())


def as_bytes(data: Payload) -> bytes:
    """Return the payload of a file as bytes; raise its DataError if it could not be read."""
    if isinstance(data, Path):
        try:
            return data.read_bytes()
        except OSError as error:
            raise DataError(f"{data}: cannot be read ({error.strerror})") from error
    if not isinstance(data, bytes):
        raise data if isinstance(data, DataError) else TypeError(type(data))
    return data


def numbered(file: str, count: int, read: Reader, *, first: int = 0, **facts: Any) -> Source:
    """Return a source of images named by their positions in a file, from ``first``: FILE[0], FILE[1] and so on."""
    return Source(description=file, names=Names(count, lambda i: f"{file}[{first + i}]"), read=read, **facts)


def within(folder: str, source: Source) -> Source:
    """Return the source with a folder prepended to all names."""
    own = source.own_labels
    return replace(
        source,
        names=Names(len(source), lambda i: f"{folder}/{source.names[i]}"),
        unused=Names(len(source.unused), lambda i: f"{folder}/{source.unused[i]}"),
        own_labels=own and (lambda: _moved(folder, own())),
    )


def _moved(folder: str, table: Table | None) -> Table | None:
    return table and replace(table, files=[f"{folder}/{file}" for file in table.files])


def categories(description: str, parts: Sequence[tuple[str, str, Source]]) -> Source:
    """Concatenate several sources, each of which is a class.

    Args:
        description: kind and name of the result.
        parts: folder to prepend to the names, class, and images of each source. Several sources may have the same
            class; if all have the same class, the result has no labels.
    """
    several = len({kind for _, kind, _ in parts}) > 1

    def part(folder: str, kind: str, source: Source) -> Source:
        labels, classes = ([0] * len(source), (kind,)) if several else (None, ())
        return replace(within(folder, source), labels=labels, classes=classes, own_labels=None)

    return joined(description, [part(*facts) for facts in parts])


def joined(description: str, parts: Sequence[Source]) -> Source:
    """Concatenate several sources, keeping the labels and columns that all of them have."""
    ends = [0, *itertools.accumulate(map(len, parts))]

    def place(i: int) -> tuple[int, int]:
        """Return the part that contains an image, and the position of the image in it."""
        part = bisect.bisect_right(ends, i) - 1
        return part, i - ends[part]

    def name(i: int) -> str:
        part, row = place(i)
        return parts[part].names[row]

    def read(positions: Sequence[int]) -> Iterator[Payload]:
        for part, group in itertools.groupby(map(place, positions), key=lambda at: at[0]):
            yield from parts[part].read([row for _, row in group])

    labels = _joined_labels(parts)
    alike = {part.alike for part in parts}
    return Source(
        description=description,
        names=Names(ends[-1], name),
        labels=labels,
        classes=() if labels is None else common_classes([part.classes for part in parts]),
        columns=_joined_columns([part.columns for part in parts]),
        default_fit=parts[0].default_fit if parts else "crop",
        read=read,
        alike=alike.pop() if len(alike) == 1 else None,
        own_labels=(lambda: _joined_own(parts)) if any(part.own_labels for part in parts) else None,
        unused=[name for part in parts for name in part.unused],
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        heeds=frozenset().union(*(part.heeds for part in parts)),
    )


def _joined_labels(parts: Sequence[Source]) -> list[int] | None:
    found = [part.labels for part in parts if part.labels is not None]
    if len(found) < len(parts):
        return None
    classes = common_classes([part.classes for part in parts])
    pairs = zip(parts, found, strict=True)
    arrays = [renumbered(np.array(labels, np.int64), part.classes, classes) for part, labels in pairs]
    return [label for array in arrays for label in array.tolist()]


def _joined_own(parts: Sequence[Source]) -> Table | None:
    """Read the labels stored with the images of all parts; None if there are none."""
    found = [part.own_labels() for part in parts if part.own_labels]
    return joined_tables([table for table in found if table is not None])


def joined_tables(tables: Sequence[Table]) -> Table | None:
    """Return one table of the files of all tables, or None if there are none."""
    if not tables:
        return None
    labels = any(table.labels is not None for table in tables)
    names = dict.fromkeys(name for table in tables for name in table.columns)
    return Table(
        files=[file for table in tables for file in table.files],
        labels=[cell for table in tables for cell in _labels(table)] if labels else None,
        name=tables[0].name,
        columns={name: [cell for table in tables for cell in _cells(table, name)] for name in names},
        by_the_way=any(table.by_the_way for table in tables),
    )


def _labels(table: Table) -> Sequence[Any]:
    return [None] * len(table.files) if table.labels is None else table.labels


def _cells(table: Table, name: str) -> Sequence[Any]:
    return table.columns[name] if name in table.columns else [None] * len(table.files)


def _joined_columns(parts: Sequence[Sequence[Column]]) -> tuple[Column, ...]:
    """Concatenate the columns that all parts have, with the same type in each."""
    joined = []
    for first in parts[0] if parts else ():
        same = [next((column for column in part if column.name == first.name), None) for part in parts]
        found = [column for column in same if column is not None and bool(column.classes) == bool(first.classes)]
        if len(found) == len(parts) and len({column.values.shape[1:] for column in found}) == 1:
            classes = common_classes([column.classes for column in found])
            values = [renumbered(column.values, column.classes, classes) for column in found]
            whole = all(array.dtype.kind == "i" for array in values)
            values = np.concatenate(values).astype(np.int64 if whole else np.float32, copy=False)
            joined.append(Column(first.name, values, classes))
    return tuple(joined)


def common_classes(parts: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the classes of all parts.

    They are the longest list if all others are a beginning of it, and are otherwise ``in_order``.

    >>> common_classes([("z", "a"), ("z",)]), common_classes([("10", "dog"), ("9", "cat")])
    (('z', 'a'), ('10', '9', 'cat', 'dog'))
    """
    longest = max(parts, key=len, default=())
    if all(longest[: len(classes)] == classes for classes in parts):
        return longest
    return in_order(set().union(*parts))


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of classes in their order: numbers by value if all of them are numbers, otherwise by name.

    >>> in_order({"10", "9"}), in_order({"10", "b", "9"}), in_order({"0.5", "-1", "0.25"})
    (('9', '10'), ('10', '9', 'b'), ('-1', '0.25', '0.5'))
    """
    by_name = sorted(names)
    if all(map(_NUMBER.fullmatch, by_name)):
        by_name.sort(key=lambda name: (Fraction(name), name))
    return tuple(by_name)


def renumbered(values: np.ndarray, classes: tuple[str, ...], wanted: tuple[str, ...]) -> np.ndarray:
    """Convert class numbers in ``classes`` to class numbers in ``wanted``, which contains all of them."""
    if wanted[: len(classes)] == classes:
        return values
    number = {name: i for i, name in enumerate(wanted)}
    moved = np.array([number[name] for name in classes], np.int64)[values]
    return np.where(values < 0, values, moved)  # what has no class keeps none
