"""Decoding of image files of any format: right pixels, or one line that says why not.

It must not import torch, because the worker processes of 'prepare' load it.
"""

import functools
import io
import struct
import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from progan.data.decoding import bitmaps, corrections, formats, png_checks, pngs, salvage, tiffs
from progan.data.decoding.colors import GREY_MODES, ORIENTATION, Samples, to_srgb
from progan.data.records import Payload, image_kind
from progan.errors import DataError

T = TypeVar("T")

_HEAD = 1 << 10  # bytes that tell the format
_LONGEST = 1 << 20  # pixels of a side, whose resize takes memory of its own


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """Ranges of pixels that follow from a whole set of images; by default each file is taken as it is."""

    white: int | None = None
    """White of 16-bit images that do not say it, if it is not 65535."""
    mask: bool = False
    """Whether images of 8 bits have only the values 0 and 1, which become 0 and 255."""


AS_THEY_ARE = Ranges()
"""Ranges of files that are taken as they are."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An image whose header has been read."""

    grey: bool
    size: tuple[int, int]
    """Height and width [pixels], before it is turned upright."""
    deep: bool = False
    """Whether it has 16 bits of which the file does not say how many are used."""
    read: Callable[[bool], Image.Image | Samples] = field(repr=False)
    """Decodes the pixels; True asks for all 16 bits of colors."""
    several: Callable[[], bool] = field(default=lambda: False, repr=False)
    """Tells whether the file has further pages or frames; to be called before ``read``."""
    close: Callable[[], object] = field(default=lambda: None, repr=False)
    """Closes the file."""


def peek(data: Payload) -> tuple[bool, tuple[int, int]]:
    """Return whether an image is grayscale, and its height and width [pixels], from its header alone.

    Palette images count as color.

    Raises:
        DataError: if it cannot be read.
    """
    with opened(data) as image:
        return image.grey, image.size


def decode(data: Payload, ranges: Ranges = AS_THEY_ARE) -> Image.Image:
    """Decode an image, upright, to mode L, LA, RGB or RGBA with 8 bits per channel in the colors of sRGB.

    Only the first of several pages or frames is used.

    Args:
        data: image to decode.
        ranges: what is white, if that follows from the whole set.

    Raises:
        DataError: if the image cannot be read completely.
    """
    with opened(data) as image:
        found = _guarded(lambda: _decoded(image, ranges.white))
        return _stretched(found) if ranges.mask and not image.deep else found


def _decoded(image: Opened, white: int | None) -> Image.Image:
    pixels = image.read(image.deep and white is not None)
    return to_srgb(_upright(pixels.image(white) if isinstance(pixels, Samples) else pixels))


def has_several(data: Payload) -> bool:
    """Return whether a file has several pages or frames, of which ``decode`` uses the first.

    Raises:
        DataError: if it cannot be read.
    """
    if isinstance(data, np.ndarray):
        return False
    with opened(data) as image:
        return _guarded(image.several)


def measure(data: Payload, deep_only: bool = False) -> tuple[bool, int] | None:
    """Return whether an image has 16 bits of which it does not say how many are used, and its largest color.

    Args:
        data: image to decode.
        deep_only: whether to return None for other images, which are then not decoded.

    Raises:
        DataError: if the image cannot be read completely.
    """
    if isinstance(data, np.ndarray):
        return None if deep_only else (False, int((data[..., :3] if data.ndim == 3 else data).max(initial=0)))
    with opened(data) as image:
        if deep_only and not image.deep:
            return None
        pixels = _guarded(lambda: image.read(False))
        if image.deep and isinstance(pixels, Image.Image):
            if (high := _largest(pixels)) >= 64:  # more than 14 bits, which is all that is asked for
                return True, high << 8
            pixels = _guarded(lambda: image.read(True))
        if isinstance(pixels, Samples):
            return image.deep, _guarded(lambda: pixels.largest)
        return False, _largest(_guarded(lambda: to_srgb(pixels)))


