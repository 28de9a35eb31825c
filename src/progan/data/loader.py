"""Training images and labels, addressed by the position of their first sample."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from torch import Tensor

from progan import draws
from progan.data.columns import conditions
from progan.data.store import Store
from progan.devices import free_bytes
from progan.errors import DataError


class Loader:
    """The images of a store in an endless random order that is a function of (seed, source, position) alone.

    Sample position p lies in epoch p // N; every epoch shows every image once, in its own order. Nothing depends on
    how positions are split into batches, so a resumed run and any number of ranks see the same images.

    The level in use is held on the device if it fits the budget, else rows are gathered from the memory map.

    Args:
        store: the images.
        seed: of the order, the parts and the mirroring.
        mirror: whether each sample is mirrored left-right with probability 1/2.
        device: where images and labels are wanted.
        source: number of the source of data in the run. Orders, parts and mirroring of two sources are independent.
        columns: of the store, which labels are made of (see ``conditions``); its classes when none is named.
        load_size: shorter side of the level that images are taken from [pixels]; by default the resolution asked for.
        size: height and width of the random part that is cut out of every image [pixels]; by default all of it.
        budget_bytes: most memory for a held level; by default a quarter of what is free on the device.

    Raises:
        DataError: if the store has no such level or column, or its images are smaller than the part.
    """

    def __init__(
        self,
        store: Store,
        *,
        seed: int,
        mirror: bool,
        device: torch.device | str = "cpu",
        source: int = 0,
        columns: Sequence[str] = (),
        load_size: int | None = None,
        size: tuple[int, int] | None = None,
        budget_bytes: int | None = None,
    ) -> None:
        self.store, self.seed, self.mirror, self.device = store, seed, mirror, torch.device(device)
        self.load_size, self.size, self.budget_bytes = load_size, size, budget_bytes
        self._order_stream, self._mirror_stream, self._crop_stream = (
            f"{name}/{source}" if source else name for name in ("order", "mirror", "crop")
        )
        self._orders: dict[int, np.ndarray] = {}
        self._resolution = 0
        self._held: Tensor | None = None
        self._mapped = np.empty(0, np.uint8)
        if load_size is not None:
            self._check_part(store.level(load_size))
        labels = conditions([store.column(name) for name in columns]) if columns else store.labels()
        self._labels = None if labels is None else torch.from_numpy(labels).to(self.device)
        whole = labels is not None and labels.ndim == 1  # classes; else attributes, or nothing
        self.classes = (store.column(columns[0]).classes if columns else store.classes) if whole else ()
        """Names of the classes, where labels are classes."""
        self.attributes = 0 if labels is None or whole else labels.shape[1]
        """Numbers of each image, where labels are attributes."""

    def __len__(self) -> int:
        """Images of the store."""
        return self.store.count

    def images(self, position: int, count: int, resolution: int, *, offset: int = 0, stride: int = 1) -> Tensor:
        """Every ``stride``-th sample from ``position + offset`` on, below ``position + count``.

        Args:
            position: first sample of the whole batch, counted from the start of training.
            count: samples of the whole batch.
            resolution: shorter side of the images [pixels]; of no account if there is a ``load_size``.
            offset: of the first sample wanted of the whole batch, for ranks and micro-batches.
            stride: between wanted samples.

        Shape: uint8 [n, C, H, W] in channels_last memory format.

        Raises:
            DataError: if the store has no such resolution.
        """
        self._use(self.load_size or resolution)
        rows = self._rows(position, count, offset, stride)
        if self.size is not None:
            share = draws.uniform(self.seed, self._crop_stream, position, count, 2)[offset::stride]
            images = self._parts(rows, share, self.size)
        elif self._held is not None:
            images = self._held.index_select(0, self._to_device(torch.from_numpy(rows)))  # [n, H, W, C]
        else:
            images = self._to_device(torch.from_numpy(self._mapped[rows]))
        if self.mirror:
            side = draws.uniform(self.seed, self._mirror_stream, position, count, 1)[offset::stride, 0]
            images = self._mirrored(images, np.flatnonzero(side < 0.5))
        return images.permute(0, 3, 1, 2)

    def labels(self, position: int, count: int, *, offset: int = 0, stride: int = 1) -> Tensor | None:
        """Labels of the same samples, which are not loaded: int64 [n] or float32 [n, K], or None without labels."""
        if self._labels is None:
            return None
        rows = self._rows(position, count, offset, stride)
        return self._labels.index_select(0, self._to_device(torch.from_numpy(rows)))

    def _rows(self, position: int, count: int, offset: int, stride: int) -> np.ndarray:
        """Numbers of the images of some samples, int64."""
        epochs, within = np.divmod(np.arange(position + offset, position + count, stride), self.store.count)
        rows = np.empty(len(epochs), np.int64)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1) if len(epochs) else ():
            here = epochs == epoch
            rows[here] = self._order(epoch)[within[here]]
        return rows

    def _order(self, epoch: int) -> np.ndarray:
        """The order of an epoch; those of the last two epochs asked for are kept."""
        if epoch not in self._orders:
            while len(self._orders) > 1:
                del self._orders[next(iter(self._orders))]
            self._orders[epoch] = draws.permutation(self.seed, self._order_stream, epoch, self.store.count)
        return self._orders[epoch]

    def _use(self, resolution: int) -> None:
        """Hold or map another level, if it is not the one in use."""
        if resolution == self._resolution:
            return
        level = self.store.level(resolution)
        self._check_part(level)
        self._held = None  # free its memory first
        budget = free_bytes(self.device) // 4 if self.budget_bytes is None else self.budget_bytes
        if level.nbytes <= budget:
            self._held = torch.from_numpy(np.array(level)).to(self.device)
        self._mapped, self._resolution = level, resolution

    def _check_part(self, level: np.ndarray) -> None:
        """Raise DataError if the part to cut out is larger than the images [N, H, W, C]."""
        _, height, width, _ = level.shape
        if self.size is not None and not (0 < self.size[0] <= height and 0 < self.size[1] <= width):
            raise DataError(
                f"{self.store.path}: wanted parts of {self.size[0]}x{self.size[1]} (height x width), "
                f"but its images have {height}x{width}; take smaller parts, or prepare it with larger images"
            )

    def _parts(self, rows: np.ndarray, share: np.ndarray, size: tuple[int, int]) -> Tensor:
        """A part of every image in ``rows``, [n, *size, C]; ``share`` [n, 2] in [0, 1) says which place it has."""
        shape, strides = windows(self._mapped.shape, size)
        ys, xs = (share * shape[1:3]).astype(np.int64).T
        if self._held is not None and self.device.type != "cpu":
            index = [self._to_device(torch.from_numpy(numbers)) for numbers in (rows, ys, xs)]
            parts = self._held.as_strided(shape, strides)[tuple(index)]
        else:  # by numpy, which copies whole lines; torch on a CPU takes ten times as long
            pixels = self._mapped if self._held is None else self._held.numpy()
            parts = as_strided(pixels, shape, strides, writeable=False)[rows, ys, xs]
            parts = self._to_device(torch.from_numpy(parts))
        return parts.unflatten(2, (size[1], -1))

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


def windows(shape: Sequence[int], size: tuple[int, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape [N, Y, X, height, width * C] and strides of all parts of images, indexed by their upper left corners.

    Args:
        shape: of the images [N, H, W, C].
        size: height and width of the parts [pixels].
    """
    count, height, width, channels = shape
    line = width * channels
    places = (height - size[0] + 1, width - size[1] + 1)
    return (count, *places, size[0], size[1] * channels), (height * line, line, channels, line, 1)
