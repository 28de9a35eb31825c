"""Photographs improved by the two networks of CelebA-HQ (ProGAN appendix C), before faces are cut out of them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from progan.errors import CheckpointError
from progan.images import to_float, to_uint8

_TILE = 192  # side of the parts that a network gives at once [pixels of its input]; about 1 GiB for SRGAN


@dataclass(frozen=True, eq=False)
class Restoration:
    """Networks that a picture goes through one after the other; a ``Restore`` for ``prepare_celebahq``."""

    networks: tuple[nn.Module, ...]

    def __call__(self, image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The better picture, and where points of it are now; (0, 0) is the middle of the first pixel.

        Shape: uint8 [H, W, 3] and float [N, 2] -> uint8 [s H, s W, 3] and float64 [N, 2].
        """
        points = np.asarray(points, np.float64)
        for network in self.networks:
            image = in_tiles(network, image)
            points = (points + 0.5) * network.scale - 0.5  # type: ignore[operator]
        return image, points


@torch.no_grad()
def in_tiles(network: nn.Module, image: np.ndarray, *, tile: int = _TILE) -> np.ndarray:
    """A picture after a convolutional network, part by part, so that memory does not grow with the picture.

    Each part is computed with as much around it as its pixels depend on, so there are no seams: the result is that of
    the whole picture at once, up to rounding.

    Args:
        network: images in [-1, 1] to images ``network.scale`` times as large, in which nothing depends on what is
            more than ``network.reach`` pixels of the input away.
        tile: side of a part [pixels of the input].

    Shape: uint8 [H, W, C] -> uint8 [s H, s W, C].

    Raises:
        CheckpointError: if what the network gives is not finite.
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
                raise CheckpointError("the network that restores pictures gives numbers that are not finite (NaN)")
            pixels = to_uint8(better)[0].permute(1, 2, 0).cpu().numpy()
            inner = pixels[(top - y) * scale :, (left - x) * scale :][: tile * scale, : tile * scale]
            result[top * scale :, left * scale :][: tile * scale, : tile * scale] = inner
    return result
