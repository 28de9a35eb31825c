"""Archives with bad names, links, devices, bombs, and archives in archives."""

import functools
import gzip
import io
import tarfile
import zipfile
from random import Random

from fuzz import seeds
from fuzz.cases import Case, Lazy
from fuzz.hostile import BAD_NAMES, MIB, dot, gzip_zeros, in_folder, one, zip_of_zeros


def zips(rng: Random) -> list[Case]:
    """Return zips with bad names, bombs and zips in zips."""
    cases = []
    for name in BAD_NAMES:
        info = zipfile.ZipInfo("placeholder")
        info.filename = name
        out = io.BytesIO()
        try:
            with zipfile.ZipFile(out, "w") as archive:
                archive.writestr("0.png", dot(rng))
                archive.writestr(info, dot(rng))
        except (ValueError, UnicodeError, OSError):
            continue
        cases.append(one("a.zip", out.getvalue(), f"name {name[:40]!r}"))
    for mib, told in ((600, None), (600, 1000), (300, None), (500, None)):
        cases.append(
            one(
                "a.zip",
                Lazy(functools.partial(zip_of_zeros, "a.png", mib, told)),
                f"zip of {mib} MiB of zeros that says {told}",
            )
        )
    inner = seeds.zipped(rng, {"a.png": dot(rng)})
    for _ in range(5):
        inner = seeds.zipped(rng, {"a.zip": inner}, zipfile.ZIP_DEFLATED)
    cases += [
        one("a.zip", inner, "zips in zips"),
        in_folder({"a.zip": inner, "b.zip": inner}, "zips in zips in a folder"),
    ]
    many = seeds.zipped(rng, {f"{i}.png": b"" for i in range(5000)}, zipfile.ZIP_STORED)
    twice = io.BytesIO()
    with zipfile.ZipFile(twice, "w") as archive:
        for _ in range(3):
            archive.writestr(zipfile.ZipInfo("a.png"), dot(rng))
    locked = bytearray(seeds.zipped(rng, {"a.png": dot(rng)}, zipfile.ZIP_STORED))
    locked[6] |= 1
    locked[locked.index(b"PK\1\2") + 8] |= 1
    link = zipfile.ZipInfo("a.png")
    link.external_attr = 0o120777 << 16
    linked = io.BytesIO()
    with zipfile.ZipFile(linked, "w") as archive:
        archive.writestr(link, "/etc/passwd")
        archive.writestr("b.png", dot(rng))
    more = {
        "5,000 empty": many,
        "one name three times": twice.getvalue(),
        "encrypted": bytes(locked),
        "link": linked.getvalue(),
    }
    for name in ("a.cls", "dataset.json", "metadata.jsonl", "metadata.csv", "labels.npy"):
        cases.append(one("a.zip", Lazy(functools.partial(_zip_beside, name)), f"bomb named {name}"))
    more["empty"] = b"PK\5\6" + bytes(18)
    return cases + [one("a.zip", data, note) for note, data in more.items()]


def _zip_beside(name: str) -> bytes:
    return seeds.zipped(Random(name), {"a.png": dot(Random(name)), name: bytes(300 * MIB)}, zipfile.ZIP_DEFLATED)


def _member(
    name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "", pax: dict | None = None
) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.size, member.linkname, member.pax_headers = kind, size, link, pax or {}
    return member


_PAX = (
    {"size": "9" * 30},
    {"size": "-1"},
    {"size": "x"},
    {"path": "../../out.png"},
    {"path": "/out.png"},
    {"hdrcharset": "BINARY"},
    {"GNU.sparse.map": "1,2,3"},
    {"GNU.sparse.size": "9" * 15, "GNU.sparse.map": "0,1"},
    {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9" * 12},
    {"mtime": "nan"},
    {"uid": "9" * 5000},
    {"k" * 5000: "v"},
    {"comment": "x" * 2 * MIB},
)


def tars(rng: Random) -> list[Case]:
    """Return tars with bad names, links, devices, bombs and tars in tars."""
    picture, files = dot(rng), {}

    def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for member, data in members:
                archive.addfile(member, io.BytesIO(data))
        return out.getvalue()

    good = (_member("0.png", size=len(picture)), picture)
    for name in BAD_NAMES:
        try:
            files[f"name {name[:40]!r}"] = tar(good, (_member(name, size=len(picture)), picture))
        except (ValueError, UnicodeError):
            continue
    for kind in (
        tarfile.LNKTYPE,
        tarfile.SYMTYPE,
        tarfile.FIFOTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.DIRTYPE,
        b"Z",
    ):
        for link in ("a.png", "b.png", "../../etc/passwd", "/etc/passwd", "/dev/zero", "x" * 5000):
            files[f"type {kind!r} to {link[:20]}"] = tar(
                good, (_member("a.png", kind, link=link), b""), (_member("b.png", kind, link="a.png"), b"")
            )
    for pax in _PAX:
        files[f"pax {str(pax)[:50]}"] = tar((_member("a.png", size=len(picture), pax=pax), picture), good)
    inner = tar(good)
    for _ in range(5):
        inner = tar((_member("a.tar", size=len(inner)), inner))
    files["tars in tars"] = inner
    files["5,000 empty"] = tar(*((_member(f"{i}.png"), b"") for i in range(5000)))
    files["one name twice"] = tar(good, good)
    files["zeros"] = bytes(10240)
    cases = [one("a.tar", data, note) for note, data in files.items()]
    for mib in (300, 600):
        head = tarfile.TarInfo("a.png")
        head.size = mib * MIB
        cases.append(
            one("a.tar.gz", Lazy(functools.partial(gzip_zeros, mib + 1, head.tobuf())), f"member of {mib} MiB of zeros")
        )
    return [
        *cases,
        one("a.tar.gz", Lazy(functools.partial(gzip_zeros, 600)), "600 MiB of zeros"),
        one("a.tar.gz", gzip.compress(gzip.compress(inner)), "gz in gz"),
    ]
