import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from progan.errors import ConfigError
from progan.metrics.bank import FeatureBank
from progan.metrics.base import Setup
from progan.metrics.inception_score import inception_score
from references import features as reference

SETUP = Setup(height=8, width=8, channels=3)


def bank(rows: torch.Tensor) -> FeatureBank:
    return FeatureBank(SETUP).update(rows)


def draw(count: int, classes: int, *, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, classes, generator=torch.Generator().manual_seed(seed)).mul(3).softmax(1)


def test_torchgans_value() -> None:
    logits = torch.tensor([[1, 2, 3], [-1, 5, 3.1]])
    result = inception_score(bank(logits.softmax(1)), splits=1)
    assert result == pytest.approx({"inception_score": 1.24357914, "inception_score_std": 0}, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(count=st.integers(10, 80), classes=st.integers(2, 12), splits=st.integers(1, 10), seed=st.integers(0, 99))
def test_equals_reference_for_any_number_of_splits(count: int, classes: int, splits: int, seed: int) -> None:
    rows = draw(count, classes, seed=seed)
    scores = reference.inception_score(rows.numpy(), splits)
    expected = {"inception_score": np.mean(scores), "inception_score_std": np.std(scores)}
    assert inception_score(bank(rows), splits=splits) == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_ten_splits_in_order_unless_told() -> None:
    rows = draw(45, 6)
    assert inception_score(bank(rows)) == inception_score(bank(rows), seed=9, splits=10)
    shuffled = rows[torch.randperm(45, generator=torch.Generator().manual_seed(1))]
    assert inception_score(bank(shuffled)) != inception_score(bank(rows))


def test_certain_and_even_classes_score_their_number() -> None:
    """Probabilities of 0 and 1: the entropy of each image is 0, that of the set log 4."""
    assert inception_score(bank(torch.eye(4).repeat(5, 1)), splits=5)["inception_score"] == pytest.approx(4, abs=1e-12)


def test_one_answer_for_all_images_scores_one() -> None:
    assert inception_score(bank(draw(1, 7).repeat(20, 1)))["inception_score"] == pytest.approx(1, abs=1e-12)
    certain = torch.tensor([[1.0, 0, 0]]).repeat(20, 1)  # classes that no image has: 0 log 0
    assert inception_score(bank(certain)) == {"inception_score": 1, "inception_score_std": 0}


@pytest.mark.parametrize(("count", "splits"), [(9, 10), (0, 1), (5, 0)])
def test_too_few_images_are_named(count: int, splits: int) -> None:
    with pytest.raises(ConfigError, match=f"got {count} for {splits} splits"):
        inception_score(bank(draw(count, 3)), splits=splits)
