"""Columns of labels from the cells of files: numbers as they are, text as classes."""

import itertools
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from progan.data.columns import Column

MOST_NAMES = 1000
"""Largest number of texts that may all be different and still be classes."""
_WHOLE, _NUMBER = re.compile(r"[+-]?[0-9]+"), re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})


def column(name: str, cells: Sequence[Any] | np.ndarray) -> Column | None:
    """Convert one cell per image to a column, or return None if that is not possible.

    Whole numbers and booleans become int64, other numbers float32, and lists of numbers of one length [N, K]. If some
    are missing, all become float32, with NaN for the missing ones. Text becomes classes in the order of their names,
    unless nearly every text is different, like file names: see ``is_text_of_its_own``.

    Args:
        name: name of the column.
        cells: numbers, text, lists of numbers or None; an array of numbers [N] or [N, K] is faster.
    """
    if isinstance(cells, np.ndarray):
        return _of_numbers(name, cells)
    meanings = {text: parsed(text) for text in {cell for cell in cells if isinstance(cell, str)}}
    found = [meanings[cell] if isinstance(cell, str) else cell for cell in cells]
    present = [cell for cell in found if cell is not None]
    numbers = _numbers(present)
    if numbers is None:
        return _of_texts(name, cells) if present and all(isinstance(c, str | int | float) for c in present) else None
    if len(present) == len(found):
        return _of_numbers(name, numbers)
    values = np.full((len(found), *numbers.shape[1:]), np.nan)
    values[[cell is not None for cell in found]] = numbers
    return _of_numbers(name, values)


def is_text_of_its_own(distinct: int, count: int) -> bool:
    """Return whether ``distinct`` different texts of ``count`` images are names or captions rather than classes."""
    return distinct > MOST_NAMES and 2 * distinct > count


def without_clashes(columns: Iterable[Column], taken: Collection[str]) -> tuple[Column, ...]:
    """Return the columns with unique names, by appending a number to names that are already taken.

    >>> [c.name for c in without_clashes([Column(name, np.zeros(1)) for name in ("a", "b", "a")], {"b"})]
    ['a', 'b_2', 'a_2']
    """
    names, kept = set(taken), []
    for one in columns:
        free = (f"{one.name}_{i}" if i > 1 else one.name for i in itertools.count(1))
        kept.append(replace(one, name=next(name for name in free if name not in names)))
        names.add(kept[-1].name)
    return tuple(kept)


def _of_numbers(name: str, values: np.ndarray) -> Column | None:
    if values.dtype.kind not in "biuf" or values.ndim not in (1, 2) or 0 in values.shape:
        return None
    if values.dtype.kind == "f" and np.isnan(values).all():
        return None
    whole = values.dtype.kind in "bi" or (values.dtype.kind == "u" and values.max() <= np.iinfo(np.int64).max)
    with np.errstate(over="ignore"):  # what is too large is infinity
        return Column(name, values.astype(np.int64 if whole else np.float32))


def _of_texts(name: str, cells: Sequence[Any]) -> Column | None:
    texts = ["" if cell is None else str(cell).strip() for cell in cells]
    classes = tuple(sorted(set(texts)))
    if is_text_of_its_own(len(classes), len(texts)):
        return None
    number = {text: i for i, text in enumerate(classes)}
    return Column(name, np.array([number[text] for text in texts], np.int64), classes)


def _numbers(cells: Sequence[Any]) -> np.ndarray | None:
    """Return an array of numbers [N] or [N, K], or None if the cells are not numbers."""
    lists = all(isinstance(cell, list | tuple) for cell in cells)
    if lists and len({len(cell) for cell in cells}) != 1:
        return None
    kinds = set(map(type, itertools.chain.from_iterable(cells) if lists else cells))
    if not kinds <= {bool, int, float}:
        return None
    for kind in (np.int64, np.float64)[float in kinds :]:
        try:
            return np.array(cells, kind)
        except OverflowError:
            continue
    return None


def parsed(text: str) -> bool | int | float | str | None:
    """Return a text as a number if possible, as None if it stands for a missing value, else unchanged.

    >>> parsed("True"), parsed(" 007"), parsed("-.5e1"), parsed("seven"), parsed("n/a")
    (True, 7, -5.0, 'seven', None)
    """
    bare = text.strip().lower()
    if bare in _MISSING:
        return None
    if bare in ("true", "false"):
        return bare == "true"
    if _WHOLE.fullmatch(bare) and len(bare) < 300:
        return int(bare)
    return float(bare) if _NUMBER.fullmatch(bare) else text
