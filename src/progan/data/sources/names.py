"""Names of files inside a source: which of them are images, and the labels given by their folders."""

import fnmatch
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from progan.data.decoding.formats import READABLE_SUFFIXES, why_left_out
from progan.data.printing import printable
from progan.data.records import in_order
from progan.errors import DataError

IMAGE_SUFFIXES = READABLE_SUFFIXES
"""File name extensions of images."""


_SYSTEM = frozenset(
    {
        "__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "recycler", "system volume information",
        "lost+found", "network trash folder", "temporary items", "#recycle", "@recycle", "@eadir", "@tmp", "@__thumb",
        "#snapshot", "__pycache__",
    }
)  # fmt: skip
_ARRAYS = (".npy", ".npz", ".mat")
_VIDEOS = {".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".wmv"}
_PACKED = {".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"}
_CAMERA = re.compile(r"\d{3}[A-Za-z0-9_]{5}")  # a folder of pictures in DCIM (JEITA CP-3461, "DCF")


def is_hidden(name: str) -> bool:
    """Return whether a path inside a source belongs to an operating system, a camera or a NAS rather than to the data.

    >>> is_hidden("__MACOSX/._a.png"), is_hidden("cat/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg"), is_hidden("cat/a.png")
    (True, True, False)
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]  # millions of names: pathlib would take minutes
    return any(part.startswith((".", "~$")) or part.lower() in _SYSTEM for part in parts)


def base_of(name: str) -> str:
    """Return a path without its folders."""
    return name.rpartition("/")[2]  # millions of names: pathlib would take minutes


def suffix_of(name: str) -> str:
    """Return the extension of a file in lower case, with its dot; names may end with blanks.

    >>> suffix_of("a/b.PNG "), suffix_of("a.b/c"), suffix_of("a/.png"), suffix_of("b.")
    ('.png', '', '', '')
    """
    start, dot, end = base_of(name.strip()).rpartition(".")
    return f".{end.lower()}" if dot and start and end else ""


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Return whether one of the patterns fits a path, its base name, or any folder on the way to it.

    >>> [matches("cat/masks/1.png", [p]) for p in ("masks", "1.*", "cat/masks", "*/masks/*", "1")]
    [True, True, True, True, False]
    """
    parts = PurePosixPath(name).parts
    tried = {name, *parts, *("/".join(parts[:i]) for i in range(1, len(parts)))}
    return any(fnmatch.fnmatchcase(one, pattern.rstrip("/")) for pattern in patterns for one in tried)


def no_images(path: Path, names: Sequence[str]) -> DataError:
    """Return the error for a source whose files are not images."""
    seen = Counter(suffix_of(name) or "no extension" for name in names)
    parts = ((count, suffix, why_left_out(suffix)) for suffix, count in seen.most_common(8))
    found = ", ".join(f"{count} {printable(suffix)}{f' ({why})' if why else ''}" for count, suffix, why in parts)
    fix = (
        f"use a folder, zip or tar with image files ({' '.join(sorted(IMAGE_SUFFIXES))}), or another kind of source "
        "(docs/data.md lists them)"
    )
    if array := next((name for name in names if suffix_of(name) in _ARRAYS), ""):
        fix = f"pass one such file, {f'such as {printable(str(path / array), 200)}' if path.is_dir() else 'unpacked'}"
    elif seen.keys() & _PACKED:
        fix = "unpack these archives, and pass the folder with the images"
    elif seen.keys() & _VIDEOS:
        fix = "save the frames as images first, such as with ffmpeg -i VIDEO frames/%06d.png"
    return DataError(
        f"{path}: contains no images\n"
        f"  found: {f'other files ({found})' if found else 'no files at all'}\n"
        f"  fix:   {fix}"
    )


def strip_wrapper(names: list[str]) -> list[str]:
    """Return the names without the folders that they all have in common.

    >>> strip_wrapper(["pets/cat/1.png", "pets/dog/1.png"])
    ['cat/1.png', 'dog/1.png']
    """
    if not names:
        return []
    first, last = (name.split("/")[:-1] for name in (min(names), max(names)))
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    cut = "".join(f"{folder}/" for folder, _ in same)
    cut = cut if all(name.startswith(cut) for name in names) else ""
    return [name[len(cut) :] for name in names]


def folder_labels(names: Sequence[str]) -> tuple[list[int] | None, tuple[str, ...], str]:
    """Return labels and classes from the first folder of every name, and a note about them.

    There are none unless every image is in a folder and at least two folders contain images. Folders of a camera,
    such as 100CANON, are not classes.

    >>> folder_labels(["cat/1.png", "dog/a/1.png", "dog/2.png"])
    ([0, 1, 1], ('cat', 'dog'), 'labels: 2 classes from the folders')
    >>> folder_labels(["10/1.png", "9/1.png"])[:2], folder_labels(["cat/1.png", "cat/2.png"])
    (([1, 0], ('9', '10')), (None, (), ''))
    """
    folders = [name.split("/", 1)[0] for name in names if "/" in name]
    classes = in_order(set(folders))
    if len(classes) < 2 or all(map(_CAMERA.fullmatch, classes)):
        return None, (), ""
    if len(folders) < len(names):
        outside = next(name for name in names if "/" not in name)
        verb = "is" if len(names) - len(folders) == 1 else "are"
        rest = (
            f"{len(names) - len(folders)} of {len(names)} images {verb} in none of them, such as {printable(outside)}"
        )
        shown = printable(", ".join(classes[:4])) + (", ..." if len(classes) > 4 else "")
        return None, (), f"labels: none; the folders {shown} are not classes, because {rest}"
    number = {name: i for i, name in enumerate(classes)}
    return [number[folder] for folder in folders], classes, f"labels: {len(classes)} classes from the folders"
