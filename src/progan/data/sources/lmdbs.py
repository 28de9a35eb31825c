"""LMDB databases of encoded images, such as those of LSUN, read in place by key."""

import re
import weakref
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from progan.data.pixels import peek
from progan.data.records import Names, Payload, Source
from progan.errors import DataError

_MAGIC, _MAGIC_AT = b"\xde\xc0\xef\xbe", 16  # behind the header of the first page
_NOT_IMAGES = frozenset({b"length", b"__len__", b"__keys__", b"num-samples"})
"""Keys under which some programs store the number of images."""
_SPLIT = re.compile(r"(_train|_val|_test)?(_lmdb)?$")
_OPEN: weakref.WeakValueDictionary[tuple[int, ...], Any] = weakref.WeakValueDictionary()


def lmdb_files(path: Path) -> list[Path]:
    """Return the data.mdb directly in a folder, or the file itself if it begins like one."""
    if path.is_dir():
        return [path / "data.mdb"] if (path / "data.mdb").is_file() else []
    with path.open("rb") as file:
        head = file.read(_MAGIC_AT + 4)
    return [path] if head.endswith(_MAGIC) or path.suffix == ".mdb" else []


def lmdb_categories(path: Path, split: str) -> list[tuple[str, Path]]:
    """Return the category and folder of each LMDB directly in a folder, such as bedroom for bedroom_train_lmdb.

    Folders named ..._val_lmdb are the split 'test'; folders without a split in their name belong to every split.

    Raises:
        DataError: if there are LMDBs, but none of that split.
    """
    if not path.is_dir():
        return []
    found = [folder for folder in sorted(path.iterdir()) if (folder / "data.mdb").is_file()]
    ends = {"train": ("val", "test"), "test": ("train",), "all": ()}[split]
    chosen = [
        folder for folder in found if not folder.name.removesuffix("_lmdb").endswith(tuple(f"_{e}" for e in ends))
    ]
    if found and not chosen:
        raise DataError(
            f"{path}: no LMDB of the split {split!r}\n"
            f"  found: {', '.join(folder.name for folder in found[:8])}\n"
            f"  fix:   use another --split"
        )
    return [(_SPLIT.sub("", folder.name), folder) for folder in chosen]


def lmdb_source(path: Path, files: Sequence[Path]) -> Source:
    """Return the images of an LMDB in the order of their keys. Only the keys are kept in memory, never the values.

    Locks are ignored, so that databases on read-only disks can be read; no program may write to it at the same time.

    Raises:
        DataError: if it cannot be opened, is truncated or contains no images.
    """
    database = _open(files[0])
    keys, ends = _keys(files[0], database)

    def key(i: int) -> bytes:
        return keys[ends[i] : ends[i + 1]]

    def read(positions: Sequence[int]) -> Iterator[Payload]:
        import lmdb

        for i in positions:
            try:
                with database.begin() as view:
                    yield view.get(key(i)) or DataError("empty value in the LMDB")
            except lmdb.Error as error:
                yield DataError(f"damaged in the LMDB ({error})")

    source = Source(
        description=f"LMDB {path.resolve().name}",
        names=Names(len(ends) - 1, lambda i: key(i).decode("utf-8", "backslashreplace")),
        read=read,
    )
    _check(files[0], source)
    return source


def _open(file: Path) -> Any:
    """Open a database, at most once per process at a time, because LMDB does not allow more."""
    try:
        import lmdb
    except ImportError:
        raise DataError(f"{file}: reading an LMDB requires lmdb\n  fix:   pip install 'progan[lmdb]'") from None
    with file.open("rb"):  # says more than LMDB if that is forbidden
        status = file.stat()
    mark = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    if mark in _OPEN:
        return _OPEN[mark]
    try:
        database = lmdb.open(str(file), subdir=False, readonly=True, lock=False, readahead=False)
        needed = (database.info()["last_pgno"] + 1) * database.stat()["psize"]
    except lmdb.Error as error:
        raise DataError(
            f"{file}: not a readable LMDB ({error})\n"
            f"  found: {status.st_size} bytes\n"
            f"  fix:   make sure that no other program is writing to it, or download or copy it again"
        ) from error
    if status.st_size < needed:  # reading behind the end would kill the process
        raise DataError(
            f"{file}: truncated\n"
            f"  found: {status.st_size} bytes, expected at least {needed}\n"
            f"  fix:   download or copy it again"
        )
    _OPEN[mark] = database
    return database


def _keys(file: Path, database: Any) -> tuple[bytes, array]:
    """Return all keys, concatenated, and where each of them ends (preceded by a 0)."""
    import lmdb

    keys, ends = bytearray(), array("q", [0])
    try:
        with database.begin() as view, view.cursor() as cursor:
            for key in cursor.iternext(keys=True, values=False):
                if key not in _NOT_IMAGES:
                    keys += key
                    ends.append(len(keys))
    except lmdb.Error as error:
        raise DataError(
            f"{file}: damaged LMDB ({error})\n"
            f"  found: {len(ends) - 1} keys before the damage\n"
            f"  fix:   download or copy it again"
        ) from error
    return bytes(keys), ends


def _check(file: Path, source: Source) -> None:
    """Reject a database of something else before its millions of values are tried."""
    try:
        first = next(iter(source))
        peek(first.data)
    except StopIteration:
        raise DataError(f"{file}: contains no images\n  found: an empty LMDB\n  fix:   download it again") from None
    except DataError as error:
        raise DataError(
            f"{file}: expected an LMDB of encoded images, such as those of LSUN\n"
            f"  found: under the first of {len(source)} keys, {source.names[0]!r}: {error}\n"
            f"  fix:   export the images to a folder with the program that wrote this LMDB, and pass that folder"
        ) from error
