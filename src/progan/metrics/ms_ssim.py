"""MS-SSIM between generated images: how similar they are to each other; higher means less variety.

Wang, Simoncelli and Bovik (2003) as ProGAN measures it (section 5). In images smaller than the 11-pixel window, the
window is as large as the image; a pair's statistics are means over its pixels and channels jointly; means below 0 count
as 0.
"""

from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from torch import Tensor

from progan.devices import float64_device
from progan.errors import ConfigError
from progan.metrics.base import Setup
from progan.metrics.threads import mapper

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, full resolution first
_WINDOW, _SIGMA = 11, 1.5  # [pixels]
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_CHUNK = 1 << 19  # pixels of both images that a thread takes at once
_STRIP = 1 << 17  # of them filtered at once: what fits into a CPU's cache


def ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """Return the MS-SSIM of pairs of images with values 0 ... 255; 1 for equal images.

    Computed in float64, because in float32 the difference E[x^2] - E[x]^2 is off by more than 1e-5 in flat areas.
    Where a scale has an odd side, its last row or column counts twice in the next scale.

    Shape: a, b uint8 or float [N, C, H, W] -> float64 [N].
    """
    n, channels, height, width = a.shape
    step = max(1, _CHUNK // (2 * height * width))
    a, b = a.flatten(0, 1), b.flatten(0, 1)  # [N * C, H, W]: channels meet again in the means
    with mapper(a.device) as each:
        parts = list(each(_scales, a.split(step), b.split(step)))
    terms = torch.cat(parts, 1).unflatten(1, (n, channels)).mean(2)  # [5, N]
    weights = torch.tensor(_WEIGHTS, dtype=terms.dtype, device=terms.device)
    return terms.clamp(min=0).pow(weights[:, None]).prod(0)


def _scales(a: Tensor, b: Tensor) -> Tensor:
    """Mean contrast and structure at the first four scales and mean SSIM at the last, [K, H, W] twice -> [5, K].

    With s = a + b and d = a - b, whose windows have means S, D and variances P, Q, the two factors of SSIM are
    1 - 2 D^2 / (S^2 + D^2 + 2 c1) and 1 - 2 Q / (P + Q + 2 c2): two maps and their squares to filter instead of five.
    """
    x = torch.stack([a, b]).permute(2, 3, 0, 1).contiguous().double()  # [H, W, 2, K]: every shift is contiguous
    x[:, :, 0] += x[:, :, 1]
    x[:, :, 1].mul_(-2).add_(x[:, :, 0])
    terms = []
    for scale in range(len(_WEIGHTS)):
        if scale:
            x = _halve(_halve(x, 0), 1)
        terms.append(_mean_term(x, with_luminance=scale == len(_WEIGHTS) - 1))
    return torch.stack(terms)


def _mean_term(x: Tensor, *, with_luminance: bool) -> Tensor:
    """Mean contrast and structure, or mean SSIM, of sums and differences [H, W, 2, K] -> [K]."""
    size = min(_WINDOW, x.shape[0], x.shape[1])
    height, width = x.shape[0] - size + 1, x.shape[1] - size + 1
    rows = max(size, _STRIP // max(1, x[0].numel()))
    total = x.new_zeros(x.shape[3])
    for top in range(0, height, rows):
        strip = x[top : top + rows + size - 1]
        mean = _blur(strip, size).square_()
        term = _likeness(_blur(strip.square(), size).sub_(mean), _C2)
        if with_luminance:
            term = term * _likeness(mean, _C1)
        total += term.sum((0, 1))
    return total / (height * width)


def _likeness(x: Tensor, c: float) -> Tensor:
    """1 - 2 q / (p + q + 2 c), [H, W, (p, q), K] -> [H, W, K]."""
    p, q = x.unbind(2)
    return (q / (p + q).add_(2 * c)).mul_(-2).add_(1)


def _halve(x: Tensor, dim: int) -> Tensor:
    """Means of neighbours along ``dim``; of an odd number of them the last one alone."""
    last = x.shape[dim] - 1
    first = torch.arange(0, last + 1, 2, device=x.device)
    return (x.index_select(dim, first) + x.index_select(dim, (first + 1).clamp(max=last))) / 2


def _blur(x: Tensor, size: int) -> Tensor:
    """Gaussian windows that lie inside the images, [H, W, ...] -> [H - size + 1, W - size + 1, ...].

    Shifted copies are added up: on CPUs this is faster than a convolution, a matrix product or an FFT.
    """
    at = np.arange(size) - (size - 1) / 2
    weights = np.exp(-0.5 * (at * _WINDOW / (size * _SIGMA)) ** 2)
    weights = (weights / weights.sum()).tolist()
    for dim in (0, 1):
        valid = x.shape[dim] - size + 1
        y = x.narrow(dim, 0, valid) * weights[0]
        for i in range(1, size):
            y.add_(x.narrow(dim, i, valid), alpha=weights[i])
        x = y
    return x


class PairSimilarity:
    """MS-SSIM of pairs of images: 0 and 1, 2 and 3, ... in the order in which they are added.

    'progan metric' adds the images of a store or folder in a random order drawn by the seed, or in that of the files if
    ``--order file`` is given. A last image without a partner waits for the next batch.
    """

    def __init__(self, setup: Setup) -> None:
        self.device = float64_device(setup.device)
        self.values = np.empty(0)
        """MS-SSIM of every pair so far, float64 [pairs]."""
        self._left = torch.empty(0, setup.channels, setup.height, setup.width, dtype=torch.uint8)

    @property
    def count(self) -> int:
        """Images added so far."""
        return 2 * len(self.values) + len(self._left)

    def update(self, rows: Tensor) -> Self:
        """Add the next images uint8 [N, C, H, W]."""
        rows = torch.cat([self._left.to(rows.device), rows]) if len(self._left) else rows
        pairs = rows[: len(rows) // 2 * 2].to(self.device)
        self._left = rows[len(pairs) :].cpu().clone()  # not a view of a batch
        self.values = np.concatenate([self.values, ms_ssim(pairs[0::2], pairs[1::2]).cpu().numpy()])
        return self

    def merge(self, other: Self) -> Self:
        """Add the pairs of the images that follow these.

        Raises:
            ConfigError: if an image here has no partner, because all pairs of ``other`` would then be different ones.
        """
        if len(self._left) and other.count:
            raise ConfigError(f"MS-SSIM: only an even number of images can be merged with more, got {self.count}")
        self.values = np.concatenate([self.values, other.values])
        self._left = torch.cat([self._left, other._left])
        return self

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the MS-SSIM of every pair, and the image without a partner if there is one."""
        return {"values": self.values, "left": self._left.numpy()}

    def load(self, arrays: Mapping[str, np.ndarray]) -> Self:
        """Restore the state that ``arrays`` returned."""
        self.values, self._left = np.array(arrays["values"]), torch.from_numpy(np.array(arrays["left"]))
        return self


def mean_similarity(fake: PairSimilarity, *, seed: int = 0) -> dict[str, float]:
    """Return the mean MS-SSIM of all pairs and its standard error (NaN for a single pair); ``seed`` is not used.

    Raises:
        ConfigError: if there are fewer than two images.
    """
    pairs = len(fake.values)
    if not pairs:
        raise ConfigError(f"MS-SSIM compares pairs: it requires at least 2 images, got {fake.count}")
    spread = float(fake.values.std(ddof=1)) if pairs > 1 else float("nan")
    return {"ms_ssim": float(fake.values.mean()), "ms_ssim_std_error": spread / pairs**0.5}
