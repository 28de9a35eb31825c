"""Near-duplicates in a store, found by semantic hashes and removed (DCGAN section 4.1.1)."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from progan import draws
from progan.data.columns import LABEL
from progan.data.levels import box_levels
from progan.data.pixels import Chunk
from progan.data.records import Names
from progan.data.store import Store
from progan.data.writer import PartialStore
from progan.errors import DataError
from progan.images import sheet

SIDE, BITS = 32, 128
"""Side of the hashed images [pixels], and units of the code layer: 3072-128-3072."""
DISTANCE = 8
"""Default number of bits, out of 128, in which near-duplicates may differ; the paper's 0 misses cropped copies."""
_NOISE, _DROPOUT = 0.5, 0.2  # standard deviation on standardized pixels; share of dropped code units; both ours
_SEEN, _BATCH, _PEAK_LR = 150_000, 128, 1e-3  # images in all, whatever the size of the store
_PART, _PART_BYTES = 1000, 64 << 20  # images in memory at once


class HashNetwork(nn.Module):
    """Denoising autoencoder 3072-128-3072 with dropout on its ReLU code. The signs of the code are the hash.

    Every image is standardized by its own mean and deviation, so that brightness and contrast do not matter. The mean
    of all images is subtracted, so that about half of the units are active and the bits distinguish images.

    Args:
        mean: mean of the standardized images [3072].
        seed: seed of the initial weights.
    """

    mean: Tensor

    def __init__(self, mean: Tensor, *, seed: int = 0) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.encoder, self.decoder = nn.Linear(len(mean), BITS), nn.Linear(BITS, len(mean))
        with torch.no_grad():
            for name, layer in (("encoder", self.encoder), ("decoder", self.decoder)):
                first = draws.normal(seed, f"dedup {name}", 0, layer.out_features, layer.in_features)
                layer.weight.copy_(torch.from_numpy(first) / math.sqrt(layer.in_features))
                layer.bias.zero_()

    def loss(self, x: Tensor, random: torch.Generator) -> Tensor:
        """Return the mean squared error of clean images reconstructed from noisy ones.

        Shape: standardized x [N, 3072] -> [].
        """
        clean = x - self.mean
        code = F.relu(self.encoder(clean + _NOISE * torch.randn(x.shape, generator=random)))
        kept = torch.rand(code.shape, generator=random) >= _DROPOUT
        return F.mse_loss(self.decoder(code * kept / (1 - _DROPOUT)), clean)

    @torch.no_grad()
    def codes(self, x: Tensor) -> np.ndarray:
        """Return the hashes of images: whether each code unit is above 0, packed into bytes.

        Shape: standardized x [N, 3072] -> uint8 [N, 16].
        """
        return np.packbits((self.encoder(x - self.mean) > 0).numpy(), axis=1)


def semantic_codes(images: np.ndarray, *, seed: int = 0, progress: bool = False) -> np.ndarray:
    """Compute hashes of images with an autoencoder trained on them.

    Training shows 150,000 images for any number of images, and all else takes time linear in that number. The result
    is the same for the same seed, version and number of threads.

    Args:
        images: uint8 [N, H, W, C] (may be a memory map) with a shorter side of 32. The center is used, grayscale is
            converted to RGB, and opacity is ignored.
        seed: seed of the initial weights, the image order and the noise.
        progress: whether to show progress bars.

    Returns:
        uint8 [N, 16], 128 bits per image.
    """
    hidden, parts = None if progress else True, range(0, len(images), _PART)
    total = torch.zeros(3 * SIDE**2)
    for i in tqdm(parts, unit=" thousand images", desc="mean image", disable=hidden):
        total += _standardized(images[i : i + _PART]).sum(0)
    network = HashNetwork(total / len(images), seed=seed)
    _fit(network, images, seed=seed, hidden=hidden)
    bar = tqdm(parts, unit=" thousand images", desc="hash", disable=hidden)
    return np.concatenate([network.codes(_standardized(images[i : i + _PART])) for i in bar])


def _standardized(images: np.ndarray) -> Tensor:
    """Return the center of images uint8 [N, H, W, C] as RGB, standardized per image, float32 [N, 3072]."""
    top, left = ((size - SIDE) // 2 for size in images.shape[1:3])
    x = torch.from_numpy(np.array(images[:, top : top + SIDE, left : left + SIDE, :3], np.float32))
    x = x.expand(-1, -1, -1, 3).flatten(1)  # [N, 32, 32, 1 or 3] -> [N, 3072]
    x = x - x.mean(1, keepdim=True)
    return x / (x.std(1, keepdim=True) + 1)  # 1 of 255 keeps a blank image from becoming noise


def _fit(network: HashNetwork, images: np.ndarray, *, seed: int, hidden: bool | None) -> None:
    """Train with Adam and a learning rate that falls to 0."""
    random = torch.Generator().manual_seed(seed)  # twelve times as fast as ``draws``, and nothing resumes here
    adam = torch.optim.Adam(network.parameters(), lr=_PEAK_LR)
    steps = math.ceil(_SEEN / _BATCH)
    falling = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.0, total_iters=steps)
    rows = _shuffled(seed, len(images))
    with tqdm(total=steps * _BATCH, unit=" images", desc="train hash", unit_scale=True, disable=hidden) as bar:
        for _ in range(steps):
            batch = np.sort(np.fromiter(rows, np.int64, _BATCH))  # ascending: kinder to a disk
            adam.zero_grad()
            network.loss(_standardized(images[batch]), random).backward()
            adam.step()
            falling.step()
            bar.update(_BATCH)


