"""ProGAN's layers and both networks in float64 numpy, from the paper and SPEC sections 2 and 3; slow and plain.

Everything takes any number of axes in front of [N, C, H, W], and complex numbers: a complex step through these
functions gives their derivatives to the last digit (see derivatives.py). So no abs, no conjugates, no numpy.var.
"""

import numpy as np

from references import sample_layers

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
    """``gain`` None: weights as they are."""
    outputs, inputs, side, _ = weight.shape
    *batch, _, height, width = x.shape
    weight = weight if gain is None else weight * (gain / np.sqrt(inputs * side * side))
    border = side // 2
    x = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(border, border)] * 2)
    y = 0
    for a in range(side):
        for b in range(side):
            window = x[..., a : a + height, b : b + width].reshape(*batch, inputs, height * width)
            y = y + weight[:, :, a, b] @ window
    return y.reshape(*batch, outputs, height, width) + bias[:, None, None]


def linear(x, weight, bias=0, gain=SQRT2):
    return x @ (weight if gain is None else weight * (gain / np.sqrt(weight.shape[1]))).T + bias


def normalize(x, weights, name):
    """Batch norm or layer norm, whichever has parameters of that name."""
    if f"{name}.weight" in weights:
        return sample_layers.batch_norm(x, weights[f"{name}.weight"], weights[f"{name}.bias"], (-4, -2, -1))
    axes = (-3, -2, -1) if x.ndim >= 4 else (-1,)
    return sample_layers.layer_norm(x, weights[f"{name}.gain"], weights[f"{name}.bias"], axes)


def layer(weights, name, x, apply, **options):
    """A convolution or dense layer with its bias, or with the normalization that stands for it."""
    if f"{name}.weight" in weights:
        return apply(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **options)
    weight = weights[f"{name}.0.weight"]
    return normalize(apply(x, weight, np.zeros(len(weight)), **options), weights, f"{name}.1")


def generator(
    weights, z, level, alpha=None, labels=None, *, classes=0, start=(4, 4), equalized=True, norm="pixel",
    activation="leaky", tanh=False, normalize_latents=True
):  # fmt: skip
    """Images of latents z [N, Z]; weights as {"first.weight": ...}; alpha None: nothing fades."""

    def activate(x):
        x = leaky(x) if activation == "leaky" else np.where(x.real > 0, x, 0)
        return pixel_norm(x, -3) if norm == "pixel" else x

    def block(name, x):
        return activate(layer(weights, name, x, conv, gain=SQRT2 if equalized else None))

    def image(x, level):
        rgb = layer(weights, f"to_rgb.{level}", x, conv, gain=1 if equalized else None)
        return np.tanh(rgb) if tanh else rgb

    if classes:
        one_hot = np.zeros((len(z), classes))
        one_hot[range(len(z)), labels] = 1
        z = np.concatenate([z, one_hot], 1)
    z = pixel_norm(z, -1) if normalize_latents else z
    x = linear(z, weights["dense.weight"], gain=SQRT2 / 4 if equalized else None).reshape(len(z), -1, *start)
    batch = norm == "batch"
    x = normalize(x, weights, "dense_norm") if batch else x + weights["dense_bias"][:, None, None]
    x = block("first", activate(x))
    images = [image(x, 0)]
    for number in range(level):
        x = block(f"blocks.{number}.1", block(f"blocks.{number}.0", upscale(x)))
        images.append(image(x, number + 1))
    return images[-1] if alpha is None or level == 0 else fade(upscale(images[-2]), images[-1], alpha)


def discriminator(
    weights, x, level, alpha=None, *, group=4, fused=False, equalized=True, kernels=0, noise=None, average=0.0
):
    """Outputs [..., N, 1 + classes] of images x [..., N, C, H, W].

    ``noise(i, C)`` is what the i-th noisy layer is multiplied by, at D's average score ``average``.
    """
    gain, number = SQRT2 if equalized else None, iter(range(99))

    def disturb(y):
        return y if noise is None else sample_layers.multiply_noise(y, noise(next(number), y.shape[-3]), average)

    def part(name, x):
        return layer(weights, name, x, conv, gain=gain)

    y = leaky(part(f"from_rgb.{level}", x))
    for block in reversed(range(level)):
        y = leaky(part(f"blocks.{block}.0", disturb(y)))
        y = part(f"blocks.{block}.1", disturb(y))
        y = leaky(downscale(y)) if fused else downscale(leaky(y))
        if block == level - 1 and alpha is not None:
            y = fade(leaky(part(f"from_rgb.{block}", downscale(x))), y, alpha)
    if group:
        y = np.concatenate([y, minibatch_stddev(y, group)], -3)
    y = disturb(leaky(part("last", disturb(y))))
    y = leaky(layer(weights, "dense", y.reshape(*y.shape[:-3], -1), linear, gain=gain))
    if kernels:
        values = [weights[f"discrimination.{key}"] for key in ("weight", "log_length", "bias")]
        closeness = sample_layers.minibatch_discrimination(y, *values, group=y.shape[-2])
        y = np.concatenate([y, closeness], -1)
    return linear(y, weights["score.weight"], weights["score.bias"], gain=1 if equalized else None)
