"""ProGAN's layers and both networks in float64 numpy, from the paper and SPEC sections 2 and 3; slow and plain.

Everything takes any number of axes in front of [N, C, H, W], and complex numbers: a complex step through these
functions gives their derivatives to the last digit (see derivatives.py). So no abs, no conjugates, no numpy.var.
"""

import numpy as np

SQRT2 = np.sqrt(2)


def upscale(x):
    return x.repeat(2, -2).repeat(2, -1)


def downscale(x):
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


def fade(old, new, alpha):
    return (1 - alpha) * old + alpha * new


def leaky(x):
    return np.where(x.real > 0, x, 0.2 * x)


def pixel_norm(x, axis):
    return x / np.sqrt((x * x).mean(axis, keepdims=True) + 1e-8)


def minibatch_stddev(x, group):
    n = x.shape[-4]
    groups = n // min(group, n)
    out = np.empty((*x.shape[:-3], 1, *x.shape[-2:]), x.dtype)
    for number in range(groups):
        members = [i for i in range(n) if i % groups == number]
        y = x[..., members, :, :, :]
        y = y - y.mean(-4, keepdims=True)
        deviation = np.sqrt((y * y).mean(-4) + 1e-8).mean((-3, -2, -1))
        out[..., members, :, :, :] = deviation[..., None, None, None, None]
    return out


def conv(x, weight, bias, gain=SQRT2):
    outputs, inputs, side, _ = weight.shape
    *batch, _, height, width = x.shape
    weight = weight * (gain / np.sqrt(inputs * side * side))
    border = side // 2
    x = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(border, border)] * 2)
    y = 0
    for a in range(side):
        for b in range(side):
            window = x[..., a : a + height, b : b + width].reshape(*batch, inputs, height * width)
            y = y + weight[:, :, a, b] @ window
    return y.reshape(*batch, outputs, height, width) + bias[:, None, None]


def linear(x, weight, bias=0, gain=SQRT2):
    return x @ (weight * (gain / np.sqrt(weight.shape[1]))).T + bias


def generator(weights, z, level, alpha=None, labels=None, *, classes=0, start=(4, 4)):
    """Images of latents z [N, Z]; weights as {"first.weight": ...}; alpha None: nothing fades."""

    def layer(name, x, **options):
        return conv(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **options)

    if classes:
        one_hot = np.zeros((len(z), classes))
        one_hot[range(len(z)), labels] = 1
        z = np.concatenate([z, one_hot], 1)
    x = linear(pixel_norm(z, -1), weights["dense.weight"], gain=SQRT2 / 4)
    x = x.reshape(len(z), -1, *start) + weights["dense_bias"][:, None, None]
    x = pixel_norm(leaky(x), -3)
    x = pixel_norm(leaky(layer("first", x)), -3)
    images = [layer("to_rgb.0", x, gain=1)]
    for block in range(level):
        x = pixel_norm(leaky(layer(f"blocks.{block}.0", upscale(x))), -3)
        x = pixel_norm(leaky(layer(f"blocks.{block}.1", x)), -3)
        images.append(layer(f"to_rgb.{block + 1}", x, gain=1))
    return images[-1] if alpha is None or level == 0 else fade(upscale(images[-2]), images[-1], alpha)


def discriminator(weights, x, level, alpha=None, *, group=4, fused=False):
    """Outputs [..., N, 1 + classes] of images x [..., N, C, H, W]."""

    def layer(name, x):
        return conv(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    y = leaky(layer(f"from_rgb.{level}", x))
    for block in reversed(range(level)):
        y = layer(f"blocks.{block}.1", leaky(layer(f"blocks.{block}.0", y)))
        y = leaky(downscale(y)) if fused else downscale(leaky(y))
        if block == level - 1 and alpha is not None:
            y = fade(leaky(layer(f"from_rgb.{block}", downscale(x))), y, alpha)
    if group:
        y = np.concatenate([y, minibatch_stddev(y, group)], -3)
    y = leaky(layer("last", y))
    y = y.reshape(*y.shape[:-3], -1)
    y = leaky(linear(y, weights["dense.weight"], weights["dense.bias"]))
    return linear(y, weights["score.weight"], weights["score.bias"], gain=1)
