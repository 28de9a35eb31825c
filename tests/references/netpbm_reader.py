"""A reader of PGM and PPM in their binary forms, from the manuals of netpbm; imports no image library."""

import re

import numpy as np

_HEADER = re.compile(rb"P([56])" + rb"(?:\s+|\s*#[^\n\r]*[\n\r]\s*)+(\d{1,9})" * 3 + rb"\s", re.ASCII)


def read_netpbm(data: bytes) -> np.ndarray | None:
    """Return the pixels uint8 [H, W, 3] of the first image, to the nearest; None if it is not whole and plain."""
    if not (found := _HEADER.match(data)):
        return None
    width, height, most = (int(number) for number in found.groups()[1:])
    channels = 3 if found[1] == b"6" else 1
    kind = np.dtype(">u2" if most > 255 else "u1")
    count = width * height * channels
    if not count or not 0 < most < 65536 or len(data) - found.end() < count * kind.itemsize:
        return None
    pixels = np.frombuffer(data, kind, count, found.end()).reshape(height, width, channels)
    if pixels.max() > most:
        return None
    nearest = (pixels.astype(np.int64) * 510 + most) // (2 * most)
    return np.repeat(nearest, 3 // channels, 2).astype(np.uint8)
