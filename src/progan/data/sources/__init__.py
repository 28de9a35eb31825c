"""Data sources of every kind, recognized by their content."""

import difflib
import hashlib
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from tarfile import is_tarfile

from progan.data.printing import printable
from progan.data.records import Choice, Source, Table, categories
from progan.data.sources.archives import (
    TAR_SUFFIXES,
    as_bytes,
    list_tar,
    read_tar,
    shards_source,
    tar_source,
    zip_source,
)
from progan.data.sources.arrays import cifar_source, idx_files, idx_source, is_cifar, is_idx
from progan.data.sources.hub import saved_files, saved_source
from progan.data.sources.label_files import dataset_json
from progan.data.sources.labels import label
from progan.data.sources.lmdbs import lmdb_categories, lmdb_files, lmdb_source
from progan.data.sources.names import IMAGE_SUFFIXES, folder_labels, is_hidden, pick_images
from progan.data.sources.parquets import parquet_files, parquet_source
from progan.data.sources.tables import mat_files, mat_source, numpy_files, numpy_source
from progan.data.sources.tfrecords import tfrecord_files, tfrecord_source
from progan.errors import DataError

_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_KINDS = "a folder, zip, tar, TFRecords, LMDB, .mat, .npy, .npz, parquet, idx files or a CIFAR archive"
SPLITS = ("train", "test", "all")


def open_source(path: str | Path, *, split: str = "train", labels: str = "auto", skip: bool = False) -> Source:
    """Return the images of a source of any kind (see docs/data.md) in a fixed order, with labels if there are any.

    The labels of a folder or archive are its first level of subfolders, if every image is in one and there are at
    least two of them; a single folder around everything in an archive does not count.

    Args:
        path: folder or file of a supported kind.
        split: 'train', 'test' or 'all' of MNIST, CIFAR, SVHN, parquet and .npz; other sources have no splits.
        labels: where the labels come from, as for ``labels.label``.
        skip: whether to skip images without a label, as for ``labels.label``.

    Raises:
        DataError: if the source does not exist, is empty or broken, or is of an unknown kind.
    """
    path = Path(path)
    if split not in SPLITS:
        raise DataError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
    if not path.exists():
        raise missing(path)
    try:
        source = _open(path, split)
        check_not_empty(source, path)
        return label(source, labels, skip=skip)
    except (OSError, DataError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, PermissionError):
            fix = "run chmod u+r on it (u+rx on folders), or ask its owner"
            raise DataError(f"{cause.filename or path}: permission denied\n  fix:   {fix}") from cause
        raise


def check_not_empty(source: Source, path: Path) -> None:
    """Check that a source has images.

    Raises:
        DataError: if it has none.
    """
    if not len(source):
        found = printable(source.description, 200)
        raise DataError(f"{path}: contains no images\n  found: {found}, 0 images\n  fix:   use {_KINDS}")


def _open(path: Path, split: str) -> Source:
    if files := tfrecord_files(path):
        return tfrecord_source(path, files)
    if files := lmdb_files(path):
        return lmdb_source(path, files)
    if folders := lmdb_categories(path, split):
        parts = [(folder.name, name, lmdb_source(folder, lmdb_files(folder))) for name, folder in folders]
        return categories(f"LMDBs {path.resolve().name}", parts)
    if files := mat_files(path):
        return mat_source(path, files, split)
    if numpy_files(path):
        return numpy_source(path, Choice(split=split))
    if files := parquet_files(path):
        return parquet_source(path, files, split)
    if saved := saved_files(path):
        return saved_source(path, saved, split)
    return _open_folder(path, split) if path.is_dir() else _open_file(path, split)


def _open_folder(path: Path, split: str) -> Source:
    if (path / "manifest.json").is_file() and list(path.glob("*x*.npy")):
        raise DataError(
            f"{path}: expected images, but this is already a store\n  fix:   pass it directly to 'progan train'"
        )
    if files := idx_files(path):
        return idx_source(path, files, split)
    for folder in (path, path / "cifar-10-batches-py", path / "cifar-100-python"):
        files = folder.iterdir() if folder.is_dir() else ()
        batches = {file.name: file.read_bytes for file in files if file.is_file()}
        if is_cifar(list(batches)):
            return cifar_source(folder, batches, split)
    files = [name for name in walk(path) if not is_hidden(name)]
    if not any(PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES for name in files):
        if tars := [name for name in files if name.lower().endswith(TAR_SUFFIXES)]:
            return shards_source(path, tars)
        if zips := [name for name in files if name.lower().endswith(".zip")]:
            parts = [(name, PurePosixPath(name).stem, zip_source(path / name)) for name in zips]
            return categories(f"zips {path.resolve().name}", parts)
    names = pick_images(path, files)
    labels, classes = folder_labels(names)

    def read(positions: Sequence[int]) -> Iterator[Path]:
        return (path / names[i] for i in positions)

    def own() -> Table | None:
        file = path / "dataset.json"
        try:
            return dataset_json(file.read_bytes(), where=str(file)) if file.is_file() else None
        except (OSError, ValueError) as error:
            raise DataError(f"{file}: cannot be read ({error})\n  fix:   repair it, or use --labels folder") from error

    facts = {"names": names, "labels": labels, "classes": classes, "own_labels": own}
    return Source(description=f"folder {path.resolve().name}", read=read, **facts)


def _open_file(path: Path, split: str) -> Source:
    name = path.name.lower()
    if is_idx(path):
        return idx_source(path, [path], split)
    if name.endswith(".zip") or (not name.endswith(_TAR_SUFFIXES) and zipfile.is_zipfile(path)):
        return zip_source(path)
    if name.endswith(_TAR_SUFFIXES) or is_tarfile(path):
        members = list_tar(path)
        inside = {PurePosixPath(member).name: info for member, info in members.items() if not is_hidden(member)}
        if is_cifar(list(inside)):
            readers = {base: lambda info=info: as_bytes(next(read_tar(path, [info]))) for base, info in inside.items()}
            return cifar_source(path, readers, split)
        return tar_source(path, members)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise DataError(f"{path}: not a data source\n  found: a single image\n  fix:   use its folder, {path.parent}")
    raise DataError(
        f"{path}: not a data source\n"
        f"  found: a file of {path.stat().st_size} bytes of an unknown kind\n"
        f"  fix:   use {_KINDS}"
    )


def walk(folder: Path) -> Iterator[str]:
    """Yield all files below a folder, as sorted relative names with forward slashes; links to folders are followed."""
    seen: set[str] = set()
    for parent, children, files in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link back to a folder above it
            children.clear()
            continue
        seen.add(real)
        children.sort()
        yield from (Path(parent, file).relative_to(folder).as_posix() for file in sorted(files))


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
    parent = path.parent
    while not parent.is_dir() and parent != parent.parent:
        parent = parent.parent
    wanted = path.relative_to(parent).parts[0] if path != parent else path.name
    names = sorted(child.name for child in parent.iterdir() if not child.name.startswith("."))
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.6)
    found = ", ".join(near or names[:5]) + (", ..." if len(names) > 5 and not near else "") or "nothing"
    fix = f"use {parent / near[0]}" if near else f"use {_KINDS}"
    return DataError(f"{path}: no such file or folder\n  found: in {parent}: {found}\n  fix:   {fix}")
