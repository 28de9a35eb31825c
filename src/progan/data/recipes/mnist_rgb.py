"""MNIST-1K: three digits in one image, so that a thousand modes can be counted (ProGAN section 6.3 and appendix E)."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from progan import draws
from progan.data.records import Names, Source
from progan.data.sources import open_source
from progan.errors import ConfigError, DataError

_BLOCK = 4096  # images whose digits are drawn at a time


def mnist_rgb_source(path: Path, split: str, *, count: int, seed: int) -> Source:
    """Return images of three random digits as R, G and B, drawn with replacement; image i depends on (seed, i) only.

    The label is d0 + 10 d1 + 100 d2, with the red digit d0, so class '123' is a blue 1, a green 2 and a red 3.

    Args:
        path: idx files of MNIST, with their labels.
        split: 'train', 'test' or 'all' of MNIST.
        count: number of images to compose.
        seed: seed of the choice of digits.

    Raises:
        ConfigError: if ``count`` is less than 1.
        DataError: if there are no grayscale digits with labels.
    """
    if count < 1:
        raise ConfigError(f"count must be at least 1, got {count}")
    pixels, numbers = _digits(path, split)

    def chosen(first: int, n: int) -> np.ndarray:
        """Return the digits of the images ``first`` ... ``first + n - 1``, int [n, 3]."""
        return (draws.uniform(seed, "mnist_rgb", first, n, 3) * len(pixels)).astype(np.int64)

    def read(positions: Sequence[int]) -> Iterator[np.ndarray]:
        first, block = -1, np.empty((0, 3), np.int64)
        for i in positions:
            if i // _BLOCK * _BLOCK != first:
                first = i // _BLOCK * _BLOCK
                block = chosen(first, _BLOCK)
            yield np.stack([pixels[k] for k in block[i - first]], -1)  # [28, 28, 3]

    labels = np.concatenate(
        [numbers[chosen(i, min(_BLOCK, count - i))] @ np.array([1, 10, 100], np.int16) for i in range(0, count, _BLOCK)]
    )
    return Source(
        description=f"MNIST-RGB, {count} images of {split} with seed {seed}",
        names=Names(count, "mnist_rgb[{}]".format),
        labels=labels,  # type: ignore[arg-type]
        classes=tuple(f"{i:03d}" for i in range(1000)),
        default_fit="pad",
        alike=(False, pixels.shape[1:]),
        read=read,
    )


def _digits(path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the grayscale digits uint8 [N, H, W] and their classes, int64 [N]."""
    source = open_source(path, split=split)
    pixels = [x for x in source.read(range(len(source))) if isinstance(x, np.ndarray) and x.ndim == 2]
    if len(pixels) < len(source) or source.labels is None or len(source.classes) != 10:
        raise DataError(
            f"{path}: not MNIST with its labels\n"
            f"  found: {source.description}, {len(source)} images, {len(source.classes) or 'no'} classes\n"
            f"  fix:   pass the folder that contains train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz"
        )
    return np.stack(pixels), np.array(source.labels)
