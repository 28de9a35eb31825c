"""Sliced Wasserstein distance of image sets as one writes it in numpy from ProGAN section 5; float32 or float64.

Also the plain algorithm that ``benchmarks/metrics.py`` measures against.
"""

import numpy as np
import scipy.ndimage

KERNEL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256


def smooth(images, factor=1):
    """Convolved with the binomial filter; scipy's "mirror" does not repeat the edge pixel."""
    return scipy.ndimage.convolve(images, (factor * KERNEL)[None, None].astype(images.dtype), mode="mirror")


def down(images):
    return smooth(images)[:, :, ::2, ::2]


def up(images):
    n, c, h, w = images.shape
    spread = np.zeros((n, c, 2 * h, 2 * w), images.dtype)
    spread[:, :, ::2, ::2] = images
    return smooth(spread, 4)


def pyramid(images, least=16):
    """Levels of float images [N, C, H, W] in [0, 255], finest first; the last is the low-pass image."""
    levels = [images]
    while min(levels[-1].shape[2:]) >= 2 * least:
        smaller = down(levels[-1])
        levels[-1] = levels[-1] - up(smaller)
        levels.append(smaller)
    return levels


def descriptors(level, y, x):
    """7x7 neighbourhoods [N * P, C * 49] of images [N, C, H, W] whose upper left corners are y, x [N, P]."""
    image = np.arange(level.shape[0])[:, None, None, None, None]
    channel = np.arange(level.shape[1])[:, None, None]
    rows = y[:, :, None, None, None] + np.arange(7)[:, None]
    columns = x[:, :, None, None, None] + np.arange(7)
    return level[image, channel, rows, columns].reshape(y.size, -1)


def normalize(patches):
    """Zero mean and unit deviation of each channel over all patches of a set."""
    patches = patches.reshape(len(patches), -1, 49)
    patches = patches - patches.mean(axis=(0, 2), keepdims=True)
    return (patches / patches.std(axis=(0, 2), keepdims=True)).reshape(len(patches), -1)


def distance(a, b, directions):
    """Mean over repeats and directions [R, K, F] of the Wasserstein distance of the projections of a, b [M, F]."""
    results = []
    for repeat in directions.astype(a.dtype):
        projected_a = np.sort(np.matmul(a, repeat.T), axis=0)
        projected_b = np.sort(np.matmul(b, repeat.T), axis=0)
        results.append(np.mean(np.abs(projected_a - projected_b)))
    return np.mean(results)
