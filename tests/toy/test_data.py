"""The distributions against their definitions."""

import numpy as np
import pytest
import torch

from progan.toy.data import DISTRIBUTIONS, Distribution, Points

RING = [(np.cos(k * np.pi / 4), np.sin(k * np.pi / 4)) for k in range(8)]
GRID = [(x, y) for y in (-1, -0.5, 0, 0.5, 1) for x in (-1, -0.5, 0, 0.5, 1)]


@pytest.mark.parametrize(("name", "centers", "noise"), [("ring", RING, 0.02), ("grid", GRID, 0.02)])
def test_mixtures_have_the_given_centers_shares_and_deviation(name: str, centers: list, noise: float) -> None:
    """Shares and the deviation within 5 standard errors."""
    points, count = DISTRIBUTIONS[name].draw(3, 0, 20_000).astype(np.float64), 20_000
    offsets = points[:, None] - np.array(centers)
    nearest = np.square(offsets).sum(2).argmin(1)
    share = 1 / len(centers)
    wanted = count * share + np.array([-5, 5]) * np.sqrt(count * share * (1 - share))
    counts = np.bincount(nearest)
    assert len(counts) == len(centers)
    assert wanted[0] < counts.min() <= counts.max() < wanted[1]
    own = offsets[np.arange(count), nearest]
    assert np.abs(own.mean(0)).max() < 5 * noise / np.sqrt(count)
    assert own.std(0) == pytest.approx(noise, rel=5 / np.sqrt(2 * count))
    middle, parts = DISTRIBUTIONS[name].middle()
    assert parts.tolist() == list(range(len(centers)))
    np.testing.assert_allclose(middle, centers, atol=1e-12)


def test_moons_and_roll_are_those_of_scikit_learn() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    moons, second = datasets.make_moons(2000, shuffle=False)
    angles = np.linspace(0, 1, 1000)[:-1]  # the last of u = 1/2 belongs to the second moon
    np.testing.assert_allclose(
        DISTRIBUTIONS["moons"].place(angles / 2), (moons[second == 0][:-1] - (0.5, 0.25)) / 1.5, atol=1e-12
    )
    np.testing.assert_allclose(
        DISTRIBUTIONS["moons"].place(0.5 + angles / 2), (moons[second == 1][:-1] - (0.5, 0.25)) / 1.5, atol=1e-12
    )
    roll, t = datasets.make_swiss_roll(500, random_state=1)
    u = (t / (1.5 * np.pi) - 1) / 2
    np.testing.assert_allclose(DISTRIBUTIONS["roll"].place(u), roll[:, [0, 2]] / 15, atol=1e-12)


def test_a_spiral_has_two_even_arms_of_one_and_a_half_turns() -> None:
    place, u = DISTRIBUTIONS["spiral"].place, (np.arange(500) + 0.5) / 1000
    arm = place(u)
    np.testing.assert_allclose(place(u + 0.5), -arm, atol=1e-9)
    radius = np.hypot(*arm.T)
    assert (radius < 0.5).mean() == pytest.approx(0.25, abs=0.002)
    turned = np.unwrap(np.arctan2(arm[:, 1], arm[:, 0]))
    assert np.polyfit(radius, turned, 1)[0] == pytest.approx(3 * np.pi, rel=1e-6)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_every_point_is_a_function_of_seed_and_number(name: str) -> None:
    known: Distribution = DISTRIBUTIONS[name]
    every = known.draw(1, 0, 40)
    np.testing.assert_array_equal(known.draw(1, 13, 9), every[13:22])
    assert not (known.draw(2, 0, 40) == every).any()
    assert np.abs(known.draw(1, 0, 5000)).max() < 1.2
    data = Points(known, 1)
    images = data.images(10, 20, 1, offset=1, stride=3)
    assert (images.dtype, images.shape) == (torch.float32, (7, 2, 1, 1))
    np.testing.assert_array_equal(images.flatten(1).numpy(), every[11:30:3])
