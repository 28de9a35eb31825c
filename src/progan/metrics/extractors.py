"""Networks that turn images into the numbers that metrics compare; EXTRACTORS lists them."""

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
    """What an extractor makes of N images."""

    features: Tensor
    """float32 [N, F]."""
    probabilities: Tensor | None = None
    """Of each class, float32 [N, K]."""
    digits: Tensor | None = None
    """Digit read in each channel, int64 [N, 3]."""


class Extractor(Protocol):
    """A network with fixed weights."""

    name: str
    """Its key in EXTRACTORS."""
    hash: str
    """First 16 hex digits of the SHA-256 of its weights, whatever file they came from."""
    features: int
    """Length F of a feature vector."""
    note: str
    """What reports should say of the weights; empty if they are a published file, byte for byte."""

    def __call__(self, images: Tensor) -> Outputs:
        """Outputs of images uint8 [N, 1 or 3, H, W] of any size; DataError if any of them is not finite."""
        ...


@dataclass(frozen=True, kw_only=True)
class FrozenExtractor:
    """An ``Extractor`` around a network: brings images into its form and refuses numbers that are not finite."""

    name: str
    hash: str
    features: int
    note: str = ""
    """What reports should say of the weights."""
    network: Callable[[Tensor], Outputs]
    """uint8 [N, 3, H, W] on ``device`` -> Outputs there."""
    device: str = "cpu"
    batch: int = 16
    """Most images that the network sees at once; larger batches need more memory and are not faster on a CPU."""

    def __call__(self, images: Tensor) -> Outputs:
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ValueError(f"images must be uint8 [N, 1 or 3, H, W], got {images.dtype} {list(images.shape)}")
        images = images.to(self.device).expand(-1, 3, -1, -1)  # grey: three times the same
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            parts = [self.network(part) for part in images.split(self.batch)]
        features = torch.cat([part.features for part in parts])
        probabilities = [part.probabilities for part in parts if part.probabilities is not None]
        digits = [part.digits for part in parts if part.digits is not None]
        broken = (~features.isfinite().all(1)).sum().item()
        if broken:
            raise DataError(
                f"{self.name}: the features of {broken} of {len(images)} images are not finite\n"
                f"  fix:   use other weights (these: {self.hash}), or another device than {self.device}"
            )
        return Outputs(
            features=features,
            probabilities=torch.cat(probabilities) if probabilities else None,
            digits=torch.cat(digits) if digits else None,
        )


def _loader(module: str) -> Callable[[Path | None, str], Extractor]:
    """``load`` of a module that is imported when it is called."""
    return lambda weights, device: import_module(module).load(weights, device)


EXTRACTORS: dict[str, Callable[[Path | None, str], Extractor]] = {
    "inception": _loader("progan.metrics.inception"),
    "efficientnet_lite0": _loader("progan.metrics.lite0"),
    "digits": _loader("progan.metrics.digits"),
}


def load_extractor(name: str, weights: Path | None = None, device: str = "cpu") -> Extractor:
    """The extractor ``name`` with the weights of a file, or with its published ones.

    Raises:
        ConfigError: if there is none of this name, or if it needs a package that is not installed.
        DataError: if the weights cannot be had or read, or do not fit.
    """
    if name not in EXTRACTORS:
        raise ConfigError(f"extractor {name!r}: there is none of this name; choose one of {', '.join(EXTRACTORS)}")
    return EXTRACTORS[name](weights, device)
