"""The pyramid against OpenCV and against numpy in float64."""

import numpy as np
import pytest
import torch

from progan.errors import ConfigError
from progan.pyramid import laplacian_pyramid, pyr_down, pyr_up, pyramid_sizes
from references import swd as reference

SHAPES = [(2, 3, 64, 64), (1, 1, 128, 128), (2, 3, 32, 96), (1, 1, 64, 16), (3, 1, 4, 8), (1, 3, 20, 12), (2, 3, 4, 4)]


def pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)


def each(function, images):
    """An OpenCV function of single images [H, W, C] on images [N, C, H, W]."""
    results = [np.atleast_3d(function(np.ascontiguousarray(x.transpose(1, 2, 0)))) for x in images]
    return np.stack([x.transpose(2, 0, 1) for x in results])


def opencv_pyramid(images, least):
    cv2 = pytest.importorskip("cv2")
    levels = [images]
    while min(levels[-1].shape[2:]) >= 2 * least:
        smaller = each(cv2.pyrDown, levels[-1])
        levels[-1] = levels[-1] - each(cv2.pyrUp, smaller)
        levels.append(smaller)
    return levels


@pytest.mark.parametrize("shape", SHAPES)
def test_finest_level_is_that_of_opencv_bit_for_bit(shape: tuple[int, ...]) -> None:
    cv2, images = pytest.importorskip("cv2"), pixels(*shape)
    down = each(cv2.pyrDown, images)
    ours = pyr_down(torch.from_numpy(images))
    assert np.array_equal(ours.numpy(), down)
    assert np.array_equal(pyr_up(ours).numpy(), each(cv2.pyrUp, down))
    assert np.array_equal(laplacian_pyramid(torch.from_numpy(images), 2)[0].numpy(), opencv_pyramid(images, 2)[0])


@pytest.mark.parametrize("shape", SHAPES)
def test_deeper_levels_are_those_of_opencv(shape: tuple[int, ...]) -> None:
    """Within 1e-4 of 255; mostly to the last bit, which depends on OpenCV's order of additions."""
    images = pixels(*shape)
    ours, theirs = laplacian_pyramid(torch.from_numpy(images), 2), opencv_pyramid(images, 2)
    assert [x.shape for x in ours] == [x.shape for x in theirs]
    for x, want in zip(ours, theirs, strict=True):
        assert x.is_contiguous()
        np.testing.assert_allclose(x.numpy(), want, rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_definition_in_float64(shape: tuple[int, ...]) -> None:
    images = pixels(*shape)
    want = reference.pyramid(images.astype(np.float64), 4)
    for x, y in zip(laplacian_pyramid(torch.from_numpy(images), 4), want, strict=True):
        np.testing.assert_allclose(x.numpy(), y, rtol=0, atol=1e-4)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_input_stays_as_it_is(layout: torch.memory_format) -> None:
    images = torch.from_numpy(pixels(2, 3, 32, 32)).contiguous(memory_format=layout)
    before = images.clone()
    laplacian_pyramid(images)
    assert torch.equal(images, before)


def test_levels_add_up_to_the_image() -> None:
    images = torch.from_numpy(pixels(1, 3, 64, 128))
    *details, x = laplacian_pyramid(images)
    assert x.shape == (1, 3, 16, 32)
    for detail in reversed(details):
        x = pyr_up(x) + detail
    torch.testing.assert_close(x, images, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("size", "levels"), [((16, 16), 1), ((31, 99), 1), ((96, 192), 3), ((1024, 1024), 7)])
def test_number_of_levels(size: tuple[int, int], levels: int) -> None:
    sizes = pyramid_sizes(*size)
    assert sizes[0] == size
    assert len(sizes) == levels
    assert 16 <= min(sizes[-1]) < 32


def test_small_and_odd_images_are_named() -> None:
    with pytest.raises(ConfigError, match="at least 16 pixels, got 8x32"):
        laplacian_pyramid(torch.zeros(1, 3, 8, 32))
    with pytest.raises(ConfigError, match="halves 66x64 2 times, so both sides must be multiples of 4"):
        laplacian_pyramid(torch.zeros(1, 3, 66, 64))
