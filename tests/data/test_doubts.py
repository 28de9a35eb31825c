"""What looks wrong, and the brightness that it is seen by."""

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from progan.data.inspection.doubts import Facts, doubts
from progan.data.inspection.values import Values
from references.image_files import noise


def values_of(*images: np.ndarray) -> Values:
    values = Values()
    for image in images:
        values.add(Image.fromarray(image))
    return values


GOOD = values_of(noise(8, 8, seed=1), noise(8, 8, seed=2))


def found(
    counts: dict[str, int] | None = None, *, values: Values = GOOD, equal: Sequence = (), total: int = 100
) -> list[str]:
    labels = [i for i, count in enumerate((counts or {}).values()) for _ in range(count)]
    names = [f"{i}.png" for i in range(len(labels) or total)]
    facts = {"names": names, "labels": labels or None, "counts": counts or {}, "values": values}
    return doubts(Facts(**facts, channels=3, equal=equal))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_brightness_is_that_of_pillow_over_white(mode: str) -> None:
    pixels = noise(6, 9, {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode], seed=3)
    values = values_of(pixels)
    image = Image.fromarray(pixels).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    wanted = np.bincount(np.asarray(white.convert("RGB").convert("L")).reshape(-1), minlength=256)
    shift = np.abs(np.cumsum(values.histogram) - np.cumsum(wanted))  # Pillow rounds the two composites differently by 1
    assert np.abs(values.histogram @ np.arange(256) - wanted @ np.arange(256)) <= 54
    assert shift.max() <= 54 * (mode in ("LA", "RGBA"))
    assert values.histogram.sum() == 54


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pixels_of_a_store_count_as_images_do(channels: int) -> None:
    pixels = np.stack([noise(8, 8, channels, seed=i).reshape(8, 8, channels) for i in range(5)])
    pixels[3], pixels[4] = 0, 255
    batch, one = Values(), Values()
    batch.add_pixels(pixels)
    for image in pixels:
        one.add(Image.fromarray(image[..., 0] if channels == 1 else image))
    assert np.abs(np.cumsum(batch.histogram) - np.cumsum(one.histogram)).max() <= (64 if channels == 4 else 0)
    names = ("images", "black", "white", "plain", "gray")
    assert [getattr(batch, name) for name in names] == [getattr(one, name) for name in names]
    black, white = (0, 2) if channels == 4 else (1, 1)  # transparent black is white
    assert (batch.black, batch.white, batch.plain, batch.gray) == (black, white, 2, 5 if channels == 1 else 2)


def test_histogram_is_printed_with_its_shares() -> None:
    lines = values_of(np.repeat(np.uint8([0, 16, 255, 255]), 4).reshape(4, 4)).lines("all pixels")
    assert lines[0] == "values       brightness 0 ... 255, mean 131.5 (all pixels)"
    assert lines[1].split() == ["0", "...", "15", "#" * 20, "25.0%"]
    assert lines[16].split() == ["240", "...", "255", "#" * 40, "50.0%"]
    assert Values().lines() == []


def test_nothing_is_said_of_a_good_set() -> None:
    assert found({"cat": 40, "dog": 60}) == []
    assert found({"bullet_train": 40, "train_station": 60, "part3": 50}) == []
    assert found() == []


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"a": 5, "b": 1, "c": 5}, "1 of 3 classes has a single image: b"),
        ({"a": 5, "b": 0, "c": 0}, "2 of 3 classes have no image: b, c"),
        ({"a": 100, "b": 5}, "the classes are unbalanced: 100 images of a, 5 of b"),
        ({"a": 1, "b": 1, "c": 1}, "each of the 3 images has a class of its own; --labels none drops them"),
        ({"Train": 9, "test": 5}, "classes are named like splits of the data: Train, test; pass one of these folders"),
        ({"xs_train_hr": 9, "xs_valid_hr": 9, "xs_train_lr": 9}, "splits of the data: xs_train_hr, xs_valid_hr"),
        ({"gtFine": 9, "leftImg8bit": 9}, "named like files that accompany pictures: gtFine; to leave them out, pass "),
        ({"fold0": 9, "fold1": 9}, "named like parts of one set: fold0, fold1; if they are, pass --labels none"),
        ({"images": 9, "masks": 9}, "named like files that accompany pictures: masks; to leave them out, pass "
         "--exclude masks"),
        ({"00000": 9, "01000": 9, "02000": 5}, "numbered folders in steps of 1000: 00000, 01000, 02000; if they are"),
    ],
)  # fmt: skip
def test_classes_that_look_wrong(counts: dict[str, int], message: str) -> None:
    (said,) = found(counts)
    assert message in said


def test_classes_that_are_numbers_are_classes() -> None:
    assert found({str(i): 9 for i in range(10)}) == []


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([np.zeros((8, 8), np.uint8)] * 2, "all 2 images are black"),
        ([np.full((8, 8), 255, np.uint8), noise(8, 8)], "1 of 2 images are white"),
        (
            [np.full((8, 8, 3), (9, 80, 200), np.uint8), np.full((8, 8), 7, np.uint8)],
            "all 2 images have only one color",
        ),
        ([noise(8, 8, 1) // 128 * 255], "all pixels have the brightness 0 or 255; are these masks?"),
        ([noise(8, 8) // 16], "no pixel is brighter than 15 of 255; are these numbers of classes, values 0 ... 1, or"),
        ([noise(8, 8, 1)], "no image has a color; with --channels 1, the store is a third as large"),
    ],
)
def test_pixels_that_look_wrong(images: list[np.ndarray], message: str) -> None:
    assert any(message in said for said in found(values=values_of(*images)))


def test_copies_that_look_wrong() -> None:
    assert found(total=4, equal=[[0, 1], [2, 3]]) == ["every image is there twice, such as 0.png = 1.png"]
    assert found(total=6, equal=[[0, 1, 5]]) == ["2 of 6 images are identical to others, such as 0.png = 1.png"]
    assert found(total=100, equal=[[0, 1]]) == []
    (said,) = found({"cat": 10, "dog": 10}, equal=[[0, 1], [2, 3, 15]])
    assert said == "1 picture is in more than one class, such as 2.png = 15.png (cat and dog)"
