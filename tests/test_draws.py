"""Positional random numbers: that position alone decides, that the bits are Philox's, and that they are random."""

import math
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from progan import draws
from progan.errors import ConfigError
from references.philox import philox

MAKERS = {"uniform": draws.uniform, "normal": draws.normal}


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(1, 19),
    first=st.integers(0, 2**40),
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=6),
)
def test_any_split_into_batches_gives_the_same_numbers(name: str, width: int, first: int, sizes: list[int]) -> None:
    make = MAKERS[name]
    whole = make(3, "z", first, sum(sizes), width)
    starts = first + np.concatenate([[0], np.cumsum(sizes)[:-1]])
    parts = [make(3, "z", int(start), size, width) for start, size in zip(starts, sizes, strict=True)]
    assert whole.shape == (sum(sizes), width)
    assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("width", [1, 4, 5])
def test_uniform_bits_are_those_of_philox(width: int) -> None:
    """Sample i owns counter values from i * ceil(width / 4) + 1 on; the key is the seed and the stream's CRC-32."""
    seed, first, blocks = 123456789012345, 7, -(-width // 4)
    got = draws.uniform(seed, "mix", first, 3, width)
    for row in range(3):
        start = (first + row) * blocks + 1
        key = seed, zlib.crc32(b"mix")
        words = [w for block in range(blocks) for w in philox(start + block, key)][:width]
        assert got[row].tolist() == [(w >> 11) / 2**53 for w in words]


@pytest.mark.parametrize("width", [1, 2, 7, 8])
def test_normal_numbers_are_box_and_mullers(width: int) -> None:
    pairs = -(-width // 2)
    got, u = draws.normal(5, "latent", 11, 4, width), draws.uniform(5, "latent", 11, 4, 2 * pairs)
    assert got.dtype == np.float32
    for row in range(4):
        radii = [math.sqrt(-2 * math.log1p(-x)) for x in u[row, :pairs]]
        angles = [2 * math.pi * x for x in u[row, pairs:]]
        want = [r * math.cos(a) for r, a in zip(radii, angles, strict=True)]
        want += [r * math.sin(a) for r, a in zip(radii, angles, strict=True)]
        np.testing.assert_allclose(got[row], want[:width], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_distributions(seed: int) -> None:
    """Kolmogorov-Smirnov on 131072 numbers, moments to 5 standard errors; the seeds are fixed, so this cannot flake."""
    count = 131_072
    u, z = draws.uniform(seed, "u", 0, count // 8, 8), draws.normal(seed, "z", 0, count // 8, 8)
    assert u.min() >= 0
    assert u.max() < 1
    assert stats.kstest(u.ravel(), "uniform").pvalue > 1e-3
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-3
    error = 5 / math.sqrt(count)
    assert abs(u.mean() - 0.5) < error * math.sqrt(1 / 12)
    moments = [(z.astype(np.float64) ** k).mean() for k in (1, 2, 3, 4)]
    for moment, want, variance in zip(moments, (0, 1, 0, 3), (1, 2, 15, 96), strict=True):
        assert abs(moment - want) < error * math.sqrt(variance)
    correlations = np.corrcoef(z.T) - np.eye(8)  # components of one sample, made from the same pairs
    assert np.abs(correlations).max() < 5 / math.sqrt(len(z))
    assert np.abs(np.corrcoef(z[:, 0] ** 2, z[:, 4] ** 2)[0, 1]) < 5 / math.sqrt(len(z))


def test_seeds_streams_and_neighbors_are_unrelated() -> None:
    count = 20_000
    columns = {
        (seed, stream): draws.normal(seed, stream, 0, count, 1)[:, 0]
        for seed in (0, 1, 2)
        for stream in ("latent", "mix", "discriminator/latent", "generator/latent")
    }
    columns["next sample"] = draws.normal(0, "latent", 1, count, 1)[:, 0]
    correlations = np.corrcoef(list(columns.values())) - np.eye(len(columns))
    assert np.abs(correlations).max() < 5 / math.sqrt(count)
    assert len({tuple(c[:4]) for c in columns.values()}) == len(columns)


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_permutation_is_one_and_changes_with_everything(count: int) -> None:
    orders = [draws.permutation(*a, count) for a in ((0, "s", 0), (0, "s", 1), (1, "s", 0), (0, "t", 0))]
    for order in orders:
        assert sorted(order.tolist()) == list(range(count))
    assert np.array_equal(orders[0], draws.permutation(0, "s", 0, count))
    if count == 1000:
        for i in range(4):
            for j in range(i):
                assert (orders[i] == orders[j]).sum() < 10  # 1 on average


def test_permutation_puts_everything_everywhere() -> None:
    """Chi-squared on where each of 8 things lands in 8000 epochs."""
    orders = np.array([draws.permutation(0, "s", epoch, 8) for epoch in range(8000)])
    counts = np.array([np.bincount(orders[:, place], minlength=8) for place in range(8)])
    statistic = ((counts - 1000) ** 2 / 1000).sum()
    assert stats.chi2.sf(statistic, 49) > 1e-3


@pytest.mark.parametrize(
    ("numerator", "kept"),
    [(2**53 - 1, False), (2**53 - 2**28, False), (2**53 - 2**28 - 1, True), (2**53 - 2**29, True), (0, True)],
)
def test_uniform_numbers_are_below_1_as_float32_too(
    numerator: int, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 - 2^-25 is halfway between 1 and the float32 before it, and rounds to 1; what is below it keeps its value."""
    monkeypatch.setattr(draws, "_bits", lambda *_: np.full((1, 2), numerator << 11, np.uint64))
    u = draws.uniform(0, "u", 0, 1, 2)
    assert u.dtype == np.float64
    assert (u.astype(np.float32) < 1).all()
    assert (np.floor(u * 50_000) < 50_000).all()
    assert ((u == numerator / 2**53) == kept).all()
    assert u.astype(np.float32)[0, 0] == min(np.float32(numerator / 2**53), np.float32(1 - 2**-24))
    pair = [
        math.sqrt(-2 * math.log1p(-numerator / 2**53)) * f(2 * math.pi * numerator / 2**53)
        for f in (math.cos, math.sin)
    ]
    assert draws.normal(0, "z", 0, 1, 2)[0] == pytest.approx(pair, rel=1e-6, abs=1e-6)


def test_seeds_that_are_none() -> None:
    draws.check_seed(2**63 - 1)
    for seed in (-1, 2**63):
        with pytest.raises(ConfigError, match=rf"seed must be 0 \.\.\. 2\^63 - 1, got {seed}"):
            draws.check_seed(seed)
