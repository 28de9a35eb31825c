"""A strict reader of PNG, from its specification (W3C, third edition); imports no image library."""

import struct
import zlib

import numpy as np

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""First row and column and their steps in each pass of Adam7."""


class Damaged(Exception):
    """The file breaks the specification where its pixels depend on it."""


def read_png(data: bytes) -> np.ndarray:
    """Return the pixels [H, W, 4] as uint8, or uint16 for 16 bits; damaged ancillary chunks do not matter.

    Raises:
        Damaged: if a chunk that the pixels depend on is missing, wrong or has a wrong checksum.
    """
    chunks = _chunks(data)
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        raise Damaged("no header")
    width, height, depth, kind, packing, filtering, interlace = struct.unpack(">2I5B", chunks[0][1])
    if not width or not height or depth not in _DEPTHS.get(kind, ()) or packing or filtering or interlace > 1:
        raise Damaged("impossible header")
    samples = _samples(_inflated(chunks), width, height, depth, _CHANNELS[kind], interlace)
    before = chunks[: [name for name, _ in chunks].index(b"IDAT")]  # behind the pixels, colors do not count
    found = dict(reversed(before))
    return _colors(samples, depth, kind, found.get(b"PLTE"), found.get(b"tRNS"))


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the chunks up to IEND or the end of the data; ancillary ones with wrong checksums are left out."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise Damaged("no signature")
    at, found = 8, []
    while at + 12 <= len(data):
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        body, stored = data[at + 8 : at + 8 + length], data[at + 8 + length : at + 12 + length]
        sound = len(stored) == 4 and zlib.crc32(name + body) == int.from_bytes(stored, "big")
        if sound:
            found.append((name, body))
        elif name in (b"IHDR", b"PLTE", b"IDAT"):
            raise Damaged(f"checksum of {name!r}")
        if name == b"IEND":
            break
        at += 12 + length
    return found


def _inflated(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """Return the rows; the checksum behind them does not count, because each chunk has its own."""
    packed = b"".join(body for name, body in chunks if name == b"IDAT")
    if (
        len(packed) < 2
        or packed[0] & 15 != 8
        or packed[0] >> 4 > 7
        or packed[1] & 32
        or int.from_bytes(packed[:2], "big") % 31
    ):
        raise Damaged("no zlib stream")
    unpacker, found, step = zlib.decompressobj(-15), b"", 1 if len(packed) < 1 << 14 else 1 << 12
    for at in range(2, len(packed), step):
        try:
            found += unpacker.decompress(packed[at : at + step])
        except zlib.error:
            break  # what matters is whether all pixels came before
    return found


def _samples(data: bytes, width: int, height: int, depth: int, channels: int, interlace: int) -> np.ndarray:
    """Return the samples [H, W, C] before colors."""
    samples = np.zeros((height, width, channels), np.uint16)
    for row, column, down, right in _PASSES if interlace else ((0, 0, 1, 1),):
        rows, columns = -(-(height - row) // down), -(-(width - column) // right)
        if rows <= 0 or columns <= 0:
            continue
        length = -(-columns * depth * channels // 8)
        if len(data) < rows * (length + 1):
            raise Damaged("too few pixels")
        lines = _unfiltered(data[: rows * (length + 1)], rows, length, max(1, depth * channels // 8))
        data = data[rows * (length + 1) :]
        samples[row::down, column::right] = _unpacked(lines, depth)[:, : columns * channels].reshape(
            rows, columns, channels
        )
    return samples


def _unfiltered(data: bytes, rows: int, length: int, step: int) -> np.ndarray:
    lines = np.frombuffer(data, np.uint8).reshape(rows, length + 1)
    before, result = [0] * length, []
    for kind, *line in lines.tolist():
        if kind > 4:
            raise Damaged(f"filter {kind}")
        for i in range(length):
            a, b, c = line[i - step] if i >= step else 0, before[i], before[i - step] if i >= step else 0
            line[i] = (line[i] + (0, a, b, (a + b) // 2, _paeth(a, b, c))[kind]) & 255
        result.append(line)
        before = line
    return np.array(result, np.uint8).reshape(rows, length)


def _paeth(a: int, b: int, c: int) -> int:
    p = a + b - c
    return min(((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c)))[2]


def _unpacked(lines: np.ndarray, depth: int) -> np.ndarray:
    if depth == 16:
        return np.ascontiguousarray(lines).view(">u2").astype(np.uint16)
    if depth == 8:
        return lines.astype(np.uint16)
    bits = np.unpackbits(lines, axis=1).reshape(len(lines), -1, depth)
    return (bits * (1 << np.arange(depth)[::-1])).sum(2).astype(np.uint16)


def _colors(samples: np.ndarray, depth: int, kind: int, palette: bytes | None, clear: bytes | None) -> np.ndarray:
    """Return [H, W, 4] from samples, with transparency by tRNS."""
    most = (1 << depth) - 1
    wide = np.uint16 if depth == 16 else np.uint8
    full = 65535 if depth == 16 else 255
    if kind == 3:
        if palette is None or len(palette) % 3 or not palette:
            raise Damaged("no palette")
        colors = np.frombuffer(palette, np.uint8).reshape(-1, 3)
        if samples.max() >= len(colors):
            raise Damaged("a color outside of the palette")
        alpha = np.full(256, 255, np.uint8)
        known = np.frombuffer(clear or b"", np.uint8)[:256]
        alpha[: len(known)] = known
        return np.dstack([colors[samples[:, :, 0]], alpha[samples[:, :, 0]]])
    alpha = np.full(samples.shape[:2], full, wide)
    if clear and kind in (0, 2) and len(clear) == 2 * samples.shape[2]:
        alpha[(samples == (np.frombuffer(clear, ">u2") & most)).all(2)] = 0  # higher bits do not count
    scaled = (samples if depth >= 8 else samples * (255 // most)).astype(wide)
    if kind in (4, 6):
        alpha, scaled = scaled[:, :, -1], scaled[:, :, :-1]
    color = scaled if scaled.shape[2] == 3 else np.repeat(scaled, 3, 2)
    return np.dstack([color, alpha])
