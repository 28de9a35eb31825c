"""Random numbers addressed by position: sample i of a stream is a function of (seed, stream, i) alone.

Nothing here keeps state, so a resumed run, a different number of ranks, and a different split into micro-batches all
see the same numbers, and no generator has to be saved.
"""

import zlib

import numpy as np

from progan.errors import ConfigError

_BLOCK = 4  # 64-bit numbers that Philox generates per counter value
_LARGEST = np.nextafter(1 - 2.0**-25, 0)  # the largest float64 below 1 that float32 does not round up to 1


def check_seed(seed: int) -> None:
    """Raise ConfigError if ``seed`` cannot be a seed."""
    if not 0 <= seed < 2**63:
        raise ConfigError(f"seed must be 0 ... 2^63 - 1, got {seed}")


def _bits(seed: int, stream: str, first: int, count: int, width: int) -> np.ndarray:
    """Raw uint64 numbers [count, width] of samples ``first`` ... ``first + count - 1``."""
    blocks = -(-width // _BLOCK)  # counter values that one sample owns
    generator = np.random.Philox(key=[seed, zlib.crc32(stream.encode())], counter=first * blocks)
    return generator.random_raw(count * blocks * _BLOCK).reshape(count, blocks * _BLOCK)[:, :width]


def _fractions(seed: int, stream: str, first: int, count: int, width: int) -> np.ndarray:
    """Multiples of 2^-53 in [0, 1), float64 [count, width]."""
    return (_bits(seed, stream, first, count, width) >> np.uint64(11)) * 2.0**-53


def uniform(seed: int, stream: str, first: int, count: int, width: int) -> np.ndarray:
    """Return uniform numbers in [0, 1), float64 [count, width].

    They remain below 1 as float32: the few numbers that float32 would round up to 1 (one in 2^25) are replaced by the
    largest number that it does not.
    """
    return np.minimum(_fractions(seed, stream, first, count, width), _LARGEST)


def normal(seed: int, stream: str, first: int, count: int, width: int) -> np.ndarray:
    """Return numbers from N(0, 1), float32 [count, width].

    They are drawn by the Box-Muller method instead of numpy's, because each sample must use a fixed number of bits.

    >>> bool((normal(1, "z", 5, 3, 8)[1] == normal(1, "z", 6, 1, 8)[0]).all())
    True
    """
    pairs = -(-width // 2)
    u = _fractions(seed, stream, first, count, 2 * pairs)
    radius, angle = np.sqrt(-2 * np.log1p(-u[:, :pairs])), 2 * np.pi * u[:, pairs:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], 1)[:, :width].astype(np.float32)


def permutation(seed: int, stream: str, epoch: int, count: int) -> np.ndarray:
    """Return a random order of ``count`` items for one epoch, int64 [count]."""
    key = [seed, zlib.crc32(stream.encode())]
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, epoch + 1])).permutation(count)
