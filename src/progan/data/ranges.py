"""Value ranges: which numbers are black and white, decided from the extremes of all images of a set.

It must not import torch, because the worker processes of 'prepare' load it.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from progan.data.decoding import AS_THEY_ARE, Ranges, has_several, measure
from progan.data.printing import counted
from progan.data.records import Record, Source
from progan.errors import DataError

WHITES = (255, 1023, 4095, 16383)
"""White of 8, 10, 12 and 14 bits, which many programs store in 16 bits without scaling them."""
_OVERSHOOT = 0.1  # share of the range by which a filter such as Lanczos exceeds it
_FIRST = 16  # images that tell whether the others have to be looked at
_DARK = 25  # largest number of a set from 0 to 255 that is nearly black [of 255]


@dataclass(frozen=True, kw_only=True)
class Extent:
    """Extremes of the numbers of some arrays."""

    low: float = np.inf
    high: float = -np.inf
    whole: bool = True
    """Whether all of them are whole numbers."""

    def with_array(self, pixels: np.ndarray) -> "Extent":
        """Return the extent with the numbers of one more array; NaN if one of them is."""
        whole = self.whole and (pixels.dtype.kind in "uib" or bool((pixels == np.rint(pixels)).all()))
        extremes = float(pixels.min()), float(pixels.max())
        low, high = np.minimum(self.low, extremes[0]), np.maximum(self.high, extremes[1])
        return Extent(low=float(low), high=float(high), whole=whole)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The range of an array, which becomes 0 ... 255."""

    low: float = 0.0
    """Number that becomes black."""
    high: float = 255.0
    """Number that becomes white."""
    note: str = ""
    """What was decided, if that is not evident; a sentence."""

    def to_uint8(self, pixels: np.ndarray) -> np.ndarray:
        """Return a copy of an image as uint8, rounded to nearest, ties to even; what exceeds the range is clipped."""
        if pixels.dtype == np.uint8 and self.high == 255:
            return np.array(pixels, order="C", subok=False)
        scaled = (pixels.astype(np.float64) - self.low) * (255 / (self.high - self.low))
        return np.rint(scaled).clip(0, 255).astype(np.uint8)


def array_scale(dtype: np.dtype, extent: Extent) -> Scale | None:
    """Return the scale of arrays with this extent, or None if their range is not defined.

    Whole numbers of integer types are in 0 ... 255, or up to the white of 10, 12, 14 or 16 bits (15 with a sign),
    whichever holds all of them. Floats are in 0 ... 1, -1 ... 1 or 0 ... 255, whichever holds all of them first, if
    need be with an overshoot of a tenth of the range.

    >>> array_scale(np.dtype("uint16"), Extent(low=0, high=4000))
    Scale(low=0.0, high=4095.0, note='12-bit values in uint16 arrays: 4095 becomes 255')
    >>> array_scale(np.dtype("float32"), Extent(low=-0.04, high=1.03, whole=False)).high
    1
    """
    if dtype.kind == "b":
        return Scale(high=1)
    return _integers(dtype, extent) if dtype.kind in "ui" else _floats(extent)


def _integers(dtype: np.dtype, extent: Extent) -> Scale | None:
    if extent.low < 0:
        return None
    signed = dtype.kind == "i" and dtype.itemsize == 2
    white = fitting_white(extent.high, 32767 if signed else 65535)
    if not white:
        return None
    if white == 255:
        return Scale(note=_dark_note(extent))
    return Scale(high=float(white), note=white_note(white, f"{dtype} arrays"))


def _floats(extent: Extent) -> Scale | None:
    ranges = [(0, 1), (-1, 1), (0, 255)]
    exact = [(low, high) for low, high in ranges if low <= extent.low and extent.high <= high]
    near = [(low, high) for low, high in ranges if _overshoots(extent, low, high)]
    # from -0.05 to 1 is an overshoot of 0 ... 1, not the upper half of -1 ... 1; what ends between 1.1 and 25 has
    # too little of 0 ... 255 to be that, unless all numbers are whole
    if extent.low >= -_OVERSHOOT:
        exact, near = ([pair for pair in pairs if pair != (-1, 1)] for pairs in (exact, near))
    if extent.high <= _DARK and not extent.whole:
        exact, near = ([pair for pair in pairs if pair != (0, 255)] for pairs in (exact, near))
    if not near:
        return None
    low, high = near[0]
    if (low, high) in exact:
        return Scale(low=low, high=high, note=_dark_note(extent) if high == 255 else "")
    note = f"numbers from {extent.low:.8g} to {extent.high:.8g} are clipped to {low} ... {high}"
    return Scale(low=low, high=high, note=note)


