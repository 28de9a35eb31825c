"""Mode count: three digits are read from every image, and the distinct numbers they form are counted (MNIST-1K).

ProGAN appendix E, after Metz et al. (2017): images have a random MNIST digit in each of R, G and B, 1000 modes in all.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from progan.errors import ConfigError, DataError
from progan.files import cache_path, replacing
from progan.metrics.base import Setup
from progan.metrics.extractors import FrozenExtractor, Outputs
from progan.weights import weight_hash

FORMAT = "progan-digits-1"
_SIDES = (28, 32)  # of MNIST, and of MNIST with a black border of 2 [pixels]
_NUMBERS = 1000


class DigitClassifier(nn.Module):
    """Small convolutional network that reads the handwritten digit in each channel of an image.

    Args:
        widths: feature maps at half and at quarter resolution.
    """

    def __init__(self, widths: tuple[int, int] = (48, 96)) -> None:
        super().__init__()
        half, quarter = widths
        self.body = nn.Sequential(
            nn.PixelUnshuffle(2),  # [4, 16, 16]
            *_layer(4, half),
            *_layer(half, half),  # [half, 12, 12]
            nn.MaxPool2d(2),
            *_layer(half, quarter),
            *_layer(quarter, quarter),  # [quarter, 2, 2]
            nn.Flatten(),
        )
        self.head = nn.Linear(4 * quarter, 10)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast on CPUs

    def logits(self, x: Tensor) -> Tensor:
        """Return scores [N, 10] of images of digits [N, 1, 32, 32] with values 0 ... 1."""
        return self.head(self.body(x))

    def forward(self, images: Tensor) -> Outputs:
        """Read images uint8 [N, C, 28 or 32 squared]: features [N, C * F], digits [N, C] and probabilities [N, 10].

        The probabilities are those of one digit in the whole image: the means over its channels, which are equal if an
        RGB image is gray.

        Raises:
            ConfigError: if the images have a different size.
        """
        check_readable(*images.shape[1:])
        border = (32 - images.shape[2]) // 2
        x = F.pad(images.flatten(0, 1)[:, None].float() / 255, [border] * 4)
        features = self.body(x)
        scores = self.head(features).unflatten(0, images.shape[:2])  # [N, C, 10]
        return Outputs(
            features=features.unflatten(0, images.shape[:2]).flatten(1),
            probabilities=scores.softmax(2).mean(1),
            digits=scores.argmax(2),
        )

    def save(self, path: Path, *, test_error: float, **facts: object) -> None:
        """Write a safetensors file, whole or not at all, with the share of misread test digits and ``facts`` as header.

        Raises:
            DataError: if the file cannot be written.
        """
        state = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        header = json.dumps({"format": FORMAT, "test_error": test_error, **facts})
        try:
            with replacing(path) as file:
                file.write(save(state, {"progan": header}))
        except OSError as error:
            raise DataError(f"{path}: cannot write the digit classifier ({error.strerror or error})") from error


def _layer(maps: int, out: int) -> list[nn.Module]:
    """3x3 convolution that removes one pixel on every side."""
    return [nn.Conv2d(maps, out, 3, bias=False), nn.BatchNorm2d(out), nn.ReLU()]


def check_readable(channels: int, height: int, width: int) -> None:
    """Raise ConfigError unless digits can be read from images of this shape."""
    if height != width or height not in _SIDES:
        raise ConfigError(_unreadable("digits are read from images", channels, height, width))


def _unreadable(what: str, channels: int, height: int, width: int) -> str:
    return f"{what} of 28x28 or 32x32, got {channels} x {height} x {width}"


def default_path() -> Path:
    """Return the default path of the classifier."""
    return cache_path("weights/digits.safetensors")


def load(weights: Path | None = None, device: str = "cpu") -> FrozenExtractor:
    """Load the trained classifier from a file, or from the cache folder.

    Raises:
        DataError: if the file does not exist, is damaged, or is not a classifier.
    """
    path, state, header = weights or default_path(), {}, None
    if not path.is_file():
        raise DataError(f"{path}: no digit classifier here; train it once: progan metric digits MNIST_FOLDER")
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {}).get("progan", "null"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: is not a whole safetensors file ({error}); train it again") from error
    except ValueError:  # not JSON
        pass
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise DataError(f"{path}: is not a digit classifier ({FORMAT} expected in its header)")
    network = DigitClassifier()
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise DataError(f"{path}: is not the digit classifier of this version ({reason}); train it again") from error
    network = network.to(device).requires_grad_(False).eval()
    return FrozenExtractor(
        name="digits",
        hash=weight_hash(state),
        features=3 * network.head.in_features,
        note=f"the classifier misreads {header['test_error']:.2%} of MNIST's test digits",
        network=network,
        rgb=False,
        device=device,
        batch=64,
    )


class DigitHistogram:
    """Histogram of the numbers d0 + 10 d1 + 100 d2 that were read; d0 is the digit in the red channel.

    Raises:
        ConfigError: if digits cannot be read from images of this size.
    """

    def __init__(self, setup: Setup) -> None:
        size = (setup.channels, setup.height, setup.width)
        if setup.channels != 3 or setup.height != setup.width or setup.height not in _SIDES:
            raise ConfigError(_unreadable("mode count reads three digits from RGB images", *size))
        self.histogram = np.zeros(_NUMBERS, np.int64)

    @property
    def count(self) -> int:
        """Images added so far."""
        return int(self.histogram.sum())

    def update(self, rows: Tensor) -> Self:
        """Add digits int64 [N, 3]."""
        numbers = rows.cpu().numpy() @ np.array([1, 10, 100])
        self.histogram += np.bincount(numbers, minlength=_NUMBERS)
        return self

    def merge(self, other: Self) -> Self:
        """Add the numbers of further images."""
        self.histogram += other.histogram
        return self

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the histogram, int64 [1000]."""
        return {"histogram": self.histogram}

    def load(self, arrays: Mapping[str, np.ndarray]) -> Self:
        """Restore the state that ``arrays`` returned."""
        self.histogram = np.array(arrays["histogram"])
        return self


def mode_count(fake: DigitHistogram, *, seed: int = 0) -> dict[str, float]:
    """Return the number of distinct numbers, and KL(their distribution || uniform) [nats]; ``seed`` is not used.

    Raises:
        ConfigError: if there are no images.
    """
    if not fake.count:
        raise ConfigError("the mode count requires at least 1 image, got 0")
    p = fake.histogram[fake.histogram > 0] / fake.count
    return {"modes": float(len(p)), "kl": float((p * np.log(p * _NUMBERS)).sum())}
