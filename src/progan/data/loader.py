"""Batches of training images, addressed by the position of their first sample."""

import numpy as np
import torch
from torch import Tensor

from progan import draws
from progan.data.store import Store
from progan.devices import free_bytes


class Loader:
    """The images of a store in an endless random order that is a function of (seed, position) alone.

    Sample position p lies in epoch p // N; every epoch shows every image once, in its own order. Nothing depends on
    how positions are split into batches, so a resumed run and any number of ranks see the same images.

    The level in use is held on the device if it fits the budget, else rows are gathered from the memory map.

    Args:
        store: the images.
        seed: of the order and of the mirroring.
        mirror: whether each sample is mirrored left-right with probability 1/2.
        device: where batches are wanted.
        budget_bytes: most memory for a held level; by default a quarter of what is free on the device.
    """

    def __init__(
        self,
        store: Store,
        *,
        seed: int,
        mirror: bool,
        device: torch.device | str = "cpu",
        budget_bytes: int | None = None,
    ) -> None:
        self.store, self.seed, self.mirror, self.device = store, seed, mirror, torch.device(device)
        self.budget_bytes = budget_bytes
        self._orders: dict[int, np.ndarray] = {}
        self._resolution = 0
        self._held: Tensor | None = None
        self._mapped = np.empty(0, np.uint8)
        labels = store.labels()
        self._labels = None if labels is None else torch.from_numpy(labels).to(self.device)

    def batch(
        self, position: int, count: int, resolution: int, *, offset: int = 0, stride: int = 1
    ) -> tuple[Tensor, Tensor | None]:
        """Images and labels of every ``stride``-th sample from ``position + offset`` on, below ``position + count``.

        Args:
            position: first sample of the whole batch, counted from the start of training.
            count: samples of the whole batch.
            resolution: shorter side of the images [pixels].
            offset: of the first sample wanted of the whole batch, for ranks and micro-batches.
            stride: between wanted samples.

        Shape: uint8 [n, C, H, W] in channels_last memory format, and int64 [n] or None without labels.

        Raises:
            DataError: if the store has no such resolution.
        """
        self._use(resolution)
        rows = self._rows(np.arange(position + offset, position + count, stride))
        index = self._to_device(torch.from_numpy(rows))
        if self._held is not None:
            images = self._held.index_select(0, index)  # [n, H, W, C]
        else:
            images = self._to_device(torch.from_numpy(self._mapped[rows]))
        if self.mirror:
            side = draws.uniform(self.seed, "mirror", position, count, 1)[offset::stride, 0]
            images = self._mirrored(images, np.flatnonzero(side < 0.5))
        labels = None if self._labels is None else self._labels.index_select(0, index)
        return images.permute(0, 3, 1, 2), labels

    def _rows(self, positions: np.ndarray) -> np.ndarray:
        """Numbers of the images at sample positions, int64."""
        epochs, within = np.divmod(positions, self.store.count)
        rows = np.empty(len(positions), np.int64)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1) if len(epochs) else ():
            here = epochs == epoch
            rows[here] = self._order(epoch)[within[here]]
        return rows

    def _order(self, epoch: int) -> np.ndarray:
        """The order of an epoch; those of the last two epochs asked for are kept."""
        if epoch not in self._orders:
            while len(self._orders) > 1:
                del self._orders[next(iter(self._orders))]
            self._orders[epoch] = draws.permutation(self.seed, "order", epoch, self.store.count)
        return self._orders[epoch]

    def _use(self, resolution: int) -> None:
        """Hold or map another level, if it is not the one in use."""
        if resolution == self._resolution:
            return
        level = self.store.level(resolution)
        self._held = None  # free its memory first
        budget = free_bytes(self.device) // 4 if self.budget_bytes is None else self.budget_bytes
        if level.nbytes <= budget:
            self._held = torch.from_numpy(np.array(level)).to(self.device)
        self._mapped, self._resolution = level, resolution

    def _to_device(self, tensor: Tensor) -> Tensor:
        """A copy that does not wait for what the GPU is doing."""
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def _mirrored(self, images: Tensor, chosen: np.ndarray) -> Tensor:
        """The images [n, H, W, C], the chosen ones of them mirrored.

        Mirrored copies are put behind the images and picked from there: on one core this takes a quarter of the time
        of writing into the images, and on a GPU nothing waits.
        """
        picks = np.arange(len(images))
        picks[chosen] = len(images) + np.arange(len(chosen))
        flipped = images.index_select(0, self._to_device(torch.from_numpy(chosen))).flip(2)
        return torch.cat([images, flipped]).index_select(0, self._to_device(torch.from_numpy(picks)))
