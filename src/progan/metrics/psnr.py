"""Peak signal-to-noise ratio: how near reconstructions come to their originals, pixel by pixel."""

import math

import torch
from torch import Tensor

from progan.errors import ConfigError
from progan.metrics.parzen import Pixels

PEAK = 255
"""Largest value of a pixel."""
_ROWS = 1 << 22  # pixels in hand at a time


def psnr(images: Tensor, originals: Tensor) -> Tensor:
    """Return 10 log10(255^2 / mean squared difference) of each image and its original [dB]; infinite for equal ones.

    Shape: uint8 [N, ...], uint8 [N, ...] -> float64 [N].

    Raises:
        ConfigError: if the two do not have the same shape.
    """
    if images.shape != originals.shape:
        raise ConfigError(f"images {list(images.shape)} and originals {list(originals.shape)} must have the same shape")
    step = max(1, _ROWS // max(1, math.prod(images.shape[1:])))
    pairs = zip(images.split(step), originals.split(step), strict=True)
    errors = [(a.flatten(1).double() - b.flatten(1).double()).square().mean(1) for a, b in pairs]
    return 10 * torch.log10(PEAK**2 / torch.cat(errors)).cpu()


def mean_psnr(fake: Pixels, real: Pixels, *, seed: int = 0) -> dict[str, float]:
    """Return the mean PSNR of images that have one original each, in the same order [dB].

    Args:
        fake: reconstructions.
        real: their originals.
        seed: not used, because nothing is drawn; part of the common interface.
    """
    return summary(psnr(fake.rows, real.rows))


def summary(values: Tensor) -> dict[str, float]:
    """Return the mean of PSNRs [N], their standard deviation, and the share of images that equal their originals.

    Images that equal their originals have an infinite PSNR, and are not part of the mean and of the deviation unless
    there are no others.

    >>> summary(torch.tensor([20.0, 30.0, math.inf, math.inf]))
    {'psnr': 25.0, 'psnr_std': 7.0710678118654755, 'psnr_equal': 0.5}
    """
    values = values.double()
    finite = values[values.isfinite()]
    return {
        "psnr": float(finite.mean()) if len(finite) else math.inf,
        "psnr_std": float(finite.std()) if len(finite) > 1 else 0.0,
        "psnr_equal": 1 - len(finite) / len(values),
    }
