"""Small writers of image files after the formats' specifications; no code of progan or Pillow."""

import struct
import zlib

import numpy as np

PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""First row and column, and steps of the passes of Adam7 (PNG specification, section 8.2)."""


def packed(rows: np.ndarray, bits: int, order: str = ">") -> list[bytes]:
    """Rows of numbers [H, N] as bytes, the first number in the highest bits."""
    if bits % 8 == 0:
        return [row.astype(f"{order}u{bits // 8}").tobytes() for row in rows]
    ones = (rows[..., None].astype(int) >> np.arange(bits)[::-1]) & 1
    return [np.packbits(row.ravel().astype(np.uint8)).tobytes() for row in ones]


def chunk(name: bytes, data: bytes) -> bytes:
    """Chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(pixels: np.ndarray, bits: int, color: int, *, more: bytes = b"", late: bytes = b"", interlaced: bool = False):
    """PNG of samples [H, W, C]; ``more`` and ``late`` are chunks before and behind the pixels."""
    height, width = pixels.shape[:2]
    parts = [pixels[y::dy, x::dx] for y, x, dy, dx in PASSES] if interlaced else [pixels]
    rows = [b"\0" + row for p in parts if p.size for row in packed(p.reshape(len(p), -1), bits)]
    head = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, interlaced)
    data = chunk(b"IDAT", zlib.compress(b"".join(rows)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + more + data + late + chunk(b"IEND", b"")


def packbits(data: bytes) -> bytes:
    """Literal runs of PackBits."""
    return b"".join(bytes([len(data[i : i + 128]) - 1]) + data[i : i + 128] for i in range(0, len(data), 128))


def lzw(data: bytes) -> bytes:
    """LZW of TIFF with codes of 9 bits only: the table is cleared before it would need more."""
    codes = [256]
    for i, byte in enumerate(data):
        codes += [byte] if i % 200 else [256, byte]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


PACKERS = {1: bytes, 5: lzw, 8: zlib.compress, 32773: packbits}
"""Compressions of TIFF by their numbers."""
_REVERSED = bytes(int(f"{i:08b}"[::-1], 2) for i in range(256))


def tiff(
    pixels: np.ndarray,
    bits: int,
    color: int,
    *,
    order: str = "<",
    planar: bool = False,
    tile: tuple[int, int] | None = None,
    compression: int = 1,
    predictor: bool = False,
    reverse: bool = False,
    extra: tuple[int, ...] = (),
    kind: int = 1,
    palette: np.ndarray | None = None,
    rows: int = 7,
    more: tuple[tuple[int, int, list[int]], ...] = (),
) -> bytes:
    """TIFF of samples [H, W, C] (TIFF 6.0); ``color`` is the photometric interpretation, ``kind`` the sample format."""
    height, width, channels = pixels.shape
    planes = [pixels[..., i : i + 1] for i in range(channels)] if planar else [pixels]
    blocks = []
    for plane in planes:
        if tile:
            filled = np.pad(plane, ((0, -height % tile[0]), (0, -width % tile[1]), (0, 0)))
            places = [(y, x) for y in range(0, height, tile[0]) for x in range(0, width, tile[1])]
            blocks += [filled[y : y + tile[0], x : x + tile[1]] for y, x in places]
        else:
            blocks += [plane[y : y + rows] for y in range(0, height, rows)]
    data = []
    for block in blocks:
        if predictor:
            block = np.diff(block.astype(np.int64), axis=1, prepend=0) & ((1 << bits) - 1)
        raw = packed(block.reshape(len(block), -1), bits, order)
        # PackBits packs each row for itself
        part = b"".join(map(packbits, raw)) if compression == 32773 else PACKERS[compression](b"".join(raw))
        data.append(part.translate(_REVERSED) if reverse else part)
    tags = [(256, 4, [width]), (257, 4, [height]), (258, 3, [bits] * channels), (259, 3, [compression])]
    tags += [(262, 3, [color]), (277, 3, [channels]), (284, 3, [1 + planar]), (339, 3, [kind] * channels), *more]
    tags += [(266, 3, [2])] if reverse else []
    tags += [(317, 3, [2])] if predictor else []
    tags += [(338, 3, list(extra))] if extra else []
    tags += [(320, 3, palette.T.ravel().tolist())] if palette is not None else []
    sizes = list(map(len, data))
    if tile:
        tags += [(322, 4, [tile[1]]), (323, 4, [tile[0]]), (324, 4, sizes), (325, 4, sizes)]
    else:
        tags += [(273, 4, sizes), (278, 4, [rows]), (279, 4, sizes)]
    return _directory(sorted(tags), data, order)


def _directory(tags: list[tuple[int, int, list[int]]], data: list[bytes], order: str) -> bytes:
    pack = lambda kind, values: struct.pack(f"{order}{len(values)}{'?BHHI'[kind]}", *values)  # noqa: E731
    start = 14 + 12 * len(tags)
    first = start + sum(len(pack(kind, values)) for _, kind, values in tags if len(pack(kind, values)) > 4)
    places = [first + sum(map(len, data[:i])) for i in range(len(data))]
    table, further = b"", b""
    for tag, kind, values in tags:
        cell = pack(kind, places if tag in (273, 324) else values)
        if len(cell) > 4:
            cell, further = struct.pack(f"{order}I", start + len(further)), further + cell
        table += struct.pack(f"{order}HHI", tag, kind, len(values)) + cell.ljust(4, b"\0")
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, len(tags))
    return head + table + bytes(4) + further + b"".join(data)


def bmp(values: np.ndarray, bits: int, *, header: int = 40, packing: int = 0, masks: tuple[int, ...] = (),
        palette: bytes = b"", down: bool = False) -> bytes:  # fmt: skip
    """BMP of numbers [H, W], or of bytes blue, green, red [H, W, 3]; ``down`` stores the upper row first."""
    height, width = values.shape[:2]
    flat = values.reshape(height, -1)
    rows = packed(flat, 8 if bits == 24 else bits, "<")
    body = b"".join(row + bytes(-len(row) % 4) for row in (rows if down else rows[::-1]))
    info = struct.pack(
        "<IiiHHIIiiII", header, width, -height if down else height, 1, bits, packing, len(body), 0, 0, 0, 0
    )
    info = (info + struct.pack(f"<{len(masks)}I", *masks)).ljust(header, b"\0")
    start = 14 + len(info) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + info + palette + body


def tga(body: bytes, size: tuple[int, int], *, kind: int = 2, depth: int = 24, flags: int = 0x20, table: bytes = b"",
        entry: int = 0, first: int = 0, attributes: int | None = None) -> bytes:  # fmt: skip
    """Targa file; ``attributes`` is the type of alpha in an extension area (Truevision TGA 2.0)."""
    count = len(table) * 8 // entry if entry else 0
    head = struct.pack("<BBBHHBHHHHBB", 3, bool(table), kind, first, count, entry, 0, 0, size[1], size[0], depth, flags)
    data = head + b"abc" + table + body
    if attributes is None:
        return data
    area = struct.pack("<H", 495) + bytes(492) + bytes([attributes])
    return data + area + struct.pack("<II", len(data), 0) + b"TRUEVISION-XFILE.\0"


def gif(index: np.ndarray, palette: np.ndarray, *, screen: tuple[int, int], at: tuple[int, int], background: int,
        transparent: int | None = None) -> bytes:  # fmt: skip
    """GIF of 8 colors whose frame [H, W] is smaller than its screen."""
    codes = [8 if i % 2 == 0 else int(index.ravel()[i // 2]) for i in range(2 * index.size)]  # 8 clears, 9 ends
    bits = "".join(f"{code:04b}" for code in [*codes, 9][::-1])
    data = int(bits, 2).to_bytes(-(-len(bits) // 8), "little")
    parts = b"".join(bytes([len(data[i : i + 255])]) + data[i : i + 255] for i in range(0, len(data), 255))
    head = (
        b"GIF89a"
        + struct.pack("<HHBBB", screen[1], screen[0], 0xF2, background, 0)
        + palette.astype(np.uint8).tobytes()
    )
    if transparent is not None:
        head += b"\x21\xf9\x04\x01\0\0" + bytes([transparent, 0])
    frame = b"\x2c" + struct.pack("<HHHHB", at[1], at[0], index.shape[1], index.shape[0], 0)
    return head + frame + b"\x03" + parts + b"\0\x3b"
