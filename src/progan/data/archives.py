"""Images inside zip and tar files, read in place: nothing is extracted to disk."""

import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from progan.data.records import Payload, Source, folder_labels, pick_images, strip_wrapper
from progan.errors import DataError

HELD_BYTES = 2 << 30
"""Most memory for members of a compressed tar that come before their turn [bytes]."""

_BROKEN_TAR = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError, KeyError)
_BROKEN_ZIP = (zipfile.BadZipFile, EOFError, OSError, zlib.error, lzma.LZMAError, RuntimeError, NotImplementedError)


def zip_source(path: Path) -> Source:
    """The images of a zip file."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    except _BROKEN_ZIP as error:
        raise _broken(path, "zip", error) from error
    _refuse_escapes(path, members)
    names = pick_images(path, members)

    def read(positions: Sequence[int]) -> Iterator[Payload]:
        with zipfile.ZipFile(path) as archive:
            for i in positions:
                try:
                    yield archive.read(members[names[i]])
                except _BROKEN_ZIP as error:
                    yield DataError(f"cannot be unpacked: {error}")

    labels, classes = folder_labels(strip_wrapper(names))
    return Source(description=f"zip {path.name}", names=names, labels=labels, classes=classes, read=read)


def list_tar(path: Path) -> dict[str, tarfile.TarInfo]:
    """The files of a tar, compressed or not, by name.

    Raises:
        DataError: if the archive is broken, or a name in it leads out of the archive.
    """
    try:
        with tarfile.open(path) as archive:
            everything = archive.getmembers()
    except _BROKEN_TAR as error:
        raise _broken(path, "tar", error) from error
    _refuse_escapes(path, (member.name for member in everything))
    return {str(PurePosixPath(member.name)): member for member in everything if member.isreg() or member.islnk()}


def tar_source(path: Path, members: dict[str, tarfile.TarInfo]) -> Source:
    """The images of a tar whose files are already listed."""
    names = pick_images(path, members)

    def read(positions: Sequence[int]) -> Iterator[Payload]:
        return read_tar(path, [members[names[i]] for i in positions])

    labels, classes = folder_labels(strip_wrapper(names))
    return Source(description=f"tar {path.name}", names=names, labels=labels, classes=classes, read=read)


def read_tar(path: Path, wanted: Sequence[tarfile.TarInfo]) -> Iterator[bytes]:
    """The contents of members of a tar, in the wanted order and in one pass over a compressed archive.

    Raises:
        DataError: if the archive is broken, or too much of it would have to be held in memory.
    """
    try:
        with tarfile.open(path) as archive:
            arrivals = iter(sorted(wanted, key=lambda member: member.offset) if _is_compressed(path) else wanted)
            held: dict[int, bytes] = {}
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


def _member_bytes(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    if file is None:
        raise KeyError(member.name)
    return file.read()


def _check_held(path: Path, held: dict[int, bytes], member: tarfile.TarInfo) -> None:
    """Going back in a compressed file means to unpack it from its start, so early members wait in memory."""
    if len(held) > 1 and sum(map(len, held.values())) > HELD_BYTES:
        raise DataError(
            f"{path}: the files of this compressed tar are not sorted, and too large to wait in memory for their turn\n"
            f"  found: {len(held)} files before {member.name!r}\n"
            f"  fix:   unpack the compression alone (gunzip, bunzip2, unxz) and name the .tar"
        )


def _refuse_escapes(path: Path, names: Iterator[str] | dict) -> None:
    """A name that leads out of the archive marks a hostile file, even though nothing is extracted."""
    for name in names:
        parts = re.split(r"[/\\]", name)
        if ".." in parts or parts[0] == "" or re.fullmatch("[A-Za-z]:", parts[0]):
            raise DataError(
                f"{path}: refused, because a name in it leads out of the archive\n"
                f"  found: {name!r}\n"
                f"  fix:   pack the archive again with relative names"
            )


def _broken(path: Path, kind: str, error: BaseException) -> DataError:
    return DataError(
        f"{path}: not a readable {kind} file ({type(error).__name__}: {error})\n"
        f"  found: {path.stat().st_size if path.exists() else 0} bytes\n"
        f"  fix:   download or pack it again"
    )
