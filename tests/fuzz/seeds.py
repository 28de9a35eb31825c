"""Sound pictures, folders and archives, from which the damaged ones are made."""

import gzip
import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from random import Random

import numpy as np
from PIL import Image

from fuzz.cases import Case
from fuzz.form_images import png_chunk

Builder = Callable[[Random], Case]


def pixels(rng: Random, *shape: int) -> np.ndarray:
    """Return a smooth ramp with noise, uint8: lossy formats keep it, and damage shows."""
    shape = shape or (rng.randrange(1, 20), rng.randrange(1, 20), 3)
    noise = np.random.default_rng(rng.getrandbits(32)).integers(0, 24, shape)
    ramp = np.arange(noise.size).reshape(shape) * 200 // max(noise.size, 1)
    return (ramp + noise).astype(np.uint8)


def picture(rng: Random, mode: str) -> Image.Image:
    """Return a small picture of one of Pillow's modes."""
    height, width = rng.choice(((1, 1), (8, 8), (7, 5), (16, 9), (17, 33)))
    if mode in ("I;16", "I"):
        wide = pixels(rng, height, width).astype(np.uint16) * 257
        return Image.fromarray(wide if mode == "I;16" else wide.astype(np.int32))
    channels = {"L": 0, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}.get(mode, 3)
    array = pixels(rng, *((height, width, channels) if channels else (height, width)))
    if mode in ("1", "P", "PA"):
        image = Image.fromarray(array)
        return image.convert("1") if mode == "1" else image.quantize(rng.choice((2, 4, 16, 200)))
    return Image.fromarray(array, mode if mode in ("CMYK", "LA") else None)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return a picture as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def image_file(kind: str, suffix: str, modes: str, options: tuple[dict, ...] = ({},)) -> Builder:
    """Return a builder of folders of one picture of a format."""

    def build(rng: Random) -> Case:
        for _ in range(20):
            image, how = picture(rng, rng.choice(modes.split())), dict(rng.choice(options))
            if how.pop("frames", 0):
                how |= {"save_all": True, "append_images": [picture(rng, image.mode).resize(image.size)]}
            if how.pop("exif", 0):
                exif = Image.Exif()
                exif[0x0112], exif[0x010F] = 6, "maker"
                how["exif"] = exif
            try:
                return Case(files={f"a{suffix}": encoded(image, kind, **how)})
            except (OSError, ValueError, KeyError):  # a mode that the format lacks
                continue
        raise ValueError(f"no picture of {kind}")

    return build


