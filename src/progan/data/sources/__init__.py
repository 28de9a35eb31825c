"""Data sources of every kind, recognized by their content."""

import difflib
import hashlib
import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from tarfile import is_tarfile

import numpy as np

from progan.data.printing import counted, printable, some
from progan.data.records import Choice, Payload, Source, as_bytes, categories, joined, within
from progan.data.sources.archives import TAR_SUFFIXES, list_tar, read_tar, shards_source, tar_source, zip_source
from progan.data.sources.arrays import cifar_source, is_cifar
from progan.data.sources.deflate64 import open_zip
from progan.data.sources.files import Files, files_source
from progan.data.sources.hdf5 import hdf5_files, hdf5_source
from progan.data.sources.hub import arrow_files, saved_files, saved_source
from progan.data.sources.idx import idx_files, idx_source, is_idx
from progan.data.sources.labels import label
from progan.data.sources.lmdbs import lmdb_categories, lmdb_files, lmdb_folders, lmdb_source
from progan.data.sources.names import IMAGE_SUFFIXES, is_hidden, matches, suffix_of
from progan.data.sources.parquets import parquet_files, parquet_source
from progan.data.sources.splits import SPLITS, chosen_split, split_of
from progan.data.sources.tables import mat_files, mat_source, numpy_files, numpy_source
from progan.data.sources.tfrecords import tfrecord_files, tfrecord_source
from progan.errors import DataError

_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_KINDS = "a folder, zip, tar, TFRecords, LMDB, HDF5, .mat, .npy, .npz, parquet, Arrow, idx files or a CIFAR archive"


def open_source(
    path: str | Path, choice: Choice | None = None, *, split: str = "train", labels: str = "auto", skip: bool = False
) -> Source:
    """Return the images of a source of any kind (see docs/data.md) in a fixed order, with labels if there are any.

    Args:
        path: folder or file of a supported kind.
        choice: what to use of the source.
        split: 'train', 'val', 'test' or 'all', if there is no ``choice``.
        labels: where the labels come from, as for ``labels.label``.
        skip: whether to skip images without a label, as for ``labels.label``.

    Raises:
        DataError: if the source does not exist, is empty or broken, or is of an unknown kind, or if a choice has no
            effect on it.
    """
    path, choice = Path(path), choice or Choice(split=split)
    if choice.split not in SPLITS:
        raise DataError(f"split must be one of {', '.join(SPLITS)}; got {choice.split!r}")
    if not path.exists():
        raise missing(path)
    if not path.is_file() and not path.is_dir():  # opening it could block
        raise DataError(f"{path}: not a data source\n  found: a pipe, socket or device\n  fix:   use {_KINDS}")
    try:
        source = _open(path, choice)
        check_not_empty(source, path)
        return label(chosen(source, choice), labels, skip=skip)
    except (OSError, DataError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, PermissionError):
            fix = "run chmod u+r on it (u+rx on folders), or ask its owner"
            raise DataError(f"{cause.filename or path}: permission denied\n  fix:   {fix}") from cause
        raise


def chosen(source: Source, choice: Choice) -> Source:
    """Return the source without excluded images.

    Raises:
        DataError: if a choice has no effect on the source.
    """
    idle = {
        "split": choice.split in ("val", "test") and "this source has no splits",
        "column": choice.column and "this source has no columns of images",
        "member": choice.member and "no sample of this source has several pictures",
    }
    for name, why in idle.items():
        if why and name not in source.heeds:
            raise DataError(
                f"--{name} {getattr(choice, name)}: no effect, because {why}\n"
                f"  found: {printable(source.description, 200)}, {len(source)} images such as "
                f"{printable(source.names[0])}\n"
                f"  fix:   remove --{name}"
            )
    if not choice.exclude or "exclude" in source.heeds:
        return source
    rows = [i for i, name in enumerate(source.names) if not matches(name, choice.exclude)]
    if len(rows) in (0, len(source)):
        what = "every image has such a name" if not rows else "no image has such a name"
        raise DataError(
            f"--exclude {' '.join(choice.exclude)}: {what}\n"
            f"  found: {len(source)} images such as {printable(source.names[0])}\n"
            f"  fix:   use a part of the path between slashes, or a pattern such as '*_mask.png'"
        )
    note = f"{counted(len(source) - len(rows), 'image')} left out by --exclude {' '.join(choice.exclude)}"
    return replace(source.only(np.array(rows)), notes=(*source.notes, note))


def check_not_empty(source: Source, path: Path) -> None:
    """Check that a source has images.

    Raises:
        DataError: if it has none.
    """
    if not len(source):
        found = printable(source.description, 200)
        raise DataError(f"{path}: contains no images\n  found: {found}, 0 images\n  fix:   use {_KINDS}")


