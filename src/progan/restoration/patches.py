"""Shared parts of the restoration networks: square crops of images, and distances between images."""

import torch
from torch import Tensor

from progan.errors import ConfigError


def patches(images: Tensor, places: Tensor, side: int) -> Tensor:
    """Crop a square from each image, or return the images themselves if ``side`` is 0.

    Args:
        places: top and left edges of the crops as fractions of the possible range, [N, 2] in [0, 1].
        side: side of the crops [pixels].

    Shape: images [N, C, H, W] -> [N, C, side, side].

    Raises:
        ConfigError: if the images are smaller than the crops.
    """
    if not side:
        return images
    height, width = images.shape[2:]
    if min(height, width) < side:
        raise ConfigError(f"gan.crop requires images of at least {side}x{side}, these are {height}x{width}")
    room = places.new_tensor([height - side, width - side])
    top, left = (places * (room + 1)).floor().minimum(room).long().T[..., None]  # [N, 1] each
    steps = torch.arange(side, device=images.device)
    sample = torch.arange(len(images), device=images.device)[:, None, None]
    return images[sample, :, (top + steps)[:, :, None], (left + steps)[:, None]].permute(0, 3, 1, 2)


def squared_error(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean squared difference of each sample, [N, C, H, W] -> [N]."""
    return (a - b).float().square().mean((1, 2, 3))


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of images in [-1, 1] over all channels [dB]; infinite for equal images.

    Shape: [N, C, H, W] -> [N].

    >>> psnr(torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.2)).tolist()
    [20.0]
    """
    return -10 * (squared_error(a, b) / 4).log10()
