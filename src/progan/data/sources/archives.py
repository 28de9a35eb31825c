"""Images in zip and tar files and WebDataset shards, read in place: nothing is extracted to disk."""

import itertools
import json
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, Self

from progan.data.records import Payload, Source, Table, joined, within
from progan.data.sources.label_files import dataset_json
from progan.data.sources.names import folder_labels, is_hidden, pick_images, strip_wrapper
from progan.errors import DataError

HELD_BYTES = 2 << 30
"""Maximum memory for members of a compressed tar that are read before their turn [bytes]."""

MEMBER_BYTES = 512 << 20
"""Maximum size of one unpacked file of an archive [bytes]; anything larger is taken for a decompression bomb."""
_HEADER_BYTES = 1 << 20  # of a long name or extended header of a tar
_HEADERS = (b"x", b"g", b"X", b"L", b"K")  # types of members that tell about the next one
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
"""File name extensions of shards in a folder."""

_BROKEN_TAR = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError, KeyError)
_BROKEN_ZIP = (zipfile.BadZipFile, EOFError, OSError, zlib.error, lzma.LZMAError, RuntimeError, NotImplementedError)


def zip_source(path: Path) -> Source:
    """Return the images of a zip file.

    Raises:
        DataError: if it is broken, contains no images, or has a name that points outside the archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            everything = [info for info in archive.infolist() if not info.is_dir()]
            members = {info.filename: info for info in everything if not stat.S_ISLNK(info.external_attr >> 16)}
    except _BROKEN_ZIP as error:
        raise _broken(path, "zip", error) from error
    _refuse_escapes(path, members)
    if databases := [name for name in members if PurePosixPath(name).name == "data.mdb"]:
        raise DataError(
            f"{path}: an LMDB cannot be read inside a zip\n"
            f"  found: {databases[0]}, {members[databases[0]].file_size / 1e9:.1f} GB unpacked\n"
            f"  fix:   unzip {path.name}, then pass the folder {PurePosixPath(databases[0]).parent}"
        )
    names = pick_images(path, members)

    def read_names(wanted: Iterable[str]) -> Iterator[Payload]:
        with zipfile.ZipFile(path) as archive:
            for name in wanted:
                try:
                    yield _too_large(members[name].file_size) or archive.read(members[name])
                except _BROKEN_ZIP as error:
                    yield DataError(f"cannot be unpacked: {error}")

    def read(positions: Sequence[int]) -> Iterator[Payload]:
        return read_names(names[i] for i in positions)

    def own() -> Table | None:
        return _own_labels(path, names, members, read_names)

    labels, classes = folder_labels(strip_wrapper(names))
    facts = {"names": names, "labels": labels, "classes": classes, "own_labels": own}
    return Source(description=f"zip {path.name}", read=read, **facts)


def list_tar(path: Path) -> dict[str, tarfile.TarInfo]:
    """Return the files of a tar, compressed or not, by name.

    Raises:
        DataError: if the archive is broken, or has a name that points outside the archive.
    """
    everything: list[tarfile.TarInfo] = []
    try:
        with tarfile.open(path, tarinfo=_Member) as archive:
            for member in iter(archive.next, None):
                if everything and member.offset <= everything[-1].offset:
                    raise tarfile.ReadError("a header that points back")
                everything.append(member)
    except _BROKEN_TAR as error:
        raise _broken(path, "tar", error, [member.name for member in everything if member.isreg()]) from error
    _refuse_escapes(path, [member.name for member in everything])
    return {str(PurePosixPath(member.name)): member for member in everything if member.isreg() or member.islnk()}


class _Member(tarfile.TarInfo):
    """Member of a tar whose header must be intact; Python takes a damaged or missing one for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            member = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf == bytes(tarfile.BLOCKSIZE):  # the end
                raise
            raise tarfile.ReadError(f"truncated or damaged: {error}") from error
        if member.size < 0:
            raise tarfile.ReadError(f"a size of {member.size} bytes")
        if member.type in _HEADERS and member.size > _HEADER_BYTES:  # it would be read into memory at once
            raise tarfile.ReadError(f"a header of {member.size} bytes")
        return member


def tar_source(path: Path, members: dict[str, tarfile.TarInfo]) -> Source:
    """Return the images of a tar whose files are already listed, with labels from files next to them (WebDataset)."""
    names = pick_images(path, members)

    def read(positions: Sequence[int]) -> Iterator[Payload]:
        return read_tar(path, [members[names[i]] for i in positions])

    def own() -> Table | None:
        return _own_labels(path, names, members, lambda wanted: read_tar(path, [members[name] for name in wanted]))

    labels, classes = folder_labels(strip_wrapper(names))
    facts = {"names": names, "labels": labels, "classes": classes, "own_labels": own}
    return Source(description=f"tar {path.name}", read=read, **facts)


def shards_source(folder: Path, files: Sequence[str]) -> Source:
    """Return the images of several tars, one after the other; each name begins with that of its tar."""
    shards = [(file, tar_source(folder / file, list_tar(folder / file))) for file in sorted(files)]
    labels, classes = folder_labels([name for _, shard in shards for name in shard.names])
    whole = joined(f"shards {folder.resolve().name}", [within(file, shard) for file, shard in shards])
    return replace(whole, labels=labels, classes=classes)


