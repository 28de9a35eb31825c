"""One file for each paper's GAN; base.py is the contract between them and the training loop."""

from progan.gans.artefacts import ArtefactsConfig
from progan.gans.mnist_1k import MNIST1KConfig
from progan.gans.progressive import ProGANConfig
from progan.gans.super_resolution import SuperResolutionConfig

GANS = {
    "progan": ProGANConfig,
    "mnist_1k": MNIST1KConfig,
    "artefacts": ArtefactsConfig,
    "super_resolution": SuperResolutionConfig,
}
"""Settings of each GAN by its name in snapshots."""
