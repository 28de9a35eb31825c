"""GANs, one file for each paper; base.py is the contract between them and the training loop."""

from progan.gans.dcgan import DCGANConfig
from progan.gans.mnist_1k import MNIST1KConfig
from progan.gans.progressive import ProGANConfig

__all__ = ["DCGANConfig", "MNIST1KConfig", "ProGANConfig"]
