"""What the harness knows about formats: where numbers are, how parts are split, and how checksums are mended."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random

from fuzz.damage import NUMBERS

Field = tuple[int, int, str]
"""Position, width [bytes] and byte order of a number: 'little', 'big', or 'octal' for text."""
Hurt = Callable[[Random, bytes], bytes]
"""Damages data of any format."""


@dataclass(frozen=True)
class Form:
    """What is known about one format."""

    begins: Callable[[bytes], object]
    """Whether data has this format."""
    fields: Callable[[bytes], Iterable[Field]]
    """Numbers that say how long, how many or where something is."""
    parts: Callable[[bytes], Sequence[bytes]] | None = None
    """Splits data into pieces that can be dropped, repeated or moved."""
    mend: Callable[[bytes], bytes] = lambda data: data
    """Makes the checksums right again."""
    inner: Callable[[Random, bytes, Hurt], bytes] | None = None
    """Damages what is packed inside and packs it again without a fault."""


def other(rng: Random, old: int, length: int) -> int:
    """Return another number instead of ``old``, in data of a length."""
    near = (old - 1, old + 1, old * 2, old // 2, old + 7, old ^ 1 << rng.randrange(32), length, length - 1)
    return rng.choice((*near, *NUMBERS, rng.getrandbits(32), rng.randrange(256)))


def words(*spans: tuple[int, int, int], order: str = "little") -> Callable[[bytes], list[Field]]:
    """Return the numbers of a fixed header: (start, end, width) each."""
    return lambda data: [(at, w, order) for start, end, w in spans for at in range(start, min(end, len(data)) - w, w)]
