"""Columns of labels: the data about each image apart from its pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from progan.data.printing import printable
from progan.errors import DataError

LABEL = "label"
"""Name of the column that contains the classes of a store."""


@dataclass(frozen=True, eq=False)
class Column:
    """One attribute of every image: a class, a number, or several numbers."""

    name: str
    values: np.ndarray
    """Values as int64 or float32, [N], or [N, K] if every image has K values."""
    classes: tuple[str, ...] = ()
    """Names of the classes, ``classes[i]`` for value i; empty for plain numbers."""

    def of(self, rows: np.ndarray) -> "Column":
        """Return the column for the images in ``rows`` only, in that order."""
        return replace(self, values=self.values[rows])

    def __str__(self) -> str:
        """Return a readable name and type: ``age (float32)``, ``eyes (float32, 4 values)``, ``color (3 classes)``."""
        kind = f"{len(self.classes)} classes" if self.classes else str(self.values.dtype)
        return f"{printable(self.name)} ({kind}{f', {self.values.shape[1]} values' if self.values.ndim > 1 else ''})"


def check_columns(columns: Sequence[Column], count: int, *, where: str, with_labels: bool) -> None:
    """Check that columns can be stored with ``count`` images and, if ``with_labels`` is set, their classes.

    Raises:
        DataError: if two columns have the same name, or the values of one are not valid.
    """
    names = [LABEL] * with_labels + [column.name for column in columns]
    if twice := next((name for name in names if names.count(name) > 1), None):
        found = ", ".join(map(printable, names))
        fix = "rename one of them"
        raise DataError(f"{where}: two columns are named {printable(twice)!r}\n  found: {found}\n  fix:   {fix}")
    for column in columns:
        values = column.values
        wrong = None
        if values.dtype not in (np.int64, np.float32) or values.ndim not in (1, 2) or 0 in values.shape[1:]:
            wrong = f"{values.dtype} of shape {list(values.shape)}, expected int64 or float32, [N] or [N, K]"
        elif len(values) != count:
            wrong = f"{len(values)} rows, expected {count}, one for each image"
        elif column.classes and values.dtype != np.int64:
            wrong = f"{values.dtype} for {len(column.classes)} classes, expected int64"
        elif column.classes and not 0 <= values.min() <= values.max() < len(column.classes):
            wrong = f"class numbers {values.min()} ... {values.max()} for {len(column.classes)} classes"
        if wrong:
            raise DataError(f"{where}: column {printable(column.name)!r} cannot be used\n  found: {wrong}")


def conditions(columns: Sequence[Column]) -> np.ndarray:
    """Return the labels that condition a network, one row per image.

    A single column of classes is returned as it is, int64 [N]. Otherwise all values are concatenated, float32 [N, K]:
    numbers as they are, and classes one-hot.

    Raises:
        DataError: if a number is missing (NaN).
    """
    if len(columns) == 1 and columns[0].classes and columns[0].values.ndim == 1:
        return np.array(columns[0].values)
    return np.concatenate([_side_by_side(column) for column in columns], 1)


def _side_by_side(column: Column) -> np.ndarray:
    values = column.values.reshape(len(column.values), -1)  # [N, K]
    if column.classes:
        values = (values[:, :, None] == np.arange(len(column.classes))).reshape(len(values), -1)
    if missing := int(np.isnan(values).any(1).sum()):
        raise DataError(
            f"column {column.name!r}: {missing} of {len(values)} images {'has' if missing == 1 else 'have'} no value\n"
            f"  fix:   add the missing values, remove these images, or use other columns"
        )
    return values.astype(np.float32)
