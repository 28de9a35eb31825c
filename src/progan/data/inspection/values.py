"""Brightness of the pixels of a data set: a histogram, and counts of images that are black, white or of one color."""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from progan.data.printing import bars
from progan.transparency import over_white

_NEAR = 4  # levels of 255 from black or white within which the mean of a black or white image is
_FEW = 16  # one of so many rows and columns is looked at first
_BINS = 16  # of the printed histogram
_WEIGHTS = np.array([19595, 38470, 7471], np.uint32)  # of R, G and B in brightness, as Pillow's, in 1/65536


@dataclass
class Values:
    """Brightness 0 ... 255 of the pixels of some images, over white where they are transparent."""

    histogram: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    """Number of pixels of each brightness."""
    images: int = 0
    black: int = 0
    white: int = 0
    plain: int = 0
    """Images of which all pixels have one color."""
    gray: int = 0
    """Images without a color."""

    def extend(self, other: "Values") -> None:
        """Add the values of further images."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def add(self, image: Image.Image) -> None:
        """Add an image of mode L, LA, RGB or RGBA."""
        if image.mode in ("LA", "RGBA"):
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")
        histogram = np.array(image.convert("L").histogram(), np.int64)
        pixels = np.asarray(image).reshape(image.height, image.width, -1)
        few = pixels[::_FEW, ::_FEW]  # decide about most images, and quickly
        plain = bool((few == few[:1, :1]).all() and (pixels == pixels[:1, :1]).all())
        self._count(histogram[None], np.array([plain]), np.array([_is_gray(few) and _is_gray(pixels)]))

    def add_pixels(self, pixels: np.ndarray) -> None:
        """Add images uint8 [N, H, W, C]; C is 1, 3 or 4."""
        wide = pixels.astype(np.uint32)
        wide = over_white(wide[..., :3], wide[..., 3:]) if pixels.shape[3] == 4 else wide
        gray = wide[..., 0] if wide.shape[3] == 1 else (wide @ _WEIGHTS + 0x8000) >> 16
        rows = np.stack([np.bincount(one.reshape(-1), minlength=256) for one in gray])
        plain = (wide == wide[:, :1, :1]).all((1, 2, 3))
        self._count(rows, plain, np.array([_is_gray(one) for one in wide]))

    def _count(self, histograms: np.ndarray, plain: np.ndarray, gray: np.ndarray) -> None:
        """Add histograms [N, 256] of images."""
        means = histograms @ np.arange(256) / histograms.sum(1)
        self.histogram = self.histogram + histograms.sum(0)
        self.images += len(histograms)
        self.black += int((means < _NEAR).sum())
        self.white += int((means > 255 - _NEAR).sum())
        self.plain += int(plain.sum())
        self.gray += int(gray.sum())

    @property
    def present(self) -> np.ndarray:
        """Every brightness that occurs, in ascending order."""
        return np.flatnonzero(self.histogram)

    def lines(self, of: str = "") -> list[str]:
        """Return the printed histogram; ``of`` says which images it is about."""
        present, total = self.present, int(self.histogram.sum())
        if not total:
            return []
        mean = float(self.histogram @ np.arange(256) / total)
        counts = self.histogram.reshape(_BINS, -1).sum(1).tolist()
        width = 256 // _BINS
        named = [(f"{i * width:>3} ... {i * width + width - 1:>3}", count) for i, count in enumerate(counts)]
        head = f"values       brightness {present[0]} ... {present[-1]}, mean {mean:.1f}{of and f' ({of})'}"
        return [head, *(f"  {line}" for line in bars(named, show=lambda count: f"{count / total:.1%}"))]


def _is_gray(pixels: np.ndarray) -> bool:
    """Whether all channels [..., C] are equal."""
    return bool((pixels[..., :1] == pixels[..., 1:]).all())
