"""A PNG whose pixels are damaged or missing is refused; Pillow would take it without a word."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from progan.data.pixels import decode
from progan.errors import DataError
from references import image_writers as write
from references.image_files import noise
from references.png_reader import Damaged, read_png

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def png(
    raw: bytes, *, width: int = 6, height: int = 5, interlaced: int = 0, filters: int = 0, extra: bytes = b""
) -> bytes:
    """A PNG of 8-bit RGB from its filtered rows."""
    header = struct.pack(">2I5B", width, height, 8, 2, 0, filters, interlaced)
    return SIGNATURE + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def rows(pixels: np.ndarray) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in pixels)


PIXELS = noise(5, 6)


def flipped(data: bytes, name: bytes, at: int = 6) -> bytes:
    """Another checksum or content of a chunk, without a word in another place."""
    place = data.index(name) + at
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("black", [False, True])
@pytest.mark.parametrize("extra", [b"", chunk(b"tEXt", b"a\0b"), chunk(b"tEXt", b"a\0b")[:-1] + b"x"])
def test_a_sound_png_is_read_whatever_its_text(black: bool, extra: bytes) -> None:
    pixels = PIXELS * (not black)
    data = png(rows(pixels), extra=extra)
    np.testing.assert_array_equal(read_png(data)[:, :, :3], pixels)
    np.testing.assert_array_equal(np.asarray(decode(data)), pixels)


def encoded_palette() -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).quantize(8).save(file, "PNG")
    return file.getvalue()


BROKEN: dict[str, Callable[[], bytes]] = {
    "checksum of the pixels": lambda: flipped(png(rows(PIXELS)), b"IEND", -5),
    "checksum of the header": lambda: flipped(png(rows(PIXELS)), b"IHDR", 17),
    "checksum of the palette": lambda: flipped(encoded_palette(), b"PLTE", 5),
    "last row": lambda: png(rows(PIXELS[:4])),
    "all rows": lambda: png(b""),
    "half of a row": lambda: png(rows(PIXELS)[:-9]),
    "last pass": lambda: png(rows(PIXELS)[:60], interlaced=1),
    "filters": lambda: png(rows(PIXELS), filters=1),
    "order of rows": lambda: png(rows(PIXELS), interlaced=2),
    "header behind another chunk": lambda: SIGNATURE + chunk(b"tEXt", b"k\0v") + png(rows(PIXELS))[8:],
    "no palette": lambda: write.png(PIXELS[..., :1] % 4, 8, 3),
    "short palette": lambda: write.png(PIXELS[..., :1] % 4, 8, 3, more=chunk(b"PLTE", bytes(9))),
}


@pytest.mark.parametrize("name", BROKEN)
def test_damaged_or_missing_pixels_are_refused(name: str) -> None:
    data = BROKEN[name]()
    with pytest.raises(Damaged):
        read_png(data)
    with pytest.raises(DataError, match="broken"):
        decode(data)


def test_an_icon_is_read_or_refused_by_what_is_in_it() -> None:
    file = io.BytesIO()
    Image.fromarray(noise(32, 32)).save(file, "ICO", sizes=[(32, 32), (16, 16)])
    assert decode(file.getvalue()).size == (32, 32)
    with pytest.raises(DataError, match="broken"):
        decode(flipped(file.getvalue(), b"IEND", -5))


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_transparency_behind_the_pixels_does_not_count(mode: str) -> None:
    file, image = io.BytesIO(), Image.fromarray(PIXELS).convert("RGB")
    image = image.quantize(4) if mode == "P" else image.convert(mode)
    image.save(file, "PNG")
    data = file.getvalue()
    late = data[:-12] + chunk(b"tRNS", {"L": bytes(2), "RGB": bytes(6), "P": bytes(4)}[mode]) + data[-12:]
    assert decode(late).mode == decode(data).mode
    np.testing.assert_array_equal(np.asarray(decode(late)), np.asarray(decode(data)))
