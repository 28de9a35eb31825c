"""Size and reading time of one image of a level, raw and losslessly compressed; JSON lines.

python benchmarks/compression.py PICTURE ... [--sides 512 1024] [--enlarge]

Pillow is enough; more ways are tried with: pip install zstandard blosc2 imagecodecs
"""

import argparse
import functools
import io
import json
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from machine import machine
from PIL import Image, ImageOps

Codec = tuple[Callable[[np.ndarray], bytes], Callable[[bytes, tuple], np.ndarray]]


def pillow(kind: str, **settings: object) -> Codec:
    """A format of Pillow."""

    def pack(image: np.ndarray) -> bytes:
        file = io.BytesIO()
        Image.fromarray(image).save(file, kind, **settings)
        return file.getvalue()

    return pack, lambda data, _: np.asarray(Image.open(io.BytesIO(data)))


def differences(compress: Callable[[bytes], bytes], decompress: Callable[[bytes], bytes]) -> Codec:
    """A compressor of bytes, given each pixel minus its left neighbor."""

    def pack(image: np.ndarray) -> bytes:
        return compress(np.diff(image, axis=1, prepend=np.uint8(0)).tobytes())

    def unpack(data: bytes, shape: tuple) -> np.ndarray:
        return np.cumsum(np.frombuffer(decompress(data), np.uint8).reshape(shape), axis=1, dtype=np.uint8)

    return pack, unpack


def codecs() -> dict[str, Codec]:
    """All ways that are installed."""
    ways: dict[str, Codec] = {
        "PNG, level 1": pillow("PNG", compress_level=1),
        "PNG, level 6": pillow("PNG", compress_level=6),
        "WebP lossless, method 0": pillow("WEBP", lossless=True, quality=0, method=0),
        "WebP lossless, method 4": pillow("WEBP", lossless=True, quality=75, method=4),
        "differences, zlib 1": differences(lambda data: zlib.compress(data, 1), zlib.decompress),
    }
    try:
        import zstandard  # pyright: ignore[reportMissingImports]

        packer, unpacker = zstandard.ZstdCompressor(3), zstandard.ZstdDecompressor()
        plain = (
            (lambda image: packer.compress(image.tobytes())),
            (lambda data, shape: np.frombuffer(unpacker.decompress(data), np.uint8).reshape(shape)),
        )
        ways |= {"zstd 3": plain, "differences, zstd 3": differences(packer.compress, unpacker.decompress)}
    except ImportError:
        pass
    try:
        import blosc2  # pyright: ignore[reportMissingImports]

        how = {"typesize": 3, "codec": blosc2.Codec.ZSTD, "clevel": 3, "filter": blosc2.Filter.BITSHUFFLE}
        blosc2.set_nthreads(1)
        pack = differences(lambda data: blosc2.compress(data, **how), blosc2.decompress)
        ways |= {"differences, blosc2 bitshuffle, zstd 3": pack}
    except ImportError:
        pass
    try:
        import imagecodecs as ic  # pyright: ignore[reportMissingImports]

        ways |= {
            "JPEG XL, effort 1": (
                lambda image: ic.jpegxl_encode(image, lossless=True, effort=1, numthreads=1),
                lambda data, _: ic.jpegxl_decode(data, numthreads=1),
            ),
            "QOI": (ic.qoi_encode, lambda data, _: ic.qoi_decode(data)),
            "JPEG LS": (ic.jpegls_encode, lambda data, _: ic.jpegls_decode(data)),
        }
    except ImportError:
        pass
    return ways


def least_ms(work: Callable[[], object], repeats: int) -> float:
    """Least processor time of several calls [ms]; other programs add to it and never take off."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return 1e3 * min(times)


def measure(images: list[np.ndarray], side: int, repeats: int) -> list[dict]:
    """A row for the memory map as it is, and for each way of compressing."""
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        np.save(file, np.stack(images))
        file.flush()
        level = np.load(file.name, mmap_mode="r")
        raw = statistics.mean(least_ms(lambda i=i: np.array(level[[i]]), repeats) for i in range(len(images)))
    rows = [{"way": "memory map", "MB": images[0].nbytes / 1e6, "ratio": 1.0, "read_ms": raw}]
    for name, (pack, unpack) in codecs().items():
        data, write, read = [], [], []
        for image in images:
            data.append(pack(image))
            if not np.array_equal(unpack(data[-1], image.shape), image):
                raise ValueError(f"{name} changes pixels")
            write.append(least_ms(functools.partial(pack, image), 1))
            read.append(least_ms(functools.partial(unpack, data[-1], image.shape), repeats))
        size = statistics.mean(map(len, data))
        row = {"way": name, "MB": size / 1e6, "ratio": images[0].nbytes / size}
        rows.append(row | {"read_ms": statistics.mean(read), "write_ms": statistics.mean(write)})
    return [{"side": side, "images": len(images)} | row for row in rows]


def main() -> None:
    """Print one line per size and way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--sides", nargs="+", type=int, default=[512, 1024])
    parser.add_argument("--enlarge", action="store_true", help="use pictures that are too small, too")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    for side in args.sides:
        pictures = [ImageOps.exif_transpose(Image.open(path)).convert("RGB") for path in args.pictures]
        fitting = [p for p in pictures if args.enlarge or min(p.size) >= side]
        squares = [np.asarray(ImageOps.fit(p, (side, side), Image.Resampling.LANCZOS)) for p in fitting]
        for row in measure(squares, side, args.repeats) if squares else []:
            print(json.dumps(row | machine("pillow")), flush=True)


if __name__ == "__main__":
    main()
