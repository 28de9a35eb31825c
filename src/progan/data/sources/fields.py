"""Which column or array of a source contains the images, and which files belong to a split."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

from progan.data.printing import printable
from progan.data.sources.samples import is_beside, is_main
from progan.data.sources.splits import chosen_split, split_in
from progan.errors import DataError

LABELS = ("label", "labels", "fine_label", "class", "classes", "cls", "category", "y", "target", "targets")
"""Usual names of labels, the most usual ones first."""
_OFTEN = frozenset({"x", "data", "pixel", "pixels", "jpg", "jpeg", "png", "webp", "photos", "arr_0"})
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_T = TypeVar("_T")


def main_rank(name: str) -> int:
    """Return how likely a column or array of this name contains the images of a set: 0 is the most likely.

    >>> [main_rank(name) for name in ("image", "image/encoded", "X", "other", "image_mask", "depthMap")]
    [0, 0, 1, 2, 3, 3]
    """
    words = _WORD.findall(name)
    if is_beside(name) or any(map(is_beside, words)):
        return 3
    if is_main(name) or any(map(is_main, words)):
        return 0
    return 1 if {name.lower(), *(word.lower() for word in words)} & _OFTEN else 2


def pick_column(
    names: Sequence[str], *, where: str, asked: str = "", marked: Collection[str] = (), kind: str = "column"
) -> tuple[str, tuple[str, ...]]:
    """Return the name of the column of the images, and a note if there are others.

    Columns that are marked as images go first, then names such as 'image', then others; names such as 'mask' or
    'thumbnail' are used only if there is nothing else. Of several the first is used.

    Args:
        names: columns that contain images.
        where: source for messages.
        asked: column that the user chose; '' chooses one.
        marked: columns that the source itself declares to be images.
        kind: what the source calls its columns.

    Raises:
        DataError: if there is no such column.
    """
    if asked and asked not in names:
        there = ", ".join(printable(name) for name in names[:8])
        raise DataError(
            f"{where}: {kind} {printable(asked)!r} contains no images\n"
            f"  found: {f'images in {there}' if there else 'no images'}\n"
            f"  fix:   use --column with one of these, or omit it"
        )
    chosen = asked or min(names, key=lambda name: (bool(marked) and name not in marked, main_rank(name)))
    others = [printable(name) for name in names if name != chosen]
    if not others:
        return chosen, ()
    left = ", ".join(map(repr, others[:4])) + (f" and {len(others) - 4} more" if len(others) > 4 else "")
    take = "takes it" if len(others) == 1 else "takes the first of them"
    verb = "is" if len(others) == 1 else "are"
    note = f"images from {kind} {printable(chosen)!r}; {left} {verb} left out (--column {others[0]} {take})"
    return chosen, (note,)


def pick_split(
    parts: Mapping[str, Sequence[_T]], split: str, *, where: str
) -> tuple[list[_T], tuple[str, ...], frozenset[str]]:
    """Return what belongs to a split, notes, and {'split'} if there are any splits.

    Args:
        parts: what there is, by names that may mention a split; names without one belong to 'all' alone, unless
            no name mentions any.
        split: 'train', 'val', 'test' or 'all'.
        where: source for messages.

    Raises:
        DataError: if the source has nothing of the split.
    """
    known: dict[str, list[_T]] = {}
    for name, found in parts.items():
        known.setdefault(split_in(name) or "", []).extend(found)
    others = known.pop("", [])
    if not known:
        return others, (), frozenset()
    chosen, note = chosen_split(known, split, where=where)
    return chosen + others * (split == "all"), (note,) if note else (), frozenset({"split"})
