import numpy as np
import pytest

from progan.data.levels import box_levels, level_sizes
from references import store_reference as reference


def soft(height: int, width: int, *, seed: int = 0, count: int = 1) -> np.ndarray:
    """RGBA with alpha of all kinds: clear, faint, any, full; the clear ones have colors, too."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, height, width, 4), np.uint8)
    kinds = rng.integers(0, 4, (count, height, width))
    pixels[..., 3] = np.choose(kinds, [0, rng.integers(0, 4, kinds.shape), pixels[..., 3], 255])
    return pixels


@pytest.mark.parametrize(("height", "width"), [(4, 4), (8, 8), (32, 32), (16, 32), (32, 8), (8, 24)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_box_levels_match_reference_bit_for_bit(height: int, width: int, channels: int) -> None:
    top = np.random.default_rng(height).integers(0, 256, (2, height, width, channels), np.uint8)
    top = soft(height, width, count=2) if channels == 4 else top
    kept, level_of = top.copy(), reference.alpha_level if channels == 4 else reference.box_level
    levels = box_levels(top)
    assert [level.shape[1:3] for level in levels] == level_sizes(height, width)
    assert min(levels[-1].shape[1:3]) == 4
    for k, level in enumerate(levels):
        np.testing.assert_array_equal(level, np.stack([level_of(image, 2**k) for image in top]))
    np.testing.assert_array_equal(top, kept)


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (28, 28), (60, 90), (286, 286), (2, 64), (64, 96)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sizes_that_networks_cannot_grow_to_have_one_level(size: tuple[int, int], channels: int) -> None:
    top = np.random.default_rng(0).integers(0, 256, (2, *size, channels), np.uint8)
    (only,) = box_levels(top)
    np.testing.assert_array_equal(only, top)
    assert level_sizes(*size) == [size]


def test_box_levels_round_half_to_even_and_only_once() -> None:
    top = np.zeros((8, 8, 1), np.uint8)
    for i, ones in enumerate([(1, 1, 0, 0), (1, 1, 2, 2), (3, 3, 2, 2), (255, 255, 254, 254)]):  # 0.5 1.5 2.5 254.5
        top[0:2, 2 * i : 2 * i + 2, 0] = np.reshape(ones, (2, 2))
    assert box_levels(top)[1][0, :, 0].tolist() == [0, 2, 2, 254]
    top[0:4, 0:4, 0] = [[1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 0]]  # 2x2 means .5 .5 .5 .75, mean 9/16
    assert box_levels(np.tile(top, (2, 2, 1)))[2][0, 0, 0] == 1  # and not the mean of 0 0 0 1


@pytest.mark.parametrize("lowest", [0, 253])  # 253: sums near the end of 16 bits
def test_box_levels_of_large_images_equal_exact_means(lowest: int) -> None:
    top = np.random.default_rng(1).integers(lowest, 256, (1, 256, 512, 3), np.uint8)
    for k, level in enumerate(box_levels(top)):
        blocks = top.astype(np.float64).reshape(1, 256 >> k, 1 << k, 512 >> k, 1 << k, 3)
        np.testing.assert_array_equal(level, np.rint(blocks.mean((2, 4))))  # float64 holds these means exactly


@pytest.mark.parametrize("lowest", [1, 250])  # 250: color times alpha adds up to more than 32 bits
def test_alpha_levels_of_large_images_equal_exact_means(lowest: int) -> None:
    top = np.random.default_rng(1).integers(lowest, 256, (1, 2048, 2048, 4), np.uint8)
    for k, level in [(k, level) for k, level in enumerate(box_levels(top)) if k in (2, 8, 9)]:
        blocks = top.astype(np.int64).reshape(2048 >> k, 1 << k, 2048 >> k, 1 << k, 4)
        alpha = blocks[..., 3:].sum((1, 3))
        color = (blocks[..., :3] * blocks[..., 3:]).sum((1, 3))
        np.testing.assert_array_equal(level[0, ..., :3], np.rint(color / alpha))


def test_levels_look_on_white_like_box_means_of_what_the_top_level_looks_like() -> None:
    top = soft(64, 64, count=8)
    white = reference.composited(top)
    for k, level in enumerate(box_levels(top)):
        wanted = white.reshape(8, 64 >> k, 1 << k, 64 >> k, 1 << k, 3).mean((2, 4))
        error = reference.composited(level) - wanted
        assert np.abs(error).max() < 1.01  # half of color and half of alpha are rounded away
        assert abs(error.mean()) < 0.03  # plain means are too dark: by 12 and more here


def test_opaque_colors_are_averaged_as_without_alpha_and_clear_ones_plainly() -> None:
    color = np.random.default_rng(2).integers(0, 256, (3, 16, 16, 3), np.uint8)
    for alpha in (255, 0):
        top = np.concatenate([color, np.full((3, 16, 16, 1), alpha, np.uint8)], 3)
        for level, plain in zip(box_levels(top), box_levels(color), strict=True):
            np.testing.assert_array_equal(level[..., :3], plain)
            assert (level[..., 3] == alpha).all()
