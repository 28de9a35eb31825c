"""Restoration of photographs by the two networks of CelebA-HQ (ProGAN appendix C), before faces are cropped."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from progan.errors import CheckpointError
from progan.images import to_float, to_uint8

_TILE = 192  # side of the tiles that a network computes at once [pixels of its input]; about 1 GiB for SRGAN


@dataclass(frozen=True, eq=False)
class Restoration:
    """Networks that are applied to an image one after the other; a ``Restore`` for ``prepare_celebahq``."""

    networks: tuple[nn.Module, ...]

    def __call__(self, image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the restored image and the new positions of points; (0, 0) is the center of the first pixel.

        Shape: uint8 [H, W, 3] and float [N, 2] -> uint8 [s H, s W, 3] and float64 [N, 2].
        """
        points = np.asarray(points, np.float64)
        for network in self.networks:
            image = in_tiles(network, image)
            points = (points + 0.5) * network.scale - 0.5  # type: ignore[operator]
        return image, points


@torch.no_grad()
def in_tiles(network: nn.Module, image: np.ndarray, *, tile: int = _TILE) -> np.ndarray:
    """Apply a convolutional network to an image tile by tile, so that memory does not grow with the image.

    Each tile is computed with all surrounding pixels on which it depends, so there are no seams: the result equals that
    for the whole image up to rounding.

    Args:
        network: network from images in [-1, 1] to images ``network.scale`` times as large, whose output pixels depend
            only on input pixels at most ``network.reach`` pixels away.
        image: image to restore, uint8 [H, W, C].
        tile: side of a tile [pixels of the input].

    Shape: uint8 [H, W, C] -> uint8 [s H, s W, C].

    Raises:
        CheckpointError: if the output of the network is not finite.
    """
    scale, reach = int(network.scale), int(network.reach)  # type: ignore[arg-type]
    device = next(network.parameters()).device
    height, width, channels = image.shape
    result = np.empty((height * scale, width * scale, channels), np.uint8)
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            y, x = max(top - reach, 0), max(left - reach, 0)
            part = torch.tensor(image[y : top + tile + reach, x : left + tile + reach]).to(device)
            better = network(to_float(part.permute(2, 0, 1)[None]))
            if not torch.isfinite(better).all():
                raise CheckpointError("the output of the restoration network is not finite (NaN or infinity)")
            pixels = to_uint8(better)[0].permute(1, 2, 0).cpu().numpy()
            inner = pixels[(top - y) * scale :, (left - x) * scale :][: tile * scale, : tile * scale]
            result[top * scale :, left * scale :][: tile * scale, : tile * scale] = inner
    return result
