"""What other decoders say of the same bytes: OpenCV, tifffile, and our own readers of PNG and TGA."""

import gzip
import io
import logging
import re
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from references.netpbm_reader import read_netpbm
from references.png_reader import Damaged, read_png
from references.tga_reader import read_tga

_CIFAR = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "train", "test")
LOSSY_MEAN = 3.0
"""Largest mean difference of a lossy picture [of 255]."""
_MOST_PIXELS = 1 << 18  # larger pictures are bombs; our own readers would take minutes


@dataclass(frozen=True)
class Verdict:
    """The comparison of one picture."""

    checked: bool
    wrong: str = ""


def compare(data: bytes, image: Image.Image, noise: Callable[[], int]) -> Verdict:
    """Compare a decoded picture with what an independent decoder makes of the same bytes.

    Args:
        data: the encoded picture.
        image: what progan made of it, of mode L, LA, RGB or RGBA.
        noise: returns how many bytes were written to stderr, where libjpeg reports damage.
    """
    if image.width * image.height > _MOST_PIXELS or _has_metadata(data):
        return Verdict(checked=False)
    before = noise()
    try:
        theirs = _decoded(data)
    except Damaged as error:
        return Verdict(checked=True, wrong=f"taken, though its pixels are damaged ({error})")
    if theirs is None:
        return Verdict(checked=False)
    lossy = _is_lossy(data)
    if lossy and noise() > before:
        return Verdict(checked=False)
    ours = np.asarray(image.convert("RGBA")).astype(int)
    if ours.shape[:2] != theirs.shape[:2]:
        return Verdict(checked=True, wrong=f"size {ours.shape[:2]}, other decoder {theirs.shape[:2]}")
    return Verdict(checked=True, wrong=_difference(ours, theirs, data, lossy=lossy))


def compare_rows(files: dict, name: str, pixels: np.ndarray) -> Verdict:
    """Compare pixels that are not encoded with the bytes of their file: an idx file, an array, CIFAR or a TFRecord.

    Args:
        files: contents of the case.
        name: name of the picture, FILE[NUMBER].
        pixels: uint8 [H, W] or [H, W, C].
    """
    found = re.fullmatch(r"(.*)\[(\d+)\]", name)
    try:
        rows = _rows(files, found[1]) if found else None
    except Exception:  # no opinion
        return Verdict(checked=False)
    if isinstance(rows, bytes):
        planes = pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels
        raw = planes.tobytes()  # pickles of Python 3 for Python 2 have bytes as text
        return Verdict(
            checked=True,
            wrong="" if raw in rows or raw.decode("latin-1").encode() in rows else "pixels that are not in the file",
        )
    if rows is None or not found or rows.dtype != np.uint8 or int(found[2]) >= len(rows):
        return Verdict(checked=False)
    row = rows[int(found[2])]
    views = [row, *((row.transpose(1, 2, 0), row[..., 0], row[0]) if row.ndim == 3 else ())]
    right = any(view.shape == pixels.shape and (view == pixels).all() for view in views)
    return Verdict(checked=True, wrong="" if right else f"pixels {pixels.shape} differ from those of {row.shape}")


def _rows(files: dict, file: str) -> np.ndarray | bytes | None:
    """Return the pictures of a file as an array, or the bytes in which they must be found."""
    if len(files) > 1 and files.keys() & {"a.npy", "a.npz", "a.mat"}:
        return None  # another file may be the one that was read
    if "a.npy" in files:
        return np.load(io.BytesIO(files["a.npy"]), allow_pickle=False)
    if "a.npz" in files:
        with zipfile.ZipFile(io.BytesIO(files["a.npz"])) as archive:
            return np.load(io.BytesIO(archive.read(f"{file}.npy")), allow_pickle=False)
    if "a.mat" in files:
        import scipy.io

        return np.moveaxis(scipy.io.loadmat(io.BytesIO(files["a.mat"]))["X"], 3, 0)
    data = files[file]
    if "idx3" not in file:
        return data if file.endswith(".tfrecords") or (file in _CIFAR and data.startswith(b"\x80")) else None
    data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    return np.frombuffer(data, np.uint8, offset=16).reshape(struct.unpack_from(">3I", data, 4))


def _difference(ours: np.ndarray, theirs: np.ndarray, data: bytes, *, lossy: bool) -> str:
    """Say how far [H, W, 4] and [H, W, 3 or 4] are apart, or nothing if that is allowed."""
    slack = 1 if theirs.dtype == np.uint16 else 0
    scaled = (theirs.astype(int) + (128 if slack else 0)) // (257 if slack else 1)
    shown = ours[:, :, 3:] > 0
    shown = shown & (scaled[:, :, 3:] > 0) if scaled.shape[2] == 4 else shown  # a frame may be smaller than the picture
    error = np.abs(ours[:, :, : scaled.shape[2]] - scaled)
    error = error * (shown if data[:4] == b"GIF8" else np.ones_like(shown))
    if lossy:
        return f"mean difference {error.mean():.1f}" if error.mean() > LOSSY_MEAN else ""
    if data.startswith(b"BM") and data[28:29] == b"\x10":
        slack = 8  # of 5 bits, which OpenCV only moves to the left
    if (most := int(error.max())) > slack:
        where = np.argwhere(error == most)[0].tolist()
        return f"pixels differ by up to {most} (mean {error.mean():.1f}) at {where}, mode {ours.shape}"
    return ""