def _open(path: Path, choice: Choice) -> Source:
    if files := tfrecord_files(path):
        return tfrecord_source(path, files, choice)
    if files := lmdb_files(path):
        return lmdb_source(path, files, choice)
    if folders := lmdb_folders(path):
        return lmdb_categories(path, folders, choice)
    if files := hdf5_files(path):
        return hdf5_source(path, files, choice)
    if files := mat_files(path):
        return mat_source(path, files, choice.split)
    if numpy_files(path):
        return numpy_source(path, choice)
    if files := parquet_files(path):
        return parquet_source(path, files, choice)
    if saved := saved_files(path) or arrow_files(path):
        return saved_source(path, saved, choice)
    return _open_folder(path, choice) if path.is_dir() else _open_file(path, choice)


def _open_folder(path: Path, choice: Choice) -> Source:
    if (path / "manifest.json").is_file() and list(path.glob("*x*.npy")):
        raise DataError(
            f"{path}: expected images, but this is already a store\n  fix:   pass it directly to 'progan train'"
        )
    if files := idx_files(path):
        return idx_source(path, files, choice)
    for folder in (path, path / "cifar-10-batches-py", path / "cifar-100-python"):
        batches = {name: (folder / name).read_bytes for name in _regular(str(folder))} if folder.is_dir() else {}
        if is_cifar(list(batches)):
            return cifar_source(folder, batches, choice)
    special: list[str] = []
    files = [_in_utf8(name) for name in walk(path, special)]
    visible = [name for name in files if not is_hidden(name)]
    if not any(suffix_of(name) in IMAGE_SUFFIXES for name in visible):
        if tars := [name for name in visible if name.lower().endswith(TAR_SUFFIXES)]:
            return shards_source(path, tars, choice)
        if zips := [name for name in visible if name.lower().endswith(".zip")]:
            return _zips(path, zips, choice)
        inside = {name.split("/")[0] for name in visible}
        if len(inside) == 1 and (path / min(inside)).is_dir():  # a folder around other formats, such as MNIST/raw
            return _open(path / min(inside), choice)
    note = f"pipes, sockets and devices are left out: {printable(', '.join(special))}"

    def read(names: Sequence[str]) -> Iterator[Payload]:
        return (path / os.fsdecode(name.encode("utf-8", "surrogateescape")) for name in names)

    found = Files(path=path, names=files, read=read, notes=(note,) if special else ())
    return files_source(f"folder {path.resolve().name}", found, choice)


def _in_utf8(name: str) -> str:
    """Return a name as it is under a UTF-8 locale, so that a store does not depend on the locale."""
    return os.fsencode(name).decode("utf-8", "surrogateescape")


def _zips(path: Path, zips: Sequence[str], choice: Choice) -> Source:
    """Return the images of several zips, each of which is a split or a class."""
    full = [name for name in zips if _has_images(path / name)] or zips
    without = [name for name in zips if name not in full]
    notes = [f"left out, because they contain no images: {some(without)}"] if without else []
    splits = {name: split_of(PurePosixPath(name).stem) for name in full}
    if all(splits.values()) and len(full) > 1:
        parts = {part: [name for name in full if splits[name] == part] for part in splits.values() if part}
        names, note = chosen_split(parts, choice.split, where=str(path))
        inside = replace(choice, split="all")
        whole = joined(f"zips {path.resolve().name}", [within(name, zip_source(path / name, inside)) for name in names])
        notes += [note] if note else []
        return replace(whole, notes=(*whole.notes, *notes), heeds=whole.heeds | {"split"})
    parts = [(name, PurePosixPath(name).stem, zip_source(path / name, choice)) for name in full]
    whole = categories(f"zips {path.resolve().name}", parts)
    if whole.classes:
        several = len({re.sub(r"\d+\W*$", "", name) for _, name, _ in parts}) > 1
        more = "" if several else "; if they are parts of one set, pass --labels none"
        notes.append(f"labels: {len(whole.classes)} classes from the names of the zips{more}")
    return replace(whole, notes=(*whole.notes, *notes))


