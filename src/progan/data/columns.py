"""Columns of labels: what a data set says of each image beside its pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from progan.data.printing import printable
from progan.errors import DataError

LABEL = "label"
"""Name of the column of classes of a store."""


@dataclass(frozen=True, eq=False)
class Column:
    """One thing that is known of every image: a class, a number, or several numbers."""

    name: str
    values: np.ndarray
    """int64 or float32, [N], or [N, K] where every image has K values."""
    classes: tuple[str, ...] = ()
    """What whole numbers stand for, value i for ``classes[i]``; empty for plain numbers."""

    def of(self, rows: np.ndarray) -> "Column":
        """The same of some images, or of images in another order."""
        return replace(self, values=self.values[rows])

    def __str__(self) -> str:
        """Name and kind, for people: ``age (float32)``, ``eyes (float32, 4 values)``, ``color (3 classes)``."""
        kind = f"{len(self.classes)} classes" if self.classes else str(self.values.dtype)
        return f"{printable(self.name)} ({kind}{f', {self.values.shape[1]} values' if self.values.ndim > 1 else ''})"


def check_columns(columns: Sequence[Column], count: int, *, where: str, with_labels: bool) -> None:
    """Refuse columns that cannot be kept beside ``count`` images and, perhaps, the column of their classes.

    Raises:
        DataError: if two columns are of one name, or one has other values than it should.
    """
    names = [LABEL] * with_labels + [column.name for column in columns]
    if twice := next((name for name in names if names.count(name) > 1), None):
        found = ", ".join(map(printable, names))
        raise DataError(f"{where}: two columns are called {printable(twice)!r}\n  found: {found}\n  fix:   rename one")
    for column in columns:
        values = column.values
        wrong = None
        if values.dtype not in (np.int64, np.float32) or values.ndim not in (1, 2) or 0 in values.shape[1:]:
            wrong = f"{values.dtype} of shape {list(values.shape)}, wanted int64 or float32, [N] or [N, K]"
        elif len(values) != count:
            wrong = f"{len(values)} rows, wanted {count}, one for each image"
        elif column.classes and values.dtype != np.int64:
            wrong = f"{values.dtype} for {len(column.classes)} classes, wanted int64"
        elif column.classes and not 0 <= values.min() <= values.max() < len(column.classes):
            wrong = f"numbers {values.min()} ... {values.max()} for {len(column.classes)} classes"
        if wrong:
            raise DataError(f"{where}: column {printable(column.name)!r} cannot be used\n  found: {wrong}")


def conditions(columns: Sequence[Column]) -> np.ndarray:
    """What a conditional network is told of every image.

    One column of classes stays as it is, int64 [N]. Else all values stand side by side, float32 [N, K]: numbers as
    they are, and each class as one number of 0 or 1 for every class that there is.

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
            f"column {column.name!r}: {missing} of {len(values)} images have no value\n"
            f"  fix:   give them one, leave these images out, or use other columns"
        )
    return values.astype(np.float32)
