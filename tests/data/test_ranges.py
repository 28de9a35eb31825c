"""What is white, decided by the whole set: floats that overshoot, masks, 10 to 14 bits in 16."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.ImageFile import ImageFile

from progan.data.options import PrepareOptions, make_plan
from progan.data.preparing import prepare
from progan.data.ranges import find_ranges
from progan.data.sources import open_source
from progan.errors import DataError
from references import image_writers as write
from references.image_files import encoded, noise

PART = np.random.default_rng(0).random((4, 8, 8, 3))  # fractions, of which the first are both ends
PART[0, 0, :2] = [[0], [1]]


def stored(path: Path, folder: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Largest level of a store of everything in a path, and the notes of source and plan."""
    source = open_source(path)
    store = prepare(path, folder / "store", PrepareOptions(resolution="8"), workers=0)
    return np.asarray(store.level(8)), (*source.notes, *make_plan(source, PrepareOptions(resolution="8")).notes)


def from_array(array: np.ndarray, folder: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    np.save(folder / "a.npy", array)
    return stored(folder / "a.npy", folder)


def from_files(files: list[bytes], folder: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    (folder / "in").mkdir()
    for i, data in enumerate(files):
        (folder / "in" / f"{i}.img.png").write_bytes(data)
    return stored(folder / "in", folder)


@pytest.mark.parametrize(
    ("low", "high", "black", "white"),
    [
        (0, 1.0000001, 0, 1),
        (-0.0001, 1, 0, 1),
        (-0.09, 1.09, 0, 1),  # as a Lanczos filter gives
        (-1.0000001, 1, -1, 1),
        (-1.19, 1.19, -1, 1),
        (-25, 280, 0, 255),
        (0, 255.001, 0, 255),
    ],
)
def test_floats_that_overshoot_a_little_are_clipped(tmp_path: Path, low, high, black, white) -> None:
    numbers = PART * (high - low) + low
    found, notes = from_array(numbers, tmp_path)
    wanted = np.rint((numbers.clip(black, white) - black) * 255 / (white - black))
    np.testing.assert_array_equal(found, wanted)
    assert notes[0].endswith(f"numbers from {low:.8g} to {high:.8g} are clipped to {black} ... {white}")


@pytest.mark.parametrize(
    ("array", "wanted"),
    [
        (PART.astype(np.float16), np.rint(PART.astype(np.float16).astype(float) * 255)),
        (PART[..., 0] > 0.5, (PART > 0.5)[..., :1] * 255),
        ((PART > 0.5).astype(np.uint8), (PART > 0.5) * 255),
        ((PART[..., 0] > 0.5).astype(np.int64), (PART > 0.5)[..., :1] * 255),
        ((PART > 0.5).astype(np.float32), (PART > 0.5) * 255),
        (np.rint(PART * 1023).astype(np.uint16), np.rint(np.rint(PART * 1023) * 255 / 1023)),
        (np.rint(PART * 4095).astype(np.uint16), np.rint(np.rint(PART * 4095) * 255 / 4095)),
        (np.rint(PART * 4000).astype(np.int32), np.rint(np.rint(PART * 4000) * 255 / 4095)),
        (np.rint(PART * 16383).astype(np.uint16), np.rint(np.rint(PART * 16383) * 255 / 16383)),
        (np.rint(PART * 65535).astype(np.uint16), np.rint(np.rint(PART * 65535) * 255 / 65535)),
        (np.rint(PART * 32767).astype(np.int16), np.rint(np.rint(PART * 32767) * 255 / 32767)),
        (np.rint(PART * 200).astype(np.uint16), np.rint(PART * 200)),
        (np.rint(PART * 20).astype(np.float32), np.rint(PART * 20)),  # whole numbers: nearly black, which is said
    ],
)
def test_arrays_by_the_range_of_the_whole_set(tmp_path: Path, array: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_array_equal(from_array(array, tmp_path)[0], wanted)


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (PART * 1.3, "float64 from 0 to 1.3"),
        (PART * 20, "float64 from 0 to 20"),  # far from 255, and no whole numbers
        (PART * 4 - 2, "float64 from -2 to 2"),
        (PART * 300, "float64 from 0 to 300"),
        (np.rint(PART * 40000).astype(np.int16), "int16 from -"),
        (np.rint(PART * 70000).astype(np.int32), "int32 from 0 to 70000"),
        (-(PART > 0.5).astype(np.int8), "int8 from -1 to 0"),
    ],
)
def test_ranges_that_nothing_tells_are_refused(tmp_path: Path, array: np.ndarray, found: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=f"unknown range\n  found: {found}"):
        open_source(tmp_path / "a.npy")


def test_splits_of_one_file_have_one_range(tmp_path: Path) -> None:
    bright, dark = np.full((2, 8, 8), 4095, np.uint16), np.full((2, 8, 8), 1000, np.uint16)
    np.savez(tmp_path / "a.npz", x_train=bright, x_test=dark)
    found = prepare(tmp_path / "a.npz", tmp_path / "s", PrepareOptions(resolution="8", split="all"), workers=0).level(8)
    assert np.unique(found[:2]).tolist() == [255]
    assert np.unique(found[2:]).tolist() == [62]


def grey_png(pixels: np.ndarray) -> bytes:
    return write.png(pixels[..., None], 16, 0)


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_16_bit_files_that_use_fewer_bits_reach_white(tmp_path: Path, bits: int) -> None:
    most = (1 << bits) - 1
    deep = np.rint(PART * most).astype(int)
    found, notes = from_files([grey_png(image) for image in deep[..., 0]], tmp_path)
    np.testing.assert_array_equal(found[..., 0], np.rint(deep[..., 0] * (255 / most)))
    end = ", which are taken as they are" if bits == 8 else f": {most} becomes 255"
    assert notes == (f"{bits}-bit values in 16-bit images{end}",)


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_colors_and_alpha_of_12_bits_in_16(tmp_path: Path, kind: str, channels: int) -> None:
    deep = np.rint(np.concatenate([PART, PART[..., :1]], 3)[..., :channels] * 4095).astype(int)
    if channels in (2, 4):
        deep[..., -1] = 4095
    color = {2: 4, 3: 2, 4: 6}[channels]
    extra = (2,) if channels != 3 else ()
    files = [
        write.png(i, 16, color) if kind == "png" else write.tiff(i, 16, min(channels - 1, 2), extra=extra) for i in deep
    ]
    found, notes = from_files(files, tmp_path)
    count = 1 if channels == 2 else 3
    np.testing.assert_array_equal(found, np.rint(deep[..., :count] * (255 / 4095)))
    assert notes == ("12-bit values in 16-bit images: 4095 becomes 255",)


def test_colors_of_8_bits_in_16(tmp_path: Path) -> None:
    deep = np.rint(PART * 255).astype(int)
    found, notes = from_files([write.png(image, 16, 2) for image in deep], tmp_path)
    np.testing.assert_array_equal(found, deep)
    assert notes == ("8-bit values in 16-bit images, which are taken as they are",)


def test_alpha_shows_that_all_16_bits_are_used(tmp_path: Path) -> None:
    deep = np.full((8, 8, 4), 15420)
    deep[..., 3] = 65535
    assert from_files([write.tiff(deep, 16, 2, extra=(2,))], tmp_path)[1] == ()


def test_a_transparent_color_is_no_number_of_the_file(tmp_path: Path) -> None:
    deep = np.full((8, 8, 1), 1000)
    deep[0] = 4095
    key = write.chunk(b"tRNS", (1000).to_bytes(2, "big"))
    found, notes = from_files([write.png(deep, 16, 0, more=key)], tmp_path)
    assert (np.unique(found).tolist(), len(notes)) == ([255], 1)


def test_one_bright_image_shows_that_all_16_bits_are_used(tmp_path: Path) -> None:
    dark = [grey_png(np.full((8, 8), 1000 + i)) for i in range(40)]
    found, notes = from_files([*dark, grey_png(np.full((8, 8), 60000))], tmp_path)
    assert notes == ()
    assert found.min() == 4  # 1000 of 65535


def test_files_that_say_their_white_are_left_alone(tmp_path: Path) -> None:
    pgm = b"P5 8 8 4095\n" + np.full((8, 8), 100, ">u2").tobytes()
    tiff = write.tiff(np.full((8, 8, 1), 100), 12, 1)
    found, notes = from_files([pgm, tiff], tmp_path)
    assert (np.unique(found).tolist(), notes) == ([6], ())


@pytest.mark.parametrize(
    "write_file", [encoded, lambda p: write.png(p[..., None], 16, 0), lambda p: write.tiff(p[..., None], 8, 1)]
)
def test_files_of_0_and_1_are_masks(tmp_path: Path, write_file) -> None:
    masks = [(image > 0.5).astype(np.uint8) for image in PART[..., 0]]
    found, notes = from_files([write_file(mask) for mask in masks], tmp_path)
    np.testing.assert_array_equal(found[..., 0], np.stack(masks) * 255)
    assert len(notes) == 1
    assert notes[0].endswith("1 becomes 255")


def test_a_set_with_other_values_has_no_masks(tmp_path: Path) -> None:
    masks = [np.eye(8, dtype=np.uint8)] * 30
    found, notes = from_files([*map(encoded, masks), encoded(np.full((8, 8), 2, np.uint8))], tmp_path)
    assert (found.max(), notes) == (2, ())
    found = np.asarray(
        prepare(tmp_path / "in", tmp_path / "black", PrepareOptions(resolution="8", on_error="skip")).level(8)
    )
    assert found.max() == 2


def test_black_images_stay_black(tmp_path: Path) -> None:
    found, notes = from_files([encoded(np.zeros((8, 8), np.uint8)), grey_png(np.zeros((8, 8)))], tmp_path)
    assert (found.max(), notes) == (0, ())


def test_alpha_of_masks_is_kept(tmp_path: Path) -> None:
    both = Image.merge("LA", [Image.fromarray(np.eye(8, dtype=np.uint8)), Image.new("L", (8, 8), 200)])
    file = io.BytesIO()
    both.save(file, "PNG")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(file.getvalue())
    store = prepare(tmp_path / "in", tmp_path / "s", PrepareOptions(resolution="8", channels=4), workers=0)
    np.testing.assert_array_equal(store.level(8)[0, ..., 0], np.eye(8) * 255)
    assert np.unique(store.level(8)[..., 3]).tolist() == [200]


def test_ordinary_sets_are_not_decoded_for_this(tmp_path: Path, monkeypatch) -> None:
    """One image is decoded, and the headers of 15 others are read; of arrays one is looked at."""
    (tmp_path / "in").mkdir()
    for i in range(30):
        (tmp_path / "in" / f"{i}.jpg").write_bytes(encoded(noise(8, 8), "JPEG"))
    np.save(tmp_path / "a.npy", np.full((30, 8, 8), 9, np.uint8))
    decoded, load = [], ImageFile.load
    monkeypatch.setattr(ImageFile, "load", lambda image: (decoded.append(image), load(image))[1])
    for name, count in (("in", 16), ("a.npy", 1)):
        source, read = open_source(tmp_path / name), []

        def counted(positions, source=source, read=read):
            for i, data in zip(positions, source.read(positions), strict=True):
                read.append(i)
                yield data

        assert find_ranges(replace(source, read=counted))[1] == ()
        assert len(read) == count
    assert len({id(image) for image in decoded}) == 1


def test_files_of_several_pages_are_told(tmp_path: Path) -> None:
    first, second = (Image.fromarray(noise(8, 8, seed=i)) for i in range(2))
    for i, kind in enumerate(("tif", "gif", "png", "webp")):
        first.save(tmp_path / f"{i}.{kind}", save_all=True, append_images=[second])
    tifffile.imwrite(tmp_path / "deflate.tif", np.stack([noise(8, 8)] * 2), photometric="rgb", compression="zlib")
    first.save(tmp_path / "one.tif")
    _, notes = find_ranges(open_source(tmp_path))
    assert notes == ("5 of the first 6 images have several pages or frames, of which one is used",)
