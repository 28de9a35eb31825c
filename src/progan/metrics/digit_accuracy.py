"""Conditional accuracy: the share of images in which a classifier reads the digit that is their class.

For a conditional generator it is the share of images that show what was asked for; for labeled images, the accuracy of
the classifier, which no generator can be expected to beat.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from torch import Tensor

from progan.errors import ConfigError
from progan.metrics.base import Setup
from progan.metrics.digits import check_readable

_MOST = 3  # misreadings of the worst class in the remark


class DigitConfusion:
    """Number of images of each class and of the digit that was read in them.

    Raises:
        ConfigError: if digits cannot be read from images of this size, or if the classes are not digits.
    """

    def __init__(self, setup: Setup) -> None:
        check_readable(setup.channels, setup.height, setup.width)
        self._digits = digits_of(setup.classes)
        self.table = np.zeros((10, 10), np.int64)
        """Images by the digit that is their class (rows) and the digit that was read (columns)."""

    @property
    def count(self) -> int:
        """Images added so far."""
        return int(self.table.sum())

    def update(self, rows: Tensor, labels: Tensor) -> Self:
        """Add probabilities [N, 10] of images of the classes int64 [N]."""
        cells = 10 * self._digits[labels.cpu().numpy()] + rows.argmax(1).cpu().numpy()
        self.table += np.bincount(cells, minlength=100).reshape(10, 10)
        return self

    def merge(self, other: Self) -> Self:
        """Add further images."""
        self.table += other.table
        return self

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the table, int64 [10, 10]."""
        return {"table": self.table}

    def load(self, arrays: Mapping[str, np.ndarray]) -> Self:
        """Restore the state that ``arrays`` returned."""
        self.table = np.array(arrays["table"])
        return self


def digits_of(classes: Sequence[str]) -> np.ndarray:
    """Return the digit of every class, int64 [K]: the only number in its name.

    Raises:
        ConfigError: if there are no classes, or a name does not contain exactly one number, from 0 to 9.

    >>> digits_of(["digit 7", "0", "03"]).tolist()
    [7, 0, 3]
    """
    if not classes:
        raise ConfigError("digit_accuracy requires images with classes, which these do not have; omit digit_accuracy")
    numbers = [[int(number) for number in re.findall("[0-9]+", name)] for name in classes]
    for name, found in zip(classes, numbers, strict=True):
        if len(found) != 1 or found[0] > 9:
            raise ConfigError(f"digit_accuracy requires classes that are digits, got {name!r}; omit digit_accuracy")
    return np.array(numbers)[:, 0]


def digit_accuracy(fake: DigitConfusion, *, seed: int = 0) -> dict[str, float]:
    """Return the share of images whose class was read in them; ``seed`` is not used.

    Returns:
        "digit_accuracy" of all images, and "digit_accuracy_0" ... "digit_accuracy_9" of the classes that occur.
    """
    right, images = fake.table.diagonal(), fake.table.sum(1)
    values = {f"digit_accuracy_{digit}": float(right[digit] / images[digit]) for digit in np.flatnonzero(images)}
    return {"digit_accuracy": float(right.sum() / images.sum())} | values


def worst(fake: DigitConfusion, _values: Mapping[str, float]) -> str:
    """Return the class that is misread most, and the digits that are read instead, in words; empty if none is."""
    images = fake.table.sum(1)
    wrong = images - fake.table.diagonal()
    if not wrong.any():
        return ""
    digit = int((wrong / np.maximum(images, 1)).argmax())
    row = np.where(np.arange(10) == digit, 0, fake.table[digit])
    read = [f"{other} ({row[other] / images[digit]:.1%})" for other in np.argsort(-row, kind="stable") if row[other]]
    return f"the class that is read worst is {digit}: {images[digit]} images, read as {', '.join(read[:_MOST])}"
