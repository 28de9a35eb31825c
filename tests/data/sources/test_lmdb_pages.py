"""Pages that would lead liblmdb out of the file, which kills the process, are found before it opens the file."""

import struct
from pathlib import Path

import pytest

from progan.data.sources.lmdb_pages import check_pages
from progan.errors import DataError

lmdb = pytest.importorskip("lmdb")
PAGE = 4096


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A database with branches, leaves, values on pages of their own, freed pages and a second tree."""
    with lmdb.open(str(tmp_path / "db"), map_size=1 << 26, max_dbs=2) as database:
        with database.begin(write=True) as change:
            for i in range(3000):
                change.put(f"{i:030}".encode(), bytes(i % 90 if i % 100 else 9000))
        with database.begin(write=True) as change:
            for i in range(0, 3000, 3):
                change.delete(f"{i:030}".encode())
        other = database.open_db(b"other")
        with database.begin(write=True) as change:
            change.put(b"key", b"value", db=other)
    return tmp_path / "db" / "data.mdb"


def pages(data: bytes, flags: int) -> list[int]:
    """Numbers of the pages of a kind that the newer meta page's tree has: branches are 1, leaves 2."""
    meta = max((0, PAGE), key=lambda at: struct.unpack_from("<Q", data, at + 16 + 128)[0])
    waiting, found = [struct.unpack_from("<Q", data, meta + 16 + 24 + 48 + 40)[0]], []
    while waiting:
        number = waiting.pop()
        at = number * PAGE
        kind, lower = struct.unpack_from("<HH", data, at + 10)
        found += [number] if kind == flags else []
        if kind == 1:
            for node in struct.unpack_from(f"<{(lower - 16) // 2}H", data, at + 16):
                low, high, mark = struct.unpack_from("<3H", data, at + node)
                waiting.append(low | high << 16 | mark << 32)
    return found


def node(data: bytes, page: int, number: int) -> int:
    """Position of a node in the file."""
    return page * PAGE + struct.unpack_from("<H", data, page * PAGE + 16 + 2 * number)[0]


def big(data: bytes) -> int:
    """Position of a node whose value is on pages of its own."""
    for page in pages(data, 2):
        for number in range((struct.unpack_from("<H", data, page * PAGE + 12)[0] - 16) // 2):
            if struct.unpack_from("<H", data, (at := node(data, page, number)) + 4)[0] == 1:
                return at
    raise AssertionError


def test_a_sound_database_is_read(file: Path) -> None:
    check_pages(file)
    with lmdb.open(str(file), subdir=False, readonly=True, lock=False) as database, database.begin() as view:
        assert view.stat()["entries"] == 2001
        assert view.stat()["depth"] == 2


def test_an_empty_database_is_read(tmp_path: Path) -> None:
    lmdb.open(str(tmp_path)).close()
    check_pages(tmp_path / "data.mdb")


DAMAGE = {
    "branch to a page behind the end": lambda d: (node(d, pages(d, 1)[0], 3), "<H", 60000),
    "branch to itself": lambda d: (node(d, pages(d, 1)[0], 3), "<H", pages(d, 1)[0]),
    "branch to one leaf twice": lambda d: (node(d, pages(d, 1)[0], 3), "<H", pages(d, 2)[-1]),
    "branch of one page": lambda d: (pages(d, 1)[0] * PAGE + 12, "<H", 18),
    "number of another page": lambda d: (pages(d, 2)[5] * PAGE, "<Q", 7),
    "page of values as a leaf": lambda d: (pages(d, 2)[5] * PAGE + 10, "<H", 4),
    "page of equal keys": lambda d: (pages(d, 2)[5] * PAGE + 10, "<H", 0x22),
    "nodes behind the page": lambda d: (pages(d, 2)[5] * PAGE + 14, "<H", 5000),
    "no nodes": lambda d: (pages(d, 2)[5] * PAGE + 12, "<H", 16),
    "odd number of bytes of nodes": lambda d: (pages(d, 2)[5] * PAGE + 12, "<H", 19),
    "node before the nodes": lambda d: (pages(d, 2)[5] * PAGE + 16, "<H", 20),
    "node behind the page": lambda d: (pages(d, 2)[5] * PAGE + 16, "<H", 4090),
    "key behind the page": lambda d: (node(d, pages(d, 2)[5], 2) + 6, "<H", 5000),
    "value behind the page": lambda d: (node(d, pages(d, 2)[5], 2), "<H", 5000),
    "value of many values": lambda d: (node(d, pages(d, 2)[5], 2) + 4, "<H", 4),
    "value behind the end": lambda d: (big(d) + 8 + 30, "<Q", 60000),
    "value at a number that overflows": lambda d: (big(d) + 8 + 30, "<Q", 2**64 - 1),
    "value longer than the file": lambda d: (big(d), "<HH", (0, 100)),
    "root of the tree": lambda d: (PAGE * meta(d) + 16 + 24 + 48 + 40, "<Q", 2**40),
    "tree of several values": lambda d: (PAGE * meta(d) + 16 + 24 + 48 + 4, "<H", 4),
    "side of a page": lambda d: (PAGE * meta(d) + 16 + 24, "<I", 3),
    "last page": lambda d: (PAGE * meta(d) + 16 + 120, "<Q", 2**40),
    "version": lambda d: (PAGE * meta(d) + 20, "<I", 2),
}


def meta(data: bytes) -> int:
    return int(struct.unpack_from("<Q", data, 144)[0] < struct.unpack_from("<Q", data, PAGE + 144)[0])


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_before_the_library_sees_it(name: str, file: Path) -> None:
    data = bytearray(file.read_bytes())
    at, form, value = DAMAGE[name](bytes(data))
    struct.pack_into(form, data, at, *(value if isinstance(value, tuple) else (value,)))
    assert data != file.read_bytes()
    file.write_bytes(data)
    with pytest.raises(DataError, match=r"(damaged|readable) LMDB \(|truncated") as caught:
        check_pages(file)
    assert str(caught.value).count("\n") == 2
