"""What the labels of images mean: classes, numbers, or several of either. One rule for every kind of source."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from progan.data.columns import LABEL, Column
from progan.data.printing import printable
from progan.data.records import Cells, Source, in_order
from progan.data.sources.columns import column, is_text_of_its_own, parsed
from progan.errors import DataError

Kind = Literal["auto", "class", "number"]
"""What a label is: one of several classes, a number, or whatever its values look like."""
_MOST_TAGS = 1000


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """The labels of all images, understood."""

    labels: np.ndarray | None = None
    """Class of every image, int64 [N], with -1 where there is none; None if the labels are not classes."""
    classes: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    """Labels that are numbers, or several for each image."""
    note: str = ""
    """What was understood, for the summary; empty if there are no labels."""


def labelled(
    source: Source,
    cells: Sequence[Any] | np.ndarray,
    *,
    name: str = LABEL,
    declared: Sequence[str] = (),
    kind: Kind = "auto",
) -> Source:
    """Return the source with its labels as ``meaning`` understands them; the other arguments are those of it.

    Raises:
        DataError: as ``meaning``.
    """
    found = meaning(cells, name=name, declared=declared, kind=kind, where=source.description)
    others = tuple(one for one in source.columns if one.name not in {new.name for new in found.columns})
    return replace(
        source,
        labels=None if found.labels is None else found.labels.tolist(),
        classes=found.classes,
        columns=(*found.columns, *others),
        cells=Cells(name, cells, tuple(declared)),
        notes=(*source.notes, found.note) if found.note else source.notes,
    )


def meaning(
    cells: Sequence[Any] | np.ndarray,
    *,
    name: str = LABEL,
    declared: Sequence[str] = (),
    kind: Kind = "auto",
    where: str,
) -> Meaning:
    """Return what the labels of all images mean.

    - Whole numbers, also those written as 1.0 or as text, are classes in the order of the numbers.
    - Other numbers are numbers.
    - True and false are the classes False and True.
    - Text is classes in the order of the names.
    - Lists that have a single 1 among zeros are classes.
    - Other lists of numbers of one length are several numbers for each image.
    - Other lists become one column of 0 and 1 for each value that occurs in them.

    Classes are those that occur, unless their names are declared. A label is missing if it is None, NaN or empty, or
    -1 where all others are whole numbers from 0 on.

    Args:
        cells: label of every image; an array of numbers [N] or [N, K] is faster.
        name: name of the column that the labels come from.
        declared: names of all classes, if the source has a list of them; number i stands for name i.
        kind: 'class' takes every value as a class, and 'number' insists on numbers.
        where: source of the labels, for messages.

    Raises:
        DataError: if the labels have no meaning, or not the requested one.
    """
    facts = _Facts(name, tuple(declared), kind, where)
    if isinstance(cells, np.ndarray) and cells.ndim == 2:
        return _of_rows(cells, facts)
    values, index = _distinct(cells)
    present = [i for i, value in enumerate(values) if not _is_missing(value)]
    if not present:
        return Meaning()
    lists = sum(isinstance(values[i], tuple) for i in present)
    if lists == len(present):
        return _of_lists(values, index, facts)
    strange = [values[i] for i in present if not isinstance(values[i], bool | int | float | str)]
    if strange:
        raise facts.refused(f"{str(strange[0])[:80]!r}", "numbers, text, or lists of these")
    return _of_scalars(values, index, facts)


@dataclass(frozen=True)
class _Facts:
    name: str
    declared: tuple[str, ...]
    kind: Kind
    where: str

    def refused(self, found: str, wanted: str, fix: str = "") -> DataError:
        fix = fix or "repair the labels, use --labels FILE with other ones, or --labels none"
        what = f"{self.where}: the labels in {printable(self.name)!r} cannot be used"
        return DataError(f"{what}\n  found: {found}; expected {wanted}\n  fix:   {fix}")


@dataclass(frozen=True)
class _Strange:
    """A label of a kind that has no meaning, such as a dictionary."""

    text: str

    def __str__(self) -> str:
        return self.text


def _distinct(cells: Sequence[Any] | np.ndarray) -> tuple[list[Any], np.ndarray]:
    """Return the different values, lists as tuples, and the number of its value for every image."""
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "biuf":
        values, index = np.unique(cells, return_inverse=True)
        return values.tolist(), index.reshape(-1)
    number: dict[Any, int] = {}
    index = np.empty(len(cells), np.int64)
    for i, cell in enumerate(cells):
        key = _key(cell)
        index[i] = number.setdefault(key, len(number))
    return list(number), index


def _key(cell: Any) -> Any:
    if isinstance(cell, list | tuple | np.ndarray):
        return tuple(map(_key, cell))
    if isinstance(cell, np.generic):
        return cell.item()
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace")
    return cell if cell is None or isinstance(cell, bool | int | float | str) else _Strange(str(cell))


def _is_missing(value: Any) -> bool:
    blank = isinstance(value, str) and not value.strip()
    return value is None or blank or (isinstance(value, float) and math.isnan(value))


def _of_scalars(values: list[Any], index: np.ndarray, facts: _Facts) -> Meaning:
    """Return the meaning of different values, of which image i has ``values[index[i]]``."""
    texts = [value for value in values if isinstance(value, str)]
    meant = {text: parsed(text) for text in texts}
    numbers = [meant[value] if isinstance(value, str) else value for value in values]
    known: list[Any] = [number for number in numbers if not _is_missing(number)]
    odd = [value for value in known if isinstance(value, str)]
    if odd or not known:  # a class may be called "none"
        if facts.kind == "number":
            raise facts.refused(f"{odd[0] if odd else texts[0]!r}", "numbers, as requested")
        return _by_name(values, index, facts, odd if len(odd) < len(known) else [])
    if facts.kind == "number" or (facts.kind == "auto" and not _are_classes(known, len(index))):
        return _of_numbers(numbers, index, facts)
    return _by_value(numbers, index, facts)


def _are_classes(numbers: Sequence[bool | int | float], count: int) -> bool:
    whole = all(float(number).is_integer() for number in numbers)
    return whole and not is_text_of_its_own(len(set(numbers)), count)


def _by_value(numbers: list[Any], index: np.ndarray, facts: _Facts) -> Meaning:
    """Return classes of numbers or truth values."""
    known = {number for number in numbers if not _is_missing(number)}
    missing = min(known) == -1 and facts.kind != "class" and all(float(n).is_integer() for n in known)
    none = {-1} if missing else set()
    named = {number: _number_name(number) for number in known - none}
    if facts.declared:
        wrong = [n for n in named if not float(n).is_integer() or not 0 <= n < len(facts.declared)]
        if wrong:
            raise facts.refused(
                f"{wrong[0]}", f"0 ... {len(facts.declared) - 1}, for the {len(facts.declared)} classes"
            )
        named = {number: facts.declared[int(number)] for number in named}
    if not named:
        return Meaning()
    about = "" if facts.declared or all(isinstance(n, bool) for n in named) else ", one for each number"
    return _as_classes([named.get(number) for number in numbers], index, facts, about)


def _by_name(values: list[Any], index: np.ndarray, facts: _Facts, odd: Sequence[str]) -> Meaning:
    """Return classes of text, of which ``odd`` are not numbers although others are."""
    names = [None if _is_missing(value) else _text(value) for value in values]
    if facts.declared and set(names) - {None} - set(facts.declared):
        wrong = min(str(name) for name in set(names) - {None} - set(facts.declared))
        raise facts.refused(repr(wrong), "one of the classes " + ", ".join(facts.declared[:8]))
    if facts.kind == "auto" and is_text_of_its_own(len(set(names)), len(index)):
        fix = "use --labels FILE:COLUMN:class to make each of them a class, another column, or --labels none"
        raise facts.refused(f"{len(set(names))} different texts for {len(index)} images", "classes", fix)
    return _as_classes(names, index, facts, f", by name, because {odd[0]!r} is not a number" if odd else "")


def _as_classes(names: Sequence[str | None], index: np.ndarray, facts: _Facts, about: str = "") -> Meaning:
    classes = facts.declared or in_order({name for name in names if name is not None})
    number = {name: i for i, name in enumerate(classes)}
    labels = np.array([-1 if name is None else number[name] for name in names], np.int64)[index]
    return Meaning(
        labels=labels, classes=tuple(classes), note=f"labels: {_counted(len(classes))} from {facts.name!r}{about}"
    )


def _counted(classes: int) -> str:
    return f"{classes} class" if classes == 1 else f"{classes} classes"


def _number_name(number: bool | int | float) -> str:
    return str(int(number)) if not isinstance(number, bool) and float(number).is_integer() else str(number)


def _text(value: str | bool | int | float) -> str:
    """Return a label as text, with whole numbers in one form.

    >>> _text(" 007"), _text(7.0), _text("seven"), _text("1.50")
    ('7', '7', 'seven', '1.50')
    """
    text = str(value).strip() if isinstance(value, str) else _number_name(value)
    meant = parsed(text)
    return str(meant) if isinstance(meant, int) and not isinstance(meant, bool) else text


def _of_numbers(numbers: list[Any], index: np.ndarray, facts: _Facts) -> Meaning:
    cells = np.array([math.nan if _is_missing(number) else number for number in numbers], np.float64)
    gone = int(np.isnan(cells[index]).sum())
    whole = not gone and all(isinstance(n, int) and abs(n) < 1 << 62 for n in numbers)
    values = np.array(numbers, np.int64) if whole else cells
    about = f", missing for {gone} of {len(index)} images" if gone else ""
    about = f"numbers {np.nanmin(cells):.6g} ... {np.nanmax(cells):.6g} from {facts.name!r}{about}"
    return _as_columns({facts.name: values[index]}, about)


def _of_rows(rows: np.ndarray, facts: _Facts) -> Meaning:
    """Return the meaning of an array of labels [N, K]."""
    if rows.shape[1:] == (1,):
        return meaning(rows[:, 0], name=facts.name, declared=facts.declared, kind=facts.kind, where=facts.where)
    if rows.dtype.kind not in "biuf" or 0 in rows.shape:
        raise facts.refused(f"{rows.dtype} of shape {list(rows.shape)}", "numbers")
    is_one_hot = ((rows != 0).sum(1) == 1).all() and (rows.max(1) == 1).all()
    if is_one_hot and facts.kind != "number":
        classes = replace(facts, declared=facts.declared if len(facts.declared) == rows.shape[1] else ())
        numbers, index = np.unique(rows.argmax(1), return_inverse=True)
        return _by_value(numbers.tolist(), index.reshape(-1), classes)
    if facts.kind == "class":
        raise facts.refused(f"{rows.shape[1]} numbers for each image", "one class for each image, as requested")
    return _as_columns({facts.name: rows}, f"{rows.shape[1]} numbers for each image from {facts.name!r}")


def _of_lists(values: list[Any], index: np.ndarray, facts: _Facts) -> Meaning:
    """Return the meaning of labels that are tuples."""
    values = [None if _is_missing(value) else value for value in values]
    known = [value for value in values if value is not None]
    flat = [cell for value in known for cell in value]
    if any(not isinstance(cell, bool | int | float | str) or _is_missing(cell) for cell in flat):
        raise facts.refused(str(next(v for v in known))[:80], "lists of numbers or text")
    if len({len(value) for value in known}) == 1 and not any(isinstance(cell, str) for cell in flat) and known[0]:
        if len(known[0]) == 1:
            single = [None if value is None else value[0] for value in values]
            return _of_scalars(single, index, facts)
        kind = np.int64 if len(known) == len(values) and not any(isinstance(c, float) for c in flat) else np.float64
        rows = [(math.nan,) * len(known[0]) if value is None else value for value in values]
        return _of_rows(np.array(rows, kind)[index], facts)
    tags = in_order({_text(cell) for cell in flat})
    if not tags or len(tags) > _MOST_TAGS:
        raise facts.refused(f"lists of {len(tags)} different values", f"at most {_MOST_TAGS}")
    sets = [None if value is None else {_text(cell) for cell in value} for value in values]
    found = {f"{facts.name}={tag}": np.array([math.nan if one is None else tag in one for one in sets]) for tag in tags}
    about = f"a column of 0 and 1 for each of the {len(tags)} values in {facts.name!r}"
    return _as_columns({name: cells[index] for name, cells in found.items()}, about)


def _as_columns(cells: Mapping[str, np.ndarray], about: str) -> Meaning:
    found = [column(name, values) for name, values in cells.items()]
    return Meaning(columns=tuple(one for one in found if one is not None), note=f"labels: {about}")
