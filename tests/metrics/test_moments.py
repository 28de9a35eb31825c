import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from progan.errors import ConfigError, DataError
from progan.metrics.base import Setup
from progan.metrics.moments import Moments, frechet, frechet_distance
from references import features as reference

SETUP = Setup(height=8, width=8, channels=3)


def moments(rows: np.ndarray, *, batch: int | None = None) -> Moments:
    result = Moments(SETUP)
    for part in torch.from_numpy(rows).split(batch or len(rows)):
        result.update(part)
    return result


def draw(count: int, features: int, *, seed: int = 0) -> np.ndarray:
    """Correlated features, unlike in scale, most of them not negative as after a ReLU."""
    generator = np.random.default_rng(seed)
    mix = generator.normal(size=(features, features)) * np.logspace(0, -2, features)
    return np.maximum(generator.normal(size=(count, features)) @ mix, -0.2)


@pytest.mark.parametrize("offset", [0, 1e6])
@pytest.mark.parametrize("batch", [1, 7, 300])
def test_moments_are_numpys(offset: float, batch: int) -> None:
    rows = draw(300, 6) + offset
    result = moments(rows, batch=batch)
    assert (result.count, result.features) == (300, 6)
    np.testing.assert_allclose(result.mean.numpy(), rows.mean(0), rtol=1e-14, atol=1e-15)
    expected = np.cov(rows, rowvar=False)
    np.testing.assert_allclose(result.covariance.numpy(), expected, rtol=0, atol=1e-13 * expected.max())


