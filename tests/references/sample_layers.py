"""Layers of Table 1's rows a-e and of appendix B in float64 numpy, sample by sample; complex numbers as networks.py."""

import numpy as np


def absolute(x):
    return np.where(x.real > 0, x, -x)


def batch_norm(x, gain, bias, axes, eps=1e-5):
    """Maps [C] of x [..., N, C, H, W] normalized over ``axes``: those of samples and pixels."""
    x = x - x.mean(axes, keepdims=True)
    shape = (-1, *[1] * (-min(axes) - 2))
    return x / np.sqrt((x * x).mean(axes, keepdims=True) + eps) * gain.reshape(shape) + bias.reshape(shape)


def layer_norm(x, gain, bias, axes, eps=1e-5):
    """Samples normalized over ``axes``: (-3, -2, -1) of images, (-1,) of features."""
    x = x - x.mean(axes, keepdims=True)
    return x / np.sqrt((x * x).mean(axes, keepdims=True) + eps) * gain + bias.reshape(-1, *[1] * (len(axes) - 1))


def distances(x, weight, log_length):
    """L1 distances [..., N, N, K] of x [..., N, F] projected by every kernel of weight [K, D, F]."""
    weight = weight / np.sqrt((weight * weight).sum(-1, keepdims=True)) * np.exp(log_length)[..., None]
    points = np.einsum("...nf,kdf->...nkd", x, weight)
    return absolute(points[..., :, None, :, :] - points[..., None, :, :, :]).sum(-1)


def minibatch_discrimination(x, weight, log_length, bias, group):
    """Closeness of each sample to those of its group, [..., N, K]; sample i belongs to group i mod (N / group)."""
    n = x.shape[-2]
    groups = n // min(group, n)
    out = np.empty((*x.shape[:-1], len(weight)), np.result_type(x, weight, log_length))
    for number in range(groups):
        members = [i for i in range(n) if i % groups == number]
        out[..., members, :] = np.exp(-distances(x[..., members, :], weight, log_length)).sum(-2)
    return out + bias


def nearest(x, weight, log_length):
    """Distance of each sample to the nearest other one, averaged, [K]."""
    apart = distances(x, weight, log_length)
    return np.mean([[min(np.delete(row[:, k], i)) for k in range(len(weight))] for i, row in enumerate(apart)], 0)


def multiply_noise(x, noise, average):
    """Every map times 1 + noise * strength * sqrt(C), with appendix B's strength for D's average score."""
    strength = 0.2 * max(0.0, average - 0.5) ** 2
    factor = 1 + noise * strength * np.sqrt(noise.shape[-1])
    return x * (factor[..., None, None] if x.ndim >= 4 else factor)


def score_average(batches):
    """The average of D's scores after some batches of them."""
    average = 0.0
    for scores in batches:
        average = 0.9 * average + 0.1 * min(max(float(np.mean(scores)), 0.0), 1.0)
    return average
