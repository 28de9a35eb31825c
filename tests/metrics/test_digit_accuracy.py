"""Conditional accuracy against scikit-learn, and how classes are matched to digits."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix

from progan.errors import ConfigError
from progan.metrics.base import Setup
from progan.metrics.digit_accuracy import DigitConfusion, digit_accuracy, digits_of, worst

DIGITS = tuple("0123456789")


def empty(classes: tuple[str, ...] = DIGITS, side: int = 28) -> DigitConfusion:
    return DigitConfusion(Setup(height=side, width=side, channels=1, classes=classes))


def read(digits: np.ndarray) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.from_numpy(digits), 10).float()


@pytest.mark.parametrize("batches", [1, 3])
def test_equals_scikit_learn_for_any_split_merged_and_loaded(batches: int) -> None:
    rng = np.random.default_rng(0)
    asked = rng.integers(0, 9, 500)  # no 9
    seen = np.where(rng.random(500) < 0.8, asked, rng.integers(0, 10, 500))
    parts = [np.array_split(x, batches) for x in (asked, seen)]
    whole = empty()
    for labels, digits in zip(*parts, strict=True):
        whole.merge(empty().update(read(digits), torch.from_numpy(labels)))
    whole = empty().load(whole.arrays())
    assert whole.count == 500
    table = confusion_matrix(asked, seen, labels=range(10))
    assert np.array_equal(whole.table, table)
    values = digit_accuracy(whole)
    assert values["digit_accuracy"] == pytest.approx(accuracy_score(asked, seen), abs=1e-12)
    by_class = [values[f"digit_accuracy_{i}"] for i in range(9)]
    assert by_class == pytest.approx((table.diagonal()[:9] / table.sum(1)[:9]).tolist(), abs=1e-12)
    assert "digit_accuracy_9" not in values


def test_classes_are_matched_by_the_number_in_their_names() -> None:
    names = ("seven 7", "digit_0", "3")
    assert digits_of(names).tolist() == [7, 0, 3]
    confusion = empty(names).update(read(np.array([7, 0, 3, 1])), torch.tensor([0, 1, 2, 2]))
    assert digit_accuracy(confusion) == {
        "digit_accuracy": 0.75,
        "digit_accuracy_0": 1.0,
        "digit_accuracy_3": 0.5,
        "digit_accuracy_7": 1.0,
    }
    assert worst(confusion, {}) == "the class that is read worst is 3: 2 images, read as 1 (50.0%)"


def test_the_worst_class_is_the_one_with_the_smallest_share_of_its_own() -> None:
    confusion = empty()
    confusion.table[1, [1, 7]] = 900, 100
    confusion.table[4, [4, 9, 1, 7, 6]] = 10, 5, 2, 2, 1
    text = "the class that is read worst is 4: 20 images, read as 9 (25.0%), 1 (10.0%), 7 (10.0%)"
    assert worst(confusion, {}) == text
    confusion.table[:] = np.eye(10)
    assert worst(confusion, {}) == ""


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ((), "requires images with classes, which these do not have"),
        (("cat", "dog"), "requires classes that are digits, got 'cat'"),
        (("0", "10"), "requires classes that are digits, got '10'"),
        (("0", "1 or 7"), "requires classes that are digits, got '1 or 7'"),
    ],
)
def test_classes_that_are_no_digits(classes: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=f"digit_accuracy {message}; omit digit_accuracy$"):
        empty(classes)


def test_images_of_other_sizes() -> None:
    with pytest.raises(ConfigError, match="digits are read from images of 28x28 or 32x32, got 1 x 16 x 16"):
        empty(side=16)
