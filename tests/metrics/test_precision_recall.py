import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from progan.errors import ConfigError
from progan.metrics.bank import FeatureBank
from progan.metrics.base import Setup
from progan.metrics.precision_recall import nearest, precision_recall
from references import features as reference

MODULE = sys.modules[precision_recall.__module__]  # the package has the function under the module's name
SETUP = Setup(height=8, width=8, channels=3)


@pytest.fixture(params=[7, 2048], ids=["tiles of 7", "one tile"])
def tile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "_TILE", request.param)


def bank(rows: np.ndarray) -> FeatureBank:
    return FeatureBank(SETUP).update(torch.from_numpy(rows))


def draw(count: int, features: int, *, seed: int = 0, scale: float = 1) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(count, features)) * scale).astype(np.float32)


def expected(fake: np.ndarray, real: np.ndarray, *, k: int = 3) -> dict[str, float]:
    precision, recall = reference.precision_recall(fake.astype(np.float64), real.astype(np.float64), k)
    return {"precision": precision, "recall": recall}


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(("fakes", "reals", "scale"), [(60, 45, 0.7), (21, 70, 1.5), (6, 6, 1.0)])
@pytest.mark.usefixtures("tile")
def test_equals_reference(k: int, fakes: int, reals: int, scale: float) -> None:
    fake, real = draw(fakes, 4, scale=scale), draw(reals, 4, seed=1)
    assert precision_recall(bank(fake), bank(real), k=k) == expected(fake, real, k=k)


@settings(max_examples=40, deadline=None)
@given(counts=st.tuples(st.integers(4, 40), st.integers(4, 40)), high=st.integers(1, 6), seed=st.integers(0, 999))
def test_ties_and_copies_count_as_inside(counts: tuple[int, int], high: int, seed: int) -> None:
    """Points of a small grid: most distances are equal to some radius, many rows are repeated."""
    generator = np.random.default_rng(seed)
    fake, real = (generator.integers(0, high + 1, size=(count, 2)).astype(np.float32) for count in counts)
    assert precision_recall(bank(fake), bank(real)) == expected(fake, real)


@pytest.mark.usefixtures("tile")
def test_direction_of_precision_and_recall() -> None:
    """torch-fidelity's test_prc_convention.py: a tight cluster amid a wide set is precise, and recalls little."""
    generator = torch.Generator().manual_seed(42)
    fake, real = torch.randn(200, 16, generator=generator) * 0.1, torch.randn(200, 16, generator=generator) * 3
    result = precision_recall(bank(fake.numpy()), bank(real.numpy()))
    assert result["precision"] > 0.8
    assert result["recall"] < 0.3
    assert result == expected(fake.numpy(), real.numpy())


def test_a_set_covers_itself_and_its_copies() -> None:
    rows = draw(30, 2048)
    assert precision_recall(bank(rows), bank(rows)) == {"precision": 1, "recall": 1}
    few, copies = rows[:5], np.repeat(rows, 4, axis=0)  # radii of the copies are 0
    assert precision_recall(bank(few), bank(copies))["precision"] == 1
    others = draw(30, 2048, seed=1)
    assert precision_recall(bank(others), bank(copies))["precision"] == 0


@pytest.mark.parametrize("offset", [0.0, 300.0, 1e5])
@pytest.mark.usefixtures("tile")
def test_near_copies_far_from_zero(offset: float) -> None:
    """Distances of about 1e-3 amid features of any size: |x|^2 + |y|^2 - 2xy in float32 would be noise."""
    centres = draw(6, 64) + np.float32(offset)
    step = max(1e-4, 8 * float(np.spacing(np.float32(offset))))
    real, fake = (np.repeat(centres, 5, axis=0) + draw(30, 64, seed=seed, scale=step) for seed in (1, 2))
    fake[:9] += np.float32(40 * step)  # out of reach
    result = precision_recall(bank(fake), bank(real))
    assert result == expected(fake, real)
    assert 0 < result["precision"] < 0.8
    found, rows = nearest(torch.from_numpy(fake), torch.from_numpy(real), 2)
    distances = reference.distances(fake.astype(np.float64), real.astype(np.float64))
    np.testing.assert_allclose(found.numpy(), np.sort(distances, 1)[:, :2], rtol=1e-5)
    np.testing.assert_array_equal(rows.numpy(), np.argsort(distances, 1)[:, :2])


@pytest.mark.parametrize("k", [1, 4, 20])
@pytest.mark.usefixtures("tile")
def test_nearest_rows(k: int) -> None:
    queries, rows = draw(11, 5), draw(20, 5, seed=1)
    found, indices = nearest(torch.from_numpy(queries), torch.from_numpy(rows), k)
    distances = reference.distances(queries.astype(np.float64), rows.astype(np.float64))
    assert (found.dtype, indices.dtype) == (torch.float32, torch.int64)
    np.testing.assert_array_equal(indices.numpy(), np.argsort(distances, 1)[:, :k])
    np.testing.assert_allclose(found.numpy(), np.sort(distances, 1)[:, :k], rtol=1e-6)


def test_nearest_finds_a_row_itself_at_zero() -> None:
    rows = torch.from_numpy(draw(50, 2048)) + 10
    found, indices = nearest(rows, rows)
    assert torch.equal(indices[:, 0], torch.arange(50))
    assert torch.equal(found, torch.zeros(50, 1))


def test_progress_ends_at_the_total(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "_TILE", 10)
    calls: list[tuple[int, int]] = []
    precision_recall(bank(draw(25, 3)), bank(draw(12, 3)), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(i + 1, 6 + 3 + 6) for i in range(15)]


def test_too_few_images_are_named() -> None:
    with pytest.raises(ConfigError, match="k = 3 require at least 4 images of each set and k >= 1, got 3 and 9"):
        precision_recall(bank(draw(3, 2)), bank(draw(9, 2)))
    with pytest.raises(ConfigError, match="k = 0"):
        precision_recall(bank(draw(9, 2)), bank(draw(9, 2)), k=0)
    with pytest.raises(ConfigError, match="21 nearest neighbors require a bank of at least as many images, got 20"):
        nearest(torch.zeros(2, 3), torch.zeros(20, 3), 21)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_gpu_gives_the_cpus_result() -> None:
    setup = Setup(height=8, width=8, channels=3, device="cuda")
    fake, real = draw(60, 4, scale=0.7), draw(45, 4, seed=1)
    banks = [FeatureBank(setup).update(torch.from_numpy(rows)) for rows in (fake, real)]
    assert precision_recall(*banks) == expected(fake, real)
