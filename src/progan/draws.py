"""Random numbers addressed by position: sample i of a stream is a function of (seed, stream, i) alone.

Nothing here has a state, so a resumed run, another number of ranks and another split into micro-batches all
see the same numbers, and no generator has to be saved.
"""

import zlib

import numpy as np

_BLOCK = 4  # numbers of 64 bits that Philox makes per counter value


def _bits(seed: int, stream: str, first: int, count: int, width: int) -> np.ndarray:
    """Raw uint64 numbers [count, width] of samples ``first`` ... ``first + count - 1``."""
    blocks = -(-width // _BLOCK)  # counter values that one sample owns
    generator = np.random.Philox(key=[seed, zlib.crc32(stream.encode())], counter=first * blocks)
    return generator.random_raw(count * blocks * _BLOCK).reshape(count, blocks * _BLOCK)[:, :width]


def uniform(seed: int, stream: str, first: int, count: int, width: int) -> np.ndarray:
    """Uniform numbers in [0, 1), float64 [count, width]."""
    return (_bits(seed, stream, first, count, width) >> np.uint64(11)) * 2.0**-53


def normal(seed: int, stream: str, first: int, count: int, width: int) -> np.ndarray:
    """Numbers from N(0, 1), float32 [count, width].

    Box and Muller's method instead of numpy's, because each sample must use up a fixed number of bits.

    >>> bool((normal(1, "z", 5, 3, 8)[1] == normal(1, "z", 6, 1, 8)[0]).all())
    True
    """
    pairs = -(-width // 2)
    u = uniform(seed, stream, first, count, 2 * pairs)
    radius, angle = np.sqrt(-2 * np.log1p(-u[:, :pairs])), 2 * np.pi * u[:, pairs:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], 1)[:, :width].astype(np.float32)


def permutation(seed: int, stream: str, epoch: int, count: int) -> np.ndarray:
    """A random order of ``count`` things for one epoch, int64 [count]."""
    key = [seed, zlib.crc32(stream.encode())]
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, epoch + 1])).permutation(count)
