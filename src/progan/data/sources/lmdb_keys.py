"""Keys of an LMDB: which of them have pictures, and which picture is used of each."""

import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from progan.data.decoding import peek
from progan.data.printing import printable
from progan.data.records import Payload
from progan.data.sources.fields import main_rank
from progan.errors import DataError

KNOWN = frozenset({b"length", b"__len__", b"__keys__", b"num-samples"})
"""Keys under which some programs store the number of images."""
DIGITS = re.compile(rb"[0-9]+")
_HASH = re.compile(rb"[0-9a-f]{16,}(\.\w+)?", re.IGNORECASE)
_TWO_NUMBERS = re.compile(rb"([0-9]+)[^0-9]+([0-9]+)")
_MOST_SIZES = 32  # of each picture


@dataclass
class Kind:
    """Keys that differ only in their numbers."""

    pattern: bytes
    """The keys with # for each number."""
    count: int = 0
    tried: list[int] = field(default_factory=list)
    """Positions of the first ones."""
    why: str = ""
    """Why their values are not pictures; empty if one of the first is a picture."""

    @property
    def name(self) -> str:
        """The words of the keys: 'image' of image-00001."""
        return self.text.replace("#", "").strip("-_./ ")

    @property
    def text(self) -> str:
        return printable(self.pattern.decode("utf-8", "backslashreplace"))


@dataclass(frozen=True)
class Keys:
    """All keys of a database, one behind the other, and which kind each is of."""

    text: bytes
    ends: array
    """Where each of them ends, preceded by a 0."""
    kinds: list[Kind]
    kind: array
    """Number of the kind of each."""
    read: Callable[[Iterable[bytes]], Iterator[Payload]]
    """Reads the values of some keys."""

    def __getitem__(self, i: int) -> bytes:
        return self.text[self.ends[i] : self.ends[i + 1]]


def choose_sizes(
    file: Path, keys: Keys, pictures: Sequence[int], member: str
) -> tuple[Sequence[int], tuple[str, ...], bool]:
    """Return the rows of one size if all pictures come in several sizes, a note, and whether they do."""
    rows = _rows_of(keys, set(pictures))
    for part in (1, 2):
        sizes = _sizes(keys, rows, part)
        if len(sizes) < 2 or not all(_has_size(keys, first, size) for size, (_, first) in sizes.items()):
            continue
        if member and not (member.isdigit() and int(member) in sizes):
            raise _no_member(file, member, [f"{count} pictures of {size}" for size, (count, _) in sizes.items()])
        best = int(member) if member else max(sizes, key=lambda size: (sizes[size][0], size))
        kept = array("q", (i for i in rows if _size(keys[i], part) == best))
        others = ", ".join(f"{sizes[size][0]} of {size}" for size in sorted(sizes) if size != best)
        other = max(size for size in sizes if size != best)
        note = f"pictures in {len(sizes)} sizes: {len(kept)} of {best} pixels are used; {others} are left out"
        return kept, (f"{note} (--member {other} takes another size)",), True
    return rows, (), False


def _rows_of(keys: Keys, kinds: set[int]) -> Sequence[int]:
    if len(kinds) == len(keys.kinds):
        return range(len(keys.kind))
    return array("q", (i for i, kind in enumerate(keys.kind) if kind in kinds))


def _size(key: bytes, part: int) -> int | None:
    """Return the first or second number of a key that has two, at its end."""
    match = _TWO_NUMBERS.search(key)
    return int(match[part][:9]) if match else None


def _sizes(keys: Keys, rows: Sequence[int], part: int) -> dict[int, tuple[int, int]]:
    """Return how many keys have each number, and the first of them; nothing if they are too many to be sizes."""
    found: dict[int, tuple[int, int]] = {}
    for i in rows:
        size = _size(keys[i], part)
        if size is None or (size not in found and len(found) == _MOST_SIZES):
            return {}
        count, first = found.get(size, (0, i))
        found[size] = (count + 1, first)
    return found


def _has_size(keys: Keys, row: int, size: int) -> bool:
    try:
        return size in peek(next(keys.read([keys[row]])))[1]
    except DataError:
        return False


def choose_kinds(
    file: Path, keys: Keys, pictures: Sequence[int], member: str
) -> tuple[Sequence[int], tuple[str, ...], bool]:
    """Return the rows of the kinds of keys that are pictures themselves, without masks and the like, and a note."""
    if len(pictures) < 2:
        return _rows_of(keys, set(pictures)), (), False
    names = {i: keys.kinds[i] for i in pictures}
    if member:
        wanted = [i for i, kind in names.items() if member in (kind.name, kind.text)]
        if not wanted:
            raise _no_member(file, member, [f"{kind.count} pictures under {kind.text}" for kind in names.values()][:8])
    else:
        wanted = [i for i, kind in names.items() if main_rank(kind.name) < 3] or list(pictures)
    left = [kind for i, kind in names.items() if i not in wanted]
    if not left:
        return _rows_of(keys, set(pictures)), (), True
    used = ", ".join(repr(names[i].text) for i in wanted[:3])
    others = ", ".join(f"{kind.count} under {kind.text!r}" for kind in left[:3])
    note = f"pictures under {used} are used; {others} are left out (--member {left[0].name} takes them)"
    return _rows_of(keys, set(wanted)), (note,), True


def _no_member(file: Path, member: str, found: Sequence[str]) -> DataError:
    return DataError(
        f"{file}: --member {member}: there are no such pictures\n"
        f"  found: {', '.join(found)}\n"
        f"  fix:   use --member with one of these, or omit it"
    )


def look(file: Path, keys: Keys) -> None:
    """Find out which kinds of keys have pictures, from the first values of each.

    Raises:
        DataError: if none has.
    """
    for kind in keys.kinds:
        for data in keys.read(keys[i] for i in kind.tried):
            try:
                peek(data)
                kind.why = ""
                break
            except DataError as error:
                kind.why = kind.why or f"{error}{_raw(data)}"
    if not keys.kinds:
        raise DataError(f"{file}: contains no images\n  found: an empty LMDB\n  fix:   download it again")
    if all(kind.why for kind in keys.kinds):
        first = max(keys.kinds, key=lambda kind: kind.count)
        name = printable(keys[first.tried[0]].decode(errors="backslashreplace"))
        raise DataError(
            f"{file}: expected an LMDB of encoded images, such as those of LSUN\n"
            f"  found: under {name!r}, the first of {first.count} such keys: {first.why}\n"
            f"  fix:   export the images to a folder with the program that wrote this LMDB, and pass that folder"
        )


def _raw(data: Payload) -> str:
    """Return what to say of bytes that may be pixels."""
    size = len(data) if isinstance(data, bytes) else 0
    side = round((size / 3) ** 0.5)
    return (
        f"; {size} bytes, as many as {side}x{side} raw RGB pixels have" if side > 3 and 3 * side * side == size else ""
    )


def pattern_of(key: bytes) -> bytes:
    """Return a key with # for each number, and one pattern for all hashes and for all numbers in bytes.

    >>> pattern_of(b"image-00017"), pattern_of(b"64-00001"), pattern_of(bytes(range(20)).hex().encode())
    (b'image-#', b'#-#', b'hashes')
    """
    if key in KNOWN:
        return key
    if _HASH.fullmatch(key):
        return b"hashes"
    if min(key, default=32) < 32 or not _is_text(key):
        return b"bytes"
    return DIGITS.sub(b"#", key)


def _is_text(key: bytes) -> bool:
    try:
        key.decode()
    except UnicodeDecodeError:
        return False
    return True
