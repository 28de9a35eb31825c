"""Images among the files of a folder, zip or tar: one set of rules, so that the same files give the same images."""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from progan.data.decoding import peek
from progan.data.decoding.formats import why_left_out
from progan.data.printing import counted, printable
from progan.data.records import Choice, Payload, Source
from progan.data.sources.beside import SIDE_SUFFIXES, is_metadata, labels_beside
from progan.data.sources.names import (
    IMAGE_SUFFIXES,
    base_of,
    folder_labels,
    is_hidden,
    matches,
    no_images,
    strip_wrapper,
    suffix_of,
)
from progan.data.sources.samples import pick_members, stems
from progan.data.sources.splits import chosen_split, split_of
from progan.errors import DataError

Read = Callable[[Sequence[str]], Iterator[Payload]]
"""Function that yields the contents of files by their names."""
_DOMAIN = ("A", "B")
_TABLES = (".csv", ".tsv", ".jsonl")
_MOST_KINDS = 8


@dataclass(frozen=True, kw_only=True)
class Files:
    """All files of a folder or archive."""

    path: Path
    """Path of the folder or archive, for messages."""
    names: Sequence[str]
    """Paths inside it, with forward slashes."""
    read: Read
    inner: Callable[[str], str] = str
    """Returns a path without that of the shard that contains the file."""
    notes: tuple[str, ...] = ()


def files_source(description: str, files: Files, choice: Choice) -> Source:
    """Return the images among some files, with labels from label files beside them or from their folders.

    - Files of operating systems, cameras and NAS are ignored, and those that match ``choice.exclude`` left out.
    - Folders named like splits (train, val, test) are splits.
    - Of several pictures of one sample, one is used (``pick_members``).
    - The first level of folders that differ are classes (``folder_labels``).

    Raises:
        DataError: if there are no images, or none of the requested ones.
    """
    visible = [name for name in files.names if not is_hidden(files.inner(name))]
    left, of_exclude = _without_excluded(visible, files, choice.exclude)
    images = sorted(name for name in left if suffix_of(name) in IMAGE_SUFFIXES) or _without_suffix(left, files.read)
    if not images:
        raise no_images(files.path, left)
    notes = [*files.notes, of_exclude, *_left_out(set(left) - set(images), images)]
    rows, inners, of_split = _split(strip_wrapper([files.inner(name) for name in images]), choice.split, description)
    names = [images[row] for row in rows]
    sides = stems(name for name in left if suffix_of(name) in SIDE_SUFFIXES)
    picked = pick_members(names, sides=sides, size=lambda row: _size(names[row], files.read), member=choice.member)
    names = [names[row] for row in picked.rows]
    labels, classes, of_labels = folder_labels(strip_wrapper(strip_wrapper([inners[row] for row in picked.rows])))
    heeds = {"exclude": True, "split": bool(of_split), "member": picked.several}
    return Source(
        description=description,
        names=names,
        labels=labels,
        classes=classes,
        read=lambda positions: files.read([names[i] for i in positions]),
        own_labels=lambda: labels_beside(files.path, names, left, files.inner, files.read),
        unused=sorted({name for name in visible if suffix_of(name) in IMAGE_SUFFIXES} - set(names)),
        notes=tuple(note for note in (*notes, of_split, *picked.notes, of_labels) if note),
        heeds=frozenset(name for name, heeded in heeds.items() if heeded),
    )


def _without_excluded(names: Sequence[str], files: Files, patterns: Sequence[str]) -> tuple[list[str], str]:
    """Return the names that match no pattern, and a note.

    Raises:
        DataError: if a pattern matches nothing, or if all images are excluded.
    """
    if not patterns:
        return list(names), ""
    idle = [one for one in patterns if not any(matches(files.inner(name), [one]) for name in names)]
    if idle:
        raise DataError(
            f"--exclude {' '.join(idle)}: no file has such a name\n"
            f"  found: {len(names)} files, such as {printable(files.inner(names[0])) if names else 'none'}\n"
            f"  fix:   use the name of a file or folder, or a pattern such as '*_mask.png'"
        )
    left = [name for name in names if not matches(files.inner(name), patterns)]
    note = f"{counted(len(names) - len(left), 'file')} left out by --exclude {' '.join(patterns)}"
    some, rest = (any(suffix_of(name) in IMAGE_SUFFIXES for name in part) for part in (names, left))
    if some and not rest:
        raise DataError(
            f"{files.path}: contains no images except for those that --exclude leaves out\n"
            f"  found: {note}\n"
            f"  fix:   exclude less"
        )
    return left, note


