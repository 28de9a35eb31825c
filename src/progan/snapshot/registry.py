"""Every kind of network that a run trains and a snapshot holds, by its name in files."""

from progan.gans import MNIST1KConfig, ProGANConfig
from progan.gans.base import GANConfig
from progan.restoration.artefacts import ArtefactsConfig
from progan.restoration.super_resolution import SuperResolutionConfig

GANS: dict[str, type[GANConfig]] = {
    "progan": ProGANConfig,
    "mnist_1k": MNIST1KConfig,
    "artefacts": ArtefactsConfig,
    "super_resolution": SuperResolutionConfig,
}
"""Settings of each kind."""


def name_of(config: GANConfig) -> str:
    """The name under which the kind of ``config`` is registered."""
    return next(name for name, kind in GANS.items() if type(config) is kind)
