"""The generator Philox 4x64 with 10 rounds (Salmon et al. 2011) on Python's integers."""

MASK = 2**64 - 1


def philox(counter, key):
    """Four 64-bit numbers of one 256-bit counter value and a key of two words."""
    c = [(counter >> (64 * i)) & MASK for i in range(4)]
    k0, k1 = key
    for _ in range(10):
        a, b = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [(b >> 64) ^ c[1] ^ k0, b & MASK, (a >> 64) ^ c[3] ^ k1, a & MASK]
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK, (k1 + 0xBB67AE8584CAA73B) & MASK
    return c
