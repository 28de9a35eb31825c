"""Splits of data sets: which part of a source is for training, validation or tests, by the usual names."""

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from progan.data.printing import printable
from progan.errors import DataError

SPLITS = ("train", "val", "test", "all")
_NAMES = {
    **dict.fromkeys(("train", "training", "trn", "trainset", "train_set", "training_set"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "valset", "val_set", "validation_set"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "testset", "test_set", "eval", "evaluation"), "test"),
}
_YEAR = re.compile(r"[ _-]?(?:19|20)\d\d$")  # COCO: train2017, val2017
_WORDS = re.compile(r"[^a-z0-9]+")
_T = TypeVar("_T")


def split_of(name: str) -> str | None:
    """Return the split that a folder of this name contains: 'train', 'val', 'test', or None.

    >>> split_of("Training"), split_of("valid"), split_of("trains"), split_of("val2017")
    ('train', 'val', None, 'val')
    """
    return _NAMES.get(_YEAR.sub("", name.lower()))


def split_in(file: str) -> str | None:
    """Return the split that the words of a file name mention.

    >>> split_in("imagenet-train-0001.tar"), split_in("church_outdoor_val_lmdb"), split_in("trainer.tar")
    ('train', 'val', None)
    """
    found = [split for word in _WORDS.split(file.lower()) if (split := _NAMES.get(word))]
    return found[0] if found else None


def chosen_split(parts: Mapping[str, Sequence[_T]], split: str, *, where: str) -> tuple[list[_T], str]:
    """Return what belongs to a split, and a note if anything is left out.

    If there is no split for tests, the split for validation is used.

    Args:
        parts: what there is of 'train', 'val' and 'test'.
        split: the requested split, or 'all'.
        where: name of the source, for messages.

    Raises:
        DataError: if the source has nothing of the split.
    """
    if split == "all":
        return [one for part in ("train", "val", "test") for one in parts.get(part, ())], ""
    if found := list(parts.get(split, ())):
        others = [part for part in ("train", "val", "test") if part != split and parts.get(part)]
        left = f"{' and '.join(map(repr, others))} {'is' if len(others) == 1 else 'are'} left out"
        note = f"split {split!r} is used; {left} (--split {' or '.join([*others, 'all'])})"
        return found, note if others else ""
    if split == "test" and (found := list(parts.get("val", ()))):
        return found, "split 'val' is used, because there is no split 'test'"
    there = [part for part in ("train", "val", "test") if parts.get(part)]
    raise DataError(
        f"{printable(where, 200)}: no images of the split {split!r}\n"
        f"  found: {', '.join(there) or 'no splits'}\n"
        f"  fix:   use --split {there[0] if there else 'all'}, or pass the folder or file that you want"
    )
