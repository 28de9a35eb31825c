"""The contact sheet of a data set: a picture of some of its images, arranged by class."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from progan.data.decoding import AS_THEY_ARE, decode
from progan.data.pixels import Plan, to_pixels
from progan.data.printing import printable
from progan.data.records import Source
from progan.data.store import Store
from progan.errors import DataError

SHEET = "sheet.png"
"""Name of the contact sheet in the folder of a store."""
_COLUMNS = 10  # images in a row
_CLASSES = 20  # most of them that are shown
_IMAGES = 100  # of a sheet, if the classes are few enough
_CELL, _GAP, _LINE, _MARGIN = 80, 4, 14, 12  # [pixels]: image, between two, between two classes, around everything
_NAMES = 170  # pixels for the names of the classes
_FONT = 14  # [pixels]
_INK, _FAINT, _PAPER, _RULE = (20, 20, 20), (110, 110, 110), (242, 242, 242), (215, 215, 215)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Block:
    """Images that are shown together: some of a class, or of all images if there are no classes."""

    title: str
    subtitle: str
    positions: tuple[int, ...]
    """Positions of the images in the data set, in ascending order."""


def blocks_of(labels: np.ndarray | None, classes: Sequence[str], count: int) -> list[Block]:
    """Choose the images of a sheet: as many of each class, evenly spread over it.

    Args:
        labels: number of the class of each image; negative numbers stand for none.
        classes: names of the classes; the first 20 are shown.
        count: number of images.
    """
    if labels is None or not len(classes):
        return [Block("", "", _spread(np.arange(count), _IMAGES))]
    shown = classes[:_CLASSES]
    each = _COLUMNS * max(1, _IMAGES // _COLUMNS // len(shown))
    blocks = []
    for number, name in enumerate(shown):
        rows = np.flatnonzero(labels == number)
        about = f"class {number}, {len(rows):,} image{'s' * (len(rows) != 1)}"
        blocks.append(Block(name, about, _spread(rows, each)))
    return blocks


def _spread(rows: np.ndarray, most: int) -> tuple[int, ...]:
    """At most ``most`` of some positions, the first and the last included."""
    if not len(rows):
        return ()
    return tuple(np.unique(rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)]).tolist())


def contact_sheet(
    images: Source | Store, plan: Plan | None = None, *, progress: bool = False
) -> tuple[Image.Image, str]:
    """Draw some images of a source or a store, one class below the other, with the names of the classes.

    Images that cannot be read are left out.

    Args:
        images: data set.
        plan: how the images of a source would be prepared, of which only the ranges of pixels are used.
        progress: whether to show a progress bar on a terminal.

    Returns:
        The picture in RGB, and what it shows, in words.
    """
    given = images.labels() if isinstance(images, Store) else images.labels
    labels = None if given is None else np.array([-1 if label is None else label for label in given])
    count = images.count if isinstance(images, Store) else len(images)
    blocks = blocks_of(labels, images.classes, count)
    positions = sorted({i for block in blocks for i in block.positions})
    with tqdm(total=len(positions), unit=" images", desc="sheet", disable=None if progress else True) as bar:
        tiles: dict[int, Image.Image] = {}
        made = _of_store(images, positions) if isinstance(images, Store) else _of_source(images, positions, plan)
        for position, tile in zip(positions, made, strict=True):
            bar.update()
            if tile is not None:
                tiles[position] = tile
    there = len(images.classes) if labels is not None else 0
    what = f"all {count:,} images" if len(tiles) == count > 1 else f"{len(tiles)} of {count:,} images, evenly chosen"
    if there:
        which = f"the first {len(blocks)} of {there:,}" if there > len(blocks) else "all"
        what += "" if len(tiles) == count > 1 else f" from {which} classes"
        what += ", one class below the other"
    return _drawn(blocks, tiles, what), what


def _of_store(store: Store, positions: Sequence[int]) -> Iterator[Image.Image]:
    """Thumbnails from the smallest level that has enough pixels."""
    sides = [side for side in store.resolutions if side >= _CELL * 3 // 4]
    level = store.level(min(sides, default=max(store.resolutions)))
    for i in positions:
        yield _thumbnail(Image.fromarray(level[i, :, :, 0] if level.shape[3] == 1 else level[i]))


def _of_source(source: Source, positions: Sequence[int], plan: Plan | None) -> Iterator[Image.Image | None]:
    """Thumbnails; None for an image that cannot be read."""
    for record in source.records(positions):
        try:
            image = decode(record.data, plan.ranges if plan else AS_THEY_ARE)
        except DataError:
            yield None
        else:
            yield _thumbnail(image)


def _thumbnail(image: Image.Image) -> Image.Image:
    """A whole image in RGB, white where it is transparent, and at most as large as a cell."""
    share = _CELL / max(image.size)
    share = int(share) if share >= 1 else share  # small images keep their pixels
    width, height = (max(1, min(_CELL, round(side * share))) for side in image.size)
    if share >= 1:
        pixels = to_pixels(image, _plan(image.height, image.width))
        return Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)
    return Image.fromarray(to_pixels(image, _plan(height, width)))


def _plan(height: int, width: int) -> Plan:
    how = {"box": None, "center": False, "fit": "stretch", "filter": "lanczos", "upscale": True}
    return Plan(height=height, width=width, channels=3, **how)


def _drawn(blocks: Sequence[Block], tiles: dict[int, Image.Image], what: str) -> Image.Image:
    """The whole picture; all cells have the size of the largest thumbnail."""
    width = max((tile.width for tile in tiles.values()), default=_CELL)
    height = max((tile.height for tile in tiles.values()), default=_CELL)
    left = _MARGIN + (_NAMES if blocks[0].title else 0)
    font, small = ImageFont.load_default(_FONT), ImageFont.load_default(_FONT - 2)
    shown = [[tiles[i] for i in block.positions if i in tiles] for block in blocks]
    rows = [max(1, -(-len(images) // _COLUMNS)) for images in shown]
    heights = [max(count * (height + _GAP) - _GAP, 3 * _FONT) for count in rows]
    top = _MARGIN + 2 * _FONT
    total = top + sum(heights) + _LINE * (len(blocks) - 1) + _MARGIN
    wide = left + _COLUMNS * (width + _GAP) - _GAP + _MARGIN
    canvas = Image.new("RGB", (max(wide, 560), total), _PAPER)
    pen = ImageDraw.Draw(canvas)
    pen.text((_MARGIN, _MARGIN), what, _FAINT, small)
    for block, images, used in zip(blocks, shown, heights, strict=True):
        if block.title:
            pen.text((_MARGIN, top), _fitted(block.title, font), _INK, font)
            pen.text((_MARGIN, top + _FONT + 6), block.subtitle, _FAINT, small)
        for place, tile in enumerate(images):
            x = left + place % _COLUMNS * (width + _GAP) + (width - tile.width) // 2
            canvas.paste(tile, (x, top + place // _COLUMNS * (height + _GAP) + (height - tile.height) // 2))
        top += used + _LINE
        if block is not blocks[-1]:
            pen.line((_MARGIN, top - _LINE // 2, canvas.width - _MARGIN, top - _LINE // 2), _RULE)
    return canvas


def _fitted(name: str, font: Font) -> str:
    """A name as far as the font has its characters and there is room for it; others are escaped."""
    missing = _shape("\U0010ffff", font)
    text = "".join(c if c == " " or _shape(c, font) != missing else ascii(c)[1:-1] for c in printable(name))
    short = text
    while font.getlength(short) > _NAMES - _MARGIN and text:
        text = text[:-1]
        short = f"{text}..."
    return short


def _shape(character: str, font: Font) -> bytes:
    return bytes(font.getmask(character))  # type: ignore[arg-type]  # Pillow's own kind of buffer
