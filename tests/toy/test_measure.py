"""Covered modes against points placed by hand and a plain loop."""

import math

import numpy as np
import pytest

from progan.toy.data import DISTRIBUTIONS
from progan.toy.measure import Coverage, coverage

RING, GRID = DISTRIBUTIONS["ring"], DISTRIBUTIONS["grid"]


def test_points_placed_by_hand() -> None:
    """Three at the first mode, one 2.9 and one 3.1 deviations from two others, and three that are nowhere."""
    third, sixth = (np.array([np.cos(k * np.pi / 4), np.sin(k * np.pi / 4)]) for k in (2, 5))
    points = np.array(
        [[1, 0], [1.02, 0], [1, -0.04], third * 1.058, sixth * 1.062, [0, 0], [np.nan, 0], [np.inf, 0]], np.float32
    )
    found = coverage(points, RING)
    assert found.counts == (3, 0, 1, 0, 0, 0, 0, 0)
    assert (found.covered, found.points, found.quality) == (2, 8, 0.5)
    assert found.kl == pytest.approx(0.75 * math.log(0.75 * 8) + 0.25 * math.log(0.25 * 8), rel=1e-12)


def test_kl_is_none_without_points_zero_for_equal_shares_and_the_logarithm_for_one_mode() -> None:
    assert Coverage(counts=(0, 0), points=5).kl is None
    assert Coverage(counts=(3, 3, 3, 3), points=20).kl == pytest.approx(0, abs=1e-12)
    assert Coverage(counts=(0, 7, 0), points=7).kl == pytest.approx(math.log(3))


@pytest.mark.parametrize("known", [RING, GRID], ids=["ring", "grid"])
def test_counts_are_those_of_a_loop_over_modes(known) -> None:
    rng = np.random.default_rng(0)
    centers, _ = known.middle()
    points = centers[rng.integers(0, known.modes // 2, 400)] + 2.5 * known.noise * rng.standard_normal((400, 2))
    counts = [sum(math.dist(p, c) <= 3 * known.noise for p in points) for c in centers]
    found = coverage(points, known)
    assert 0 < sum(counts) < 400
    assert list(found.counts) == counts
    assert found.covered == sum(c > 0 for c in counts) == known.modes // 2


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_real_points_cover_everything_and_half_a_curve_covers_half(name: str) -> None:
    """Of a Gaussian of the plane, exp(-9/2) = 1.1 % is beyond 3 deviations; beside a curve at least 0.3 %."""
    known = DISTRIBUTIONS[name]
    found = coverage(known.draw(0, 0, 4000), known)
    assert found.covered == known.modes
    assert found.quality == pytest.approx(0.997 if known.curve else 1 - math.exp(-4.5), abs=0.006)
    assert found.kl is not None
    assert found.kl < 0.01
    half = known.place(np.linspace(0.01, 0.5, 300, endpoint=False))  # not the middle, where the arms of a spiral meet
    assert coverage(half, known).covered == math.ceil(known.modes / 2)
