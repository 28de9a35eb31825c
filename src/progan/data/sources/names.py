"""Names of files inside a source: which of them are images, and the labels given by their folders."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from progan.errors import DataError

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
"""File name extensions of images."""


def is_hidden(name: str) -> bool:
    """Return whether a path inside a source belongs to the operating system rather than to the data."""
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def pick_images(path: Path, names: Iterable[str]) -> list[str]:
    """Return the names of the images among all file names of a source, sorted.

    Raises:
        DataError: if there are none.
    """
    visible = [name for name in names if not is_hidden(name)]
    images = sorted(name for name in visible if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES)
    if images:
        return images
    seen = Counter(PurePosixPath(name).suffix.lower() or "no extension" for name in visible)
    found = ", ".join(f"{count} {suffix}" for suffix, count in seen.most_common(8))
    raise DataError(
        f"{path}: contains no images\n"
        f"  found: {f'other files ({found})' if found else 'no files at all'}\n"
        f"  fix:   use a folder, zip or tar with {' '.join(sorted(IMAGE_SUFFIXES))} files, MNIST idx files or CIFAR-10"
    )


def strip_wrapper(names: list[str]) -> list[str]:
    """Return the names without the folders that they all have in common.

    >>> strip_wrapper(["pets/cat/1.png", "pets/dog/1.png"])
    ['cat/1.png', 'dog/1.png']
    """
    parents = [PurePosixPath(name).parts[:-1] for name in names]
    depth = 0
    while all(len(p) > depth and p[depth] == parents[0][depth] for p in parents):
        depth += 1
    return [str(PurePosixPath(*PurePosixPath(name).parts[depth:])) for name in names]


def folder_labels(names: Sequence[str]) -> tuple[list[int] | None, tuple[str, ...]]:
    """Return labels and classes from the first folder of every name.

    There are none unless every image is in a folder and at least two folders contain images.

    >>> folder_labels(["cat/1.png", "dog/a/1.png", "dog/2.png"])
    ([0, 1, 1], ('cat', 'dog'))
    >>> folder_labels(["cat/1.png", "2.png"]), folder_labels(["cat/1.png", "cat/2.png"])
    ((None, ()), (None, ()))
    """
    if any("/" not in name for name in names):
        return None, ()
    folders = [name.split("/", 1)[0] for name in names]
    classes = tuple(sorted(set(folders)))
    if len(classes) < 2:
        return None, ()
    number = {name: i for i, name in enumerate(classes)}
    return [number[folder] for folder in folders], classes
