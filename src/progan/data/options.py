"""Settings of 'prepare', and the plan that results from them for a source."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from progan.data.decoding import peek
from progan.data.pixels import Plan
from progan.data.ranges import find_ranges
from progan.data.records import Choice, Payload, Record, Source
from progan.errors import ConfigError, DataError
from progan.sizes import parse_size

_PATIENCE_S = 2.0  # until a progress bar appears
_SAMPLE = 200  # images whose sizes decide about resolution 'auto'


@dataclass(frozen=True)
class PrepareOptions:
    """How the images of a source are converted for a store.

    Alpha is composited over white unless 4 channels are requested. Palette images count as color, even if all their
    colors are gray. 16-bit grayscale is scaled to 8 bits, and 16-bit color is reduced to its upper byte;
    floating-point pixels are rejected. CMYK and similar modes are converted to RGB. Colors are converted to sRGB if
    the file has a different profile; a broken profile is ignored. Images are rotated upright according to their EXIF
    data. Only the first of several frames or pages is used.

    Raises:
        ConfigError: if a setting cannot be used.
    """

    resolution: str = "auto"
    """Size of the stored images [pixels]: one side, such as 64 or 28,
    or HEIGHTxWIDTH, such as 64x96. Smaller levels, for growing networks,
    are added if the shorter side is a power of two and the longer side
    a multiple of it. 'auto' is the largest power of two not above the
    median shorter side of a sample (for padded idx files, the smallest
    one not below it)."""
    crop: str = "none"
    """Area of every image to use: 'none' (the whole image), 'center'
    (the largest centered crop with the store's aspect ratio), or
    X,Y,W,H (a box in pixels of the upright original)."""
    fit: Literal["auto", "crop", "pad", "stretch"] = "auto"
    """How images are fitted to the store's aspect ratio: 'crop' cuts
    off borders, 'pad' centers the image on black, and 'stretch' distorts
    it. 'auto' is 'pad' for idx files (28x28 to 32x32), otherwise 'crop'."""
    filter: Literal["lanczos", "box"] = "lanczos"
    """Filter for resizing to the full resolution.
    Smaller levels are always 2x2 box means."""
    upscale: bool = False
    """Enlarge images that are smaller than the resolution. Otherwise
    such images cannot be used, except with --fit pad."""
    channels: Literal["auto", 1, 3, 4] = "auto"
    """Number of channels: 1 (grayscale), 3 (RGB) or 4 (RGBA).
    'auto' is 1 if every image is grayscale, otherwise 3."""
    labels: str = "auto"
    """Where labels come from: 'auto' (label files or columns in the source if
    there are any, otherwise subfolders, if any), 'folder' (subfolders, which
    are then required), 'none' (no labels), a FILE (CSV, TSV, JSON, .npy ...),
    FILE:COLUMN, such as list_attr_celeba.txt:Male, or a COLUMN of the source.
    Whole numbers and text are classes, other numbers are values. Append
    ':class' or ':number' to any of these to decide otherwise."""
    on_error: Literal["fail", "skip"] = "fail"
    """What to do about images that cannot be used: 'fail' stops at the
    first one, 'skip' omits and lists them."""
    split: Literal["train", "val", "test", "all"] = "train"
    """Split to use if the source has splits: folders or files named train, val
    and test, MNIST, CIFAR-10, data sets of the hub and so on."""
    column: str = ""
    """Column or array that contains the images, if a table or file has several.
    By default it is chosen by its name, and the summary says which."""
    member: str = ""
    """Picture to use if samples have several: 'seg.png' for a.jpg and a.seg.png,
    'mask' for a.png and a_mask.png, a folder such as 'masks' next to 'images',
    or '64' for several sizes. By default it is chosen by its name."""
    exclude: tuple[str, ...] = ()
    """Images to leave out: names of files or folders, or patterns, such as
    '*_mask.png' or 'cat/old'."""

    def __post_init__(self) -> None:
        if self.resolution != "auto":
            parse_size(self.resolution)
        _parse_box(self.crop)
        if self.channels not in ("auto", 1, 3, 4):
            raise ConfigError(f"channels must be auto, 1, 3 or 4; got {self.channels!r}")
        _one_of("fit", self.fit, ("auto", "crop", "pad", "stretch"))
        _one_of("filter", self.filter, ("lanczos", "box"))
        _one_of("on_error", self.on_error, ("fail", "skip"))
        _one_of("split", self.split, ("train", "val", "test", "all"))

    @property
    def choice(self) -> Choice:
        """What to use of the source."""
        return Choice(split=self.split, column=self.column, member=self.member, exclude=self.exclude)


def _one_of(setting: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{setting} must be one of {', '.join(allowed)}; got {value!r}")


def _parse_box(text: str) -> tuple[int, int, int, int] | None:
    """Parse X,Y,W,H of a crop; None for 'none' and 'center'.

    >>> _parse_box("12,28,64,64"), _parse_box("none")
    ((12, 28, 64, 64), None)
    """
    if text in ("none", "center"):
        return None
    match = re.fullmatch(r"(\d+),(\d+),(\d+),(\d+)", text.replace(" ", ""))
    if not match or not int(match[3]) or not int(match[4]):
        form = "X,Y,W,H in pixels, such as 12,28,64,64, with W and H at least 1"
        raise ConfigError(f"crop must be none, center or {form}; got {text!r}")
    return int(match[1]), int(match[2]), int(match[3]), int(match[4])


def make_plan(source: Source, options: PrepareOptions, *, progress: bool = False) -> Plan:
    """Return the plan for the images of a source.

    Args:
        source: images to convert.
        options: settings, of which those that are 'auto' are decided by the images.
        progress: whether to show progress bars on a terminal if it takes long.

    Raises:
        DataError: if the resolution is 'auto' and no sampled image can be opened, or the images are too small for it.
    """
    box = _parse_box(options.crop)
    fit = source.default_fit if options.fit == "auto" else options.fit
    if options.resolution == "auto":
        height = width = _auto_side(source, box, round_up=fit == "pad" == source.default_fit)
    else:
        height, width = parse_size(options.resolution)
    with _watched(source, "find the range of values", progress) as watched:
        ranges, notes = find_ranges(watched)
    with _watched(source, "look for colors", progress) as watched:
        channels = _auto_channels(watched) if options.channels == "auto" else options.channels
    return Plan(
        height=height,
        width=width,
        channels=channels,
        box=box,
        center=options.crop == "center",
        fit=fit,
        filter=options.filter,
        upscale=options.upscale,
        ranges=ranges,
        notes=notes,
    )


@contextlib.contextmanager
def _watched(source: Source, what: str, progress: bool) -> Iterator[Source]:
    """A source whose reading is shown by a progress bar, after some seconds."""
    how: dict[str, Any] = {"unit": " images", "delay": _PATIENCE_S, "disable": None if progress else True}
    with tqdm(total=len(source), desc=what, **how) as bar:

        def read(positions: Sequence[int]) -> Iterator[Payload]:
            for data in source.read(positions):
                bar.update()
                yield data

        yield replace(source, read=read)


def _auto_side(source: Source, box: tuple[int, int, int, int] | None, *, round_up: bool) -> int:
    """Choose a power of two near the median shorter side."""
    if box:
        median = min(box[2:])
    else:
        kinds = [source.alike] if source.alike else _peek_all(source.sample(_SAMPLE))
        sides = [min(size) for _, size in kinds]
        if not sides:
            raise DataError(
                f"{source.description}: no image of a sample of up to {_SAMPLE} can be opened\n"
                f"  found: {_first_error(source)}\n"
                f"  fix:   repair or replace the images"
            )
        median = int(np.median(sides))
    if round_up:
        return max(4, 1 << (median - 1).bit_length())
    if median < 4:
        raise DataError(
            f"{source.description}: the images are too small for --resolution auto, which requires at least 4 pixels\n"
            f"  found: a median shorter side of {median}\n"
            f"  fix:   choose a size, such as --resolution {median}"
        )
    return 1 << (median.bit_length() - 1)


def _auto_channels(source: Source) -> int:
    """Return 1 if every image is grayscale, else 3; reading stops at the first color image."""
    return 1 if all(grey for grey, _ in ([source.alike] if source.alike else _peek_all(source))) else 3


def _peek_all(records: Iterable[Record]) -> Iterator[tuple[bool, tuple[int, int]]]:
    """Yield whether it is grayscale, and its size, for every image that can be opened."""
    for record in records:
        try:
            yield peek(record.data)
        except DataError:  # reported, or skipped, when its turn comes
            continue


def _first_error(source: Source) -> str:
    """Name and reason of the first sampled image that cannot be opened."""
    for record in source.sample(_SAMPLE):
        try:
            peek(record.data)
        except DataError as error:
            return f"{record.name}: {error}"
    return "no error"
