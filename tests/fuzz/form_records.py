"""Forms of arrays, records, tables and databases, and of text."""

import re
import struct
import zlib
from collections.abc import Iterator
from random import Random

from fuzz.damage import as_bytes, damaged
from fuzz.form import Field, Form, Hurt, other, words
from references.tfrecord_writer import masked


def _npy_inner(rng: Random, data: bytes, _: Hurt) -> bytes:
    """Another header: type, order or shape."""
    length = int.from_bytes(data[8:10], "little")
    text = data[10 : 10 + length].decode("latin-1")
    descr = rng.choice(
        ["|O", "<i8", "<f8", "<f4", ">u2", "|b1", "<c16", "|V9", "<U5", "|S3", "<M8[s]", "|u1", "<f2", "x"]
    )
    n = rng.choice([-1, 0, 1, 2, 3, 4, 10**6, 2**31, 2**63, 10**30])
    shape = rng.choice(
        ["()", f"({n},)", f"({n}, {n})", f"(4, {n}, 6)", f"({n}, 6, 6, 3)", "(True,)", "('a',)", "[4]", "4"]
    )
    way = rng.randrange(4)
    if way == 0:
        text = re.sub(r"'descr': '[^']*'", f"'descr': '{descr}'", text)
    elif way == 1:
        text = re.sub(r"\([^)]*\)", shape, text)
    elif way == 2:
        text = rng.choice(
            [text.replace("False", "True"), "(" * 2000, "{" + text, "__import__('os').mkdir('pwned')\n", ""]
        )
    else:
        text = damaged(rng, text.encode("latin-1")).decode("latin-1")
    raw = text.encode("latin-1")[:60000]
    version = rng.choice([b"\1\0", b"\1\0", b"\2\0", b"\3\0", b"\x09\0"])
    size = len(raw).to_bytes(2 if version[0] == 1 else 4, "little")
    return data[:6] + version + size + raw + data[10 + length :]


def _records(data: bytes) -> Iterator[tuple[int, int]]:
    at = 0
    while at + 16 <= len(data):
        length = int.from_bytes(data[at : at + 8], "little")
        if at + 16 + length > len(data):
            return
        yield at, length
        at += 16 + length


def _record_mend(data: bytes) -> bytes:
    """Right checksums for the lengths and records that are where they say."""
    whole, at = bytearray(data), 0
    while at + 12 <= len(data):
        whole[at + 8 : at + 12] = masked(data[at : at + 8])
        length = int.from_bytes(data[at : at + 8], "little")
        if at + 16 + length <= len(data):
            whole[at + 12 + length : at + 16 + length] = masked(data[at + 12 : at + 12 + length])
        at += 16 + length
    return bytes(whole)


def _record_inner(rng: Random, data: bytes, _: Hurt) -> bytes:
    records = [data[at + 12 : at + 12 + length] for at, length in _records(data)]
    chosen = rng.randrange(len(records))
    records[chosen] = damaged(rng, records[chosen][:80]) + records[chosen][80:]
    lengths = [len(record).to_bytes(8, "little") for record in records]
    return b"".join(n + masked(n) + record + masked(record) for n, record in zip(lengths, records, strict=True))


def _mat_inner(rng: Random, data: bytes, _: Hurt) -> bytes:
    """Damage inside the first compressed variable, or in the tags of the first plain one."""
    kind, length = struct.unpack_from("<2I", data, 128)
    body, rest = data[136 : 136 + length], data[136 + length :]
    if kind != 15:
        at = 128 + 4 * rng.randrange(16)
        return (
            data[:at]
            + as_bytes(other(rng, int.from_bytes(data[at : at + 4], "little"), 99), 4, "little")
            + data[at + 4 :]
        )
    raw = zlib.decompress(body)
    at = 4 * rng.randrange(16)
    changed = (
        raw[:at] + as_bytes(other(rng, int.from_bytes(raw[at : at + 4], "little"), 99), 4, "little") + raw[at + 4 :]
    )
    packed = zlib.compress(rng.choice((changed, damaged(rng, raw))))
    return data[:128] + struct.pack("<2I", 15, len(packed)) + packed + rest


