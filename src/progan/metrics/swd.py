"""Sliced Wasserstein distance between the 7x7 neighborhoods of two image sets, level by level (ProGAN section 5)."""

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from progan import draws
from progan.devices import Share
from progan.errors import ConfigError, DataError
from progan.metrics.base import Setup
from progan.metrics.spool import MIB, Spool
from progan.metrics.threads import Each, mapper
from progan.pyramid import laplacian_pyramid, pyramid_sizes

SIDE = 7  # of a neighbourhood [pixels]; all constants as in ProGAN section 5
AREA = SIDE * SIDE
PATCHES = 128  # neighbourhoods of an image on each level
DIRECTIONS = 512  # 4 times 128
LEAST = 16  # shorter side of the last level [pixels]

_BLOCK = 128  # directions in hand at a time
_MEMORY = 64 * MIB  # descriptors of a set that stay in memory; more go to files (CUDA: what training leaves)
_CHUNK = {"cpu": 3 * MIB, "cuda": 256 * MIB}  # float pixels in hand at a time; few enough for a processor's cache
_ROWS = {"cpu": 2048, "cuda": 1 << 22}  # descriptors in hand at a time, likewise


class SlicedPatches:
    """The neighborhoods that the distance compares: 128 of every image on every level.

    The neighborhoods of image i depend on the seed, the set's name, the level and i alone. What does not fit into
    64 MiB is kept in unnamed temporary files, which the operating system removes with this object: 75 MB for every
    1,000 images and level (grayscale: 25 MB). On CUDA it stays on the device as long as training leaves room there.

    Args:
        setup: facts about the images, which must have 1 or 3 channels.
        directory: of the temporary files; the system's, which TMPDIR sets, when not given.

    Raises:
        ConfigError: if the images have no level of 16 pixels, or a different number of channels.
    """

    def __init__(self, setup: Setup, directory: Path | None = None) -> None:
        if setup.channels not in (1, 3):
            raise ConfigError(f"SWD is defined for images of 1 or 3 channels, got {setup.channels}")
        self.setup = setup
        self.device = torch.device("cpu" if setup.device.startswith("mps") else setup.device)  # mps has no float64
        self.sizes = pyramid_sizes(setup.height, setup.width, LEAST)
        self.count = 0
        self._directory = directory or Path(tempfile.gettempdir())
        self._share = Share(self.device)
        self._rows = [Spool(setup.channels * AREA) for _ in self.sizes]  # per level

    def update(self, images: Tensor, first: int | None = None) -> Self:
        """Add the next images.

        Args:
            images: pixels 0 ... 255, uint8 or float [N, C, H, W].
            first: index of the first of them in the set, if ranks share a set; by default, the number of images so far.

        Raises:
            ConfigError: if their size is not that of the setup.
            DataError: if temporary files cannot be written.
        """
        wanted = (self.setup.channels, self.setup.height, self.setup.width)
        if tuple(images.shape[1:]) != wanted:
            raise ConfigError(f"SWD was set up for images of [C, H, W] {wanted}, got {tuple(images.shape[1:])}")
        first = self.count if first is None else first
        step = max(1, _CHUNK[self.device.type] // (4 * images[0].numel())) if len(images) else 1
        with mapper(self.device) as each:
            for parts in each(self._describe, images.split(step), range(first, first + len(images), step)):
                for rows, part in zip(self._rows, parts, strict=True):
                    self._append(rows, part)
        self.count += len(images)
        return self

    def _describe(self, images: Tensor, first: int) -> list[Tensor]:
        """Descriptors of these images on every level."""
        parts = []
        for level in laplacian_pyramid(images.to(self.device).float().contiguous(), LEAST):
            where = corners(self.setup, level.shape[-2:], first, len(images))
            parts.append(neighbourhoods(level, torch.from_numpy(where).to(self.device)))
        return parts

    def merge(self, other: Self) -> Self:
        for rows, others in zip(self._rows, other._rows, strict=True):
            self._append(rows, others.whole())
        self.count += other.count
        return self

    def arrays(self) -> dict[str, np.ndarray]:
        levels = zip(self.sizes, self._rows, strict=True)
        arrays = {f"level_{min(size)}": rows.whole().cpu().numpy() for size, rows in levels}
        return {"count": np.array(self.count)} | arrays

    def load(self, arrays: Mapping[str, np.ndarray]) -> Self:
        self._rows = [Spool(rows.width) for rows in self._rows]
        for size, rows in zip(self.sizes, self._rows, strict=True):
            self._append(rows, torch.from_numpy(arrays[f"level_{min(size)}"]).to(self.device))
        self.count = int(arrays["count"])
        return self

    def descriptors(self, level: int) -> Tensor:
        """Return all neighborhoods of one level, float32 [128 * count, C * 49], as channels, rows and columns."""
        return self._rows[level].whole().to(self.device)

    def _append(self, rows: Spool, x: Tensor) -> None:
        try:
            rows.append(x)
            held = sum(rows.held for rows in self._rows)
            if not (self._share.hold(held) if self.device.type == "cuda" else held <= _MEMORY):
                self._share.hold(0)
                for level in self._rows:
                    level.spill(self._directory)
        except OSError as error:
            need = 1000 * PATCHES * 4 * sum(rows.width for rows in self._rows) / MIB
            raise DataError(
                f"SWD: cannot write temporary files in {self._directory} after {self.count} images: {error.strerror}\n"
                f"  needed: {need:.0f} MiB for every 1,000 images of each set\n"
                f"  fix:    TMPDIR=FOLDER_WITH_ROOM, or fewer images"
            ) from error


def swd(
    fake: SlicedPatches, real: SlicedPatches, *, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> dict[str, float]:
    """Return 1e3 times the sliced Wasserstein distance: "swd", the mean over levels, and "swd_128" ... "swd_16".

    A level is named by its shorter side [pixels]. A channel of a set that is constant is normalized to 0.

    Args:
        fake: neighborhoods of one set.
        real: neighborhoods of as many images of the other set. All distances are 0 for equal images, seeds and streams.
        seed: seed of the directions.
        progress: called with the number of directions done and their total.

    Raises:
        ConfigError: if the sets differ in number or size of images, or are empty.
    """
    _check(fake, real)
    done, total, values = 0, DIRECTIONS * len(real.sizes), {}
    a, b = torch.empty(2, _BLOCK, PATCHES * real.count, device=real.device)  # projections
    with mapper(real.device) as each:
        for level, size in enumerate(real.sizes):
            distance, vectors = 0.0, directions(seed, size)
            (fold_a, shift_a), (fold_b, shift_b) = (_fold(vectors, s.descriptors(level), each) for s in (fake, real))
            for i in range(0, DIRECTIONS, _BLOCK):
                part = slice(i, i + _BLOCK)
                _project(fold_a[part], fake.descriptors(level), a, each)  # maps files of one set at a time
                _project(fold_b[part], real.descriptors(level), b, each)
                distance += float(_transport(a, b, (shift_a - shift_b)[part], each).sum())
                done += _BLOCK
                if progress:
                    progress(done, total)
            values[f"swd_{min(size)}"] = 1e3 * distance / DIRECTIONS
    return {"swd": sum(values.values()) / len(values)} | values


def corners(setup: Setup, size: Sequence[int], first: int, count: int) -> np.ndarray:
    """Return the upper left corners of the neighborhoods of ``count`` images on the level of ``size`` (height, width).

    Shape: int64 [count, 2, 128], rows before columns.
    """
    u = draws.uniform(setup.seed, f"swd/{setup.stream}/{min(size)}", first, count, 2 * PATCHES)
    places = np.array([side - SIDE + 1 for side in size])[:, None]
    return (u.reshape(count, 2, PATCHES) * places).astype(np.int64)


def directions(seed: int, size: Sequence[int]) -> np.ndarray:
    """Return the unit vectors on which the level of ``size`` is projected, float64 [512, 147]."""
    vectors = draws.normal(seed, f"swd/directions/{min(size)}", 0, DIRECTIONS, 3 * AREA).astype(np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def neighbourhoods(level: Tensor, where: Tensor) -> Tensor:
    """Return the 7x7 pixels at each corner.

    Shape: float32 [N, C, H, W], int64 [N, 2, P] -> [N * P, C * 49].
    """
    n, channels, height, width = level.shape
    row = torch.arange(channels * SIDE, device=level.device)  # of a neighbourhood, channel by channel
    row = row // SIDE * height + row % SIDE
    image = torch.arange(n, device=level.device)[:, None] * channels * height
    start = (image + where[:, 0])[:, :, None] + row  # [N, P, C * 7]
    start = start * width + where[:, 1, :, None]
    runs = level.as_strided((level.numel() - SIDE + 1, SIDE), (1, 1))  # every 7 pixels on end
    return runs.index_select(0, start.flatten()).view(-1, channels * AREA)


def _check(fake: SlicedPatches, real: SlicedPatches) -> None:
    """Raises ConfigError unless the distance of the two is defined."""
    if fake.sizes != real.sizes:
        theirs, ours = ("x".join(map(str, s.sizes[0])) for s in (fake, real))
        raise ConfigError(
            f"SWD compares images of one size: {fake.setup.stream!r} has {theirs}, {real.setup.stream!r} {ours}"
        )
    if fake.count != real.count:
        raise ConfigError(
            f"SWD compares equal numbers of images: {fake.setup.stream!r} has {fake.count:,}, "
            f"{real.setup.stream!r} {real.count:,}; use {min(fake.count, real.count):,} of both"
        )
    if not real.count:
        raise ConfigError("SWD requires at least 1 image in each set, got none")


def _fold(vectors: np.ndarray, rows: Tensor, each: Each) -> tuple[Tensor, Tensor]:
    """Directions divided by the deviations of the channels, float32 [K, F], and the projected means, float64 [K].

    Descriptors [M, F] stay as they are: the mean is a shift of all projections on a direction.
    """
    mean, deviation = channel_moments(rows, each)
    folded = torch.from_numpy(vectors).to(rows.device).unflatten(1, (3, AREA))
    folded = folded / torch.where(deviation > 0, deviation, math.inf)[:, None]
    if len(mean) == 1:  # a gray pixel counts as three equal ones
        folded = folded.sum(1, keepdim=True)
    folded = folded.float()
    return folded.flatten(1), folded.double().sum(2) @ mean


def channel_moments(rows: Tensor, each: Each = map) -> tuple[Tensor, Tensor]:
    """Return mean and population deviation of each channel over all descriptors of a set.

    Shape: float32 [M, C * 49] -> float64 [C], [C].
    """

    def sums(block: Tensor) -> Tensor:
        """Sums of the columns and of their squares, [2, C * 49]."""
        mean = block.mean(0)
        within, mean = (block - mean).square_().mean(0).double(), mean.double()
        return len(block) * torch.stack((mean, within + mean.square()))

    total = torch.stack(list(each(sums, rows.split(_ROWS[rows.device.type])))).sum(0)
    mean, mean_square = (total / len(rows)).unflatten(1, (-1, AREA)).mean(2)
    return mean, (mean_square - mean.square()).clamp(min=0).sqrt()


def _project(vectors: Tensor, rows: Tensor, out: Tensor, each: Each) -> None:
    """``vectors @ rows.T`` in ``out``, rows in blocks that a cache holds: [K, F], [M, F] -> [K, M]."""
    step = _ROWS[rows.device.type]
    list(each(lambda block, to: torch.mm(vectors, block.T, out=to), rows.split(step), out.split(step, 1)))


def _transport(a: Tensor, b: Tensor, shift: Tensor, each: Each) -> Tensor:
    """Mean |sorted a - sorted b - shift| of each row, float64 [K] from [K, M]; on the processor overwrites a, b."""
    if a.device.type == "cpu":  # numpy sorts several times faster than torch
        return torch.tensor(list(each(_transport_row, a.numpy(), b.numpy(), shift.tolist())), dtype=torch.float64)
    return _transport_torch(a, b, shift)


def _transport_row(a: np.ndarray, b: np.ndarray, shift: float) -> float:
    a.sort()
    b.sort()
    np.subtract(a, b, out=a)
    a -= shift
    return float(np.abs(a, out=a).mean())


def _transport_torch(a: Tensor, b: Tensor, shift: Tensor) -> Tensor:
    apart = a.sort(1).values.sub_(b.sort(1).values).sub_(shift[:, None])
    return apart.abs_().mean(1, dtype=torch.float64)