def _shuffled(seed: int, count: int) -> Iterator[int]:
    epoch = 0
    while True:
        yield from draws.permutation(seed, "dedup order", epoch, count)
        epoch += 1


def kept_by(codes: np.ndarray, distance: int = DISTANCE) -> np.ndarray:
    """Return for every image the one to keep in its place: itself, or an earlier one whose code is close enough.

    Every removed image is close to the image that is kept; there are no chains. Equal codes are found with a dictionary
    in linear time. Codes that differ in up to r bits are equal in at least one of r + 1 bands of bits and are found by
    sorting by each band in turn. This is linear, too, as long as few images share a band of 128 / (r + 1) bits.

    Args:
        codes: hashes, uint8 [N, 16].
        distance: largest number of bits that may differ; the paper uses 0.

    Returns:
        Indices of images, int64 [N].
    """
    seen: dict[bytes, int] = {}
    kept = np.array([seen.setdefault(code.tobytes(), i) for i, code in enumerate(codes)], np.int64)
    if distance == 0:
        return kept
    own = np.unique(kept)  # first image of each code
    stays = np.arange(len(own))
    for later, earlier in _near_pairs(codes[own], distance):
        if stays[later] == later and stays[earlier] == earlier:
            stays[later] = earlier
    return own[stays][np.searchsorted(own, kept)]


def _near_pairs(codes: np.ndarray, distance: int) -> np.ndarray:
    """Return positions (later, earlier) of all codes that differ in at most ``distance`` bits, sorted, int64 [P, 2]."""
    bits, found = np.unpackbits(codes, axis=1), [np.empty((0, 2), np.int64)]
    for i in range(distance + 1):
        part = bits[:, i :: distance + 1]
        band = part @ (np.uint64(1) << np.arange(part.shape[1], dtype=np.uint64))
        order = np.argsort(band, kind="stable")
        band, at, step = band[order], np.arange(len(order)), 0
        while len(at):
            step += 1
            at = at[at < len(order) - step]
            at = at[band[at] == band[at + step]]
            earlier, later = order[at], order[at + step]  # the sort is stable
            near = np.unpackbits(np.bitwise_xor(codes[earlier], codes[later]), axis=1).sum(1) <= distance
            found.append(np.stack([later[near], earlier[near]], 1))
    return np.unique(np.concatenate(found), axis=0)


def groups_of(kept: np.ndarray) -> list[list[int]]:
    """Return groups of duplicates, each with the image to keep first.

    >>> groups_of(np.array([0, 1, 0, 3, 1, 0]))
    [[0, 2, 5], [1, 4]]
    """
    order = np.argsort(kept, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(kept[order])) + 1)
    return [part.tolist() for part in parts if len(part) > 1]


def groups_sheet(store: Store, groups: list[list[int]], *, rows: int = 24, columns: int = 6) -> Image.Image:
    """Draw a grid with one group per row, the image to keep first, limited to ``rows`` groups of ``columns`` images."""
    level = store.level(min(64, max(store.resolutions)))
    columns = min(columns, max(map(len, groups)))
    tiles = np.full((min(rows, len(groups)), columns, *level.shape[1:]), 255, np.uint8)
    for row, group in zip(tiles, groups, strict=False):
        row[: len(group)] = level[group[:columns]]
    return sheet(torch.from_numpy(tiles).flatten(0, 1).movedim(3, 1), columns)


def write_without(store: Store, kept: np.ndarray, target: Path, *, progress: bool = False) -> Store:
    """Write a new store of the images to keep, in their order, with their names, labels and columns.

    Args:
        store: the store with duplicates; it is not changed.
        kept: result of ``kept_by``.
        target: folder that does not exist yet.
        progress: whether to show a progress bar.

    Raises:
        DataError: if the target exists or cannot be written. No incomplete store is left behind.
    """
    if target.exists():
        raise DataError(f"{target}: already exists and is not overwritten\n  fix:   choose a new folder")
    stay = np.flatnonzero(kept == np.arange(len(kept)))
    top, labels = store.level(min(store.height, store.width)), store.labels()
    gone = f"{len(kept) - len(stay)} near duplicates"
    facts = store.manifest | {"source": f"{store.manifest['source']}, without {gone}"}
    facts["fingerprint"] = f"{store.hash} without {gone}"  # not what 'prepare' would make of the source
    columns = [store.column(name).of(stay) for name in store.columns if name != LABEL or labels is None]
    names, hidden = Names(len(stay), lambda i: store.names[int(stay[i])]), None if progress else True
    part = max(1, min(_PART, _PART_BYTES // top[0].nbytes))
    with PartialStore(target, store.height, store.width, store.channels, expected=len(stay)) as partial:
        for i in tqdm(range(0, len(stay), part), unit=f" x {part} images", desc="write", disable=hidden):
            rows = stay[i : i + part]
            of_rows: list[int | None] = [None] * len(rows) if labels is None else labels[rows].tolist()
            partial.append(Chunk(box_levels(top[rows]), of_rows))
        partial.commit(facts, with_labels=labels is not None, names=names, columns=columns)
    return Store.open(target)
