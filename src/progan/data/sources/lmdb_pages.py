"""A check of all pages of an LMDB that a reader can reach, because the library follows damaged ones out of the file.

The format is that of LMDB 0.9 on 64-bit machines (lmdb.h, mdb.c): pages begin with their number (uint64), 2 bytes of
padding, flags (uint16), and where the list of nodes ends and the nodes begin (uint16 each). The first two pages are
meta pages, of which the one of the later transaction counts.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from progan.errors import DataError

_MAGIC, _VERSION = 0xBEEFC0DE, 1
_META = struct.Struct("<IIQQ IHHQQQQQ IHHQQQQQ QQ")  # magic ... map size, two trees, last page, transaction
_BRANCH, _LEAF, _META_PAGE, _DIRTY = 1, 2, 8, 16
_DUPLICATES = 0x04  # a tree whose keys have several values
_BIG, _TREE = 1, 2  # a value on pages of its own; a tree of its own
_HEAD, _NODE = 16, 8  # bytes
_MOST_DEPTH = 32  # as in the library
_NO_PAGE = 2**64 - 1
_MAX_PAGE = 1 << 16  # bytes


class _Damaged(Exception):
    """A page that the library must not see."""


@dataclass
class _Tree:
    """The main tree of a database."""

    pages: np.ndarray
    """The whole file, uint8."""
    side: int
    """Size of a page [bytes]."""
    last: int
    """Number of the last page in use."""
    root: int
    keys: int = 0
    """Number of keys in the pages checked so far."""


def check_pages(file: Path) -> None:
    """Check a data file before LMDB opens it; values are not read.

    Raises:
        DataError: if it is no LMDB, is truncated, or has a damaged page.
        OSError: if it cannot be read.
    """
    size = file.stat().st_size
    again = "make sure that no other program is writing to it, or download or copy it again"
    with file.open("rb") as stream:
        head = stream.read(2 * _MAX_PAGE)
    try:
        side, root, last = _newest(head)
    except _Damaged as error:
        found = f"  found: {size} bytes\n  fix:   {again}"
        raise DataError(f"{file}: not a readable LMDB ({error})\n{found}") from None
    if size < (needed := (last + 1) * side):
        raise DataError(
            f"{file}: truncated\n  found: {size} bytes, expected at least {needed}\n  fix:   download or copy it again"
        )
    tree = _Tree(np.asarray(np.memmap(file, np.uint8, "r")), side, last, root)
    try:
        _check_tree(tree)
    except _Damaged as error:
        raise DataError(
            f"{file}: damaged LMDB ({error})\n"
            f"  found: {tree.keys} keys before the damage\n"
            f"  fix:   download or copy it again"
        ) from None


def _newest(head: bytes) -> tuple[int, int, int]:
    """Return the size of a page, the page of the root, and the last page, from the newer of the two meta pages."""
    side = _meta(head, 0)[4]
    if side not in (1 << n for n in range(8, 17)):
        raise _Damaged(f"pages of {side} bytes")
    metas = _meta(head, 0), _meta(head, side)
    if metas[1][4] != side:
        raise _Damaged(f"pages of {side} and of {metas[1][4]} bytes")
    newest = metas[metas[0][-1] < metas[1][-1]]
    if newest[13] & _DUPLICATES:
        raise _Damaged("several values under one key")
    return side, newest[19], newest[20]


def _meta(head: bytes, at: int) -> tuple[int, ...]:
    if len(head) < at + _HEAD + _META.size:
        raise _Damaged("no header")
    if not int.from_bytes(head[at + 10 : at + 12], "little") & _META_PAGE:
        raise _Damaged("no meta page")
    found = _META.unpack_from(head, at + _HEAD)
    if found[:2] != (_MAGIC, _VERSION):
        raise _Damaged("no magic number" if found[0] != _MAGIC else f"version {found[1]}")
    return found


def _check_tree(tree: _Tree) -> None:
    """Visit every page of a tree once, from the left to the right."""
    waiting, seen = [(tree.root, 1)] * (tree.root != _NO_PAGE), np.zeros(tree.last + 1, bool)
    while waiting:
        number, depth = waiting.pop()
        if not 2 <= number <= tree.last or depth > _MOST_DEPTH:
            raise _Damaged(f"page {number} of {tree.last}, depth {depth}")
        if seen[number]:
            raise _Damaged(f"page {number} twice")
        seen[number] = True
        page = tree.pages[number * tree.side : (number + 1) * tree.side]
        below = _check_page(tree, page, number)
        waiting += [(child, depth + 1) for child in reversed(below)]


def _check_page(tree: _Tree, page: np.ndarray, number: int) -> list[int]:
    """Check a page, and return the pages below it; none for a leaf."""
    own, _, flags, lower, upper = struct.unpack_from("<Q4H", page[:_HEAD].tobytes())
    kind = flags & ~_DIRTY
    if own != number or kind not in (_BRANCH, _LEAF):
        raise _Damaged(f"page {number} has number {own} and flags {flags:#x}")
    count = (lower - _HEAD) // 2
    if not _HEAD < lower <= upper <= tree.side or lower % 2 or (kind == _BRANCH and count < 2):
        raise _Damaged(f"page {number} has nodes at {lower} ... {upper}")
    words = page.view("<u2")
    at = words[_HEAD // 2 : lower // 2].astype(np.int64)
    if at.min() < upper or at.max() > tree.side - _NODE or (at % 2).any():
        raise _Damaged(f"a node outside of page {number}")
    low, high, marks, key = (words[at // 2 + i].astype(np.int64) for i in range(4))
    if (at + _NODE + key > tree.side).any():
        raise _Damaged(f"a key outside of page {number}")
    if kind == _BRANCH:
        return (low | high << 16 | marks << 32).tolist()
    _check_values(tree, page, number, at + _NODE + key, low | high << 16, marks)
    tree.keys += count
    return []


def _check_values(
    tree: _Tree, page: np.ndarray, number: int, start: np.ndarray, size: np.ndarray, marks: np.ndarray
) -> None:
    """Check that the values of a leaf, which start at some places of it, are inside the page or the file."""
    if marks.max() > _TREE:
        raise _Damaged(f"a value of unknown kind in page {number}")
    big = marks == _BIG
    if (start + np.where(big, 8, size) > tree.side).any():
        raise _Damaged(f"a value outside of page {number}")
    places = page[start[big][:, None] + np.arange(8)].copy().view("<u8")[:, 0]
    pages = (size[big] + _HEAD + tree.side - 1) // tree.side
    if (places < 2).any() or (places > tree.last).any() or (places.astype(np.int64) + pages > tree.last + 1).any():
        raise _Damaged(f"a value of page {number} outside of the file")
