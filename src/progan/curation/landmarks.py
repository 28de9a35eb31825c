"""Landmarks of faces: left eye, right eye, nose, and left and right corner of the mouth, as seen in the image."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from progan.errors import DataError

POINTS = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
_ALIASES = {"mouthleft": "leftmouth", "mouthright": "rightmouth", "eyeleft": "lefteye", "eyeright": "righteye"}
_NAMES = ("file", "filename", "imageid", "image", "name", "path")


def read_landmarks(path: str | Path) -> dict[str, np.ndarray]:
    """Read the landmarks of one face per image, float64 [5, 2] (x, y) in pixels, by the image's name.

    Args:
        path: CelebA's list_landmarks_celeba.txt or list_landmarks_align_celeba.txt (number of images, names of the
            columns, then a name and ten numbers per line), or a CSV file with the header file, lefteye_x, lefteye_y,
            ..., rightmouth_y. Variants such as image_id and left_eye_x are accepted, other columns are ignored.

    Raises:
        DataError: if the file has a different format, contains no faces, or names an image twice.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot read landmarks ({error})\n  fix:   name CelebA's list or a CSV") from error
    is_list = bool(lines) and lines[0].strip().isdecimal()
    rows = _list_rows(path, lines) if is_list else _csv_rows(path, lines)
    faces: dict[str, np.ndarray] = {}
    for number, name, numbers in rows:
        try:
            points = np.array([float(text) for text in numbers]).reshape(5, 2)
        except ValueError:
            raise DataError(f"{path}, line {number}: expected a name and ten numbers, found {name} {numbers}") from None
        if name in faces:
            raise DataError(f"{path}, line {number}: duplicate name {name}\n  fix:   keep one face per image")
        if not name or not np.isfinite(points).all():
            raise DataError(f"{path}, line {number}: the name is missing, or landmarks are not finite: {numbers}")
        faces[name] = points
    if not faces or (is_list and len(faces) != int(lines[0])):
        raise DataError(
            f"{path}: {'truncated' if faces else 'no landmarks'}\n"
            f"  found: {len(faces)} faces{f', expected {lines[0].strip()}' if is_list else ''}\n"
            f"  fix:   download the file again"
        )
    return faces


def points_of(faces: dict[str, np.ndarray], names: Iterable[str]) -> list[np.ndarray | None]:
    """Return the landmarks of every image of a source by its path, or by its file name if unique; None if missing.

    >>> points_of({"1.jpg": np.zeros((5, 2))}, ["all/1.jpg", "2.jpg"])[1] is None
    True
    """
    names = list(names)
    files = [PurePosixPath(name).name for name in names]
    counts = Counter(files)
    return [
        faces.get(name, faces.get(file) if counts[file] == 1 else None) for name, file in zip(names, files, strict=True)
    ]


def _list_rows(path: Path, lines: list[str]) -> Iterator[tuple[int, str, list[str]]]:
    columns = tuple(_simple(name) for name in lines[1].split()) if len(lines) > 1 else ()
    if columns != tuple(point + axis for point in POINTS for axis in "xy"):
        raise DataError(f"{path}, line 2: expected lefteye_x lefteye_y ... rightmouth_y, found {' '.join(columns)}")
    for number, line in enumerate(lines[2:], 3):
        if line.strip():
            name, *numbers = line.split()
            yield number, name, numbers


def _csv_rows(path: Path, lines: list[str]) -> Iterator[tuple[int, str, list[str]]]:
    table = csv.reader(lines)
    header = [_simple(name) for name in next(table, [])]
    name = next((header.index(name) for name in _NAMES if name in header), None)
    wanted = [point + axis for point in POINTS for axis in "xy"]
    missing = [column for column in wanted if column not in header] + ([] if name is not None else ["file"])
    if missing or name is None:
        raise DataError(
            f"{path}: not a table of landmarks\n"
            f"  found: columns {', '.join(header) or 'none'}; missing {', '.join(missing)}\n"
            f"  fix:   add the header line file,{','.join(f'{p}_{a}' for p in POINTS for a in 'xy')}"
        )
    places = [header.index(column) for column in wanted]
    for number, row in enumerate(table, 2):
        if len(row) > max(name, *places):
            yield number, row[name], [row[place] for place in places]
        elif row:
            raise DataError(f"{path}, line {number}: expected {len(header)} columns, found {len(row)}")


def _simple(column: str) -> str:
    """Normalize a column's name: lower case without spaces and underscores, in CelebA's terms."""
    name = "".join(letter for letter in column.lower() if letter.isalnum())
    return _ALIASES.get(name[:-1], name[:-1]) + name[-1] if name[-1:] in ("x", "y") else name
