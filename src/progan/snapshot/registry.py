"""Every kind of network that a run trains and a snapshot holds, by its name in files."""

from progan.errors import ConfigError
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
    """The name under which the kind of ``config`` is registered.

    Raises:
        ConfigError: if it is not.
    """
    for name, kind in GANS.items():
        if type(config) is kind:
            return name
    raise ConfigError(f"{type(config).__name__} has no name in files yet; add it to GANS in snapshot/registry.py")
