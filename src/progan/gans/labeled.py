"""The few images of a data set whose labels a semi-supervised GAN is allowed to use."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from progan import draws
from progan.errors import ConfigError, DataError
from progan.gans.base import Batch, ImageSpec
from progan.images import to_float, to_uint8


def check_labeled(count: int, spec: ImageSpec, *, used: bool) -> None:
    """Raise ConfigError if ``count`` labels are given to a GAN that uses none, or are too few for the classes."""
    if count and not used:
        raise ConfigError(f"gan.labeled {count} requires --gan.task semi_supervised; otherwise omit it")
    if count and count < spec.classes:
        raise ConfigError(
            f"gan.labeled must be at least {spec.classes}, one image for each class of the data, got {count}"
        )


class Labeled(nn.Module):
    """Images with labels, chosen once from the data, and resumed with the run.

    Args:
        count: number of images, as many of each class as of any other, or one more; 0: every image of the data, whose
            labels are read with it.
        spec: shape and classes of the images.
        seed: seed of the choice.
    """

    images: Tensor
    labels: Tensor

    def __init__(self, count: int, spec: ImageSpec, *, seed: int) -> None:
        super().__init__()
        self.count, self.spec, self.seed = count, spec, seed
        shape = (spec.channels, spec.height, spec.width)
        self.register_buffer("images", torch.zeros(count, *shape, dtype=torch.uint8))
        self.register_buffer("labels", torch.zeros(count, dtype=torch.int64))

    def choose(self, batches: Iterator[Batch]) -> None:
        """Choose the images, in each class those with the smallest random numbers.

        Raises:
            DataError: if a class has too few images.
        """
        if not self.count:
            return
        classes = self.spec.classes
        wanted = [self.count // classes + (k < self.count % classes) for k in range(classes)]
        found: list[list[tuple[float, int, Tensor]]] = [[] for _ in range(classes)]
        for batch in batches:
            first = int(batch.positions[0])
            order = draws.uniform(self.seed, "labeled", first, len(batch.positions), 1)[:, 0]
            for i, (label, number) in enumerate(zip(batch.labels.tolist(), order.tolist(), strict=True)):
                best = found[label]
                if len(best) < wanted[label] or number < best[-1][0]:
                    best.append((number, first + i, to_uint8(batch.images[i : i + 1])))
                    best.sort(key=lambda one: one[:2])
                    del best[wanted[label] :]
        for k, (best, number) in enumerate(zip(found, wanted, strict=True)):
            if len(best) < number:
                least = min(len(best) for best, number in zip(found, wanted, strict=True) if len(best) < number)
                how = f"use at most --gan.labeled {least * classes}" if least else "add some to the data"
                raise DataError(
                    f"gan.labeled {self.count} requires {number} images of each class; class {k} has {len(best)}; {how}"
                )
        self.images.copy_(torch.cat([image for best in found for _, _, image in best]))
        self.labels.copy_(torch.tensor([k for k, best in enumerate(found) for _ in best]))

    def draw(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return as many random images [N, C, H, W] in [-1, 1] as the batch has, and their classes int64 [N]."""
        if not self.count:
            return batch.images, batch.labels
        rows = (batch.uniform("labeled", 1)[:, 0] * self.count).long().clamp(max=self.count - 1)
        return to_float(self.images[rows]), self.labels[rows]
