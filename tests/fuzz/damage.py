"""Damage that needs no knowledge of a format: bits, bytes, cuts, junk, and pieces moved, repeated or zeroed."""

from collections.abc import Callable, Sequence
from random import Random

Damage = Callable[[Random, bytes, Sequence[bytes]], bytes]
"""Returns damaged data; the third argument has data of other files, to be mixed in."""

NUMBERS = (0, 1, 2, 3, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63, -1)


def _flip(rng: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _bytes(rng: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        changed[rng.randrange(len(data))] = rng.choice((0, 255, rng.randrange(256)))
    return bytes(changed)


def _number(rng: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    width, order = rng.choice((2, 4, 4, 8)), rng.choice(("little", "big"))
    at = _early(rng, len(data))
    return data[:at] + as_bytes(rng.choice(NUMBERS), width, order) + data[at + width :]


def _cut(rng: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return data[: rng.choice((rng.randrange(len(data)), len(data) - 1 - rng.randrange(min(len(data), 64))))]


def _junk(rng: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    return data + rng.choice((rng.randbytes(rng.randrange(1, 300)), bytes(rng.randrange(1, 5000)), data, *others))


def _before(rng: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return rng.randbytes(rng.randrange(1, 600)) + data


def _zeroed(rng: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _range(rng, len(data))
    return data[:start] + rng.choice((b"\0", b"\xff")) * (end - start) + data[end:]


def _removed(rng: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _range(rng, len(data))
    return data[:start] + data[end:]


def _repeated(rng: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _range(rng, len(data))
    return data[:end] + data[start:end] * rng.choice((1, 2, 10)) + data[end:]


def _swapped(rng: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    a, b, c, d = sorted(rng.randrange(len(data) + 1) for _ in range(4))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def _spliced(rng: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    other = rng.choice(others) if others else rng.randbytes(100)
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


def _early(rng: Random, length: int) -> int:
    """A position, of which half are in the first 64 bytes, where headers are."""
    return rng.randrange(min(length, 64) if rng.random() < 0.5 else length)


def _range(rng: Random, length: int) -> tuple[int, int]:
    start = rng.randrange(length)
    return start, min(length, start + rng.choice((1, 4, 16, 64, 512, length)))


DAMAGES: tuple[Damage, ...] = (
    _flip,
    _flip,
    _bytes,
    _bytes,
    _number,
    _cut,
    _cut,
    _junk,
    _before,
    _zeroed,
    _removed,
    _repeated,
    _swapped,
    _spliced,
)


def damaged(rng: Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """Return data with one or a few kinds of damage."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(DAMAGES)(rng, data, others) if data else rng.randbytes(rng.randrange(64))
    return data


def as_bytes(value: int, width: int, order: str) -> bytes:
    """Return the lowest bytes of a number."""
    return (value & (1 << 8 * width) - 1).to_bytes(width, "little" if order == "little" else "big")
