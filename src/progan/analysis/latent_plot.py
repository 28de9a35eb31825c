"""Pictures of a space of codes: where images are in it, and what a decoder generates all over it."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from progan import draws
from progan.errors import ConfigError
from progan.images import opaque, scaled, sheet
from progan.snapshot import Snapshot

SIDE, MARGIN, HEAD = 1200, 60, 40  # pixels: of the longer side of the plane, left of it and below it, above it
COLUMN, MOST_NAMES = 130, 24  # width of the legend [pixels], and most classes for which there is one
_ROW = 24  # height of a line of the legend [pixels]
_TILE, _LONGEST, _BORDER = 40, 200, 3  # largest shorter and longer side of an image, width of its border [pixels]
_OUTSIDE = 0.002  # share of the codes on each side of each axis that may be outside the plot
_DRAWN = 4096  # latents whose quantiles stand for those of the prior
_COLORS = (
    *((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189), (140, 86, 75), (227, 119, 194)),
    *((127, 127, 127), (188, 189, 34), (23, 190, 207), (0, 0, 0), (174, 199, 232), (255, 187, 120), (152, 223, 138)),
)
_PLAIN = (150, 150, 150)  # border without classes


def principal_plane(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Project codes on their first two principal components.

    The largest weight of each component is positive, so that the result is unique.

    Shape: float [N, F] with F at least 2 -> float64 [N, 2], and the share of the variance along each of the two.
    """
    centered = codes.astype(np.float64) - codes.mean(0, dtype=np.float64)
    variances, axes = np.linalg.eigh(centered.T @ centered)  # ascending
    first = axes[:, [-1, -2]]
    first = first * np.sign(first[np.abs(first).argmax(0), [0, 1]])
    total = variances.sum()
    return centered @ first, variances[[-1, -2]].clip(0) / total if total > 0 else np.zeros(2)


def latent_plot(
    codes: np.ndarray,
    read: Callable[[int], Tensor],
    *,
    labels: np.ndarray | None = None,
    classes: Sequence[str] = (),
    what: str = "codes",
    seed: int = 0,
) -> tuple[Image.Image, str]:
    """Draw images at the places of their codes in the plane, without overlap, framed in the color of their class.

    Codes of two components are drawn as they are, more of them along their first two principal components. Which of
    several near images are drawn is random.

    Args:
        codes: codes of images, [N, F] with F at least 2.
        read: function that returns image i, uint8 [C, H, W]; called for those that are drawn.
        labels: number of the class of each image, int64 [N].
        classes: names of the classes.
        what: what the codes are called.
        seed: seed of the choice of images.

    Returns:
        The picture, and its title, which states the share of the variance that it shows.

    Raises:
        ConfigError: if codes have a single component.
    """
    n, size = codes.shape
    if size < 2:
        raise ConfigError("a plot requires codes of at least 2 components, got 1")
    points, title = codes.astype(np.float64), f"{what} of 2 components"
    if size > 2:
        points, shares = principal_plane(codes)
        explained = " + ".join(f"{share:.1%}" for share in shares)
        title = f"{what} of {size} components: PCA, {shares.sum():.1%} of the variance ({explained})"
    tile, frame = _tile(read(0)), _Frame(points)
    order = draws.permutation(seed, "latent plot", 0, n)
    shown = list(_apart(frame.pixels(points[order]), [side + 2 * _BORDER + 1 for side in tile], frame.size))
    title += f"; {len(shown)} of {n} images"
    named = labels is not None and len(classes) <= MOST_NAMES
    canvas = frame.canvas(title, classes if named else ())
    for number, left, top in shown:
        i = order[number]
        color = _PLAIN if labels is None else _color(int(labels[i]))
        canvas.paste(color, (left, top, left + tile[1] + 2 * _BORDER, top + tile[0] + 2 * _BORDER))
        pixels = scaled(opaque(read(int(i))[None]), tile, smooth=True).expand(-1, 3, -1, -1)[0]
        canvas.paste(Image.fromarray(pixels.permute(1, 2, 0).numpy().copy()), (left + _BORDER, top + _BORDER))
    return canvas, title


def manifold(snapshot: Snapshot, side: int = 20) -> Image.Image:
    """Draw a grid of images generated from all over a plane of latents; to the right and up is more of either one.

    The places are quantiles of the prior along each axis, so that as many of its samples are between any two of them.

    Raises:
        ConfigError: if latents do not have 2 components.
    """
    if snapshot.latent_size != 2:
        raise ConfigError(
            f"a manifold is drawn of codes with 2 components, but those of this {snapshot.gan} network have "
            f"{snapshot.latent_size}; omit --manifold"
        )
    shares = (np.arange(side) + 0.5) / side
    x, y = np.quantile(snapshot.latents_at(0, "manifold", 0, _DRAWN).numpy(), shares, axis=0).T
    grid = np.stack(np.meshgrid(x, y[::-1]), 2).reshape(-1, 2)  # row by row, from the top
    return sheet(snapshot.generate(torch.from_numpy(grid).float()), side, gap=0, enlarge=1)


