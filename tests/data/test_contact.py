"""The contact sheet: which images it shows, and where."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from progan.data.inspection.contact import blocks_of, contact_sheet
from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.data.sources import open_source
from references.image_files import noise, save

COLORS = {"a": (200, 0, 0), "b": (0, 160, 0), "c\u732b": (0, 0, 220)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of 3, 15 and 1 images, each of its own color."""
    for name, count in zip(COLORS, (3, 15, 1), strict=True):
        for i in range(count):
            save(tmp_path / "in" / name / f"{i:02}.png", np.full((32, 64, 3), COLORS[name], np.uint8))
    return tmp_path / "in"


def rows_of(picture: Image.Image, color: tuple[int, int, int]) -> tuple[int, int, int]:
    """First and last row of the pixels of a color, and how many there are."""
    where = (np.asarray(picture) == color).all(2)
    rows = np.flatnonzero(where.any(1))
    return int(rows[0]), int(rows[-1]), int(where.sum())


@pytest.mark.parametrize("kind", ["store", "source"])
def test_classes_are_below_each_other_with_all_their_images(folder: Path, tmp_path: Path, kind: str) -> None:
    images = open_source(folder)
    if kind == "store":
        images = prepare(folder, tmp_path / "store", PrepareOptions(resolution="32x64"), workers=0)
    picture, what = contact_sheet(images)
    assert what == "all 19 images, one class below the other"
    places = [rows_of(picture, color) for color in COLORS.values()]
    assert places[0][1] < places[1][0] <= places[1][1] < places[2][0]
    assert [count for *_, count in places] == [count * 32 * 64 for count in (3, 15, 1)]  # whole, and with all pixels
    names = np.asarray(picture.crop((0, places[0][0], 170, places[0][1])))
    assert (names == 20).all(2).any()  # something is written beside the images


def test_images_are_evenly_chosen_and_classes_are_the_first() -> None:
    labels = np.repeat(np.arange(25), 1000)
    blocks = blocks_of(labels, [f"c{i}" for i in range(25)], len(labels))
    assert [block.title for block in blocks] == [f"c{i}" for i in range(20)]
    assert blocks[3].positions == tuple(range(3000, 4000, 111))
    assert blocks[3].subtitle == "class 3, 1,000 images"
    assert sum(len(block.positions) for block in blocks_of(labels % 2, "ab", 25_000)) == 100
    assert blocks_of(np.array([-1, 0, -1]), "ab", 3)[0].positions == (1,)
    assert blocks_of(np.array([-1, 0, -1]), "ab", 3)[1].positions == ()
    (only,) = blocks_of(None, (), 1000)
    assert (len(only.positions), only.positions[0], only.positions[-1]) == (100, 0, 999)


def test_many_classes_are_told(tmp_path: Path) -> None:
    for i in range(23):
        save(tmp_path / f"c{i:02}" / "0.png", noise(4, 4, seed=i))
    _, what = contact_sheet(open_source(tmp_path))
    assert what == "20 of 23 images, evenly chosen from the first 20 of 23 classes, one class below the other"


def test_broken_images_are_left_out_and_large_ones_shrunk(tmp_path: Path) -> None:
    save(tmp_path / "1.png", np.full((300, 900, 3), (1, 2, 250), np.uint8))
    (tmp_path / "2.png").write_bytes(b"")
    picture, what = contact_sheet(open_source(tmp_path))
    assert what == "1 of 2 images, evenly chosen"
    assert rows_of(picture, (1, 2, 250))[2] == 27 * 80
