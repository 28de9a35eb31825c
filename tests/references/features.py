"""The metrics of features as their papers write them, in plain numpy and scipy with loops; feature rows [N, F]."""

import numpy as np
import scipy.linalg


def frechet(a, b):
    """The textbook formula with numpy.cov and scipy's square root of a matrix."""
    cov_a, cov_b = (np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (a, b))
    root = scipy.linalg.sqrtm(cov_a @ cov_b)
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(root).real


def low_rank_frechet(a, b):
    """The same without any covariance: tr (A B)^(1/2) is the sum of the singular values of the centred X_a X_b^T."""
    mean_a, mean_b = a.mean(0), b.mean(0)
    x, y = (a - mean_a) / np.sqrt(len(a) - 1), (b - mean_b) / np.sqrt(len(b) - 1)
    root = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return ((mean_a - mean_b) ** 2).sum() + (x**2).sum() + (y**2).sum() - 2 * root


def squared_mmd(x, y):
    """Unbiased: no row meets itself."""

    def k(a, b):
        return (np.dot(a, b) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    within_x = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_y = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_x + within_y - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


def inception_score(probabilities, splits):
    """Scores of the splits; every probability above 0."""
    n, scores = len(probabilities), []
    for i in range(splits):
        part = probabilities[i * n // splits : (i + 1) * n // splits].astype(np.float64)
        scores.append(np.exp(np.mean([np.sum(p * np.log(p / part.mean(0))) for p in part])))
    return scores


def distances(a, b):
    """Euclidean, [A, B], by differences."""
    return np.sqrt(np.array([((row - b) ** 2).sum(1) for row in a]))


def precision_recall(fake, real, k):
    def covered(points, centres):
        """Share of the points in the union of balls reaching to the k-th nearest other centre."""
        radii = np.array([np.sort(np.delete(row, i))[k - 1] for i, row in enumerate(distances(centres, centres))])
        return (distances(points, centres) <= radii).any(1).mean()

    return covered(fake, real), covered(real, fake)
