"""Training images and labels, addressed by the position of the first sample."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from torch import Tensor

from progan import draws
from progan.data.columns import conditions
from progan.data.store import Store
from progan.devices import Share, ranks_here
from progan.errors import DataError

_CHUNK = 64 << 20
"""Bytes of a level that are copied to the device at a time."""


class Loader:
    """Images of a store in an endless random order that depends on (seed, source, position) only.

    Sample position p belongs to epoch p // N. Every epoch shows every image once, in its own order. Nothing depends on
    how positions are split into batches, so a resumed run and any number of ranks see the same images.

    The level in use is held on the device if there is room for it. Otherwise its images are read from the memory map,
    as they are for several processes that train on the CPU of the same machine: these share the map.

    Args:
        store: store of the images.
        seed: seed of the image order, the crops and the mirroring.
        mirror: whether each sample is mirrored horizontally with probability 1/2.
        device: device on which images and labels are returned.
        source: number of the data source in the run. Order, crops and mirroring of two sources are independent.
        columns: columns of the store to use as labels (see ``conditions``); its classes if none are given.
        load_size: shorter side of the level that images are read from [pixels]; by default the requested resolution.
        size: height and width of the random crop of every image [pixels]; by default the whole image.
        rows: indices of the images to show; by default all of the store. See ``split``.
        budget_bytes: upper limit of the memory for a held level; by default what is left on the device (see ``Share``).

    Raises:
        DataError: if the store lacks the level or a column, or if its images are smaller than the crop.
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
        rows: np.ndarray | None = None,
        budget_bytes: int | None = None,
    ) -> None:
        self.rows = np.arange(store.count) if rows is None else rows
        self.store, self.seed, self.mirror, self.device = store, seed, mirror, torch.device(device)
        self.load_size, self.size, self.budget_bytes = load_size, size, budget_bytes
        self._order_stream, self._mirror_stream, self._crop_stream = (
            f"{name}/{source}" if source else name for name in ("order", "mirror", "crop")
        )
        self._orders: dict[int, np.ndarray] = {}
        self._resolution = 0
        self._held: Tensor | None = None
        self._share = Share(self.device)
        self._mapped = np.empty(0, np.uint8)
        if load_size is not None:
            self._check_part(store.level(load_size))
        labels = conditions([store.column(name) for name in columns]) if columns else store.labels()
        self._labels = None if labels is None else torch.from_numpy(labels).to(self.device)
        whole = labels is not None and labels.ndim == 1  # classes; else attributes, or nothing
        self.classes = (store.column(columns[0]).classes if columns else store.classes) if whole else ()
        """Names of the classes if labels are classes."""
        self.attributes = 0 if labels is None or whole else labels.shape[1]
        """Attributes per image if labels are attributes."""

    def __len__(self) -> int:
        """Number of images that are shown."""
        return len(self.rows)

    def images(self, position: int, count: int, resolution: int, *, offset: int = 0, stride: int = 1) -> Tensor:
        """Return every ``stride``-th image at the positions from ``position + offset`` up to ``position + count``.

        Args:
            position: position of the first sample of the whole batch, counted from the start of training.
            count: number of samples in the whole batch.
            resolution: shorter side of the images [pixels]; ignored if there is a ``load_size``.
            offset: index in the whole batch of the first sample to return, for ranks and micro-batches.
            stride: distance between the samples to return.

        Shape: uint8 [n, C, H, W] in channels_last memory format.

        Raises:
            DataError: if the store lacks the resolution.
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
        """Return the labels of the same samples, int64 [n] or float32 [n, K], or None; no image is loaded."""
        if self._labels is None:
            return None
        rows = self._rows(position, count, offset, stride)
        return self._labels.index_select(0, self._to_device(torch.from_numpy(rows)))

    def _rows(self, position: int, count: int, offset: int, stride: int) -> np.ndarray:
        """Indices of the images of some samples, int64."""
        epochs, within = np.divmod(np.arange(position + offset, position + count, stride), len(self.rows))
        rows = np.empty(len(epochs), np.int64)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1) if len(epochs) else ():
            here = epochs == epoch
            rows[here] = self.rows[self._order(epoch)[within[here]]]
        return rows

    def _order(self, epoch: int) -> np.ndarray:
        """Order of an epoch; the last two that were used are kept."""
        if epoch not in self._orders:
            while len(self._orders) > 1:
                del self._orders[next(iter(self._orders))]
            self._orders[epoch] = draws.permutation(self.seed, self._order_stream, epoch, len(self.rows))
        return self._orders[epoch]

    def _use(self, resolution: int) -> None:
        """Hold or map a level, if it is not the one in use."""
        if resolution == self._resolution:
            return
        level = self.store.level(resolution)
        self._check_part(level)
        self._held = None  # free its memory first
        self._share.hold(0)
        if self._may_hold(level.nbytes):
            self._held = _copied(level, self.device)
        self._mapped, self._resolution = level, resolution

    def _may_hold(self, size: int) -> bool:
        if self.budget_bytes is not None:
            return size <= self.budget_bytes
        if self.device.type == "cpu" and ranks_here() > 1:  # they share the pages of the memory map
            return False
        return self._share.hold(size)

    def _check_part(self, level: np.ndarray) -> None:
        """Raise DataError if the crop is larger than the images [N, H, W, C]."""
        _, height, width, _ = level.shape
        if self.size is not None and not (0 < self.size[0] <= height and 0 < self.size[1] <= width):
            raise DataError(
                f"{self.store.path}: a crop of {self.size[0]}x{self.size[1]} (height x width) does not fit its "
                f"{height}x{width} images; use a smaller crop or prepare the store with larger images"
            )

    def _parts(self, rows: np.ndarray, share: np.ndarray, size: tuple[int, int]) -> Tensor:
        """Crop every image in ``rows``: [n, *size, C]; ``share`` [n, 2] in [0, 1) is the position of the crop."""
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
        """Copy to the device without waiting for what the GPU is doing."""
        if self.device.type == "cuda":
            # The temporary may be dropped at once: torch reuses pinned memory only when the copy from it is done. An
            # Apple GPU gives no such guarantee.
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def _mirrored(self, images: Tensor, chosen: np.ndarray) -> Tensor:
        """Mirror the chosen ones of the images [n, H, W, C].

        Mirrored copies are appended to the images and picked from there. On one core this takes a quarter of the time
        of writing into the images, and on a GPU nothing has to wait.
        """
        picks = np.arange(len(images))
        picks[chosen] = len(images) + np.arange(len(chosen))
        flipped = images.index_select(0, self._to_device(torch.from_numpy(chosen))).flip(2)
        return torch.cat([images, flipped]).index_select(0, self._to_device(torch.from_numpy(picks)))


def split(count: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the images to train on, and those of the ones that are held out, in ascending order.

    Args:
        count: number of images, at least 2.
        share: share of the images to hold out; at least one is.
        seed: seed of the choice.
    """
    order = draws.permutation(seed, "held_out", 0, count)
    few = min(max(round(share * count), 1), count - 1)
    return np.sort(order[few:]), np.sort(order[:few])


def _copied(level: np.ndarray, device: torch.device) -> Tensor:
    """A level on the device, by way of one small buffer."""
    held = torch.empty(level.shape, dtype=torch.uint8, device=device)
    step = max(_CHUNK // max(level[0].nbytes, 1), 1)
    buffer = torch.empty(step, *level.shape[1:], dtype=torch.uint8, pin_memory=device.type == "cuda")
    for first in range(0, len(level), step):
        some = level[first : first + step]
        np.copyto(buffer.numpy()[: len(some)], some)
        held[first : first + step].copy_(buffer[: len(some)])  # waits, since the buffer is used again
    return held


def windows(shape: Sequence[int], size: tuple[int, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return shape [N, Y, X, height, width * C] and strides of all crops, indexed by their upper left corners.

    Args:
        shape: shape of the images, [N, H, W, C].
        size: height and width of the crops [pixels].
    """
    count, height, width, channels = shape
    line = width * channels
    places = (height - size[0] + 1, width - size[1] + 1)
    return (count, *places, size[0], size[1] * channels), (height * line, line, channels, line, 1)
