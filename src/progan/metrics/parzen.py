"""Log-likelihood of images under a Parzen window on generated images, as the first GAN papers report it.

Goodfellow et al. 2014, section 5, after Breuleux et al. 2011: the density of an image is the mean of Gaussians around
N generated images. Their width sigma is the one that gives other real images the highest log-likelihood. Pixels are
0 ... 1.

The estimate is weak (Theis et al. 2016): in hundreds of dimensions it stays far from the true likelihood
for any number of images that can be generated, and it ranks models neither by their likelihood nor by their images.
Cluster centers of the training data can beat the training data itself.
"""

import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from progan.devices import float64_device
from progan.errors import ConfigError, DataError
from progan.metrics.base import Setup
from progan.metrics.spool import MIB, Spool
from progan.metrics.threads import Each, mapper

SIGMAS = np.logspace(-1, 0, 10)
"""Widths of the window that are tried, as in the authors' program [units of pixel values 0 ... 1]."""
LEAST = 10
"""Smallest number of images of a set."""
_VALIDATION = 1000  # real images that choose sigma, as in the authors' program
_MEMORY = 64 * MIB  # images of a set that stay in memory; more go to a file
_EXACT = 1024  # products of two numbers -128 ... 127 whose sum float32 holds exactly: 1024 * 2^14 = 2^24
_BLOCK = {"cpu": 1 << 22, "cuda": 1 << 27}  # distances in hand at a time
_SAMPLES = 4096  # generated images in hand as float32


class Pixels:
    """All images of a set as uint8 rows, in the order in which they were added.

    Images beyond 64 MiB are kept in an unnamed temporary file, which the operating system removes with this object.
    """

    def __init__(self, setup: Setup) -> None:
        self.device = float64_device(setup.device)
        self.count = 0
        self._rows = Spool(setup.channels * setup.height * setup.width, torch.uint8)

    @property
    def rows(self) -> Tensor:
        """Uint8 [N, C * H * W]."""
        return self._rows.whole()

    def update(self, rows: Tensor) -> Self:
        """Add the next images uint8 [N, C, H, W].

        Raises:
            DataError: if temporary files cannot be written.
        """
        folder = Path(tempfile.gettempdir())
        try:
            self._rows.append(rows.flatten(1).cpu().clone())
            if self._rows.held > _MEMORY:
                self._rows.spill(folder)
        except OSError as error:
            need = 1000 * self._rows.width / MIB
            raise DataError(
                f"parzen: cannot write temporary files in {folder} after {self.count} images: {error.strerror}\n"
                f"  needed: {need:.0f} MiB for every 1,000 images of each set\n"
                f"  fix:    TMPDIR=FOLDER_WITH_ROOM, or fewer images"
            ) from error
        self.count += len(rows)
        return self

    def merge(self, other: Self) -> Self:
        """Add the images of ``other``, which follow these."""
        return self.update(other.rows)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the rows, uint8 [N, C * H * W]."""
        return {"rows": self.rows.numpy()}

    def load(self, arrays: Mapping[str, np.ndarray]) -> Self:
        """Restore the state that ``arrays`` returned."""
        self._rows, self.count = Spool(self._rows.width, torch.uint8), 0
        return self.update(torch.from_numpy(np.array(arrays["rows"])))


def parzen(
    fake: Pixels, real: Pixels, *, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> dict[str, float]:
    """Return the mean log-likelihood of real images under a window on each generated one [nats].

    The first real images, a tenth of them and at most 1,000, choose sigma among SIGMAS. The value is the mean over all
    others.

    Args:
        fake: the generated images; more of them give a higher value.
        real: at least 10 real images, which the generator was not trained on.
        seed: not used, because nothing is drawn; part of the common interface.
        progress: called with the number of real images done and their total.

    Returns:
        "parzen"; "parzen_std_error", the standard error of this mean over the real images; "parzen_sigma".

    Raises:
        ConfigError: if there are fewer real images.
    """
    if real.count < LEAST or not fake.count:
        raise ConfigError(f"parzen requires {LEAST} real images and a generated one, got {real.count} and {fake.count}")
    samples, step = fake.rows.to(fake.device), max(1, _BLOCK[fake.device.type] // fake.count)

    def densities(each: Each, first: int, last: int, sigmas: np.ndarray) -> np.ndarray:
        """Log-density of these real images for each sigma, float64 [S, last - first]."""
        blocks = real.rows[first:last].split(step)
        parts = []
        for part in each(lambda block: _log_densities(block.to(fake.device), samples, sigmas), blocks):
            parts.append(part.cpu())
            first += part.shape[1]
            if progress:
                progress(first, real.count)
        return torch.cat(parts, 1).numpy()

    held_out = min(_VALIDATION, real.count // 10)
    with mapper(fake.device) as each:
        sigma = SIGMAS[densities(each, 0, held_out, SIGMAS).mean(1).argmax()]
        values = densities(each, held_out, real.count, np.array([sigma]))[0]
    error = values.std(ddof=1) / math.sqrt(len(values))
    return {"parzen": float(values.mean()), "parzen_std_error": float(error), "parzen_sigma": float(sigma)}


def _log_densities(rows: Tensor, samples: Tensor, sigmas: np.ndarray) -> Tensor:
    """Log-density of rows [n, D] under windows on samples [N, D] for each sigma, float64 [S, n]."""
    squared = squared_distances(rows, samples)
    return torch.stack([log_density(squared, sigma, rows.shape[1]) for sigma in sigmas])


def log_density(squared: Tensor, sigma: float, size: int) -> Tensor:
    """Return the log of the mean of Gaussians of width ``sigma`` in ``size`` dimensions, at some points [nats].

    Args:
        squared: squared distances of each point to the center of each Gaussian, float64 [n, N].

    Shape: [n, N] -> [n].
    """
    mean = torch.logsumexp(squared * (-0.5 / sigma**2), 1) - math.log(squared.shape[1])
    return mean - size * math.log(sigma * math.sqrt(2 * math.pi))


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return the squared distances of images whose pixels 0 ... 255 count as 0 ... 1.

    The sums are exact: float32 matrix products of at most 1,024 whole numbers -128 ... 127, added in float64.

    Shape: uint8 [n, D], [m, D] -> float64 [n, m].
    """
    total = torch.zeros(len(x), len(y), dtype=torch.float64, device=x.device)
    for a, b in zip(x.split(_EXACT, 1), y.split(_EXACT, 1), strict=True):
        a = a.float() - 128
        total += a.square().sum(1).double()[:, None]
        for part, to in zip(b.split(_SAMPLES), total.split(_SAMPLES, 1), strict=True):
            some = part.float() - 128
            to += some.square().sum(1).double()
            to -= (2 * a) @ some.T
    return total / 255**2


def caveat(_fake: Pixels, values: Mapping[str, float]) -> str:
    """Return what reports say of every value, and whether a sigma outside SIGMAS may be better."""
    text = "a weak estimate, which can rank bad models above good ones (Theis et al. 2016)"
    if values["parzen_sigma"] in (SIGMAS[0], SIGMAS[-1]):
        text += f"; the best sigma may be outside the range {SIGMAS[0]:g} ... {SIGMAS[-1]:g} that is tried"
    return text
