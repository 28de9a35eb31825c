"""Forms of archives; what is inside is damaged by its own form."""

import gzip
import io
import re
import tarfile
import zipfile
from collections.abc import Iterator
from random import Random

from fuzz.form import Field, Form, Hurt, words


def _zip_fields(data: bytes) -> Iterator[Field]:
    widths = {
        b"PK\3\4": (2, 2, 2, 2, 2, 4, 4, 4, 2, 2),
        b"PK\1\2": (2, 2, 2, 2, 2, 2, 4, 4, 4, 2, 2, 2, 2, 2, 4, 4),
        b"PK\5\6": (2, 2, 2, 2, 4, 4, 2),
    }
    for mark, layout in widths.items():
        for found in re.finditer(re.escape(mark), data):
            at = found.start() + 4
            for width in layout:
                yield at, width, "little"
                at += width


def _zip_parts(data: bytes) -> list[bytes]:
    return [part for part in re.split(rb"(?=PK\x03\x04|PK\x01\x02|PK\x05\x06)", data) if part]


def _zip_inner(rng: Random, data: bytes, hurt: Hurt) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    chosen, file = rng.randrange(len(members)), io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for i, (info, content) in enumerate(members):
            archive.writestr(info, hurt(rng, content) if i == chosen else content)
    return file.getvalue()


def _tar_fields(data: bytes) -> Iterator[Field]:
    for at in _tar_headers(data):
        yield from ((at + 124, 12, "octal"), (at + 124, 12, "octal"), (at + 100, 8, "octal"), (at + 136, 12, "octal"))
        yield from (
            (at + 156, 1, "little"),
            (at + 124, 4, "big"),
            (at + 257, 6, "little"),
            (at + at // 512 % 20, 1, "big"),
        )


def _tar_headers(data: bytes) -> Iterator[int]:
    at = 0
    while at + 512 <= len(data) and data[at + 257 : at + 262] == b"ustar":
        yield at
        size = data[at + 124 : at + 135].strip(b" \0")
        at += 512 + -(-int(size or b"0", 8) // 512) * 512


def _tar_parts(data: bytes) -> list[bytes]:
    starts = [*_tar_headers(data)]
    return [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]


def _tar_mend(data: bytes) -> bytes:
    whole = bytearray(data)
    for at in range(0, len(data) - 511, 512):
        if data[at + 257 : at + 262] == b"ustar":
            whole[at + 148 : at + 156] = b" " * 8
            whole[at + 148 : at + 156] = f"{sum(whole[at : at + 512]):06o}\0 ".encode()
    return bytes(whole)


def _tar_inner(rng: Random, data: bytes, hurt: Hurt) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = [(m, file.read() if (file := archive.extractfile(m)) else b"") for m in archive if m.isreg()]
    chosen, out = rng.randrange(len(members)), io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for i, (member, content) in enumerate(members):
            content = hurt(rng, content) if i == chosen else content
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def _gz_inner(rng: Random, data: bytes, hurt: Hurt) -> bytes:
    return gzip.compress(hurt(rng, gzip.decompress(data)), 1, mtime=0)


ARCHIVE_FORMS = (
    Form(lambda d: d.startswith(b"PK\3\4"), _zip_fields, _zip_parts, inner=_zip_inner),
    Form(lambda d: d[257:262] == b"ustar", _tar_fields, _tar_parts, _tar_mend, _tar_inner),
    Form(lambda d: d.startswith(b"\x1f\x8b"), words((2, 10, 1)), inner=_gz_inner),
)
"""Archives."""
