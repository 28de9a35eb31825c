"""Columns of labels out of the cells of files: numbers as they are, text as classes."""

import itertools
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from progan.data.columns import Column

MOST_NAMES = 1000
"""Texts that may all be different from one another and still be classes."""
_WHOLE, _NUMBER = re.compile(r"[+-]?[0-9]+"), re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})


def column(name: str, cells: Sequence[Any] | np.ndarray) -> Column | None:
    """A cell for each image as a column, or None if it cannot be one.

    Whole numbers, true and false are int64, other numbers float32, lists of numbers of one length [N, K]; where some
    are missing, all are float32, and NaN stands for those. Text becomes classes in the order of their names, unless
    nearly every text is another one, like those of file names: see ``is_text_of_its_own``.

    Args:
        name: of the column.
        cells: numbers, text, lists of numbers or None; an array of numbers [N] or [N, K] goes faster.
    """
    if isinstance(cells, np.ndarray):
        return _of_numbers(name, cells)
    meanings = {text: _parsed(text) for text in {cell for cell in cells if isinstance(cell, str)}}
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
    """Whether so many distinct texts of so many images are names, captions and the like, and not classes."""
    return distinct > MOST_NAMES and 2 * distinct > count


def without_clashes(columns: Iterable[Column], taken: Collection[str]) -> tuple[Column, ...]:
    """Columns of different names; those that others have get a number.

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
    """Numbers [N] or [N, K], or None if these are something else."""
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


def _parsed(text: str) -> bool | int | float | str | None:
    """The number that a text is, the text itself if it is none, or None if it says that something is missing.

    >>> _parsed("True"), _parsed(" 007"), _parsed("-.5e1"), _parsed("seven"), _parsed("n/a")
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
