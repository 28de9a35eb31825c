"""What looks wrong in a data set, in sentences."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from progan.data.inspection.values import Values
from progan.data.printing import printable, some
from progan.data.sources.splits import split_in, split_of

_UNBALANCED = 20  # times as many images in the largest class as in the smallest
_DARK = 64  # no pixel is this bright: 14 bits in 16, label numbers, or 0 ... 1
_BESIDE = {
    *("mask", "masks", "annotation", "annotations", "segmentation", "segmentations", "seg", "gt", "groundtruth"),
    *("ground_truth", "thumb", "thumbs", "thumbnail", "thumbnails", "depth", "normals", "edges", "__macosx"),
    *("gtfine", "gtcoarse", "trimap", "trimaps"),
}
_PART = re.compile(r"(?:sub)?(?:folds?|batch|part|chunk|shard|set|split|block|bucket)[ _-]*\d+", re.IGNORECASE)
_STEP = 10  # between the numbers of folders that are parts of one set rather than classes


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known about the images of a data set."""

    names: Sequence[str]
    labels: Sequence[int | None] | None
    """Number of the class of each image, or None without classes."""
    counts: Mapping[str, int]
    """Number of images of each class, in order; empty without classes."""
    values: Values
    channels: int
    """Number of channels that are stored; 0 if none are."""
    equal: Sequence[Sequence[int]] = ()
    """Groups of positions of identical images."""
    others: Sequence[str] = field(default=())
    """Sentences about sizes, which are known in different ways."""


def doubts(facts: Facts) -> list[str]:
    """Return a sentence for everything that looks wrong; none if nothing does."""
    return [*_about_classes(facts), *_about_names(list(facts.counts)), *_about_values(facts), *_about_copies(facts),
            *facts.others]  # fmt: skip


def _about_classes(facts: Facts) -> list[str]:
    counts = facts.counts
    if not counts:
        return []
    single = [name for name, count in counts.items() if count == 1]
    empty = [name for name, count in counts.items() if count == 0]
    found = [f"{_classes(empty, len(counts))} no image: {some(empty)}"] if empty else []
    if len(single) == len(counts) > 1:
        return [*found, f"each of the {len(counts)} images has a class of its own; --labels none drops them"]
    found += [f"{_classes(single, len(counts))} a single image: {some(single)}"] if single else []
    ordered = sorted((count, name) for name, count in counts.items() if count)
    (least, small), (most, large) = ordered[0], ordered[-1]
    if most >= _UNBALANCED * least:
        names = printable(large, 60), printable(small, 60)
        found.append(f"the classes are unbalanced: {most} images of {names[0]}, {least} of {names[1]}")
    return found


def _classes(some: Sequence[str], count: int) -> str:
    return f"{len(some)} of {count} classes {'has' if len(some) == 1 else 'have'}"


def _about_names(classes: Sequence[str]) -> list[str]:
    found = []
    words = {name: split_in(name) for name in classes}
    several = len({split for split in words.values() if split}) > 1  # train_station alone is a class
    if splits := [name for name in classes if split_of(name) or (several and words[name])]:
        found.append(
            f"classes are named like splits of the data: {some(splits)}; pass one of these folders as SOURCE, or "
            "--labels none"
        )
    if beside := [name for name in classes if name.lower() in _BESIDE]:
        found.append(
            f"classes are named like files that accompany pictures: {some(beside)}; to leave them out, pass "
            f"--exclude {printable(beside[0], 60)}"
        )
    if len(classes) > 1 and all(_PART.fullmatch(name) for name in classes):
        found.append(f"classes are named like parts of one set: {some(classes)}; if they are, pass --labels none")
    numbers = sorted(int(name) for name in classes if re.fullmatch(r"\d{1,18}", name))
    steps = {b - a for a, b in itertools.pairwise(numbers)}
    if len(numbers) == len(classes) > 1 and len(steps) == 1 and min(steps) >= _STEP:
        found.append(
            f"the classes are numbered folders in steps of {min(steps)}: {some(classes)}; if they are parts of one "
            "set, pass --labels none"
        )
    return found


def _about_values(facts: Facts) -> list[str]:
    values, found = facts.values, []
    if not values.images:
        return found
    for count, what in ((values.black, "black"), (values.white, "white")):
        if 2 * count >= values.images:
            found.append(f"{_of(count, values.images)} images are {what}")
    if 2 * values.plain >= values.images and 2 * (values.black + values.white) < values.images:
        found.append(f"{_of(values.plain, values.images)} images have only one color")
    present = values.present
    if len(present) == 2:
        found.append(f"all pixels have the brightness {' or '.join(map(str, present))}; are these masks?")
    elif len(present) > 2 and present[-1] < _DARK:
        found.append(
            f"no pixel is brighter than {present[-1]} of 255; are these numbers of classes, values 0 ... 1, or fewer "
            "bits than the files say?"
        )
    if values.gray == values.images and facts.channels > 1 and len(present) > 2:
        found.append("no image has a color; with --channels 1, the store is a third as large")
    return found


def _of(count: int, total: int) -> str:
    return f"all {total}" if count == total else f"{count} of {total}"


def _about_copies(facts: Facts) -> list[str]:
    total, found = len(facts.names), []
    again = sum(len(group) - 1 for group in facts.equal)
    if 2 * sum(map(len, facts.equal)) >= total > 1 and again:
        twice = {len(group) for group in facts.equal}
        if sum(map(len, facts.equal)) == total and twice == {2}:
            found.append(f"every image is there twice, such as {_names(facts, facts.equal[0])}")
        else:
            found.append(f"{again} of {total} images are identical to others, such as {_names(facts, facts.equal[0])}")
    if facts.labels is not None and facts.counts:
        labels, classes = facts.labels, list(facts.counts)
        mixed = [group for group in facts.equal if len({labels[i] for i in group}) > 1]
        if mixed:
            first, second = mixed[0][0], next(i for i in mixed[0] if labels[i] != labels[mixed[0][0]])
            kinds = [_class(labels[i], classes) for i in (first, second)]
            found.append(
                f"{len(mixed)} picture{' is' if len(mixed) == 1 else 's are'} in more than one class, such as "
                f"{_names(facts, (first, second))} ({' and '.join(kinds)})"
            )
    return found


def _class(label: int | None, classes: Sequence[str]) -> str:
    return "none" if label is None or label < 0 else printable(classes[label], 60)


def _names(facts: Facts, group: Sequence[int]) -> str:
    return " = ".join(printable(facts.names[i]) for i in group[:2])