def _overshoots(extent: Extent, low: float, high: float) -> bool:
    more = _OVERSHOOT * (high - low)
    return low - more <= extent.low and extent.high <= high + more


def _dark_note(extent: Extent) -> str:
    if not 1 < extent.high <= _DARK:  # 0 and 1 are a mask
        return ""
    return f"the largest of all values is {extent.high:.8g} of 255, so the images are nearly black"


def fitting_white(most: float, top: int = 65535) -> int:
    """Return the white of the fewest bits that hold a value, or 0 if it exceeds ``top``.

    >>> fitting_white(200), fitting_white(1000), fitting_white(20000), fitting_white(70000)
    (255, 1023, 65535, 0)
    """
    return next((white for white in (*WHITES, top) if most <= white), 0)


def white_note(white: int, where: str) -> str:
    """Return the sentence that tells the white of a set; empty for 16 bits."""
    if white == 255:
        return f"8-bit values in {where}, which are taken as they are"
    return "" if white >= 32767 else f"{white.bit_length()}-bit values in {where}: {white} becomes 255"


def find_ranges(source: Source) -> tuple[Ranges, tuple[str, ...]]:
    """Return the ranges of the images of a source, and what was decided, a sentence each.

    The first images tell which ranges are possible; usually none is, and the others are not decoded. 16-bit images
    whose largest value in the whole set fits 14 bits or fewer have the white of these bits, and other images with no
    values but 0 and 1 are masks.
    """
    survey, records, several = _Survey(), iter(source), 0
    for record in itertools.islice(records, _FIRST):
        survey.add(record)
        if isinstance(record.data, np.ndarray) and not survey.is_mask:  # arrays have 8 bits
            return AS_THEY_ARE, ()
        several += _has_several(record)
    survey.begun = True
    while survey.is_open and (record := next(records, None)) is not None:
        survey.add(record)
    ranges, notes = survey.result() if survey.is_open else (AS_THEY_ARE, ())
    looked = min(_FIRST, len(source))
    pages = f"{several} of the first {counted(looked, 'image')} have several pages or frames, of which one is used"
    return ranges, (*notes, *([pages] if several else []))


def _has_several(record: Record) -> bool:
    try:
        return has_several(record.data)
    except DataError:  # reported, or skipped, when its turn comes
        return False


class _Survey:
    """Largest values of the images so far; images that cannot be read are reported when their turn comes."""

    def __init__(self) -> None:
        self.deep = self.other = -1  # largest value of 16-bit images, and of others; -1 if there are none
        self.begun = False  # whether the first images are done, after which kinds that were not among them are left out

    @property
    def is_deep(self) -> bool:
        """Whether 16-bit images may use fewer bits."""
        return (0 if self.begun else -1) <= self.deep <= WHITES[-1]

    @property
    def is_mask(self) -> bool:
        """Whether other images may be masks."""
        return (0 if self.begun else -1) <= self.other <= 1

    @property
    def is_open(self) -> bool:
        return self.is_deep or self.is_mask

    def add(self, record: Record) -> None:
        try:
            found = measure(record.data, deep_only=not self.is_mask) if self.is_open else None
        except DataError:
            return
        if found and found[0]:
            self.deep = max(self.deep, found[1])
        elif found:
            self.other = max(self.other, found[1])

    def result(self) -> tuple[Ranges, tuple[str, ...]]:
        white = (1 if self.deep == 1 else fitting_white(self.deep)) if self.is_deep and self.deep > 0 else None
        notes = [white_note(white, "16-bit images")] if white else []
        mask = self.is_mask and self.other == 1
        notes += ["the images contain only the values 0 and 1, so 1 becomes 255"] if mask else []
        return Ranges(white=white, mask=mask), tuple(notes)