def _lmdb_fields(data: bytes) -> Iterator[Field]:
    for page in range(0, min(len(data), 64 * 4096), 4096):
        yield from ((page, 8, "little"), *((page + i, 2, "little") for i in range(8, 40, 2)))
        if page < 8192:
            yield from ((page + 16 + i, 8, "little") for i in range(0, 136, 8))
            yield from ((page + 16 + i, 4, "little") for i in (0, 4, 24, 72))
        top = int.from_bytes(data[page + 14 : page + 16], "little")
        if 16 < top < 4090:
            yield from ((page + top + i, 2, "little") for i in (0, 2, 4, 6))


def _parquet_fields(data: bytes) -> Iterator[Field]:
    length = int.from_bytes(data[-8:-4], "little")
    yield len(data) - 8, 4, "little"
    yield from ((at, 1, "little") for at in range(max(4, len(data) - 8 - length), len(data) - 8))


def _arrow_fields(data: bytes) -> Iterator[Field]:
    for found in re.finditer(rb"\xff\xff\xff\xff", data):
        length = int.from_bytes(data[found.end() : found.end() + 4], "little")
        yield found.end(), 4, "little"
        yield from (
            (at, 4, "little") for at in range(found.end() + 4, min(found.end() + 4 + min(length, 4096), len(data)), 4)
        )


def _hdf_fields(data: bytes) -> Iterator[Field]:
    yield from ((8 + i, 1, "little") for i in range(16))
    yield from ((at, 8, "little") for at in range(24, min(len(data), 4096), 8))
    yield from ((at, 2, "little") for at in range(24, min(len(data), 4096), 2))


TOKENS = (
    "",
    "null",
    "true",
    "-1",
    "1e999",
    "NaN",
    "-0",
    "0.5",
    "9" * 25,
    "9" * 5000,
    "\0",
    "../../x",
    "/etc/passwd",
    "\\ud800",
    "\ud800",
    "é",
    "\u202e",
    "[" * 3000,
    "{" * 3000,
    '"',
    ",",
    "\n",
    "\r",
    "\t",
    ";",
    "\ufeff",
    "[]",
    "{}",
    '""',
    "x" * 3000,
)


def _text_inner(rng: Random, data: bytes, _: Hurt) -> bytes:
    """Other words, numbers and quotes."""
    words = re.split(r"(\w+|\W)", data.decode("utf-8", "surrogateescape"))
    for _ in range(rng.choice((1, 1, 2, 5))):
        words[rng.randrange(len(words))] = rng.choice((*TOKENS, *words))
    text, how = "".join(words), rng.choice(("utf-8",) * 6 + ("utf-16", "utf-8-sig", "latin-1"))
    return text.encode(how, "surrogatepass" if how != "latin-1" else "replace")


RECORD_FORMS = (
    Form(lambda d: d[:3] == b"\0\0\x08", words((2, 20, 4), (0, 4, 1), order="big")),
    Form(lambda d: d.startswith(b"\x93NUMPY"), words((6, 10, 1), (8, 12, 2)), inner=_npy_inner),
    Form(lambda d: d.startswith(b"MATLAB 5"), words((128, 200, 4), (124, 128, 2)), inner=_mat_inner),
    Form(lambda d: d[16:20] == b"\xde\xc0\xef\xbe", _lmdb_fields),
    Form(lambda d: d.startswith(b"PAR1"), _parquet_fields),
    Form(lambda d: d.startswith((b"\xff\xff\xff\xff", b"ARROW1")), _arrow_fields),
    Form(lambda d: d.startswith(b"\x89HDF"), _hdf_fields),
    Form(
        lambda d: d[4:8] == bytes(4) and len(d) > 16 and d[8:12] == masked(d[:8]),
        lambda d: ((at + i, 8 - i, "little") for at, _ in _records(d) for i in (0, 4)),
        mend=_record_mend,
        inner=_record_inner,
    ),
)
"""Arrays, records, tables and databases."""
TEXT = (Form(lambda d: d[:1].isascii() and b"\0" not in d[:200], words((0, 9, 1)), inner=_text_inner),)
"""Text."""