def _without_suffix(names: Sequence[str], read: Read) -> list[str]:
    """Return the files without an extension if the first of them is an image."""
    bare = sorted(name for name in names if not suffix_of(name))
    return bare if bare and _size(bare[0], read) else []


def _size(name: str, read: Read) -> tuple[int, int] | None:
    """Return the height and width of an image, or None if it cannot be opened."""
    try:
        return peek(next(read([name])))[1]
    except DataError:
        return None


def _left_out(names: Iterable[str], images: Sequence[str]) -> list[str]:
    """Return a note about files that are neither images nor known label files, by kind."""
    others = [name for name in sorted(names) if suffix_of(name) not in SIDE_SUFFIXES and not is_metadata(name)]
    if side := set(names).difference(others):
        about = {"dataset", "metadata", *(base_of(name).partition(".")[0] for name in images)}
        others += sorted(name for name in side if base_of(name).partition(".")[0] not in about)
    if not others:
        return []
    kinds = Counter(suffix_of(name) or "without extension" for name in others)
    parts = [
        f"{n} {printable(kind)}{_why(kind)}"
        for kind, n in sorted(kinds.items(), key=lambda one: (-one[1], one[0]))[:_MOST_KINDS]
    ]
    more = ", ..." if len(kinds) > _MOST_KINDS else ""
    return [f"{counted(len(others), 'file')} left out: {', '.join(parts)}{more}"]


def _why(suffix: str) -> str:
    why = "--labels FILE reads labels" if suffix in _TABLES else why_left_out(suffix)
    return f" ({why})" if why else ""


def _split(names: list[str], split: str, where: str) -> tuple[list[int], list[str], str]:
    """Return the images of a split, their names without the folder of the split, and a note.

    Splits are folders at the first level, or at the second, inside those of the classes.
    """
    for level in (0, 1):
        parts = [name.split("/") for name in names]
        if not all(len(one) > level + 1 for one in parts) and level:
            break
        folders = [one[level] if len(one) > level + 1 else "" for one in parts]
        known = {folder: _split_and_class(bare) for folder, bare in _without_common(set(folders)).items()}
        there = {found[0] for found in known.values() if found}
        if len(there) < 2 or not (all(known.values()) or (level == 0 and "train" in there)):
            continue
        places: dict[str, list[int]] = {}
        for row, folder in enumerate(folders):
            if found := known[folder]:
                places.setdefault(found[0], []).append(row)
        rows, note = chosen_split(places, split, where=where)
        rows.sort()
        if others := sum(found is None for found in map(known.get, folders)):
            note += f"; {counted(others, 'image')} {'is' if others == 1 else 'are'} in no split"
        inners = []
        for row in rows:
            found = known[folders[row]]
            inner = [found[1]] if found and found[1] else []
            inners.append("/".join([*parts[row][:level], *inner, *parts[row][level + 1 :]]))
        return rows, inners, note or f"split: {split}"
    return list(range(len(names))), names, ""


def _without_common(folders: Collection[str]) -> dict[str, str]:
    """Return what is left of each name without the words at its start and end that all of them have.

    >>> _without_common(["cars_train", "cars_test"]), _without_common(["train"])
    ({'cars_train': 'train', 'cars_test': 'test'}, {'train': 'train'})
    """
    if len(folders) < 2:
        return {folder: folder for folder in folders}
    start = re.sub(r"[^\W_]+$", "", _common_start(folders))
    end = re.sub(r"^[^\W_]+", "", _common_start([folder[len(start) :][::-1] for folder in folders])[::-1])
    return {folder: folder[len(start) : len(folder) - len(end)] for folder in folders}


def _common_start(names: Collection[str]) -> str:
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(min(names), max(names), strict=False))
    return "".join(one for one, _ in same)


def _split_and_class(folder: str) -> tuple[str, str] | None:
    """Return the split of a folder and the class that its name tells, if any; None if it is not a split.

    >>> _split_and_class("Train"), _split_and_class("trainA"), _split_and_class("cat")
    (('train', ''), ('train', 'A'), None)
    """
    if split := split_of(folder):
        return split, ""
    split = split_of(folder[:-1].rstrip("_-")) if folder[-1:] in _DOMAIN else None
    return (split, folder[-1:]) if split else None
