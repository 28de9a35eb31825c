"""Labels that are stored with the images, whose faults are reported only if the labels are wanted."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np

from progan.data.columns import LABEL
from progan.data.records import Source
from progan.data.sources.meaning import labelled
from progan.errors import DataError


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Return names of classes that are all different, by adding the number to empty ones and to those seen before.

    >>> distinct(["crane", "", "crane"])
    ('crane', '1', 'crane (2)')
    """
    found: dict[str, None] = {}
    for i, name in enumerate(names):
        free = name if name and name not in found else f"{name} ({i})" if name else str(i)
        found[free if free not in found else f"{name} (class {i})"] = None
    return tuple(found)


def with_labels(
    source: Source,
    cells: Callable[[], Sequence[Any] | np.ndarray],
    *,
    name: str = LABEL,
    declared: Sequence[str] = (),
) -> Source:
    """Return the source with its own labels, or with their fault as ``own_labels``.

    So labels that cannot be read or understood do not prevent --labels none and --labels FILE.

    Args:
        source: the images.
        cells: reads the label of every image.
        name: name of the labels.
        declared: names of all classes, if the source has a list of them.
    """
    try:
        return labelled(source, cells(), name=name, declared=distinct(declared))
    except DataError as error:
        fault = error

    def refuse() -> NoReturn:
        raise fault

    return replace(source, own_labels=refuse)
