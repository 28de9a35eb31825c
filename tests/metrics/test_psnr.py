"""PSNR against its formula in plain numpy, and what is said of equal images."""

import math

import numpy as np
import pytest
import torch

from progan.errors import ConfigError
from progan.metrics import psnr as module
from progan.metrics.base import Setup
from progan.metrics.parzen import Pixels
from progan.metrics.psnr import mean_psnr, psnr, summary


def reference(a: np.ndarray, b: np.ndarray) -> list[float]:
    """In decibels, by way of the ratio of the peak and the root of the mean squared error."""
    errors = [np.sqrt(np.mean((x.astype(float) - y.astype(float)) ** 2)) for x, y in zip(a, b, strict=True)]
    return [20 * math.log10(255 / error) if error else math.inf for error in errors]


@pytest.mark.parametrize("shape", [(7, 1, 5, 9), (4, 3, 16, 16)])
def test_equals_the_formula_for_any_split(shape: tuple[int, ...], monkeypatch) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, *shape), dtype=np.uint8)
    b[1] = a[1]
    b[2] = a[2] ^ 1  # all pixels off by one: 48.13 dB
    a[3], b[3] = 0, 255  # as far as can be: 0 dB
    for rows in (1, 2 * math.prod(shape[1:]), 1 << 22):
        monkeypatch.setattr(module, "_ROWS", rows)
        values = psnr(torch.from_numpy(a), torch.from_numpy(b))
        np.testing.assert_allclose(values, reference(a, b), rtol=1e-12)
    assert values[2] == pytest.approx(48.1308036)
    assert values[1] == math.inf
    assert values[3] == 0


def test_equal_images_are_counted_and_not_averaged() -> None:
    values = torch.tensor([20.0, math.inf, 26.0, 20.0])
    found = summary(values)
    assert found == {"psnr": pytest.approx(22), "psnr_std": pytest.approx(math.sqrt(12)), "psnr_equal": 0.25}
    assert summary(values[1:2]) == {"psnr": math.inf, "psnr_std": 0.0, "psnr_equal": 1.0}
    assert summary(values[:1])["psnr_std"] == 0


def test_sets_are_compared_image_by_image_in_any_batches() -> None:
    a, b = torch.randint(0, 256, (2, 9, 3, 4, 6), dtype=torch.uint8)
    setup = Setup(height=4, width=6, channels=3)
    one, other = Pixels(setup).update(a[:4]).update(a[4:]), Pixels(setup).update(b)
    wanted = reference(a.numpy(), b.numpy())
    assert mean_psnr(one, other)["psnr"] == pytest.approx(np.mean(wanted), rel=1e-12)
    assert mean_psnr(one, other)["psnr_std"] == pytest.approx(np.std(wanted, ddof=1), rel=1e-12)
    with pytest.raises(ConfigError, match=r"images \[2, 72\] and originals \[9, 72\] must have the same shape"):
        mean_psnr(Pixels(setup).update(a[:2]), other)
