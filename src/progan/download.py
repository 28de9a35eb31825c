"""Downloads into a cache folder: resumed after an interruption, and checked by SHA-256 before they can be used."""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from progan.errors import DataError
from progan.files import cache_path, hold, replacing

_TIMEOUT_S = 30
_BLOCK = 1 << 20  # bytes


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(path: Path, sha256: str) -> Path:
    """Return ``path`` if the file has the expected SHA-256.

    Raises:
        DataError: if it does not, with both checksums.
    """
    if (found := file_sha256(path)) != sha256:
        raise _wrong(path, sha256, found, "delete it and download it again")
    return path


def _wrong(what: Path | str, wanted: str, found: str, fix: str) -> DataError:
    return DataError(
        f"{what}: wrong SHA-256, so the file is damaged or a different one\n"
        f"  wanted: {wanted}\n  found:  {found}\n  fix:    {fix}"
    )


def fetch(name: str, url: str, sha256: str) -> Path:
    """Return the file ``name`` in the cache (see ``cache_path``), after downloading it from ``url`` if it is missing.

    After an interruption, the part that was received is kept as NAME.partial and the next call resumes the download.
    Processes that need the same file at the same time wait for the first one.

    Raises:
        DataError: if the file cannot be downloaded, with its address, checksum and place for a manual download; or if
            it has a wrong checksum.
    """
    target = cache_path(name)
    if target.exists():
        return check(target, sha256)
    try:
        with ExitStack() as alone:
            with suppress(OSError):  # without locks, two downloads at a time at worst give a wrong checksum
                alone.enter_context(hold(target.with_name(f"{target.name}.lock"), wait=True, brief=True))
            if not target.exists():  # no other process has downloaded it meanwhile
                with replacing(target, resume=True) as file:
                    _download(url, file, target.name)
                    if (found := file_sha256(Path(file.name))) != sha256:
                        file.truncate(0)  # nothing of it is of use
                        fix = "run this again; if the error persists, the file at this address has changed"
                        raise _wrong(url, sha256, found, fix)
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: not a URL
        raise DataError(
            f"{target.name}: cannot be downloaded ({error})\n"
            f"  from:    {url}\n  SHA-256: {sha256}\n"
            f"  fix:     run this again with a working connection, or save the file as {target}"
        ) from error
    return check(target, sha256)


def fetch_any(name: str, urls: Sequence[str], sha256: str) -> Path:
    """Return ``fetch`` from the first of several addresses that has the file; raise the error of the last one."""
    for url in urls[:-1]:
        try:
            return fetch(name, url, sha256)
        except DataError:  # the next one may work, and resumes where this one stopped
            continue
    return fetch(name, urls[-1], sha256)


def _download(url: str, file: BinaryIO, title: str) -> None:
    """Append the missing part of ``url`` to ``file``, which is open for appending."""
    start = file.seek(0, os.SEEK_END)
    headers = {"Range": f"bytes={start}-"} if start else {}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: nothing follows byte ``start``, so all of it is there, or too much
            raise
        error.close()
        return
    with response:
        if response.status != 206:  # the server sends the whole file
            start = file.truncate(0)
        length = response.headers["Content-Length"]
        total = start + int(length) if length else None
        with tqdm(desc=title, initial=start, total=total, unit="B", unit_scale=True, disable=None) as bar:
            while block := response.read(_BLOCK):
                file.write(block)
                bar.update(len(block))
        file.flush()
        if total is not None and file.tell() < total:
            raise ConnectionError(f"the connection broke after {file.tell():,} of {total:,} bytes; the rest is resumed")