def _own_labels(
    path: Path, names: list[str], members: Iterable[str], read: Callable[[Sequence[str]], Iterator[Payload]]
) -> Table | None:
    """Read labels from dataset.json at the top, else from KEY.cls or KEY.json next to the images; None without any."""
    files = [name for name in members if not is_hidden(name)]
    inside = sorted((name for name in files if PurePosixPath(name).name == "dataset.json"), key=len)
    try:
        if inside:
            top = PurePosixPath(inside[0]).parent
            table = dataset_json(as_bytes(next(read(inside[:1]))))
            return table and replace(table, files=[str(top / name) for name in table.files])
        for suffix, parse in ((".cls", _from_cls), (".json", _from_json)):
            beside = {_key(name): name for name in files if name.endswith(suffix)}
            pairs = [(name, beside[_key(name)]) for name in names if _key(name) in beside]
            first = next(read([pairs[0][1]])) if pairs else None
            if first is not None and parse(as_bytes(first))[0] is not None:
                wanted = sorted({side for _, side in pairs})
                found = {side: parse(as_bytes(data)) for side, data in zip(wanted, read(wanted), strict=True)}
                return _beside([(name, *found[side]) for name, side in pairs])
    except (ValueError, DataError) as error:
        fix = "use --labels none, or --labels FILE with other labels"
        raise DataError(f"{path}: the labels in it cannot be read ({error})\n  fix:   {fix}") from error
    return None


def _key(name: str) -> str:
    """Path of a sample up to the first dot of its base name, as WebDataset defines it."""
    file = PurePosixPath(name)
    return str(file.with_name(file.name.split(".", 1)[0] or file.name))


def as_bytes(data: Payload) -> bytes:
    """Return the payload of a file as bytes; raise its DataError if it could not be read."""
    if not isinstance(data, bytes):
        raise data if isinstance(data, DataError) else TypeError(type(data))
    return data


_Facts = tuple[str | int | None, dict[str, Any]]
"""Class of an image, and its further attributes."""


def _from_cls(data: bytes) -> _Facts:
    return data.decode("utf-8").strip() or None, {}


def _from_json(data: bytes) -> _Facts:
    try:
        content = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(content, dict):
        return None, {}
    key = "label" if "label" in content else "cls"
    value = content.pop(key, None)
    return (value, content) if isinstance(value, str | int) else (None, {})


def _beside(facts: Sequence[tuple[str, str | int | None, dict[str, Any]]]) -> Table:
    """Table of the labels next to the images, for the images that have a class."""
    files, labels, more = [], [], []
    for file, label, others in facts:
        if label is not None:
            files.append(file)
            labels.append(label)
            more.append(others)
    names = dict.fromkeys(itertools.chain.from_iterable(more))
    return Table(files=files, labels=labels, columns={name: [others.get(name) for others in more] for name in names})


def read_tar(path: Path, wanted: Sequence[tarfile.TarInfo]) -> Iterator[Payload]:
    """Yield the contents of members of a tar in the given order, in one pass over a compressed archive.

    Raises:
        DataError: if the archive is broken, or too much of it would have to be held in memory.
    """
    try:
        with tarfile.open(path) as archive:
            arrivals = iter(sorted(wanted, key=lambda member: member.offset) if _is_compressed(path) else wanted)
            held: dict[int, bytes | DataError] = {}
            for member in wanted:
                while member.offset not in held:
                    early = next(arrivals)
                    held[early.offset] = _member_bytes(archive, early)
                    _check_held(path, held, member)
                yield held.pop(member.offset)
    except _BROKEN_TAR as error:
        raise _broken(path, "tar", error) from error


def _is_compressed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00"))


def _member_bytes(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | DataError:
    if refused := _too_large(member.size):
        return refused
    try:
        file = archive.extractfile(member)
    except (KeyError, RecursionError):  # links may go round
        file = None
    if file is None:
        return DataError(f"a link to {member.linkname!r}, which is not in the archive")
    return _too_large(file.seek(0, 2)) or (file.seek(0), file.read())[1] if member.islnk() else file.read()


def _too_large(size: int) -> DataError | None:
    if size <= MEMBER_BYTES:
        return None
    return DataError(f"unpacks to {size} bytes, more than the {MEMBER_BYTES} allowed; replace it with a smaller file")


def _check_held(path: Path, held: dict[int, bytes | DataError], member: tarfile.TarInfo) -> None:
    """Limit the members that wait in memory, because going back in a compressed file means starting over."""
    if len(held) > 1 and sum(len(data) for data in held.values() if isinstance(data, bytes)) > HELD_BYTES:
        raise DataError(
            f"{path}: the files of this compressed tar are not sorted by name, and too large to be sorted in memory\n"
            f"  found: {len(held)} files before {member.name!r}\n"
            f"  fix:   decompress it (gunzip, bunzip2 or unxz) and pass the .tar"
        )


def _refuse_escapes(path: Path, names: Iterable[str]) -> None:
    """Reject names that point outside the archive: they mark a hostile file, even though nothing is extracted."""
    for name in names:
        parts = re.split(r"[/\\]", name)
        if ".." in parts or parts[0] == "" or re.fullmatch("[A-Za-z]:", parts[0]):
            raise DataError(
                f"{path}: rejected, because a name in it points outside the archive\n"
                f"  found: {name!r}\n"
                f"  fix:   create the archive again with relative names"
            )


def _broken(path: Path, kind: str, error: BaseException, readable: Sequence[str] = ()) -> DataError:
    size = f"{path.stat().st_size if path.exists() else 0} bytes"
    found = f"{size}; {len(readable)} files before the damage, the last one {readable[-1]!r}" if readable else size
    rescue = f", or extract the readable files with 'tar -xf {path.name}' and pass their folder" if readable else ""
    rescue = f", or recover the readable files with 'zip -FF {path.name} --out saved.zip'" if kind == "zip" else rescue
    return DataError(
        f"{path}: not a readable {kind} file ({type(error).__name__}: {error})\n"
        f"  found: {found}\n"
        f"  fix:   download or create it again{rescue}"
    )