def _largest(image: Image.Image) -> int:
    """Return the largest number of all channels except alpha."""
    channels = [image.getchannel(i) for i in range(len(image.getbands()) - image.mode.endswith("A"))]
    return max(int(np.max(channel.getextrema())) for channel in channels)


def opened(data: Payload) -> "closing[Opened]":
    """Read the header of an encoded image; leaving the context closes its file.

    Raises:
        DataError: if its format is not supported, or the header is broken.
    """
    found = _open(data)
    if max(found.size) > _LONGEST:
        found.close()
        raise DataError(f"a side of {max(found.size)} pixels, more than the {_LONGEST} allowed")
    return closing(found)


def _open(data: Payload) -> Opened:
    if isinstance(data, DataError):
        raise data
    if isinstance(data, np.ndarray):
        grey, size = image_kind(data.shape)
        return Opened(grey=grey, size=size, read=lambda full: Image.fromarray(data))
    try:
        return _of_pillow(_pillow(data, formats.COMMON), data)
    except UnidentifiedImageError:
        known = _head(data)[0].startswith(salvage.HEADS)  # which damaged metadata may make unknown
        return (_salvaged(data, lambda clean: clean) if known else None) or _open_other(data)
    except DataError:
        raise
    except Exception as error:  # a broken header makes Pillow raise almost anything
        if saved := _salvaged(data, lambda clean: clean):
            return saved
        raise DataError(formats.refusal(_head(data)[0]) or f"cannot be opened ({error})") from None


