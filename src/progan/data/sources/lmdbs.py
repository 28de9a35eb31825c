"""LMDB databases of encoded images, such as those of LSUN, read in place by key."""

import os
import re
import weakref
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from progan.data.records import Choice, Names, Payload, Source, categories
from progan.data.sources.columns import is_text_of_its_own
from progan.data.sources.fields import LABELS
from progan.data.sources.lmdb_keys import DIGITS, KNOWN, Keys, Kind, choose_kinds, choose_sizes, look, pattern_of
from progan.data.sources.lmdb_pages import check_pages
from progan.data.sources.own_labels import with_labels
from progan.data.sources.splits import chosen_split, split_in
from progan.errors import DataError

_MAGIC, _MAGIC_AT = b"\xde\xc0\xef\xbe", 16  # behind the header of the first page
_SPLIT = re.compile(r"(_train|_val|_test)?(_lmdb)?$")
_MOST_KINDS = 1000  # of keys; what comes later is of one kind
_TRIED = 8  # values of a kind of keys that are looked at
_OPEN: weakref.WeakValueDictionary[tuple[int, ...], Any] = weakref.WeakValueDictionary()


def lmdb_files(path: Path) -> list[Path]:
    """Return the data.mdb directly in a folder, or the file itself if it begins like one."""
    if path.is_dir():
        return [path / "data.mdb"] if (path / "data.mdb").is_file() else []
    with path.open("rb") as file:
        head = file.read(_MAGIC_AT + 4)
    return [path] if head.endswith(_MAGIC) or path.suffix == ".mdb" else []


def lmdb_folders(path: Path) -> list[Path]:
    """Return the folders directly in a folder that contain an LMDB."""
    if not path.is_dir():
        return []
    with os.scandir(path) as entries:  # of perhaps a million images, so only folders are looked into
        folders = [path / entry.name for entry in entries if entry.is_dir()]
    return [folder for folder in sorted(folders) if (folder / "data.mdb").is_file()]


def lmdb_categories(path: Path, folders: Sequence[Path], choice: Choice) -> Source:
    """Return the images of several LMDBs, each of which is a class, such as bedroom for bedroom_train_lmdb.

    Folders named ..._val_lmdb are of that split; folders without a split in their name belong to every split.

    Raises:
        DataError: if none is of the split, or one cannot be read.
    """
    splits = {folder: split_in(folder.name) for folder in folders}
    chosen, note = list(folders), ""
    if parts := {split: [f for f in folders if splits[f] == split] for split in splits.values() if split}:
        found, note = chosen_split(parts, choice.split, where=str(path))
        chosen = [folder for folder in folders if folder in found or splits[folder] is None]
    sources = [(f.name, _SPLIT.sub("", f.name), lmdb_source(f, lmdb_files(f), choice)) for f in chosen]
    whole = categories(f"LMDBs {path.resolve().name}", sources)
    heeds = whole.heeds | {"split"} if parts else whole.heeds
    return replace(whole, notes=(*whole.notes, note) if note else whole.notes, heeds=heeds)


