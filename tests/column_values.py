"""Columns of a source as plain values."""

from pathlib import Path

import numpy as np

from progan.data.columns import Column
from progan.data.sources import open_source

NAN = "nan"  # equal to itself


def plain(column: Column | None) -> tuple[str, list, tuple[str, ...]] | None:
    if column is None:
        return None
    values = np.where(np.isnan(column.values), NAN, column.values.astype(object)).tolist()
    return str(column.values.dtype), values, column.classes


def found(path: Path, labels: str = "auto", *, skip: bool = False) -> dict:
    source = open_source(path, labels=labels, skip=skip)
    return {column.name: plain(column) for column in source.columns}
