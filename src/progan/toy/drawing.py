"""Pictures of a run: generated points over the scores of D, and which modes are covered."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from progan.toy.data import Distribution
from progan.toy.training import EXTENT, Moment, Result

SIDE, HEAD, GAP, FOOT = 320, 52, 8, 32  # pixels: of a panel's square, of lines above it, between panels, below all
WIDEST = 5
"""Largest number of panels in a row of a few; more are arranged in rows of 4."""
_COLORS = (
    "purple: generated; green: covered; gray: not covered",
    "D gives orange places high scores, blue ones low scores",
)
_LOW, _HIGH = np.array([150, 190, 235.0]), np.array([250, 200, 120.0])  # colors of low and high scores
_POINT, _COVERED, _LOST = (120, 20, 90), (0, 130, 60), (130, 130, 130)


def panel(moment: Moment, distribution: Distribution, title: str) -> Image.Image:
    """Draw a moment of a run: two lines of text above a square of the plane.

    The background is orange where D's score is high (real, D says) and blue where it is low. Modes are green if they
    are covered, gray otherwise. Generated points are purple.
    """
    canvas = Image.new("RGB", (SIDE, HEAD + SIDE), "white")
    square = _background(moment.field)
    draw = ImageDraw.Draw(square)
    _draw_modes(draw, moment, distribution)
    for x, y in _pixels(moment.points[np.isfinite(moment.points).all(1)]):
        draw.rectangle((x, y, x + 1, y + 1), fill=_POINT)
    canvas.paste(square, (0, HEAD))
    text, cover = ImageDraw.Draw(canvas), moment.coverage
    found = f"{cover.covered} of {distribution.modes} {distribution.part}, {cover.quality:.0%} on them"
    text.text((4, 15), title, "black", ImageFont.load_default(18), anchor="lm")
    text.text((4, 38), f"step {moment.step}: {found}", "black", ImageFont.load_default(14), anchor="lm")
    return canvas


def side_by_side(panels: Sequence[Image.Image]) -> Image.Image:
    """Arrange panels in a row, or in rows of 4 if there are more than 5, above two lines that explain the colors."""
    columns = len(panels) if len(panels) <= WIDEST else 4
    width, height = panels[0].width + GAP, panels[0].height + GAP
    bottom = math.ceil(len(panels) / columns) * height
    canvas = Image.new("RGB", (columns * width - GAP, bottom + FOOT), "white")
    for i, picture in enumerate(panels):
        canvas.paste(picture, (i % columns * width, i // columns * height))
    text, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    for number, line in enumerate(_COLORS):
        text.text((4, bottom + 8 + 16 * number), line, "black", font, anchor="lm")
    return canvas


def film(
    results: Sequence[Result], distribution: Distribution, titles: Sequence[str], *, hold: int
) -> Iterator[np.ndarray]:
    """Yield frames uint8 [H, W, 3] of runs side by side, with the same number of moments each.

    Args:
        results: the runs.
        distribution: real points.
        titles: text above each run.
        hold: number of times that the last frame is repeated.
    """
    frame = np.zeros(0)
    for moments in zip(*(result.moments for result in results), strict=True):
        panels = [panel(moment, distribution, title) for moment, title in zip(moments, titles, strict=True)]
        frame = np.asarray(side_by_side(panels))
        yield frame
    for _ in range(hold):
        yield frame


def _background(field: np.ndarray) -> Image.Image:
    """Scores as colors: white at the median, full color from two thirds of the scores' spread on."""
    spread = np.subtract(*np.quantile(field, (0.9, 0.1))) / 2
    level = np.tanh((field - np.median(field)) / max(spread, 1e-12))[..., None]  # [H, W, 1] in (-1, 1)
    color = 255 + np.where(level > 0, level * (_HIGH - 255), -level * (_LOW - 255))
    picture = Image.fromarray(color.round().clip(0, 255).astype(np.uint8))
    return picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def _draw_modes(draw: ImageDraw.ImageDraw, moment: Moment, distribution: Distribution) -> None:
    middle, parts = distribution.middle()
    for (x, y), part in zip(_pixels(middle), parts, strict=True):
        color = _COVERED if moment.coverage.counts[part] else _LOST
        if distribution.curve:
            draw.rectangle((x - 1, y - 1, x + 1, y + 1), fill=color)
        else:
            draw.ellipse((x - 9, y - 9, x + 9, y + 9), outline=color, width=3)


def _pixels(points: np.ndarray) -> list[list[int]]:
    """Columns and rows of the pixels at points [N, 2] of the plane; y goes up."""
    scaled = np.clip(points, -4 * EXTENT, 4 * EXTENT) * (1, -1)
    return np.floor((scaled / EXTENT + 1) * SIDE / 2).astype(int).tolist()