def lmdb_source(path: Path, files: Sequence[Path], choice: Choice) -> Source:
    """Return the images of an LMDB in the order of their keys. Only the keys are kept in memory, never the values.

    Keys that differ only in their numbers are of one kind; kinds whose values are not pictures are left out, and so are
    masks and the like. Of pictures in several sizes, under SIZE-NUMBER or NUMBER-SIZE, the largest size is used. Values
    under label-NUMBER are the labels of the pictures with these numbers.

    Locks are ignored, so that databases on read-only disks can be read; no program may write to it at the same time.

    Args:
        path: path that the user passed, for messages.
        files: the data file.
        choice: size or kind of keys to use (``member``).

    Raises:
        DataError: if it cannot be opened, is truncated or contains no images.
    """
    file = files[0]
    database = _open(file)
    keys = _keys(file, database)
    look(file, keys)
    pictures = [i for i, kind in enumerate(keys.kinds) if not kind.why]
    rows, notes, several = choose_sizes(file, keys, pictures, choice.member)
    if not several:
        rows, notes, several = choose_kinds(file, keys, pictures, choice.member)
    source = Source(
        description=f"LMDB {path.resolve().name}",
        names=Names(len(rows), lambda i: keys[rows[i]].decode("utf-8", "backslashreplace")),
        read=lambda positions: keys.read(keys[rows[i]] for i in positions),
        heeds=frozenset({"member"}) if several else frozenset(),
    )
    labels = next((kind for kind in keys.kinds if kind.why and kind.name.lower() in LABELS), None)
    others = [kind for kind in keys.kinds if kind.why]
    if labels and (found := _with_labels(source, database, keys, rows, labels)):
        source, others = found, [kind for kind in others if kind is not labels]
    if others:
        listed = ", ".join(f"{kind.text!r} ({kind.count})" for kind in others[:5])
        notes = (*notes, f"left out, because they are not pictures: values under {listed}")
    return replace(source, notes=(*notes, *source.notes))


def _read(database: Any, keys: Iterable[bytes]) -> Iterator[Payload]:
    import lmdb

    for key in keys:
        try:
            with database.begin() as view:
                yield view.get(key) or DataError("empty value in the LMDB")
        except lmdb.Error as error:
            yield DataError(f"damaged in the LMDB ({error})")


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
    check_pages(file)  # the library follows damaged pages out of the file, which kills the process
    try:
        database = lmdb.open(str(file), subdir=False, readonly=True, lock=False, readahead=False)
    except lmdb.Error as error:
        raise DataError(
            f"{file}: not a readable LMDB ({error})\n"
            f"  found: {status.st_size} bytes\n"
            f"  fix:   make sure that no other program is writing to it, or download or copy it again"
        ) from error
    _OPEN[mark] = database
    return database


def _keys(file: Path, database: Any) -> Keys:
    """Read all keys; values are not touched."""
    import lmdb

    text, ends, number, kinds, kind = bytearray(), array("q", [0]), {}, [], array("H")
    try:
        with database.begin() as view, view.cursor() as cursor:
            for key in cursor.iternext(keys=True, values=False):
                pattern = pattern_of(key)
                if pattern not in number:
                    pattern = pattern if len(kinds) < _MOST_KINDS or key in KNOWN else b"*"
                    if number.setdefault(pattern, len(kinds)) == len(kinds):
                        kinds.append(Kind(pattern))
                one = kinds[number[pattern]]
                if len(one.tried) < _TRIED:
                    one.tried.append(len(kind))
                one.count += 1
                kind.append(number[pattern])
                text += key
                ends.append(len(text))
    except lmdb.Error as error:
        raise DataError(
            f"{file}: damaged LMDB ({error})\n"
            f"  found: {len(kind)} keys before the damage\n"
            f"  fix:   download or copy it again"
        ) from error
    return Keys(bytes(text), ends, kinds, kind, lambda wanted: _read(database, wanted))


def _with_labels(source: Source, database: Any, keys: Keys, rows: Sequence[int], kind: Kind) -> Source | None:
    """Return the source with the values under keys such as label-NUMBER as its labels, or None if they do not fit."""
    if kind.pattern.count(b"#") != 1:
        return None
    cells: list[bytes | None] = []
    with database.begin() as view:
        for i in rows:
            number = DIGITS.search(keys[i])
            cells.append(view.get(kind.pattern.replace(b"#", number[0])) if number else None)
    known = [cell for cell in cells if cell is not None]
    if not known or is_text_of_its_own(len(set(known)), len(cells)):
        return None
    packed = all(len(cell) in (4, 8) and b"\0" in cell for cell in known)  # a whole number, not text
    read = (lambda cell: int.from_bytes(cell, "little", signed=True)) if packed else lambda cell: cell
    return with_labels(source, lambda: [None if cell is None else read(cell) for cell in cells], name=kind.name)