def _pillow(data: Path | bytes, kinds: tuple[str, ...]) -> ImageFile:
    """Open an image with Pillow, which raises UnidentifiedImageError if it is of no format of these kinds."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(data if isinstance(data, Path) else io.BytesIO(data), formats=kinds)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"too large to be opened: {error} Reduce its number of pixels") from None
    except PermissionError:
        raise DataError("permission denied; run chmod u+r on it, or ask its owner") from None
    except OSError as error:
        if error.errno is None:  # Pillow's
            raise
        raise DataError(f"cannot be read ({error.strerror})") from None


def _of_pillow(image: ImageFile, data: Path | bytes) -> Opened:
    formats.check_size(image.width, image.height, image.format or "")
    raw = pngs.rawmode(image) if image.format == "PNG" else ""
    grey = image.mode in GREY_MODES or raw == "LA;16B"

    def read(full: bool) -> Image.Image | Samples:
        try:
            found = _loaded(image, data, raw, full)
            if image.format in png_checks.FORMATS:
                png_checks.check(data, image)
            return found
        except DataError:
            raise
        except Exception as error:  # a broken file makes Pillow raise almost anything
            if (saved := _salvaged(data, lambda clean: clean.read(full))) is None:
                raise DataError(f"broken image ({error})") from None
            return saved

    size = (image.height, image.width)
    several = functools.partial(getattr, image, "is_animated", False)
    return Opened(grey=grey, size=size, deep=raw.endswith(";16B"), read=read, several=several, close=image.__exit__)


def _loaded(image: ImageFile, data: Path | bytes, raw: str, full: bool) -> Image.Image | Samples:
    """Return the pixels of an image that Pillow has opened; all 16 bits if ``full``."""
    if raw in ("I;16B", "LA;16B") or (raw.endswith(";16B") and (full or "transparency" in image.info)):
        return pngs.deep_samples(image, raw, data)
    if image.format == "PNG":
        has_key = "transparency" in image.info
        image.load()
        if not has_key:  # it does not count behind the pixels, where Pillow does not check it either
            image.info.pop("transparency", None)
        return pngs.with_key(image, raw)
    if image.format in formats.PLAIN:
        image.load()
        return image
    return corrections.loaded(image, data)


def _salvaged(data: Path | bytes, use: Callable[[Opened], T]) -> T | None:
    """Return what becomes of an image without its metadata, which may be what is broken; None if it is the pixels."""
    whole = data.read_bytes() if isinstance(data, Path) else data
    for clean, profile in salvage.cleaned(whole):
        try:
            image = _pillow(clean, formats.COMMON)
            image.load()
        except Exception:
            continue
        image = _pillow(clean, formats.COMMON)
        if profile:
            image.info["icc_profile"] = profile
        return use(_of_pillow(image, clean))
    return None


def _open_other(data: Path | bytes) -> Opened:
    """Open an image whose format is none of the most common ones."""
    head, size = _head(data)
    if not size:
        raise DataError("an empty file")
    start = len(head) - len(head.lstrip(b"\0\t\n\r \xef\xbb\xbf"))
    if start and head[start:].startswith(salvage.HEADS):  # some programs write line ends before the file
        return _open(_bytes(data)[start:])
    if head.startswith(tiffs.HEADS):
        return _guarded(lambda: _open_tiff(_bytes(data)))
    if head.startswith((b"BM", b"P5", b"P6", b"P7")):
        read = bitmaps.read_bmp if head.startswith(b"BM") else bitmaps.read_netpbm
        if (found := _guarded(lambda: read(_bytes(data)))) is not None:
            return Opened(grey=found.mode == "L", size=found.size, deep=found.white is None, read=lambda full: found)
    return _guarded(lambda: _open_by_plugin(data, head, size))


def _open_by_plugin(data: Path | bytes, head: bytes, size: int) -> Opened:
    """Open an image with one of the less common plug-ins of Pillow."""
    kinds = formats.OTHERS
    if name := formats.named(head):
        kinds = formats.plugin_formats(name)
        if not kinds:
            raise DataError(formats.refusal(head))
    elif formats.is_tga(head, size):
        kinds = (*kinds, "TGA")
    try:
        return _of_pillow(_pillow(data, kinds), data)
    except UnidentifiedImageError:
        if kind := name or formats.begun(head):
            raise DataError(f"cannot be opened (a broken {kind}, or one of an unsupported kind)") from None
        known = "JPEG, PNG, WEBP, TIFF, GIF, BMP, PPM, AVIF, ..."
        raise DataError(f"not an image in a supported format ({known})") from None


def _head(data: Path | bytes) -> tuple[bytes, int]:
    """Return the first bytes of a file, and its length."""
    if isinstance(data, bytes):
        return data[:_HEAD], len(data)
    with data.open("rb") as file:
        return file.read(_HEAD), data.stat().st_size


def _bytes(data: Path | bytes) -> bytes:
    return data.read_bytes() if isinstance(data, Path) else data


def _open_tiff(data: bytes) -> Opened:
    tiff = tiffs.Tiff.opened(data)
    if not tiff.for_pillow:
        size = (tiff.height, tiff.width)
        return Opened(
            grey=tiff.is_grey,
            size=size,
            deep=tiff.is_deep,
            read=lambda full: tiff.samples(),
            several=lambda: bool(tiff.tags.next),
        )
    tiff.check()
    try:
        return _of_pillow(_pillow(data, ("TIFF",)), data)
    except UnidentifiedImageError:
        raise DataError("a TIFF of a layout that is not supported; save it as gray or RGB with 8 or 16 bits") from None


def _guarded(work: Callable[[], T]) -> T:
    """Return the result of some work on a file that may be broken, which makes libraries raise almost anything."""
    try:
        return work()
    except (DataError, MemoryError):
        raise
    except Exception as error:
        raise DataError(f"broken image ({error})") from None


def _upright(image: Image.Image) -> Image.Image:
    """Rotate an image according to its EXIF data; unreadable metadata is ignored."""
    try:
        return ImageOps.exif_transpose(image) if image.getexif().get(ORIENTATION, 1) != 1 else image
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, IndexError, struct.error):
        return image


def _stretched(image: Image.Image) -> Image.Image:
    """Return an image whose colors 0 and 1 become 0 and 255."""
    table = [0] + [255] * 255
    alpha = list(range(256)) if image.mode.endswith("A") else []
    return image.point(table * (len(image.getbands()) - bool(alpha)) + alpha)
