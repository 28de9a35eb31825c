"""BiGAN (Donahue et al. 2017): the run of the authors' code on MNIST, and smaller ones."""

import math
from dataclasses import replace

from progan.gans.bigan import BiGANConfig
from progan.presets.family import constant
from progan.schedule import DecayConfig
from progan.training.config import RunConfig

FINAL = 0.01  # share of the learning rate that is left at the end


def halfway(total_kimg: float) -> DecayConfig:
    """Return a constant learning rate for half of a run, and then its exponential decay to 1 %."""
    half_life = total_kimg / 2 * math.log(2) / math.log(1 / FINAL)
    return DecayConfig(kind="exponential", start_kimg=total_kimg / 2, half_life_kimg=half_life, floor=FINAL)


def bigan_mnist() -> RunConfig:
    """BiGAN on MNIST at 28x28 as in the authors' code: 200 epochs, then 200 while the learning rate falls to 1 %."""
    total = 400 * 60.0
    return constant(
        BiGANConfig(), 28, batch=128, lr=2e-4, total_kimg=total, decay=halfway(total), beta1=0.5, beta2=0.999
    )


def bigan_mnist_small() -> RunConfig:
    """bigan_mnist for a laptop: 512 features instead of 1024, batches of 64, and 1,200 kimg."""
    row = bigan_mnist()
    schedule = replace(row.schedule, batch=64, total_kimg=1200, decay=halfway(1200))
    return replace(row, gan=BiGANConfig(hidden=(512, 512)), schedule=schedule)


def bigan_celeba_64() -> RunConfig:
    """BiGAN on faces (CelebA) at 64x64 with DCGAN's networks and an encoder: 50 epochs of 202,599 images."""
    gan, total = BiGANConfig(networks="conv", latent_size=100), 50 * 202.599
    return constant(gan, 64, batch=64, lr=2e-4, total_kimg=total, decay=halfway(total), beta1=0.5, beta2=0.999)


def bigan_celeba_64_small() -> RunConfig:
    """bigan_celeba_64 for a laptop: 16 feature maps next to the images instead of 64, and 200 kimg."""
    row = bigan_celeba_64()
    gan = replace(row.gan, maps=16)
    return replace(row, gan=gan, schedule=replace(row.schedule, total_kimg=200, decay=halfway(200)))
