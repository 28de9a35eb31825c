"""Files of several named arrays, such as .npz and HDF5: which are images, labels and further columns."""

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from progan.data.columns import Column
from progan.data.printing import printable
from progan.data.records import Choice, Reader, Source, joined, numbered
from progan.data.sources.columns import column
from progan.data.sources.fields import LABELS, pick_column, pick_split
from progan.data.sources.own_labels import with_labels
from progan.data.sources.rows import Rows
from progan.data.sources.splits import split_of
from progan.data.sources.stacks import is_stack, oriented, stack_sources
from progan.errors import DataError

_LABELS = (*LABELS, "arr_1")
_MOST = 1024  # numbers for each image that are still a column
_MOST_CLASSES = 1 << 16  # in one-hot labels
_MOST_BYTES = 128 << 20  # of labels


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One array of a file, not loaded."""

    shape: tuple[int, ...]
    dtype: np.dtype
    rows: Callable[[], Rows]
    """Returns the rows, to be read one by one."""
    load: Callable[[], np.ndarray]
    """Returns the whole array; text as str or bytes."""
    encoded: Reader | None = None
    """Reads encoded images, if that is what the rows are."""

    @property
    def is_images(self) -> bool:
        return self.encoded is not None or is_stack(self.shape, self.dtype)

    def __str__(self) -> str:
        return f"{'bytes' if self.encoded else self.dtype} {list(self.shape)}"


def arrays_source(path: Path, description: str, arrays: Mapping[str, Stored], choice: Choice) -> Source:
    """Return the images of a file of named arrays, with labels and columns from the other arrays of the same length.

    Names such as x_train and test_images are parts of splits. What remains of a name tells images from labels.

    Args:
        path: file, for messages.
        description: kind and name of the source.
        arrays: arrays by name.
        choice: split to use, and the array of the images (``column``).

    Raises:
        DataError: if there are no images, the choice is not possible, or labels do not match the images.
    """
    parts: dict[str, dict[str, str]] = {}
    for name in arrays:
        role, split = _role(name)
        parts.setdefault(split, {}).setdefault(role, name)
    roles = dict.fromkeys(role for part in parts.values() for role, name in part.items() if arrays[name].is_images)
    if not roles:
        raise DataError(
            f"{path}: no array of images\n"
            f"  found: {_listed(arrays)}\n"
            f"  fix:   save images as [N, H, W], [N, H, W, C] or [N, C, H, W] with C = 1, 3 or 4"
        )
    asked = next((role for part in parts.values() for role, name in part.items() if name == choice.column), "")
    role, notes = pick_column(list(roles), where=str(path), asked=asked or choice.column, kind="array")
    wanted = {split: [split] for split, part in parts.items() if role in part and arrays[part[role]].is_images}
    splits, more, heeds = pick_split(wanted, choice.split, where=str(path))
    chosen = [parts[split] for split in splits]
    whole = joined(description, _images(path, [(part[role], arrays[part[role]]) for part in chosen]))
    columns, label, told = _beside(path, arrays, chosen, role)
    notes = (*notes, *more, *whole.notes, *told)
    whole = replace(whole, columns=columns, notes=notes, heeds=heeds | {"column"})
    if label is None:
        return whole
    return with_labels(whole, lambda: _cells(path, arrays, chosen, label, role), name=label)


def _role(name: str) -> tuple[str, str]:
    """Return the name of an array without the split that it mentions, in lower case, and the split or ''.

    >>> _role("x_train"), _role("Test/images"), _role("train"), _role("labels")
    (('x', 'train'), ('images', 'test'), ('train', 'train'), ('labels', ''))
    """
    words = re.split(r"([^a-z0-9]+)", name.lower())
    at = next((i for i, word in enumerate(words) if split_of(word)), None)
    if at is None:
        return name.lower(), ""
    rest = "".join(words[:at] + words[at + 1 :]).strip("_-./ ")
    return rest or name.lower(), split_of(words[at]) or ""


def _listed(arrays: Mapping[str, Stored]) -> str:
    listed = [f"{printable(name)} {stored}" for name, stored in itertools.islice(arrays.items(), 8)]
    return ", ".join(listed) or "no arrays"


def _images(path: Path, chosen: Sequence[tuple[str, Stored]]) -> list[Source]:
    stacks = [(name, oriented(str(path), stored.rows())) for name, stored in chosen if stored.encoded is None]
    found = iter(stack_sources(stacks)) if stacks else iter(())
    return [
        next(found) if stored.encoded is None else numbered(name, stored.shape[0], stored.encoded)
        for name, stored in chosen
    ]


_Part = Mapping[str, str]
"""Names of the arrays of one split, by role."""


def _beside(
    path: Path, arrays: Mapping[str, Stored], chosen: Sequence[_Part], role: str
) -> tuple[tuple[Column, ...], str | None, list[str]]:
    """Return the further columns, the role of the labels or None, and what is left out."""
    everywhere = [other for other in chosen[0] if other != role and all(other in part for part in chosen)]
    there = [other for part in chosen for other in part if other != role and not arrays[part[other]].is_images]
    label = next((other for word in _LABELS for other in there if other.rpartition("/")[2] == word), None)
    columns, left = [], []
    for other in everywhere:
        named = [(part[other], arrays[part[other]]) for part in chosen]
        counts = [arrays[part[role]].shape[0] for part in chosen]
        if other == label or any(stored.is_images for _, stored in named):
            continue
        one = None
        if all(_is_column(stored, n) for (_, stored), n in zip(named, counts, strict=True)):
            one = column(other, _together([stored.load() for _, stored in named]))
        columns += [one] if one else []
        left += [] if one else [f"{printable(named[0][0])} {named[0][1]}"]
    notes = [f"arrays that do not describe the images are left out: {', '.join(left[:5])}"] if left else []
    return tuple(columns), label, notes


def _is_column(stored: Stored, count: int) -> bool:
    fits = stored.shape[:1] == (count,) and len(stored.shape) in (1, 2) and stored.dtype.kind in "biufSUO"
    return fits and (len(stored.shape) == 1 or (0 < stored.shape[1] <= _MOST and stored.dtype.kind in "biuf"))


def _together(arrays: Sequence[np.ndarray]) -> Sequence[Any] | np.ndarray:
    """Return the cells of several arrays: numbers as one array if they have the same width, else as a list."""
    flat = [a[:, 0] if a.ndim == 2 and a.shape[1] == 1 else a for a in arrays]
    if all(a.dtype.kind in "biuf" for a in flat) and len({a.shape[1:] for a in flat}) == 1:
        return np.concatenate(flat)
    return [_text(cell) for a in flat for cell in a.tolist()]


def _text(cell: object) -> object:
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else cell


def _cells(
    path: Path, arrays: Mapping[str, Stored], chosen: Sequence[_Part], label: str, role: str
) -> Sequence[Any] | np.ndarray:
    """Return one label for each image; None in parts without labels."""
    found: list[np.ndarray] = []
    for part in chosen:
        count = arrays[part[role]].shape[0]
        if label not in part:
            found.append(np.array([None] * count, object))
            continue
        stored = arrays[part[label]]
        large = math.prod(stored.shape) * stored.dtype.itemsize > _MOST_BYTES or stored.shape[1:] > (_MOST_CLASSES,)
        if stored.shape[:1] != (count,) or len(stored.shape) > 2 or large:
            raise DataError(
                f"{path}: the labels do not match the images\n"
                f"  found: {printable(part[label])} {stored}; expected [{count}] or [{count}, K]\n"
                f"  fix:   correct the labels, or use --labels none"
            )
        found.append(stored.load())
    return _together(found)
