"""Restoration networks and their measures, pixel by pixel in plain numpy."""

import numpy as np


def conv(x, weight, bias=None, stride=1):
    """Cross-correlation of maps [C, H, W] with weights [O, C, k, k], zero padding k // 2."""
    out, _, kernel, _ = weight.shape
    pad = kernel // 2
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), (pad, pad), (pad, pad)))
    height, width = x.shape[1:]
    rows, columns = range(0, height, stride), range(0, width, stride)
    y = np.zeros((out, len(rows), len(columns)))
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            window = padded[:, top : top + kernel, left : left + kernel]
            y[:, i, j] = (weight * window).sum((1, 2, 3))
    return y if bias is None else y + np.asarray(bias)[:, None, None]


def norm(x, weight, bias, mean, var):
    """Batch norm after training."""
    return (x - mean[:, None, None]) / np.sqrt(var[:, None, None] + 1e-5) * weight[:, None, None] + bias[:, None, None]


def pixel_shuffle(x, factor):
    """Maps [C * factor^2, H, W] to [C, H * factor, W * factor]."""
    maps, height, width = x.shape
    y = np.zeros((maps // factor**2, height * factor, width * factor))
    for c in range(y.shape[0]):
        for row in range(y.shape[1]):
            for column in range(y.shape[2]):
                which = c * factor**2 + (row % factor) * factor + column % factor
                y[c, row, column] = x[which, row // factor, column // factor]
    return y


def red10(x, encoder, decoder):
    """RED10 written out: five convolutions, five mirrored ones, links at depths 4, 2 and 0 (the image itself).

    encoder: (weight, bias) of conv1 ... conv5; decoder: those of deconv5 ... deconv1.
    """
    relu = lambda values: np.maximum(values, 0)  # noqa: E731
    c1 = relu(conv(x, *encoder[0]))
    c2 = relu(conv(c1, *encoder[1]))
    c3 = relu(conv(c2, *encoder[2]))
    c4 = relu(conv(c3, *encoder[3]))
    c5 = relu(conv(c4, *encoder[4]))
    d5 = relu(conv(c5, *decoder[0]) + c4)
    d4 = relu(conv(d5, *decoder[1]))
    d3 = relu(conv(d4, *decoder[2]) + c2)
    d2 = relu(conv(d3, *decoder[3]))
    return conv(d2, *decoder[4]) + x


def srresnet(x, state, blocks):
    """The generator of SRGAN (figure 4) after training, from its tensors by name."""

    def prelu(values, name):
        return np.where(values > 0, values, state[f"{name}.weight"] * values)

    def normed(values, name):
        return norm(values, *(state[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")))

    def convolved(values, name):
        return conv(values, state[f"{name}.weight"], state.get(f"{name}.bias"))

    first = x = prelu(convolved(x, "first.0"), "first.1")
    for i in range(blocks):
        y = prelu(normed(convolved(x, f"blocks.{i}.first"), f"blocks.{i}.first_norm"), f"blocks.{i}.activation")
        x = x + normed(convolved(y, f"blocks.{i}.second"), f"blocks.{i}.second_norm")
    x = first + normed(convolved(x, "after.0"), "after.1")
    for i in (0, 3):
        x = prelu(pixel_shuffle(convolved(x, f"enlarge.{i}"), 2), f"enlarge.{i + 2}")
    return convolved(x, "last")


def psnr(a, b):
    """Of two pictures uint8 [H, W, C], in dB."""
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2))