class _Frame:
    """The part of the plane that is drawn, at one scale on both axes, and where it is in the picture.

    Args:
        points: all points [N, 2]; a few far ones may be outside.
    """

    def __init__(self, points: np.ndarray) -> None:
        low, high = np.quantile(points, [_OUTSIDE, 1 - _OUTSIDE], axis=0)
        middle = (low + high) / 2
        least = max(1e-9, 1e-9 * float(np.abs(middle).max()))  # of equal codes; still many steps of a float64
        spread = np.maximum(high - low, max(float((high - low).max()) / 3, least))  # no thinner than 3 to 1
        self.low, self.high = middle - 0.55 * spread, middle + 0.55 * spread
        self.scale = SIDE / float((self.high - self.low).max())  # pixels per unit
        self.size = tuple(int(side) for side in np.ceil((self.high - self.low) * self.scale))  # width, height

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Return columns and rows of points in the picture [N, 2]."""
        return np.stack([(points[:, 0] - self.low[0]), (self.high[1] - points[:, 1])], 1) * self.scale

    def canvas(self, title: str, names: Sequence[str]) -> Image.Image:
        """Return the picture without points: title, axes and legend."""
        width, height = self.size
        full = MARGIN + width + (COLUMN if names else 10)
        canvas = Image.new("RGB", (full, HEAD + max(height + MARGIN // 2, _ROW * len(names))), "white")
        draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(16)
        draw.text((MARGIN, HEAD / 2), title, "black", font, anchor="lm")
        draw.rectangle((MARGIN - 1, HEAD - 1, MARGIN + width, HEAD + height), outline=(190, 190, 190))
        for tick in _ticks(self.low[0], self.high[0]):
            x = MARGIN + (tick - self.low[0]) * self.scale
            draw.line((x, HEAD + height, x, HEAD + height + 5), fill="black")
            draw.text((x, HEAD + height + 8), f"{tick:g}", "black", ImageFont.load_default(14), anchor="mt")
        for tick in _ticks(self.low[1], self.high[1]):
            y = HEAD + (self.high[1] - tick) * self.scale
            draw.line((MARGIN - 6, y, MARGIN - 1, y), fill="black")
            draw.text((MARGIN - 9, y), f"{tick:g}", "black", ImageFont.load_default(14), anchor="rm")
        for i, name in enumerate(names):
            left, top = MARGIN + width + 12, HEAD + _ROW * i
            draw.rectangle((left, top + 3, left + 14, top + 17), fill=_color(i))
            draw.text((left + 22, top + 10), name[:12], "black", font, anchor="lm")
        return canvas


def _ticks(low: float, high: float) -> Iterator[float]:
    """Round numbers from low to high, about 6 of them."""
    rough = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    for i in range(math.ceil(low / step), math.floor(high / step) + 1):
        yield round(i * step, 12)


def _tile(image: Tensor) -> tuple[int, int]:
    """Height and width at which an image is drawn [pixels]: its own, reduced or enlarged to a shorter side near 40.

    The longer side is at most 200, so that the image fits in the plot.
    """
    height, width = image.shape[1:]
    factor = max(1, _TILE // min(height, width)) if min(height, width) <= _TILE else _TILE / min(height, width)
    factor = min(factor, _LONGEST / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def _apart(places: np.ndarray, step: Sequence[int], size: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    """Yield number, left and top of the images that are drawn: each unless it would overlap one before it.

    Args:
        places: column and row of the center of each image in the frame [N, 2].
        step: height and width of an image with its border and a gap [pixels].
        size: width and height of the frame.
    """
    taken: dict[tuple[int, int], tuple[int, int]] = {}  # cells of the size of an image have one corner each at most
    high, wide = step
    for number, (x, y) in enumerate(places):
        left, top = round(x - wide / 2), round(y - high / 2)
        if not (0 <= left <= size[0] - wide and 0 <= top <= size[1] - high):
            continue
        cell = left // wide, top // high
        near = (taken.get((cell[0] + i, cell[1] + j)) for i in (-1, 0, 1) for j in (-1, 0, 1))
        if all(at is None or abs(at[0] - left) >= wide or abs(at[1] - top) >= high for at in near):
            taken[cell] = left, top
            yield number, MARGIN + left, HEAD + top


def _color(label: int) -> tuple[int, int, int]:
    return _COLORS[int(label) % len(_COLORS)]
