"""Registry of the kinds of networks that runs train and snapshots contain, by their names in files."""

from progan.errors import ConfigError
from progan.gans import (
    AAEConfig,
    BiGANConfig,
    CGANConfig,
    ConditionalDCGANConfig,
    CycleGANConfig,
    DCGANConfig,
    DCGANMnistConfig,
    LAPGANConfig,
    LSGANConfig,
    MNIST1KConfig,
    OriginalGANConfig,
    PointsConfig,
    ProGANConfig,
    WGANConfig,
    WGANGPConfig,
)
from progan.gans.base import GANConfig
from progan.restoration.artefacts import ArtefactsConfig
from progan.restoration.super_resolution import SuperResolutionConfig

GANS: dict[str, type[GANConfig]] = {
    "progan": ProGANConfig,
    "mnist_1k": MNIST1KConfig,
    "gan": OriginalGANConfig,
    "cgan": CGANConfig,
    "bigan": BiGANConfig,
    "dcgan": DCGANConfig,
    "lapgan": LAPGANConfig,
    "lsgan": LSGANConfig,
    "wgan": WGANConfig,
    "wgan_gp": WGANGPConfig,
    "points": PointsConfig,
    "dcgan_mnist": DCGANMnistConfig,
    "dcgan_conditional": ConditionalDCGANConfig,
    "aae": AAEConfig,
    "cyclegan": CycleGANConfig,
    "artefacts": ArtefactsConfig,
    "super_resolution": SuperResolutionConfig,
}
"""Settings class of each kind of network."""
ENCODERS = ("aae", "bigan")
"""Kinds of networks that encode images, for messages."""


def name_of(config: GANConfig) -> str:
    """Return the name under which the class of ``config`` is registered.

    Raises:
        ConfigError: if it is not registered.
    """
    for name, kind in GANS.items():
        if type(config) is kind:
            return name
    raise ConfigError(f"{type(config).__name__} has no name in files yet; add it to GANS in snapshot/registry.py")
