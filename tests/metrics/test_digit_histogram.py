"""Histogram of digits against scipy and closed forms."""

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from progan.errors import ConfigError
from progan.metrics.base import Setup
from progan.metrics.digit_histogram import DigitShares, digit_histogram

SETUP = Setup(height=28, width=28, channels=1)


def sure_of(digits: np.ndarray, p: float = 0.91) -> torch.Tensor:
    """Probabilities [N, 10]: ``p`` for a digit, and the rest for the others."""
    rows = torch.full((len(digits), 10), (1 - p) / 9)
    rows[range(len(digits)), digits] = p
    return rows


def shares(*digits: int) -> DigitShares:
    return DigitShares(SETUP).update(sure_of(np.array(digits)))


@pytest.mark.parametrize("batches", [1, 2, 7])
def test_divergence_equals_scipy_for_any_split_merged_and_loaded(batches: int) -> None:
    rng = np.random.default_rng(0)
    fake, real = (rng.beta(a, 2, 700) * 10 for a in (1, 1.5))
    first, second = DigitShares(SETUP), DigitShares(SETUP)
    for i, part in enumerate(np.array_split(fake.astype(int), batches)):
        (first if i < 4 else second).update(sure_of(part))
    whole = DigitShares(SETUP).load(first.merge(second).arrays())
    assert whole.count == 700
    p, q = (np.bincount(x.astype(int), minlength=10) for x in (fake, real))
    values = digit_histogram(whole, shares(*real.astype(int)))
    assert values["digit_kl"] == pytest.approx(entropy(p, q), abs=1e-12)
    assert [values[f"digits_{i}"] for i in range(10)] == pytest.approx(p / 700, abs=1e-15)
    assert values["digit_confidence"] == pytest.approx(0.91, rel=1e-6)  # of float32
    assert values["digit_unsure"] == 0


def test_without_real_images_the_divergence_is_that_from_uniform() -> None:
    assert digit_histogram(shares(*range(10)))["digit_kl"] == pytest.approx(0, abs=1e-15)
    one = digit_histogram(shares(4, 4, 4))
    assert one["digit_kl"] == pytest.approx(np.log(10))
    assert (one["digits"], one["digits_4"], one["digits_5"]) == (1, 1, 0)


def test_a_digit_without_real_images_counts_as_half_an_image() -> None:
    values = digit_histogram(shares(0, 1, 1, 1), shares(0, 0, 2))
    wanted = 1 / 4 * np.log(1 / 4 / (2 / 3.5)) + 3 / 4 * np.log(3 / 4 / (0.5 / 3.5))
    assert values["digit_kl"] == pytest.approx(wanted, rel=1e-12)
    assert digit_histogram(shares(0, 2, 2), shares(0, 2, 2))["digit_kl"] == 0


def test_images_without_a_clear_digit_are_counted() -> None:
    rows = torch.cat([sure_of(np.array([3, 4, 5])), torch.full((1, 10), 0.1), sure_of(np.array([7]), 0.4)])
    values = digit_histogram(DigitShares(SETUP).update(rows[:2]).merge(DigitShares(SETUP).update(rows[2:])))
    assert values["digit_unsure"] == pytest.approx(2 / 5)
    assert values["digit_confidence"] == pytest.approx((3 * 0.91 + 0.1 + 0.4) / 5, rel=1e-6)


def test_images_of_other_sizes() -> None:
    with pytest.raises(ConfigError, match="digits are read from images of 28x28 or 32x32, got 1 x 64 x 64"):
        DigitShares(Setup(height=64, width=64, channels=1))
