"""Errors of categories and clusters, and nearest neighbors, against plain numpy and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score
from sklearn.neighbors import NearestNeighbors

from progan.metrics import codes
from progan.metrics.codes import error_rate, label_by_majority, label_by_peak, nearest


def data(count: int, clusters: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(clusters, 0.3), count).astype(np.float32)
    return shares, rng.integers(0, 4, count)


def test_error_is_what_accuracy_lacks() -> None:
    shares, labels = data(101, 4)
    wanted = 1 - accuracy_score(labels, shares.argmax(1))
    assert error_rate(shares.argmax(1), labels) == pytest.approx(wanted)


@pytest.mark.parametrize("clusters", [3, 16])
def test_clusters_get_the_label_of_their_surest_image_or_of_most_of_their_images(clusters: int) -> None:
    shares, labels = data(60, clusters)
    shares[:, 1] = 0  # an empty cluster
    shares[5, 2] = shares[9, 2] = 2.0  # two images equally sure: the first counts
    labels[[5, 9]] = 3, 1
    mine = shares.argmax(1)
    for cluster in range(clusters):
        best = max(range(60), key=lambda i: (shares[i, cluster], -i))
        assert label_by_peak(shares, labels)[cluster] == labels[best]
        own = labels[mine == cluster].tolist()
        wanted = max(sorted(set(own)), key=own.count) if own else -1
        assert label_by_majority(mine, labels, clusters)[cluster] == wanted


@pytest.mark.parametrize("features", [1, 3, 1024])
@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_neighbors_are_those_of_scikit_learn(features: int, offset: float, monkeypatch) -> None:
    rng = np.random.default_rng(features)
    x, y = (rng.normal(offset, 1, (n, features)).astype(np.float32) for n in (40, 150))
    neighbors = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(y.astype(np.float64))
    wanted = neighbors.kneighbors(x.astype(np.float64), return_distance=False)[:, 0]
    for block in (1, 1000, 1 << 22):
        monkeypatch.setattr(codes, "_BLOCK", block)
        np.testing.assert_array_equal(nearest(x, y), wanted)


@pytest.mark.parametrize("scale", [2.0**-60, 1.0, 2.0**60])
@pytest.mark.parametrize("offset", [0, 1000, 10**6])
def test_of_equally_near_points_the_first_counts(scale: float, offset: int) -> None:
    """Points of a grid, many of them twice: distances in whole numbers decide."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, (100, 3)), rng.integers(0, 4, (60, 3))
    far = ((x[:, None] - y) ** 2).sum(2)
    x, y = (((points + offset) * scale).astype(np.float32) for points in (x, y))  # exact
    np.testing.assert_array_equal(nearest(x, y), far.argmin(1))


def test_near_copies_far_from_the_origin_are_told_apart() -> None:
    """Products of float32 alone could not: the squared norms are 1e10 times the distances."""
    y = np.full((3, 8), 4096.0, np.float32)
    y[0, 0] += 2.0**-5
    y[1, 0] += 2.0**-6
    y[2] += 512
    assert nearest(np.full((2, 8), 4096.0, np.float32), y).tolist() == [1, 1]
