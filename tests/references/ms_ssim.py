"""MS-SSIM of Wang, Simoncelli and Bovik (2003) in plain numpy, with the choices that GAN papers made; no progan."""

import numpy as np
from scipy.ndimage import convolve
from scipy.signal import fftconvolve

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def window(size: int, sigma: float) -> np.ndarray:
    """A normalized Gaussian [1, size, size, 1], centered between two pixels if the size is even."""
    radius = size // 2
    offset, stop = (0.5, radius) if size % 2 == 0 else (0.0, radius + 1)
    y, x = np.mgrid[offset - radius : offset + stop, offset - radius : offset + stop]
    g = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    return (g / g.sum())[None, :, :, None]


def one_scale(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean SSIM and mean contrast-structure term of every pair, [N] each."""
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    size = min(11, a.shape[1], a.shape[2])
    g = window(size, size * 1.5 / 11)
    mu_a, mu_b = fftconvolve(a, g, mode="valid"), fftconvolve(b, g, mode="valid")
    var_a = fftconvolve(a * a, g, mode="valid") - mu_a * mu_a
    var_b = fftconvolve(b * b, g, mode="valid") - mu_b * mu_b
    covariance = fftconvolve(a * b, g, mode="valid") - mu_a * mu_b
    contrast = (2 * covariance + c2) / (var_a + var_b + c2)
    ssim = contrast * (2 * mu_a * mu_b + c1) / (mu_a**2 + mu_b**2 + c1)
    return ssim.mean((1, 2, 3)), contrast.mean((1, 2, 3))


def ms_ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """MS-SSIM [N] of pairs of images [N, H, W, C] in 0 ... 255."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    box = np.ones((1, 2, 2, 1)) / 4
    terms = []
    for scale in range(5):
        ssim, contrast = one_scale(a, b)
        terms.append(ssim if scale == 4 else contrast)
        a, b = (convolve(x, box, mode="reflect")[:, ::2, ::2, :] for x in (a, b))
    return np.prod(np.maximum(terms, 0) ** np.array(WEIGHTS)[:, None], axis=0)
