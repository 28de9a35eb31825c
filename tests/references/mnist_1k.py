"""The networks of the discrete mode test in float64 numpy, by the names of their weights."""

import numpy as np

from references.networks import conv, downscale, linear, minibatch_stddev, pixel_norm, upscale
from references.sample_layers import batch_norm

ROOT2 = np.sqrt(2)


def _leaky(x, leak):
    return np.where(x > 0, x, leak * x)


def _conv(w, name, x, gain):
    weight = w[f"{name}.weight"]
    return conv(x, weight, w.get(f"{name}.bias", np.zeros(len(weight))), gain=gain)


def _norm(w, number, x):
    name = f"norms.{number}"
    return batch_norm(x, w[f"{name}.weight"], w[f"{name}.bias"], (-4, -2, -1))


def generator(w, z, level):
    ours = "norms.0.bias" not in w
    root2, one = (ROOT2, 1) if ours else (None, None)
    x = linear(z, w["dense.weight"], w.get("dense.bias", 0), gain=root2).reshape(len(z), 64, 4, 4)
    for number in range(level + 1):
        x = _conv(w, f"convs.{number - 1}", upscale(x), root2) if number else x
        x = pixel_norm(_leaky(x, 0.3), 1) if ours else _leaky(_norm(w, number, x), 0.3)
    return np.tanh(_conv(w, f"to_rgb.{level}", x, one))


def discriminator(w, images, level, *, full, stddev, equalized, alpha=None):
    """Further axes may stand in front of the batch's."""
    root2, one = (ROOT2, 1) if equalized else (None, None)

    def enter(images, level):
        return _leaky(_conv(w, f"from_rgb.{level}", images, root2), 0.2)

    x = enter(images, level) if level < full else images
    for number in range(level, 0, -1):
        x = _conv(w, f"convs.{number - 1}", x, root2)
        x = downscale(_leaky(_norm(w, number - 1, x) if f"norms.{number - 1}.bias" in w else x, 0.2))
        if number == level and alpha is not None:
            x = alpha * x + (1 - alpha) * enter(downscale(images), level - 1)
    if stddev:
        x = np.concatenate([x, minibatch_stddev(x, x.shape[-4])], -3)
    score = linear(x.reshape(*x.shape[:-3], -1), w["score.weight"], w["score.bias"], gain=one)
    return score[..., 0]