def _has_images(path: Path) -> bool:
    """Return whether a zip contains files with the extension of an image, or is broken, which is told later."""
    try:
        with open_zip(path) as archive:
            return any(suffix_of(name) in IMAGE_SUFFIXES and not is_hidden(name) for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return True


def _open_file(path: Path, choice: Choice) -> Source:
    name = path.name.lower()
    if is_idx(path):
        return idx_source(path, [path], choice)
    if name.endswith(".zip") or (not name.endswith(_TAR_SUFFIXES) and zipfile.is_zipfile(path)):
        return zip_source(path, choice)
    if name.endswith(_TAR_SUFFIXES) or is_tarfile(path):
        members = list_tar(path)
        inside = {PurePosixPath(member.name).name: member for member in members if not is_hidden(member.name)}
        if is_cifar(list(inside)):
            readers = {base: lambda info=info: as_bytes(next(read_tar(path, [info]))) for base, info in inside.items()}
            return cifar_source(path, readers, choice)
        return tar_source(path, members, choice)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise DataError(f"{path}: not a data source\n  found: a single image\n  fix:   use its folder, {path.parent}")
    raise DataError(
        f"{path}: not a data source\n"
        f"  found: a file of {path.stat().st_size} bytes of an unknown kind\n"
        f"  fix:   use {_KINDS}"
    )


def walk(folder: Path, special: list[str] | None = None) -> Iterator[str]:
    """Yield all files below a folder, as sorted relative names with forward slashes; links to folders are followed.

    Pipes, sockets and devices, which could block whoever reads them, are appended to ``special`` instead. Stores inside
    the folder are left out, because their contact sheets are no images of it.
    """
    seen: set[tuple[int, int]] = set()
    for parent, children, files in os.walk(folder, onerror=_refuse, followlinks=True):
        status = Path(parent).stat()
        real = status.st_dev, status.st_ino
        if real in seen or (Path(parent) != folder and _is_store(files)):  # a link back to a folder above, or a store
            children.clear()
            continue
        seen.add(real)
        children.sort()
        inside = Path(parent).relative_to(folder).as_posix()
        start = "" if inside == "." else f"{inside}/"
        regular = _regular(parent)
        for file in sorted(files):
            if file in regular or not os.path.exists(f"{parent}/{file}"):  # noqa: PTH110, for millions of files
                yield start + file  # a dangling link is reported when its turn comes
            elif special is not None:
                special.append(start + file)


def _regular(folder: str) -> set[str]:
    """Return the names of the files in a folder that can be read without waiting for somebody to write."""
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_file()}


def _is_store(files: Sequence[str]) -> bool:
    return "manifest.json" in files and any(re.fullmatch(r"\d+x\d+\.npy", file) for file in files)


def _refuse(error: OSError) -> None:
    """Raise DataError for a folder that cannot be listed, which must not pass for an empty one."""
    fix = "run chmod u+rx on it, or ask its owner"
    raise DataError(f"{error.filename}: cannot be listed ({error.strerror})\n  fix:   {fix}")


def fingerprint(path: Path, *, but: Path | None = None) -> str:
    """Return a hash of the names, sizes and times of the files of a source, to recognize it without reading it.

    Args:
        path: path of the source.
        but: folder to ignore if it is inside the source, as well as ``BUT.anything`` next to it.

    Raises:
        DataError: if the path does not exist.
    """
    if not path.exists():
        raise missing(path)
    digest = hashlib.sha256()
    names = [name for name in walk(path) if not is_hidden(name)] if path.is_dir() else [""]
    if but is not None and (made := but.resolve()).is_relative_to(source := path.resolve()):
        own = made.relative_to(source).as_posix()
        names = [name for name in names if not name.startswith((f"{own}/", f"{own}."))]
    if path.is_file():  # labels of idx files and TFRecords are next to them
        names += sorted(f"../{file.name}" for file in path.parent.glob("*labels*") if file != path)
    names = [name for name in names if not name.endswith("lock.mdb")]  # changes when anybody reads an LMDB
    for name in names:
        file = path.parent / name[3:] if name.startswith("../") else path / name
        status = file.stat() if file.exists() else None  # a dangling link is no image
        facts = (name or path.name, status.st_size, status.st_mtime_ns) if status else (name,)
        digest.update(repr(facts).encode())
    return digest.hexdigest()


def missing(path: Path) -> DataError:
    """Return the error for a path that does not exist, with the most similar names."""
    if re.match(r"[a-z]{2,6}:/", str(path)):
        return DataError(f"{path}: not a file or folder\n  found: a URL\n  fix:   download it, and pass the file")
    parent = path.parent
    while not parent.is_dir() and parent != parent.parent:
        parent = parent.parent
    wanted = path.relative_to(parent).parts[0] if path != parent else path.name
    names = sorted(child.name for child in parent.iterdir() if not child.name.startswith("."))
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.6)
    found = ", ".join(near or names[:5]) + (", ..." if len(names) > 5 and not near else "") or "nothing"
    fix = f"use {parent / near[0]}" if near else f"use {_KINDS}"
    return DataError(f"{path}: no such file or folder\n  found: in {parent}: {found}\n  fix:   {fix}")
