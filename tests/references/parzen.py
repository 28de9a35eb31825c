"""Parzen window log-likelihood written out point by point in float64; imports nothing from progan."""

import math

import numpy as np
from scipy.special import logsumexp


def log_densities(x: np.ndarray, samples: np.ndarray, sigma: float) -> np.ndarray:
    """logmeanexp(-|x - mu|^2 / 2 sigma^2) - d log(sigma sqrt(2 pi)) for rows [n, d] and [N, d]."""
    constant = x.shape[1] * math.log(sigma * math.sqrt(2 * math.pi)) + math.log(len(samples))
    return np.array([logsumexp(-0.5 * ((row - samples) ** 2).sum(1) / sigma**2) for row in x]) - constant


def parzen(fake: np.ndarray, real: np.ndarray, held_out: int) -> tuple[float, float, float]:
    """Mean, its standard error and sigma, which the first ``held_out`` real images choose; uint8 [N, C, H, W]."""
    samples, points = (x.reshape(len(x), -1) / 255.0 for x in (fake, real))
    sigmas = [10 ** (i / 9 - 1) for i in range(10)]  # 0.1 ... 1
    sigma = max(sigmas, key=lambda s: log_densities(points[:held_out], samples, s).mean())
    values = log_densities(points[held_out:], samples, sigma)
    return values.mean(), np.sqrt(values.var(ddof=1) / len(values)), sigma
