"""Pictures that are small files and take much memory or time."""

import functools
import struct
import zlib
from collections.abc import Callable
from random import Random

from PIL import Image

from fuzz import seeds
from fuzz.cases import Case, Lazy
from fuzz.form_images import png_chunk
from fuzz.hostile import MIB, dot, in_folder, png_of_zeros


def pngs(rng: Random) -> list[Case]:
    """Return bombs and odd PNGs."""
    sizes = (
        (9400, 9400, 8, 0),
        (9400, 9400, 8, 2),
        (9400, 9400, 8, 6),
        (9400, 9400, 16, 0),
        (9400, 9400, 16, 6),
        (9400, 9400, 1, 3),
        (65535, 1365, 8, 2),
        (1, 89000000, 1, 0),
        (89000000, 1, 8, 0),
        (30000, 30000, 8, 2),
        (2**31 - 1, 2**31 - 1, 1, 0),
    )
    cases = [
        in_folder({"a.png": Lazy(functools.partial(png_of_zeros, *size))}, f"PNG of zeros {size}")
        for size in sizes
        if size[0] * size[1] < 1 << 30
    ]
    data = dot(rng)
    bomb = zlib.compress(bytes(100 * MIB), 9)
    for kind, head in ((b"zTXt", b"k\0\0"), (b"iCCP", b"k\0\0"), (b"iTXt", b"k\0\1\0\0\0"), (b"eXIf", b"")):
        cases.append(in_folder({"a.png": data[:33] + png_chunk(kind, head + bomb) + data[33:]}, f"{kind} of 100 MiB"))
    huge = data[:33] + png_chunk(b"tEXt", b"k\0v") * 20000 + data[33:]
    return [
        *cases,
        in_folder({"a.png": huge}, "20,000 texts"),
        in_folder({"a.png": data[:8] + data[8:33] * 9 + data[33:]}, "nine headers"),
    ]


def jpegs(rng: Random) -> list[Case]:
    """Return JPEGs that cost much for their size."""
    small = seeds.encoded(Image.fromarray(seeds.pixels(rng, 64, 64, 3)), "JPEG", progressive=True)
    start = small.rindex(b"\xff\xda")
    many = small[:-2] + small[start:-2] * 2000 + b"\xff\xd9"
    sof = small.index(b"\xff\xc2")
    wide = small[: sof + 5] + struct.pack(">2H", 9400, 9400) + small[sof + 9 :]
    scans = wide[:-2] + wide[start:-2] * 300 + b"\xff\xd9"
    app = small[:2] + (b"\xff\xe2" + struct.pack(">H", 65535) + b"ICC_PROFILE\0\1\1" + bytes(65519)) * 50 + small[2:]
    files = {"2,000 scans": many, "300 scans of 88 MP": scans, "3 MB of profile": app}
    return [
        *others("JPEG", ".jpg")(rng),
        *(in_folder({"a.jpg": Lazy(lambda data=data: data)}, note) for note, data in files.items()),
    ]


def others(kind: str, suffix: str, side: int = 9400) -> Callable[[Random], list[Case]]:
    """Return a builder of large black pictures of a format."""

    def build(rng: Random) -> list[Case]:
        modes = ("RGB",) if kind == "JPEG" else ("L", "RGB", "RGBA")
        return [
            in_folder({f"a{suffix}": Lazy(functools.partial(_large, kind, mode, side))}, f"{kind} {mode} {side}x{side}")
            for mode in modes
        ]

    return build


def _large(kind: str, mode: str, side: int) -> bytes:
    how = {
        "TIFF": {"compression": "tiff_adobe_deflate"},
        "TGA": {"compression": "tga_rle"},
        "WEBP": {"lossless": True, "quality": 0, "method": 0},
        "AVIF": {"speed": 10},
    }
    return seeds.encoded(Image.new(mode, (side, side)), kind, **how.get(kind, {}))
