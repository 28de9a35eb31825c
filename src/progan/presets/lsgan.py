"""LSGAN (Mao et al. 2017): scenes, characters of many classes, the tests of stability, and runs for a laptop."""

from dataclasses import replace

from progan.gans import LSGANConfig
from progan.presets.family import constant
from progan.training.config import RunConfig


def lsgan_lsun_112() -> RunConfig:
    """LSGAN on scenes (LSUN) at 112x112 as in the authors' code: 1M steps of 64 images."""
    gan = LSGANConfig(networks="scenes", reduction="sum")
    return constant(gan, 112, batch=64, lr=1e-3, total_kimg=64_000, beta1=0.5, beta2=0.999)


def lsgan_64() -> RunConfig:
    """LSGAN at 64x64 with the networks of DCGAN: 25 epochs of 202,599 faces (CelebA), as dcgan_celeba_64."""
    return constant(LSGANConfig(), 64, batch=64, lr=2e-4, total_kimg=25 * 202.599, beta1=0.5, beta2=0.999)


def lsgan_64_small() -> RunConfig:
    """lsgan_64 for a laptop: 16 feature maps next to the images instead of 64, and 400 kimg.

    The learning rate is that of lsgan_lsun_112: with 0.0002, these networks still generated gray after 70 kimg.
    """
    row = lsgan_64()
    return replace(row, gan=LSGANConfig(maps=16), schedule=replace(row.schedule, lr=1e-3, total_kimg=400))


def lsgan_64_no_bn_g() -> RunConfig:
    """First test of stability (section 4.3): lsgan_64 with 5x5 kernels and without batch norm in G."""
    return replace(lsgan_64(), gan=LSGANConfig(kernel=5, norm="discriminator"))


def lsgan_64_no_bn_rmsprop() -> RunConfig:
    """Second test of stability (section 4.3): 5x5 kernels, no batch norm at all, and RMSprop instead of Adam."""
    gan = LSGANConfig(kernel=5, norm="none", optimizer="rmsprop")
    return replace(lsgan_64(), gan=gan, beta2=0.9)  # TensorFlow's default


def lsgan_hwdb() -> RunConfig:
    """LSGAN on handwritten Chinese characters with 3,740 classes; needs HWDB1.0 as folders by class, at 28x28.

    The length of the authors' run is not known; this is that of lsgan_lsun_112.
    """
    gan = LSGANConfig(networks="labels", reduction="sum")
    return constant(gan, 28, batch=64, lr=2e-4, total_kimg=64_000, beta1=0.5, beta2=0.999)


def lsgan_mnist_small() -> RunConfig:
    """LSGAN on MNIST at 28x28 for a laptop: 32 feature maps next to the images, and 300 kimg."""
    row = lsgan_64()
    schedule = replace(row.schedule.resized(28), total_kimg=300)
    return replace(row, gan=LSGANConfig(maps=32), schedule=schedule)
