"""Helpers for inputs that are made to do harm: bombs, and names that point elsewhere."""

import functools
import struct
import zlib
from random import Random

from PIL import Image

from fuzz import seeds
from fuzz.cases import Case, Content
from fuzz.form_images import PNG, png_chunk

BAD_NAMES = (
    "../out.png",
    "a/../../out.png",
    "/tmp/out.png",
    "//x/out.png",
    "C:\\out.png",
    "C:/out.png",
    "a\\..\\..\\out.png",
    "\\out.png",
    "a\0.png",
    "x" * 250 + ".png",
    "/".join(["d"] * 200) + "/a.png",
    "a\n.png",
    "\x1b[31m.png",
    "\udcff.png",
    "é\u0301.png",
    "\u202egnp.png",
    ".png",
    " .png",
    "a .png ",
    "CON.png",
    "a.png/",
    "./a.png",
    "a//b.png",
    "",
    ".",
    "..",
    "~/a.png",
    "-rf.png",
    "cat/1.png\r",
    "%00.png",
    "a.png:stream",
    "train/../a.png",
    "dataset.json",
    "0.cls",
    "a.PNG",
    "a.jpg.png",
    "\ufeffa.png",
)
MIB = 1 << 20


def dot(rng: Random) -> bytes:
    """Return a small picture."""
    return seeds.encoded(Image.fromarray(seeds.pixels(rng, 4, 4, 3)), "PNG")


def deflated_zeros(mib: int) -> tuple[bytes, int]:
    """Return raw deflate data of many zeros, and their CRC-32, without packing them all."""
    packer, block = zlib.compressobj(9, zlib.DEFLATED, -15), bytes(MIB)
    first = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    crc = functools.reduce(lambda crc, _: zlib.crc32(block, crc), range(mib), 0)
    return first + again * (mib - 1) + packer.flush(zlib.Z_FINISH), crc


def gzip_zeros(mib: int, head: bytes = b"") -> bytes:
    """Return a gzip of ``head`` and zeros."""
    packer, block = zlib.compressobj(9, zlib.DEFLATED, -15), bytes(MIB)
    data = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    first = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    crc = functools.reduce(lambda crc, _: zlib.crc32(block, crc), range(mib), zlib.crc32(head))
    end = struct.pack("<2I", crc, (len(head) + mib * MIB) & 0xFFFFFFFF)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + data + first + again * (mib - 1) + packer.flush(zlib.Z_FINISH) + end


def zip_of_zeros(name: str, mib: int, told: int | None = None) -> bytes:
    """Return a zip of one member of zeros, whose header may say another size."""
    data, crc = deflated_zeros(mib)
    size = told if told is not None else mib * MIB
    facts = struct.pack("<5H3I", 20, 0, 8, 0, 33, crc, len(data), size)
    local = b"PK\3\4" + facts + struct.pack("<2H", len(name), 0) + name.encode() + data
    entry = b"PK\1\2\x14\0" + facts + struct.pack("<5H2I", len(name), 0, 0, 0, 0, 0, 0) + name.encode()
    return local + entry + b"PK\5\6" + struct.pack("<4H2IH", 0, 0, 1, 1, len(entry), len(local), 0)


def png_of_zeros(width: int, height: int, depth: int, color: int, *, interlace: int = 0) -> bytes:
    """Return a PNG of zeros."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    length = height * (1 + -(-width * depth * channels // 8))
    raw, _ = deflated_zeros(mib := -(-length // MIB))
    adler = (mib * MIB % 65521 << 16) + 1  # of zeros
    head = png_chunk(b"IHDR", struct.pack(">2I5B", width, height, depth, color, 0, 0, interlace))
    palette = png_chunk(b"PLTE", bytes(768)) if color == 3 else b""
    return (
        PNG
        + head
        + palette
        + png_chunk(b"IDAT", b"\x78\xda" + raw + adler.to_bytes(4, "big"))
        + png_chunk(b"IEND", b"")
    )


def one(name: str, data: Content, note: str) -> Case:
    """Return a case of one file, which is the source."""
    return Case(files={name: data}, open=name, sound=False, note=note)


def in_folder(files: dict[str, Content], note: str, **facts: str) -> Case:
    """Return a case of a folder."""
    return Case(files=files, sound=False, note=note, **facts)  # pyright: ignore[reportArgumentType]
