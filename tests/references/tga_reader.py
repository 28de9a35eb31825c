"""A reader of TGA, from Truevision's specification (version 2.0); imports nothing of progan and no image library."""

import struct

import numpy as np


def read_tga(data: bytes) -> np.ndarray | None:
    """Return the pixels uint8 [H, W, 4], or None for layouts that are not covered or files that are cut off."""
    if len(data) < 18:
        return None
    extra, mapped, kind = data[0], data[1], data[2]
    first, count, bits = struct.unpack_from("<HHB", data, 3)
    width, height, depth, how = struct.unpack_from("<HHBB", data, 12)
    if kind not in (1, 2, 3, 9, 10, 11) or not width or not height or how & 0x10:
        return None
    if ((kind & 7) == 1 and (not mapped or depth != 8 or bits not in (24, 32) or first)) or (
        (kind & 7) != 1 and mapped
    ):
        return None
    if ((kind & 7) == 2 and depth not in (24, 32)) or ((kind & 7) == 3 and depth != 8):
        return None
    at = 18 + extra
    palette = data[at : at + count * (bits // 8)] if mapped else b""
    body = data[at + len(palette) :]
    size = depth // 8
    raw = _unpacked(body, width * height, size) if kind & 8 else body[: width * height * size]
    if len(raw) < width * height * size:
        return None
    pixels = np.frombuffer(raw, np.uint8).reshape(height, width, size)
    if (kind & 7) == 1:
        colors = np.frombuffer(palette, np.uint8).reshape(-1, bits // 8)
        if pixels.max() >= len(colors):
            return None
        pixels = colors[pixels[:, :, 0]]
    pixels = pixels if how & 0x20 else pixels[::-1]
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, 2)
    alpha = pixels[:, :, 3:] if pixels.shape[2] == 4 else np.full((height, width, 1), 255, np.uint8)
    color = pixels[:, :, :3] if (kind & 7) == 3 else pixels[:, :, 2::-1]
    return np.concatenate([color, alpha], 2)


def _unpacked(data: bytes, count: int, size: int) -> bytes:
    """Undo the run lengths of ``count`` pixels."""
    found, at = bytearray(), 0
    while len(found) < count * size and at < len(data):
        length = (data[at] & 127) + 1
        if data[at] & 128:
            found += data[at + 1 : at + 1 + size] * length
            at += 1 + size
        else:
            found += data[at + 1 : at + 1 + size * length]
            at += 1 + size * length
    return bytes(found[: count * size])
