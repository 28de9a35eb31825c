"""Settings of 'prepare', and the plan that follows from them and a source."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from progan.data.pixels import Plan, peek
from progan.data.records import Record, Source
from progan.errors import ConfigError, DataError
from progan.sizes import parse_size

_SAMPLE = 200  # images whose sizes decide about resolution 'auto'


@dataclass(frozen=True)
class PrepareOptions:
    """How the images of a source become those of a store.

    Channels: 'auto' is 1 if every image is grey, else 3. Alpha is composited over white unless 4 channels are asked
    for. Palette images count as their RGB(A) colors, so as color even if all their colors are grey. Grey of 16 bits
    is scaled to 8, of color the upper byte is taken; floating-point pixels are refused. CMYK and the like become RGB.
    Colors are converted to sRGB if the file has another profile; a broken profile is ignored. Images are turned
    upright as their EXIF data say. Of several frames or pages the first one counts.

    Raises:
        ConfigError: if a setting cannot be used.
    """

    resolution: str = "auto"
    """Size [pixels]: a side like 64 or 28, or HEIGHTxWIDTH like 64x96.
    Smaller levels, for networks that grow, are made if the
    shorter side is a power of two and the longer a multiple.
    'auto' is the largest power of two not above the median
    shorter side of a sample (for padded idx files: not below)."""
    crop: str = "none"
    """Part of every image to use: 'none' (all of it),
    'center' (the largest centered part of the store's aspect
    ratio) or X,Y,W,H, a box in pixels of the upright original."""
    fit: Literal["auto", "crop", "pad", "stretch"] = "auto"
    """How that part gets the store's aspect ratio: 'crop' cuts
    borders off, 'pad' centers it on black, 'stretch' distorts it.
    'auto' is 'pad' for idx files (28x28 to 32x32), else 'crop'."""
    filter: Literal["lanczos", "box"] = "lanczos"
    """Filter for resizing to the full resolution.
    Lower levels are always 2x2 box means."""
    upscale: bool = False
    """Enlarge images that are smaller than the resolution.
    Without it they cannot be used, except with --fit pad."""
    channels: Literal["auto", 1, 3, 4] = "auto"
    """1 grey, 3 RGB, 4 RGBA; 'auto' is 1 if every image is grey, else 3."""
    labels: str = "auto"
    """'auto' keeps labels where there are any (dataset.json, .cls
    files, else sub-folders), 'folder' insists on sub-folders,
    'none' drops them; or a CSV of file,label, a dataset.json, or
    FILE:COLUMN, like list_attr_celeba.txt:Male."""
    on_error: Literal["fail", "skip"] = "fail"
    """What to do about images that cannot be used: stop, or
    leave them out and list them."""
    split: Literal["train", "test", "all"] = "train"
    """Part of a source that has parts, like MNIST, CIFAR-10, parquet and LSUN."""

    def __post_init__(self) -> None:
        if self.resolution != "auto":
            parse_size(self.resolution)
        _parse_box(self.crop)
        if self.channels not in ("auto", 1, 3, 4):
            raise ConfigError(f"channels must be auto, 1, 3 or 4; got {self.channels!r}")
        _one_of("fit", self.fit, ("auto", "crop", "pad", "stretch"))
        _one_of("filter", self.filter, ("lanczos", "box"))
        _one_of("on_error", self.on_error, ("fail", "skip"))
        _one_of("split", self.split, ("train", "test", "all"))


def _one_of(setting: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{setting} must be one of {', '.join(allowed)}; got {value!r}")


def _parse_box(text: str) -> tuple[int, int, int, int] | None:
    """X, Y, W, H of a crop, or None if it is none of that form.

    >>> _parse_box("12,28,64,64"), _parse_box("none")
    ((12, 28, 64, 64), None)
    """
    if text in ("none", "center"):
        return None
    match = re.fullmatch(r"(\d+),(\d+),(\d+),(\d+)", text.replace(" ", ""))
    if not match or not int(match[3]) or not int(match[4]):
        raise ConfigError(f"crop must be none, center or X,Y,W,H in pixels like 12,28,64,64; got {text!r}")
    return int(match[1]), int(match[2]), int(match[3]), int(match[4])


def make_plan(source: Source, options: PrepareOptions) -> Plan:
    """What becomes of the images of a source.

    Raises:
        DataError: if a size has to be found out and no sampled image can be opened.
    """
    box = _parse_box(options.crop)
    fit = source.default_fit if options.fit == "auto" else options.fit
    if options.resolution == "auto":
        height = width = _auto_side(source, box, round_up=fit == "pad" == source.default_fit)
    else:
        height, width = parse_size(options.resolution)
    return Plan(
        height=height,
        width=width,
        channels=_auto_channels(source) if options.channels == "auto" else options.channels,
        box=box,
        center=options.crop == "center",
        fit=fit,
        filter=options.filter,
        upscale=options.upscale,
    )


def _auto_side(source: Source, box: tuple[int, int, int, int] | None, *, round_up: bool) -> int:
    """A power of two near the median shorter side."""
    if box:
        median = min(box[2:])
    else:
        kinds = [source.alike] if source.alike else _peek_all(source.sample(_SAMPLE))
        sides = [min(size) for _, size in kinds]
        if not sides:
            raise DataError(
                f"{source.description}: none of the sampled images can be opened\n"
                f"  found: {', '.join(source.names[:3])}, ...\n"
                f"  fix:   open one of them in a viewer, and replace what is broken"
            )
        median = int(np.median(sides))
    if round_up:
        return max(4, 1 << (median - 1).bit_length())
    if median < 4:
        raise DataError(
            f"{source.description}: images of {median} pixels are too small to choose a power of two from 4 on\n"
            f"  fix:   name a size, like --resolution {median}"
        )
    return 1 << (median.bit_length() - 1)


def _auto_channels(source: Source) -> int:
    """1 if every image is grey; stops reading at the first colored one."""
    return 1 if all(grey for grey, _ in ([source.alike] if source.alike else _peek_all(source))) else 3


def _peek_all(records: Iterable[Record]) -> Iterator[tuple[bool, tuple[int, int]]]:
    """Kind and size of every image that can be opened."""
    for record in records:
        try:
            yield peek(record.data)
        except DataError:  # reported, or skipped, when its turn comes
            continue
