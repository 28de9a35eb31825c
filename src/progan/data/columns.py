"""Columns of labels: what a data set says of each image beside its pixels."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Column:
    """One thing that is known of every image: a class, a number, or several numbers."""

    name: str
    values: np.ndarray
    """int64 or float32, [N], or [N, K] where every image has K values."""
    classes: tuple[str, ...] = ()
    """What whole numbers stand for, value i for ``classes[i]``; empty for plain numbers."""