def _decoded(data: bytes) -> np.ndarray | None:
    if data.startswith(b"\x89PNG"):
        return None if _odd_animation(data) else read_png(data)
    if data[:4] in (b"II*\0", b"MM\0*"):
        return _tiff(data)
    if data[:4] == b"\0\0\1\0":
        return _icon(data)
    if data[:4] == b"\0\0\2\0":
        return None
    if data.startswith((b"P5", b"P6")):
        return read_netpbm(data)
    if not _known(data):
        found = read_tga(data)
        return found if found is None or found[:, :, 3].any() else found[:, :, :3]  # alpha that means nothing
    return _by_opencv(data)


def _odd_animation(data: bytes) -> bool:
    """Whether a PNG is animated, and its first frame is not plainly the picture that is not animated."""
    control, pixels, frame = (data.find(name) for name in (b"acTL", b"IDAT", b"fdAT"))
    first = data.find(b"fcTL")
    plain = (
        0 < first < pixels and data[first + 8 : first + 16] == data[16:24] and not any(data[first + 16 : first + 24])
    )
    return control > 0 and (not plain or 0 < frame < pixels or data.count(b"fcTL") < 2)


def _icon(data: bytes) -> np.ndarray | None:
    """Return the largest picture of an icon if all of them are PNG files of different sizes."""
    found: dict[int, np.ndarray] = {}
    for i in range(int.from_bytes(data[4:6], "little")):
        (start,) = struct.unpack_from("<I", data, 18 + 16 * i) if len(data) >= 22 + 16 * i else (0,)
        inner = data[start:]  # the length beside it counts for nobody
        if not inner.startswith(b"\x89PNG") or _odd_animation(inner):
            return None
        array = read_png(inner)
        sides = tuple(data[6 + 16 * i : 8 + 16 * i])
        if (array.shape[1] % 256, array.shape[0] % 256) != sides or array.size in found:
            return None
        found[array.size] = array
    return found[max(found)] if found else None


def _known(data: bytes) -> bool:
    marks = (b"\xff\xd8", b"RIFF", b"GIF8", b"BM", b"P", b"\xff\x4f\xff\x51")
    return data.startswith(marks) or data[4:8] in (b"ftyp", b"jP  ")


def _by_opencv(data: bytes) -> np.ndarray | None:
    import cv2

    try:
        found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if found is None or found.dtype not in (np.uint8, np.uint16):
        return None
    if found.ndim == 2:
        return np.repeat(found[:, :, None], 3, 2)
    return found[:, :, [2, 1, 0, *range(3, found.shape[2])]]


def _tiff(data: bytes) -> np.ndarray | None:
    """Return the first page by tifffile, for plain layouts only."""
    try:
        import tifffile
    except ImportError:
        return None
    doubts: list[logging.LogRecord] = []
    log = tifffile.logger()
    log.handlers = [handler := logging.Handler()]
    handler.emit = doubts.append
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages[0]
            if (
                page.dtype not in (np.uint8, np.uint16)
                or page.photometric not in (1, 2)
                or page.planarconfig not in (1, 2)
                or 0 in page.dataoffsets  # which tifffile takes for a part that is empty
                or page.bitspersample not in (8, 16)
            ):
                return None
            if page.is_subsampled or page.size > _MOST_PIXELS or page.axes not in ("YX", "YXS", "SYX"):
                return None
            if page.compression == 5:  # LZW, which tifffile needs another package for
                return _by_opencv(data) if page.bitspersample == 8 and page.samplesperpixel in (1, 3) else None
            array, extra = page.asarray(), page.extrasamples
            array = array.transpose(1, 2, 0) if page.axes == "SYX" else array
    except Exception:  # no opinion
        return None
    if doubts:
        return None
    if array.ndim == 2:
        return np.repeat(array[:, :, None], 3, 2)
    return array if array.shape[2] == 3 or (array.shape[2] == 4 and extra == (2,)) else None


def _is_lossy(data: bytes) -> bool:
    if data.startswith(b"RIFF"):
        return b"VP8L" not in data[:64]
    return data.startswith((b"\xff\xd8", b"\xff\x4f\xff\x51")) or data[4:8] in (b"ftyp", b"jP  ")


def _has_metadata(data: bytes) -> bool:
    """Whether metadata turn the picture or change its colors, which other decoders leave to the caller."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            turned = image.getexif().get(0x0112, 1) != 1
            return turned or "icc_profile" in image.info or image.mode in ("CMYK", "YCCK")
    except Exception:  # as damaged as the picture
        return True
