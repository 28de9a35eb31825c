"""Networks that extract the features that metrics compare; EXTRACTORS lists them."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from progan.errors import ConfigError, DataError


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Outputs of an extractor for N images."""

    features: Tensor
    """float32 [N, F]."""
    probabilities: Tensor | None = None
    """Probability of each class, float32 [N, K]."""
    digits: Tensor | None = None
    """Digit read in each channel, int64 [N, C]."""


class Extractor(Protocol):
    """A network with fixed weights."""

    name: str
    """Key in EXTRACTORS."""
    hash: str
    """First 16 hexadecimal digits of the SHA-256 of the weights, independent of the file format."""
    features: int
    """Number F of features."""
    note: str
    """Note about the weights for reports; empty if they are a published file, byte for byte."""

    def __call__(self, images: Tensor) -> Outputs:
        """Return the outputs for images uint8 [N, 1 or 3, H, W] of any size; DataError if any of them is not finite."""
        ...


@dataclass(frozen=True, kw_only=True)
class FrozenExtractor:
    """An ``Extractor`` around a network: refuses outputs that are not finite."""

    name: str
    hash: str
    features: int
    note: str = ""
    """Note about the weights for reports."""
    network: Callable[[Tensor], Outputs]
    """uint8 [N, 3, H, W] on ``device`` -> Outputs there."""
    rgb: bool = True
    """Whether grayscale images are converted to RGB for the network."""
    device: str = "cpu"
    batch: int = 16
    """Maximum number of images in a batch; larger batches require more memory and are not faster on a CPU."""

    def __call__(self, images: Tensor) -> Outputs:
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ValueError(f"images must be uint8 [N, 1 or 3, H, W], got {images.dtype} {list(images.shape)}")
        images = images.to(self.device)
        if self.rgb:
            images = images.expand(-1, 3, -1, -1)  # grayscale: three times the same
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            parts = [self.network(part) for part in images.split(self.batch)]
        features = torch.cat([part.features for part in parts])
        probabilities = [part.probabilities for part in parts if part.probabilities is not None]
        digits = [part.digits for part in parts if part.digits is not None]
        broken = (~features.isfinite().all(1)).sum().item()
        if broken:
            raise DataError(
                f"{self.name}: the features of {broken} of {len(images)} images are not finite\n"
                f"  fix:   use different weights (these: {self.hash}), or a different device than {self.device}"
            )
        return Outputs(
            features=features,
            probabilities=torch.cat(probabilities) if probabilities else None,
            digits=torch.cat(digits) if digits else None,
        )


def _loader(module: str) -> Callable[[Path | None, str], Extractor]:
    """``load`` of a module that is imported on the first call."""
    return lambda weights, device: import_module(module).load(weights, device)


EXTRACTORS: dict[str, Callable[[Path | None, str], Extractor]] = {
    "inception": _loader("progan.metrics.inception"),
    "efficientnet_lite0": _loader("progan.metrics.lite0"),
    "digits": _loader("progan.metrics.digits"),
}


def load_extractor(name: str, weights: Path | None = None, device: str = "cpu") -> Extractor:
    """Load an extractor with the weights in a file, or with the published ones.

    Raises:
        ConfigError: if the name is unknown, or a required package is not installed.
        DataError: if the weights cannot be found or read, or are those of a different network.
    """
    if name not in EXTRACTORS:
        raise ConfigError(f"unknown extractor {name!r}; choose from {', '.join(EXTRACTORS)}")
    return EXTRACTORS[name](weights, device)