def png(rng: Random) -> Case:
    """Build a PNG of 16 bits, of few bits, interlaced, or with tRNS, chunk by chunk."""
    kind, depth = rng.choice(
        ((0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 2), (3, 8), (4, 8), (4, 16), (6, 8), (6, 16))
    )
    height, width, interlace = rng.choice((1, 5, 9)), rng.choice((1, 6, 13)), rng.randrange(2)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    raw = b""
    for row, column, down, right in passes if interlace else ((0, 0, 1, 1),):
        rows, columns = -(-(height - row) // down), -(-(width - column) // right)
        if rows > 0 and columns > 0:
            lines = pixels(rng, rows, -(-columns * channels * depth // 8))
            raw += b"".join(bytes([rng.randrange(5)]) + line.tobytes() for line in lines)
    chunks = [png_chunk(b"IHDR", struct.pack(">2I5B", width, height, depth, kind, 0, 0, interlace))]
    chunks += [png_chunk(b"PLTE", rng.randbytes(3 << depth))] if kind == 3 else []
    clear = rng.randbytes(2) if kind == 3 else bytes(2 * channels)
    chunks += [png_chunk(b"tRNS", clear)] if kind in (0, 2, 3) and rng.random() < 0.5 else []
    chunks += [png_chunk(b"IDAT", zlib.compress(raw)), png_chunk(b"IEND", b"")]
    return Case(files={"a.png": b"\x89PNG\r\n\x1a\n" + b"".join(chunks)})


def tiff(rng: Random) -> Case:
    """Build a TIFF by tifffile: planes, strips, tiles, byte orders and numbers that Pillow does not write."""
    import tifffile

    shape = rng.choice(((16, 16), (16, 32, 3), (16, 16, 4), (3, 16, 16)))
    array = pixels(rng, *shape)
    array = array.astype(np.uint16) * 257 if rng.random() < 0.4 else array
    how: dict = {"photometric": "rgb" if array.ndim == 3 else "minisblack", "byteorder": rng.choice("<>")}
    how |= {"planarconfig": "separate" if shape[0] == 3 else "contig"} if array.ndim == 3 else {}
    how |= rng.choice(({}, {"tile": (16, 16)}, {"rowsperstrip": 4}, {"compression": "zlib"}))
    file = io.BytesIO()
    tifffile.imwrite(file, array, metadata=None, **how)
    return Case(files={"a.tif": file.getvalue()})


def any_picture(rng: Random) -> tuple[bytes, str]:
    """Return a picture of a common format, and its extension."""
    kind, suffix = rng.choice(
        (("PNG", "png"), ("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp"), ("GIF", "gif"), ("BMP", "bmp"))
    )
    return encoded(picture(rng, rng.choice(("L", "RGB"))), kind), suffix


def tree(rng: Random, count: int = 4) -> dict[str, bytes]:
    """Return pictures in two folders, with other files beside them."""
    wrap, classes = rng.choice(("", "set/")), rng.choice((("cat", "dog"), ("1", "10"), ("train", "test"), ("ä b", "c")))
    files = {}
    for i in range(count):
        data, suffix = any_picture(rng)
        files[f"{wrap}{classes[i % 2]}/{i}.{suffix}"] = data
    return files | rng.choice(({}, {f"{wrap}readme.txt": b"hello"}, {"__MACOSX/._0.png": b"fork"}, {".x/0.png": b""}))


def folder(rng: Random) -> Case:
    """Build a folder of pictures in sub-folders."""
    return Case(files=dict(tree(rng)))


def zipped(rng: Random, files: dict[str, bytes] | None = None, method: int | None = None) -> bytes:
    """Return a zip of files."""
    out = io.BytesIO()
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    with zipfile.ZipFile(out, "w", rng.choice(methods) if method is None else method) as archive:
        for name, data in (tree(rng) if files is None else files).items():
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=archive.compression)
    return out.getvalue()


def tarred(rng: Random, files: dict[str, bytes] | None = None, pack: str = "") -> bytes:
    """Return a tar of files, perhaps compressed: '', 'gz', 'xz' or 'bz2'."""
    out = io.BytesIO()
    form = rng.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT))
    with tarfile.open(fileobj=out, mode=f"w:{pack}" if pack != "gz" else "w", format=form) as archive:
        for name, data in (tree(rng) if files is None else files).items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return gzip.compress(out.getvalue(), 1, mtime=0) if pack == "gz" else out.getvalue()


def zip_case(rng: Random) -> Case:
    """Build a zip of pictures."""
    return Case(files={"a.zip": zipped(rng)}, open="a.zip")


def tar_case(rng: Random) -> Case:
    """Build a tar, compressed or not."""
    pack, name = rng.choice(
        (("", "a.tar"), ("", "a.tar"), ("gz", "a.tar.gz"), ("gz", "a.tgz"), ("xz", "a.tar.xz"), ("bz2", "a.tar.bz2"))
    )
    return Case(files={name: tarred(rng, pack=pack)}, open=name)


def webdataset(rng: Random) -> Case:
    """Build a shard, or a folder of two, with labels beside the pictures."""

    def shard(first: int) -> bytes:
        files: dict[str, bytes] = {}
        for i in range(first, first + 3):
            data, suffix = any_picture(rng)
            facts = {"label": i % 2, "age": 1.5 * i, "text": f"é {i}", "list": [1, 2]}
            beside = {"cls": str(i % 2).encode(), "json": json.dumps(facts).encode()}
            files |= {f"{i:04}.{suffix}": data, f"{i:04}.{label}": beside[label]}
        return tarred(rng, files)

    label = rng.choice(("cls", "json"))
    if rng.random() < 0.5:
        return Case(files={"a.tar": shard(0)}, open="a.tar")
    return Case(files={"s0.tar": shard(0), "s1.tar": shard(3)})
