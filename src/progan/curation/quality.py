"""Image quality from the power spectrum (ProGAN appendix C), which should be broad and nearly radially symmetric."""

import functools

import numpy as np

_LOW = (1 / 32, 1 / 8)
"""Frequencies that blur and enlargement do not change [cycles per pixel]; they set the reference level."""
_RINGS = 12
_UNEVEN = 4.0  # weight of the second term
_EXCESS = 0.5  # nats above the level of the low frequencies from which peaks count
_FLOOR = 1e-2
"""Power added to all frequencies, that of noise of a tenth of a gray level, so that rounding is not detail."""
_EULER = 0.5772156649  # log of mean - mean of log for exponentially distributed power: a ring of white noise


def quality(image: np.ndarray) -> float:
    """Score the quality of an image; larger is better, and natural images have about -8 ... 0, in nats of power.

    The luminance under a Hann window has the power P at each frequency f. Natural images have about P ~ 1 / |f|^2.
    Over 12 rings from 1/8 to 1/2 cycles per pixel, the score is

      breadth: mean of the log of P |f|^2 relative to the frequencies 1/32 ... 1/8, at most 0 in each ring. Blurred and
      enlarged images score low here;

      minus 4 times the unevenness of the worst ring: log of the mean of P minus the mean of its log, minus the value
      expected by chance. It is large if single frequencies stand out, as in half-toning. It is limited to the ring's
      power beyond 0.5 nats above the low frequencies: a soft image must not gain when blur hides faint peaks.

    The paper gives no formula; this one is ours. White noise counts as detail, because a spectrum cannot distinguish
    them.

    Args:
        image: uint8 [H, W, 3] or [H, W], with at least 32 pixels per side.
    """
    grey = image if image.ndim == 2 else image @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    window, bins, weight = _frequencies(*grey.shape)
    grey = grey - np.average(grey, weights=window)
    power = np.abs(np.fft.rfft2(grey * window)) ** 2 / np.square(window).sum() + _FLOOR
    flat = power * weight  # constant for 1 / f^2
    logs = np.log(flat)
    level = logs[bins == 0].mean()
    rings = np.where(bins > 0, bins - 1, _RINGS).ravel()
    count = np.bincount(rings)[:-1]
    mean_log = np.bincount(rings, logs.ravel())[:-1] / count
    log_mean = np.log(np.bincount(rings, flat.ravel())[:-1] / count)
    breadth = np.minimum(mean_log - level, 0)
    uneven = np.minimum(log_mean - mean_log - _EULER, np.maximum(log_mean - level - _EXCESS, 0))
    return float(breadth.mean() - _UNEVEN * uneven.max())


@functools.lru_cache(4)
def _frequencies(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the Hann window [H, W], the ring of every frequency (0 low, 1 ... 12, -1 none) and |f|^2 [H, W/2 + 1]."""
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    radius = np.hypot(fy, fx)
    edges = np.linspace(_LOW[1], 0.5, _RINGS + 1)
    bins = np.digitize(radius, edges)
    bins = np.where((radius < _LOW[0]) | (bins > _RINGS), -1, bins)
    return window, bins, np.where(radius > 0, radius, 1) ** 2
