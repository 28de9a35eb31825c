"""Images in zip and tar files and WebDataset shards, read in place: nothing is extracted to disk."""

import contextlib
import itertools
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Self, TypeVar

from progan.data.printing import counted, printable
from progan.data.records import Choice, Payload, Source
from progan.data.sources.deflate64 import open_zip
from progan.data.sources.files import Files, files_source
from progan.data.sources.splits import chosen_split, split_in
from progan.errors import DataError

_T = TypeVar("_T")
_ENCRYPTED, _UTF8 = 0x1, 0x800  # flags of a member of a zip

HELD_BYTES = 2 << 30
"""Maximum memory for members of a compressed tar that are read before their turn [bytes]."""

MEMBER_BYTES = 384 << 20
"""Maximum size of one unpacked file of an archive [bytes]; anything larger is taken for a decompression bomb."""
_HEADER_BYTES = 1 << 20  # of a long name or extended header of a tar
_HEADERS = (b"x", b"g", b"X", b"L", b"K")  # types of members that tell about the next one
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
"""File name extensions of shards in a folder."""

_MAGIC = {b"\x1f\x8b": "gz", b"BZ": "bz2", b"\xfd7": "xz"}
"""First bytes of the methods of compression of a tar."""

_BROKEN_TAR = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError, LookupError, ValueError, OverflowError)
_BROKEN_ZIP = (
    zipfile.BadZipFile,
    EOFError,
    OSError,
    zlib.error,
    lzma.LZMAError,
    RuntimeError,
    NotImplementedError,
    UnicodeDecodeError,
)


def zip_source(path: Path, choice: Choice = Choice()) -> Source:  # noqa: B008, it is frozen
    """Return the images of a zip file.

    Raises:
        DataError: if it is broken, contains no images, or has a name that points outside the archive.
    """
    try:
        with open_zip(path) as archive:
            everything = [info for info in archive.infolist() if info.filename and not info.is_dir()]
    except _BROKEN_ZIP as error:
        raise _broken(path, "zip", error) from error
    regular = [info for info in everything if not stat.S_ISLNK(info.external_attr >> 16)]
    members, notes = _by_name(path, [(_zip_name(info), info) for info in regular])
    if databases := [name for name in members if PurePosixPath(name).name == "data.mdb"]:
        raise DataError(
            f"{path}: an LMDB cannot be read inside a zip\n"
            f"  found: {databases[0]}, {members[databases[0]].file_size / 1e9:.1f} GB unpacked\n"
            f"  fix:   unzip {path.name}, then pass the folder {PurePosixPath(databases[0]).parent}"
        )
    if members and all(info.flag_bits & _ENCRYPTED for info in members.values()):
        raise DataError(
            f"{path}: protected by a password\n"
            f"  found: {len(members)} encrypted files, such as {printable(next(iter(members)))}\n"
            f"  fix:   unpack it with its password, then pass the folder"
        )

    def read(wanted: Sequence[str]) -> Iterator[Payload]:
        with open_zip(path) as archive:
            for name in wanted:
                yield _zip_bytes(archive, members[name])

    files = Files(path=path, names=list(members), read=read, notes=notes)
    return files_source(f"zip {path.name}", files, choice)


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return the name of a member with forward slashes; names in UTF-8 that are not marked as such count as UTF-8."""
    name = info.orig_filename if hasattr(info, "orig_filename") else info.filename
    if not info.flag_bits & _UTF8:
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


def _zip_bytes(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes | DataError:
    if info.flag_bits & _ENCRYPTED:
        return DataError("protected by a password; unpack the zip with its password, then pass the folder")
    try:
        with archive.open(info) as file:  # which would unpack more than the header says if it is read to its end
            return _too_large(info.file_size) or file.read(info.file_size + 1)
    except NotImplementedError as error:
        return DataError(f"cannot be unpacked: compression method {info.compress_type} ({error})")
    except _BROKEN_ZIP as error:
        return DataError(f"cannot be unpacked: {error}")


def _by_name(path: Path, found: Sequence[tuple[str, _T]]) -> tuple[dict[str, _T], tuple[str, ...]]:
    """Return the members of an archive by their names in one form, the last one of each name, and a note about those.

    Raises:
        DataError: if a name points outside the archive.
    """
    _refuse_escapes(path, [name for name, _ in found])
    members = {str(PurePosixPath(name)): member for name, member in found}
    replaced = len(found) - len(members)
    note = f"{counted(replaced, 'file')} left out, because the archive has a later one of the same name"
    return members, (note,) if replaced else ()


def list_tar(path: Path) -> list[tarfile.TarInfo]:
    """Return the files of a tar, compressed or not, in their order.

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
    return [member for member in everything if member.isreg() or member.islnk()]


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


def tar_source(path: Path, members: Sequence[tarfile.TarInfo], choice: Choice) -> Source:
    """Return the images of a tar whose files are already listed."""
    return files_source(f"tar {path.name}", _tar_files(path, members), choice)


def shards_source(folder: Path, files: Sequence[str], choice: Choice) -> Source:
    """Return the images of several tars, one after the other; each name begins with that of its tar.

    If the names of the tars tell splits, those of the requested one are used.
    """
    splits = {file: split_in(PurePosixPath(file).name) for file in sorted(files)}
    has_splits = all(splits.values()) and len(set(splits.values())) > 1
    chosen, note = list(splits), ""
    if has_splits:
        parts = {part: [file for file in splits if splits[file] == part] for part in set(splits.values()) if part}
        chosen, note = chosen_split(parts, choice.split, where=str(folder))
    shards = {file: _tar_files(folder / file, list_tar(folder / file)) for file in sorted(chosen)}
    shard_of = {f"{file}/{name}": file for file, shard in shards.items() for name in shard.names}

    def inner(name: str) -> str:
        return name[len(shard_of[name]) + 1 :]

    def read(wanted: Sequence[str]) -> Iterator[Payload]:
        for file, group in itertools.groupby(wanted, key=lambda name: shard_of[name]):
            yield from shards[file].read([inner(name) for name in group])

    notes = dict.fromkeys(note for shard in shards.values() for note in shard.notes)
    whole = Files(path=folder, names=list(shard_of), read=read, inner=inner, notes=tuple(notes))
    source = files_source(f"shards {folder.resolve().name}", whole, choice)
    heeds = source.heeds | ({"split"} if has_splits else set())
    of_labels = "labels: none from the names of the tars, which are read as parts of one set"
    of_labels = of_labels if source.labels is None and len(shards) > 1 else ""
    notes = tuple(one for one in (*source.notes, note, of_labels) if one)
    return replace(source, notes=notes, heeds=frozenset(heeds))


def _tar_files(path: Path, everything: Sequence[tarfile.TarInfo]) -> Files:
    members, notes = _by_name(path, [(member.name, member) for member in everything])

    def read(wanted: Sequence[str]) -> Iterator[Payload]:
        return read_tar(path, [members[name] for name in wanted])

    return Files(path=path, names=list(members), read=read, notes=notes)


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
    return _head(path) in _MAGIC


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(2)


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
    tried = str(error).splitlines() or [""]  # tarfile lists what each method of compression said
    method = _MAGIC.get(_head(path), "tar") if path.exists() else ""
    reason = next((line[2:] for line in tried if line.startswith(f"- method {method}:")), tried[0])
    return DataError(
        f"{path}: not a readable {kind} file ({type(error).__name__}: {reason})\n"
        f"  found: {found}\n"
        f"  fix:   download or create it again{rescue}"
    )
