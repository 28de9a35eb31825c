"""Range, sheets and files of images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from progan.images import beside, opaque, save_png, scaled, sheet, to_float, to_uint8


def test_every_byte_survives_the_round_trip() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(4, 1, 8, 8)
    floats = to_float(pixels)
    assert floats.dtype == torch.float32
    np.testing.assert_allclose(floats.flatten(), np.arange(256) / 127.5 - 1, rtol=0, atol=2e-7)
    assert (floats.min(), floats.max()) == (-1, 1)
    assert torch.equal(to_uint8(floats), pixels)
    assert torch.equal(to_uint8(floats.double()), pixels)


def test_to_float_keeps_its_input_and_memory_format() -> None:
    pixels = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    kept = pixels.clone()
    assert to_float(pixels).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(pixels, kept)


def test_to_uint8_clips_and_rounds_to_the_nearest() -> None:
    x = torch.tensor([-1e9, -1.01, -1, -1 + 0.49 / 127.5, -1 + 0.51 / 127.5, 0.999, 1, 1.01, 1e9])
    assert to_uint8(x).tolist() == [0, 0, 0, 0, 1, 255, 255, 255, 255]
    assert to_uint8(torch.tensor([-float("inf"), float("inf")])).tolist() == [0, 255]
    half = to_uint8(torch.linspace(-1, 1, 256).bfloat16())
    assert (half.int() - torch.arange(256)).abs().max() <= 1


def test_to_uint8_keeps_its_input() -> None:
    x = torch.zeros(2, 1, 4, 4)
    to_uint8(x)
    assert not x.any()


def plain_tiles(count: int, channels: int, height: int = 3, width: int = 5) -> Tensor:
    """Image i is all i."""
    return torch.arange(count, dtype=torch.uint8).view(count, 1, 1, 1).expand(count, channels, height, width)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    ("count", "columns", "gap", "enlarge", "grid"),
    [
        (5, None, 2, 1, (2, 3)),
        (6, 2, 0, 1, (3, 2)),
        (7, 4, 1, 3, (2, 4)),
        (1, None, 2, 1, (1, 1)),
        (9, None, 3, 2, (3, 3)),
    ],
)
def test_sheet_has_every_image_in_its_place_and_white_gaps(
    count: int, columns: int | None, gap: int, enlarge: int, grid: tuple[int, int], channels: int
) -> None:
    picture = sheet(plain_tiles(count, channels), columns, gap=gap, enlarge=enlarge)
    rows, columns = grid
    height, width = 3 * enlarge, 5 * enlarge
    assert picture.size == (columns * width + (columns - 1) * gap, rows * height + (rows - 1) * gap)
    assert picture.mode == {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    pixels = np.asarray(picture).reshape(picture.height, picture.width, channels)
    covered = np.zeros(pixels.shape[:2], bool)
    for i in range(count):
        y, x = i // columns * (height + gap), i % columns * (width + gap)
        assert (pixels[y : y + height, x : x + width] == i).all()
        covered[y : y + height, x : x + width] = True
    assert (pixels[~covered] == 255).all()


def test_sheet_keeps_rows_columns_and_channels_apart() -> None:
    """One image through every axis: pixel (y, x) of channel c is 100 c + 10 y + x; enlarged, it repeats."""
    c, y, x = torch.meshgrid(torch.arange(2 + 1), torch.arange(4), torch.arange(6), indexing="ij")
    image = (80 * c + 10 * y + x).to(torch.uint8)[None]
    pixels = np.asarray(sheet(image, enlarge=2))
    np.testing.assert_array_equal(pixels, image[0].permute(1, 2, 0).numpy().repeat(2, 0).repeat(2, 1))


def test_png_is_written_whole_with_its_folder_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a/b/sheet.png"
    picture = sheet(plain_tiles(4, 3))
    save_png(picture, path)
    save_png(picture, path)  # over an older one
    assert [p.name for p in path.parent.iterdir()] == ["sheet.png"]
    with Image.open(path) as read:
        assert np.array_equal(np.asarray(read), np.asarray(picture))


def test_opacity_is_composited_over_white() -> None:
    images = torch.tensor([[100, 0, 255, 0], [100, 0, 255, 255], [100, 0, 255, 51]], dtype=torch.uint8)[
        :, :, None, None
    ]
    assert opaque(images).flatten(1).tolist() == [[255, 255, 255], [100, 0, 255], [224, 204, 255]]
    assert torch.equal(opaque(images[:, :1]), images[:, :1])


@pytest.mark.parametrize("channels", [1, 3])
def test_scaled_by_the_nearest_pixel_or_smoothly(channels: int) -> None:
    images = torch.randint(0, 256, (2, channels, 4, 6), dtype=torch.uint8)
    assert torch.equal(scaled(images, (12, 18)), images.repeat_interleave(3, 2).repeat_interleave(3, 3))
    assert torch.equal(scaled(images, (4, 6), smooth=True), images)
    smooth = scaled(images, (12, 18), smooth=True)
    assert (smooth.shape, smooth.dtype) == ((2, channels, 12, 18), torch.uint8)
    flat = torch.full((1, channels, 4, 4), 77, dtype=torch.uint8)
    assert (scaled(flat, (7, 9), smooth=True) == 77).all()
    assert not torch.equal(smooth, scaled(images, (12, 18)))


def test_two_pictures_side_by_side() -> None:
    both = np.asarray(beside(Image.new("L", (3, 5), 10), Image.new("RGB", (4, 2), (1, 2, 3)), gap=2))
    assert both.shape == (5, 9, 3)
    assert (both[:, :3] == 10).all()
    assert (both[:2, 5:] == (1, 2, 3)).all()
    both = both.copy()
    both[:, :3] = both[:2, 5:] = 255
    assert (both == 255).all()
