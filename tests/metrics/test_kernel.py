import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from progan.draws import permutation
from progan.errors import ConfigError
from progan.metrics.bank import FeatureBank
from progan.metrics.base import Setup
from progan.metrics.kernel import kernel, squared_mmd
from references import features as reference

SETUP = Setup(height=8, width=8, channels=3)


def bank(rows: np.ndarray) -> FeatureBank:
    return FeatureBank(SETUP).update(torch.from_numpy(rows))


def draw(count: int, features: int, *, seed: int = 0, shift: float = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(count, features)) + shift).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(counts=st.tuples(st.integers(2, 12), st.integers(2, 12)), features=st.integers(1, 9), seed=st.integers(0, 99))
def test_discrepancy_is_the_double_sum_over_pairs(counts: tuple[int, int], features: int, seed: int) -> None:
    x, y = draw(counts[0], features, seed=seed), draw(counts[1], features, seed=seed + 1, shift=0.5)
    expected = reference.squared_mmd(x.astype(np.float64), y.astype(np.float64))
    measured = squared_mmd(torch.from_numpy(x), torch.from_numpy(y))
    assert measured == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert squared_mmd(torch.from_numpy(y), torch.from_numpy(x)) == pytest.approx(measured, rel=1e-12, abs=1e-12)


def test_discrepancy_of_constant_sets() -> None:
    """Rows (a, a) and (b, b): (a^2 + 1)^3 + (b^2 + 1)^3 - 2 (ab + 1)^3."""
    x, y = torch.full((4, 2), 1.0), torch.full((3, 2), 2.0)
    assert squared_mmd(x, y) == 8 + 125 - 2 * 27


def test_subsets_are_drawn_by_seed_without_repetition() -> None:
    fake, real = draw(30, 4), draw(25, 4, seed=1, shift=0.3)
    values = []
    for i in range(7):
        x = fake[permutation(5, "kernel.fake", i, 30)[:10]].astype(np.float64)
        y = real[permutation(5, "kernel.real", i, 25)[:10]].astype(np.float64)
        values.append(reference.squared_mmd(x, y))
    result = kernel(bank(fake), bank(real), seed=5, subsets=7, size=10)
    assert result == pytest.approx({"kernel": np.mean(values), "kernel_std": np.std(values)}, rel=1e-10)
    assert result == kernel(bank(fake), bank(real), seed=5, subsets=7, size=10)
    assert result["kernel"] != kernel(bank(fake), bank(real), seed=6, subsets=7, size=10)["kernel"]


def test_sets_smaller_than_a_subset_are_taken_whole() -> None:
    fake, real = draw(30, 4), draw(25, 4, seed=1, shift=0.3)
    expected = reference.squared_mmd(fake.astype(np.float64), real.astype(np.float64))
    result = kernel(bank(fake), bank(real))
    assert result == pytest.approx({"kernel": expected, "kernel_std": 0}, rel=1e-10)


def test_only_one_set_smaller_than_a_subset() -> None:
    result = kernel(bank(draw(30, 4)), bank(draw(200, 4, seed=1)), subsets=20, size=50)
    assert result["kernel_std"] > 0


def test_equal_distributions_are_near_zero_on_both_sides() -> None:
    """No bias: over many pairs of sets the mean is within 4 of its own errors of 0, and some values are negative."""
    values = [
        kernel(bank(draw(60, 8, seed=2 * i)), bank(draw(60, 8, seed=2 * i + 1)), subsets=4, size=40)["kernel"]
        for i in range(150)
    ]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))
    assert min(values) < 0 < max(values)


def test_shifted_distribution_is_far() -> None:
    same = kernel(bank(draw(400, 8)), bank(draw(400, 8, seed=1)), size=100)
    shifted = kernel(bank(draw(400, 8, shift=0.5)), bank(draw(400, 8, seed=1)), size=100)
    assert shifted["kernel"] > 10 * abs(same["kernel"])


def test_too_few_images_are_named() -> None:
    with pytest.raises(ConfigError, match="at least 2 images of each set, got 1 and 5"):
        kernel(bank(draw(1, 3)), bank(draw(5, 3)))
    with pytest.raises(ConfigError, match="in subsets of 1"):
        kernel(bank(draw(5, 3)), bank(draw(5, 3)), size=1)
