"""Pool of generated images that a discriminator is shown in place of the newest (Shrivastava et al. 2017)."""

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """The images of earlier steps that a generator made (CycleGAN section 4: the last 50 of each generator).

    Images are treated one after the other. Until the pool is full, each is stored and returned. From then on, each is
    returned with probability 1/2; otherwise it takes the place of a random stored image, which is returned.

    The images are buffers, so that checkpoints have them. A pool is a function of the images and numbers that it was
    given, hence equal on all ranks if these are the images and numbers of all ranks.

    Args:
        size: number of stored images; 0: every image is returned.
        channels: channels of the images.
        height: their height [pixels].
        width: their width [pixels].
    """

    images: Tensor
    filled: Tensor

    def __init__(self, size: int, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("images", torch.zeros(size, channels, height, width))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def exchange(self, new: Tensor, chance: Tensor) -> Tensor:
        """Store some images, and return as many: themselves or older ones, without gradient.

        Nothing here makes the host wait for the device.

        Args:
            new: generated images [N, C, H, W].
            chance: uniform numbers in [0, 1), [N, 2]: the first decides whether the image is exchanged (above 1/2),
                the second by which of the stored ones.

        Shape: -> [N, C, H, W], dtype of ``new``.
        """
        if not self.size:
            return new.detach()
        swaps, places = chance[:, 0] > 0.5, (chance[:, 1] * self.size).long()
        returned = []
        for image, swap, place in zip(new, swaps, places, strict=True):
            full = self.filled >= self.size
            stored = torch.where(full, place, self.filled).view(1)
            old = self.images.index_select(0, stored)[0].to(image.dtype)
            exchanged = full & swap
            returned.append(torch.where(exchanged, old, image))
            kept = torch.where(exchanged | ~full, image, old).to(self.images.dtype)
            self.images.index_copy_(0, stored, kept.unsqueeze(0))
            self.filled += ~full
        return torch.stack(returned)