@settings(max_examples=50, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 40), max_size=6).map(sorted),
    merged=st.booleans(),
    offset=st.sampled_from([0.0, 1e3, 1e6]),
    seed=st.integers(0, 99),
)
def test_any_split_into_batches_and_ranks_gives_one_result(
    cuts: list[int], merged: bool, offset: float, seed: int
) -> None:
    rows = draw(40, 5, seed=seed) + offset
    whole, parts = moments(rows), Moments(SETUP)
    for part in np.split(rows, cuts):
        if merged:
            parts.merge(moments(part) if len(part) else Moments(SETUP))
        else:
            parts.update(torch.from_numpy(part))
    assert parts.count == 40
    scale = float(whole.covariance.diagonal().max())
    torch.testing.assert_close(parts.mean, whole.mean, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(parts.covariance, whole.covariance, rtol=0, atol=1e-12 * scale)


def test_first_row_far_from_the_others_does_no_harm() -> None:
    rows = np.concatenate([np.full((1, 4), 1e4), draw(5000, 4)])
    np.testing.assert_allclose(moments(rows).covariance.numpy(), np.cov(rows, rowvar=False), rtol=1e-12)


def test_arrays_come_back_and_go_on() -> None:
    rows = draw(30, 4)
    arrays = {name: value.copy() for name, value in moments(rows[:10]).arrays().items()}
    loaded = Moments(SETUP).load(arrays).update(torch.from_numpy(rows[10:]))
    assert torch.equal(loaded.mean, moments(rows[:10]).update(torch.from_numpy(rows[10:])).mean)
    np.testing.assert_allclose(loaded.covariance.numpy(), np.cov(rows, rowvar=False), rtol=1e-12)


def test_merged_statistic_is_not_shared() -> None:
    rows = torch.from_numpy(draw(30, 4))
    first = Moments(SETUP).update(rows[:10])
    merged = Moments(SETUP).merge(first).update(rows[10:])
    assert (first.count, merged.count) == (10, 30)
    torch.testing.assert_close(first.mean, rows[:10].mean(0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_float_rows_are_summed_in_float64(dtype: torch.dtype) -> None:
    rows = torch.from_numpy(draw(100, 3)).to(dtype)
    expected = np.cov(rows.double().numpy(), rowvar=False)
    np.testing.assert_allclose(Moments(SETUP).update(rows).covariance.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("features", [2, 16, 256])
@pytest.mark.parametrize("count", [2, 8, 64, 512, 4096, 32768])
def test_distance_is_that_of_scipys_square_root(count: int, features: int) -> None:
    """torch-fidelity's numbers (test_fid_stats_fn.py): to five places; singular sets by another formula."""
    generator = np.random.RandomState(2023)
    a, b = generator.randn(count, features), generator.randn(count, features)
    expected = reference.frechet(a, b) if count > features else reference.low_rank_frechet(a, b)
    assert frechet_distance(moments(a), moments(b)) == pytest.approx(expected, abs=1e-8)


def test_distance_of_four_images_with_four_features_is_a_number() -> None:
    generator = np.random.RandomState(1)
    a, b = generator.randn(4, 4), generator.randn(4, 4)
    assert frechet_distance(moments(a), moments(b)) == pytest.approx(reference.low_rank_frechet(a, b), abs=1e-9)


@pytest.mark.parametrize(("count_a", "count_b"), [(500, 300), (20, 300), (300, 20), (20, 31), (2, 2)])
def test_distance_of_correlated_sets_of_any_rank(count_a: int, count_b: int) -> None:
    a, b = draw(count_a, 40), draw(count_b, 40, seed=1) * 1.3 + 0.1
    expected = reference.low_rank_frechet(a, b)
    assert frechet_distance(moments(a), moments(b)) == pytest.approx(expected, rel=1e-10)


def test_dead_and_repeated_features() -> None:
    a, b = draw(200, 6), draw(150, 6, seed=1)
    a[:, 2] = b[:, 2] = 0
    a[:, 4], b[:, 4] = a[:, 5], b[:, 5]
    assert frechet_distance(moments(a), moments(b)) == pytest.approx(reference.low_rank_frechet(a, b), rel=1e-9)


def test_distance_of_normal_distributions_in_one_dimension() -> None:
    """(mean - mean)^2 + (deviation - deviation)^2."""
    a, b = np.array([[-1.0], [1.0], [0.0]]), np.array([[1.0], [7.0], [4.0]])  # deviations 1 and 3
    assert frechet_distance(moments(a), moments(b)) == pytest.approx(4.0**2 + 2.0**2, abs=1e-12)


def test_distance_of_diagonal_covariances_is_the_sum_over_features() -> None:
    """Rows +-s e_i have the diagonal covariance 2 s^2 / (N - 1)."""
    first, second, shift = np.array([1.0, 2.0, 5.0]), np.array([4.0, 2.0, 0.5]), np.array([1.0, -2.0, 0.0])
    a, b = (np.concatenate([np.diag(s), -np.diag(s)]) for s in (first, second))
    expected = (shift**2).sum() + ((first - second) ** 2 * 2 / 5).sum()
    assert frechet_distance(moments(a), moments(b + shift)) == pytest.approx(expected, rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(counts=st.tuples(st.integers(2, 30), st.integers(2, 30)), features=st.integers(1, 12), seed=st.integers(0, 999))
def test_distance_properties(counts: tuple[int, int], features: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    a, b = (generator.normal(size=(count, features)) for count in counts)
    distance = frechet_distance(moments(a), moments(b))
    assert distance >= 0
    assert frechet_distance(moments(b), moments(a)) == pytest.approx(distance, abs=1e-7)  # symmetric
    assert frechet_distance(moments(a), moments(a)) == pytest.approx(0, abs=1e-7)
    turn = np.linalg.qr(generator.normal(size=(features, features)))[0]
    shift = generator.normal(size=features)
    turned = frechet_distance(moments(a @ turn + shift), moments(b @ turn + shift))
    assert turned == pytest.approx(distance, abs=1e-7)  # rotation and shift of both
    shuffled = frechet_distance(moments(generator.permutation(a)), moments(b))
    assert shuffled == pytest.approx(distance, abs=1e-7)  # order of the rows
    assert frechet_distance(moments(3 * a), moments(3 * b)) == pytest.approx(9 * distance, abs=1e-6)


def test_result_has_its_name() -> None:
    few, enough = moments(draw(6, 6)), moments(draw(7, 6, seed=1))
    assert frechet(few, enough, seed=3) == {"frechet": frechet_distance(few, enough)}


def test_too_few_images_are_named() -> None:
    with pytest.raises(ConfigError, match="at least 2 images of each set, got 1 and 5"):
        frechet(moments(draw(1, 3)), moments(draw(5, 3)))
    with pytest.raises(ConfigError, match="got 5 and 0"):
        frechet(moments(draw(5, 3)), Moments(SETUP))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_features_that_are_no_numbers_are_an_error(value: float) -> None:
    rows = draw(9, 3)
    rows[4, 1] = value
    with pytest.raises(DataError, match="finite"):
        frechet(moments(draw(9, 3)), moments(rows))


def test_unlike_lengths_are_an_error() -> None:
    with pytest.raises(ValueError, match="got 3 and 4 features"):
        frechet(moments(draw(9, 3)), moments(draw(9, 4)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_gpu_gives_the_cpus_distance() -> None:
    setup = Setup(height=8, width=8, channels=3, device="cuda")
    a, b = draw(300, 40), draw(20, 40, seed=1)
    on_gpu = [Moments(setup).update(torch.from_numpy(rows)) for rows in (a, b)]
    expected = reference.low_rank_frechet(a, b)
    assert frechet_distance(*on_gpu) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(on_gpu[0], moments(b)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.slow
def test_distance_of_2048_features_takes_seconds() -> None:
    sets = [moments(draw(2500, 2048, seed=seed)) for seed in (0, 1)]
    start = time.perf_counter()
    assert frechet_distance(*sets) > 0
    assert time.perf_counter() - start < 10
