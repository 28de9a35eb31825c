"""CRC-32C (Castagnoli) checksums of many rows of bytes at once."""

import functools

import numpy as np

_POLYNOMIAL = 0x82F63B78  # of CRC-32C; the lowest power is the highest bit
_PREFIX = np.frombuffer(b"\x54\x64\x1f\x64", np.uint8)  # brings a register of zeros to all ones, where CRC-32C starts


def crc32c(data: np.ndarray) -> np.ndarray:
    """Return the CRC-32C (Castagnoli) of each row.

    The checksum is linear and ignores leading zeros, so the first part of a row, advanced over the second, can be
    added to the second. Each such step halves the remaining data, with one table lookup per two bytes.

    Shape: uint8 [..., L] -> uint32 [...].

    >>> hex(crc32c(np.frombuffer(b"123456789", np.uint8)))
    '0xe3069283'
    """
    *rows, length = data.shape
    padded = np.zeros((*rows, -length % 4 + 4 + length), np.uint8)
    padded[..., -length - 4 : padded.shape[-1] - length] = _PREFIX
    padded[..., padded.shape[-1] - length :] = data
    words = padded.view("<u4")
    while (count := words.shape[-1]) > 1:
        doublings = (count - 1).bit_length() - 1
        kept = 1 << doublings
        words, early = words[..., -kept:].copy(), words[..., :-kept]
        words[..., kept - early.shape[-1] :] ^= _advanced(early, doublings)
    return ~_advanced(words[..., 0], 0)


def _advanced(register: np.ndarray, doublings: int) -> np.ndarray:
    """The registers after 4 * 2^doublings more bytes of zeros."""
    low, high = _tables(doublings)
    # nothing wraps around, but without a check of the bounds it takes half the time
    return low.take(register & 0xFFFF, mode="wrap") ^ high.take(register >> 16, mode="wrap")


@functools.cache
def _tables(doublings: int) -> np.ndarray:
    """Results of ``_advanced`` for every lower and every upper half of a register: uint32 [2, 65536]."""
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    if doublings:
        bits = _advanced(_advanced(bits, doublings - 1), doublings - 1)
    else:
        for _ in range(32):
            bits = (bits >> 1) ^ (bits & 1) * np.uint32(_POLYNOMIAL)
    tables = np.zeros((2, 1), np.uint32)
    for low_and_high in bits.reshape(2, 16).T:
        tables = np.concatenate([tables, tables ^ low_and_high[:, None]], axis=1)
    return tables
