"""Laplacian pyramid of images (Burt and Adelson 1983) with OpenCV's filter and borders, on any device.

The filter is the outer product of [1 4 6 4 1] / 16 with itself; borders are mirrored without repeating the edge
(reflect-101). All sums of pixels 0 ... 255 fit float32 exactly at the finest level, which therefore equals
OpenCV's pyrDown and pyrUp bit for bit.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from progan.errors import ConfigError


def pyramid_sizes(height: int, width: int, least: int = 16) -> list[tuple[int, int]]:
    """Return height and width of every level, from the full size down to a shorter side of at least ``least``.

    Raises:
        ConfigError: if the shorter side is below ``least``, or if a side to be halved is odd.

    >>> pyramid_sizes(64, 128)
    [(64, 128), (32, 64), (16, 32)]
    """
    halvings = (min(height, width) // least).bit_length() - 1
    if halvings < 0:
        raise ConfigError(
            f"a Laplacian pyramid requires a shorter side of at least {least} pixels, got {height}x{width}"
        )
    if height % (1 << halvings) or width % (1 << halvings):
        raise ConfigError(
            f"a Laplacian pyramid down to {least} pixels halves {height}x{width} {halvings} times, so both sides must "
            f"be multiples of {1 << halvings}; resize the images, preferably to a power of two"
        )
    return [(height >> i, width >> i) for i in range(halvings + 1)]


def laplacian_pyramid(images: Tensor, least: int = 16) -> list[Tensor]:
    """Return the levels of a Laplacian pyramid, finest first; the last level is the low-pass image itself.

    Args:
        images: pixels in [0, 255].
        least: shorter side of the last level [pixels] (16 in ProGAN section 5).

    Shape: float32 [N, C, H, W] -> list of [N, C, H / 2^i, W / 2^i].

    Raises:
        ConfigError: as ``pyramid_sizes``.
    """
    levels = [images]
    for _ in pyramid_sizes(images.shape[-2], images.shape[-1], least)[1:]:
        smaller = pyr_down(levels[-1])
        levels[-1] = levels[-1] - pyr_up(smaller)
        levels.append(smaller)
    return levels


def pyr_down(x: Tensor) -> Tensor:
    """Filter, and keep every second pixel of every second row.

    Shape: [N, C, 2H, 2W] -> [N, C, H, W]; H and W at least 2.
    """
    height, width = x.shape[-2:]
    x = F.pad(x, (2, 2, 2, 2), mode="reflect")
    x = _five_taps([x[..., i : i + height - 1 : 2, :] for i in range(5)])
    return _five_taps([x[..., i : i + width - 1 : 2] for i in range(5)]).mul_(1 / 256)


def pyr_up(x: Tensor) -> Tensor:
    """Insert zeros after every pixel and every row, filter, and multiply by 4.

    A mirrored border of the enlarged image mirrors ``x`` above and on the left, but repeats the last row and column of
    ``x`` below and on the right.

    Shape: [N, C, H, W] -> [N, C, 2H, 2W]; H and W at least 2.
    """
    *maps, height, width = x.shape
    x = F.pad(F.pad(x, (1, 0, 1, 0), mode="reflect"), (0, 1, 0, 1), mode="replicate").mul_(1 / 64)
    wide = x.new_empty(*maps, height + 2, 2 * width)
    _between(x[..., :-2], x[..., 1:-1], x[..., 2:], even=wide[..., 0::2], odd=wide[..., 1::2])
    large = x.new_empty(*maps, 2 * height, 2 * width)
    upper, here, lower = (wide[..., i : i + height, :] for i in range(3))
    _between(upper, here, lower, even=large[..., 0::2, :], odd=large[..., 1::2, :])
    return large


def _five_taps(x: list[Tensor]) -> Tensor:
    """Sum of five tensors times 1, 4, 6, 4 and 1."""
    return (x[0] + x[4]).add_(x[1], alpha=4).add_(x[3], alpha=4).add_(x[2], alpha=6)


def _between(before: Tensor, here: Tensor, after: Tensor, *, even: Tensor, odd: Tensor) -> None:
    """Fill every second pixel with 1, 6 and 1 times three neighbors, and those between with 4 and 4 times two."""
    torch.add(before, after, out=even).add_(here, alpha=6)
    torch.add(here, after, out=odd).mul_(4)
