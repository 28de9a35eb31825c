"""Histogram of the digits that a classifier reads in images of one digit each, such as MNIST's.

Its divergence from the real images' histogram shows digits that a generator leaves out or prefers (mode collapse), as
the mode count does for three digits (Metz et al. 2017). The share of images without a clear digit shows garbage.
"""

from collections.abc import Mapping
from typing import Self

import numpy as np
from torch import Tensor

from progan.metrics.base import Setup
from progan.metrics.digits import check_readable

UNSURE = 0.5
"""Probability of the most probable digit below which an image counts as unsure."""


class DigitShares:
    """Number of images of each digit, and how sure the classifier was.

    Raises:
        ConfigError: if digits cannot be read from images of this size.
    """

    def __init__(self, setup: Setup) -> None:
        check_readable(setup.channels, setup.height, setup.width)
        self.histogram = np.zeros(10, np.int64)
        self.confidence = 0.0
        """Sum of the probability of the most probable digit over all images."""
        self.unsure = 0
        """Number of images in which this probability is below UNSURE."""

    @property
    def count(self) -> int:
        """Images added so far."""
        return int(self.histogram.sum())

    def update(self, rows: Tensor) -> Self:
        """Add probabilities [N, 10]."""
        best, digits = rows.cpu().double().max(1)
        self.histogram += np.bincount(digits.numpy(), minlength=10)
        self.confidence += float(best.sum())
        self.unsure += int((best < UNSURE).sum())
        return self

    def merge(self, other: Self) -> Self:
        """Add the digits of further images."""
        self.histogram += other.histogram
        self.confidence += other.confidence
        self.unsure += other.unsure
        return self

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the histogram, int64 [10], and both sums."""
        return {
            "histogram": self.histogram,
            "confidence": np.array(self.confidence),
            "unsure": np.array(self.unsure),
        }

    def load(self, arrays: Mapping[str, np.ndarray]) -> Self:
        """Restore the state that ``arrays`` returned."""
        self.histogram = np.array(arrays["histogram"])
        self.confidence, self.unsure = float(arrays["confidence"]), int(arrays["unsure"])
        return self


def digit_histogram(fake: DigitShares, real: DigitShares | None = None, *, seed: int = 0) -> dict[str, float]:
    """Return KL(generated || real) of the histograms [nats], and the histogram of the generated images.

    Args:
        fake: digits of the generated images, at least one image.
        real: digits of the real images; without them, the divergence is that from a uniform histogram. A digit that
            only generated images contain counts as half a real image, so that the divergence stays finite.
        seed: not used, because nothing is drawn; part of the common interface.

    Returns:
        "digit_kl"; "digits", the number of digits that occur, and their shares "digits_0" ... "digits_9";
        "digit_confidence", the mean probability of the most probable digit; "digit_unsure", the share of images in
        which it is below 0.5.
    """
    there = fake.histogram > 0
    expected = np.ones(10) if real is None else np.maximum(real.histogram, 0.5 * there)
    p, q = fake.histogram / fake.count, expected / expected.sum()
    values = {
        "digit_kl": float((p[there] * np.log(p[there] / q[there])).sum()),
        "digits": float(there.sum()),
        "digit_confidence": fake.confidence / fake.count,
        "digit_unsure": fake.unsure / fake.count,
    }
    return values | {f"digits_{digit}": float(share) for digit, share in enumerate(p)}
