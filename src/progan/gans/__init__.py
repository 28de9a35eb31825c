"""One file for each paper's GAN; base.py is the contract between them and the training loop."""

from progan.gans.artefacts import ArtefactsConfig
from progan.gans.progressive import ProGANConfig
from progan.gans.super_resolution import SuperResolutionConfig

GANS = {"progan": ProGANConfig, "artefacts": ArtefactsConfig, "super_resolution": SuperResolutionConfig}
"""Settings of each GAN by its name in snapshots."""
