"""Comparison of nested states, such as those of two trainers."""

from typing import Any

import torch
from torch import Tensor


def flat(state: object, path: str = "") -> dict[str, Any]:
    """Every tensor and value of a nested state by its path; tuples as lists, as JSON has them."""
    if not isinstance(state, dict):
        return {path: list(state) if isinstance(state, tuple) else state}
    return {k: v for key, value in state.items() for k, v in flat(value, f"{path}/{key}").items()}


def assert_same(a: object, b: object, *, tolerance: float = 0.0) -> None:
    """Every tensor and value of two nested states is the same.

    Args:
        tolerance: of tensors, relative for numbers above 1; 0: bit for bit.
    """
    left, right = flat(a), flat(b)
    assert left.keys() == right.keys()
    assert [name for name in left if not _same(left[name], right[name], tolerance)] == []


def _same(a: object, b: object, tolerance: float) -> bool:
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        return a == b
    if not tolerance:
        return torch.equal(a, b)
    return a.shape == b.shape and torch.allclose(a.double().cpu(), b.double().cpu(), rtol=tolerance, atol=tolerance)
