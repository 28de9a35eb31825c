"""Networks that turn images into the numbers that metrics compare; EXTRACTORS lists them."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

from torch import Tensor

from progan.errors import ConfigError


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

    def __call__(self, images: Tensor) -> Outputs:
        """Outputs of images uint8 [N, 1 or 3, H, W] of any size; DataError if any of them is not finite."""
        ...


def _loader(module: str) -> Callable[[Path | None, str], Extractor]:
    """``load`` of a module that is imported when it is called."""
    return lambda weights, device: import_module(module).load(weights, device)


EXTRACTORS: dict[str, Callable[[Path | None, str], Extractor]] = {
    "inception": _loader("progan.metrics.inception"),
    "efficientnet_lite0": _loader("progan.metrics.lite0"),
    "digits": _loader("progan.metrics.digits"),
}


def load_extractor(name: str, weights: Path | None = None, device: str = "cpu") -> Extractor:
    """The extractor ``name`` with the weights of a file, or with its published ones."""
    if name not in EXTRACTORS:
        raise ConfigError(f"extractor {name!r}: there is none of this name; choose one of {', '.join(EXTRACTORS)}")
    return EXTRACTORS[name](weights, device)
