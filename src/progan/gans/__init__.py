"""GANs, one file for each paper; base.py is the contract between them and the training loop."""

from progan.gans.aae import AAEConfig
from progan.gans.bigan import BiGANConfig
from progan.gans.cgan import CGANConfig
from progan.gans.cyclegan import CycleGANConfig
from progan.gans.dcgan import DCGANConfig
from progan.gans.dcgan_conditional import ConditionalDCGANConfig
from progan.gans.dcgan_mnist import DCGANMnistConfig
from progan.gans.gan import OriginalGANConfig
from progan.gans.lapgan import LAPGANConfig
from progan.gans.lsgan import LSGANConfig
from progan.gans.mnist_1k import MNIST1KConfig
from progan.gans.points import PointsConfig
from progan.gans.progressive import ProGANConfig
from progan.gans.wgan import WGANConfig
from progan.gans.wgan_gp import WGANGPConfig

__all__ = [
    "AAEConfig",
    "BiGANConfig",
    "CGANConfig",
    "ConditionalDCGANConfig",
    "CycleGANConfig",
    "DCGANConfig",
    "DCGANMnistConfig",
    "LAPGANConfig",
    "LSGANConfig",
    "MNIST1KConfig",
    "OriginalGANConfig",
    "PointsConfig",
    "ProGANConfig",
    "WGANConfig",
    "WGANGPConfig",
]
