"""LAPGAN (Denton et al. 2015): runs of the paper, and a small one for a laptop."""

from dataclasses import replace

from progan.gans import LAPGANConfig
from progan.presets.family import constant
from progan.presets.gan import divided
from progan.training.config import RunConfig


def lapgan_cifar10() -> RunConfig:
    """LAPGAN on random 28x28 crops of CIFAR-10, levels 8-14-28; 500 epochs of 45,000 images, the authors name no end.

    The store has the whole images ('progan prepare cifar10 STORE --resolution 32'), of which each is cropped anew
    whenever it is shown. For classes, add --gan.conditional.
    """
    decay = divided(1.000004, lr=0.02, batch=45_000)
    return constant(LAPGANConfig(), 28, batch=64, lr=0.02, total_kimg=500 * 45.0, decay=decay, load_size=32)


def lapgan_lsun_64() -> RunConfig:
    """LAPGAN on LSUN scenes at 64x64, levels 4-8-16-32-64; 5 epochs of 3,033,042 bedrooms, the authors name no end."""
    row = lapgan_cifar10()
    return replace(row, load_size=None, schedule=replace(row.schedule.resized(64), total_kimg=5 * 3033.042))


def lapgan_cifar10_small() -> RunConfig:
    """lapgan_cifar10 for a laptop: a narrow pyramid that is trained by Adam, 150 kimg of whole 28x28 images.

    There are 16 feature maps instead of 64, and the dense layers of the coarsest level have 256 features instead of
    8000 and 1600. With SGD and the authors' learning rate, the coarsest level of this width still generated one noisy
    pattern for all latents after 35 kimg. The store may contain the centers of the images ('progan prepare cifar10
    STORE --crop 2,2,28,28 --resolution 28').
    """
    gan = LAPGANConfig(g_maps=16, d_maps=16, base_g_hidden=(256, 256), base_d_hidden=(256, 256), optimizer="adam")
    return constant(gan, 28, batch=64, lr=1e-3, total_kimg=150, beta1=0.5, beta2=0.999)
