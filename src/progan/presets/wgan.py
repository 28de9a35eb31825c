"""WGAN (Arjovsky et al. 2017) and WGAN-GP (Gulrajani et al. 2017): runs of the papers, and small ones."""

from dataclasses import replace

from progan.gans import WGANConfig, WGANGPConfig
from progan.presets.family import constant
from progan.schedule import DecayConfig
from progan.training.config import RunConfig

LSUN_KIMG = 3033.042  # images of LSUN bedrooms
CRITIC_STEPS = 5  # per step of G; each shows a batch of real images


def wgan_lsun_64() -> RunConfig:
    """WGAN on LSUN bedrooms at 64x64 with DCGAN's networks: the authors' 25 epochs of 3,033,042 images."""
    gan = WGANConfig()
    return constant(gan, 64, batch=64, lr=5e-5, total_kimg=25 * LSUN_KIMG, beta1=0.5, beta2=0.999)


def wgan_mlp_lsun_64() -> RunConfig:
    """wgan_lsun_64 with dense layers, 512 wide, instead of DCGAN's networks."""
    return replace(wgan_lsun_64(), gan=WGANConfig(generator="mlp", critic="mlp"))


def wgan_mnist() -> RunConfig:
    """WGAN on MNIST at 28x28 with DCGAN's networks, one halving shorter: 100 epochs of 60,000 images."""
    row = wgan_lsun_64()
    return replace(row, schedule=replace(row.schedule.resized(28), total_kimg=100 * 60.0))


def wgan_mnist_small() -> RunConfig:
    """wgan_mnist for a laptop: 16 feature maps next to the images, 3 critic steps, 20 times the rate, 300 kimg."""
    row = wgan_mnist()
    gan = WGANConfig(maps=16, n_critic=3, long_rounds=0, long_every=0)
    return replace(row, gan=gan, schedule=replace(row.schedule, lr=1e-3, total_kimg=300))


def wgan_gp_mnist() -> RunConfig:
    """WGAN-GP on MNIST at 28x28: the authors' 200,000 iterations of G, with batches of 50."""
    gan = WGANGPConfig(body="mnist")
    return constant(gan, 28, batch=50, lr=1e-4, total_kimg=200 * CRITIC_STEPS * 50, beta1=0.5, beta2=0.9)


def wgan_gp_mnist_small() -> RunConfig:
    """wgan_gp_mnist for a laptop: 8 feature maps next to the images, 3 critic steps, 10 times the rate, 200 kimg."""
    row = wgan_gp_mnist()
    gan = replace(row.gan, maps=8, n_critic=3)
    return replace(row, gan=gan, schedule=replace(row.schedule, batch=32, lr=1e-3, total_kimg=200))


def wgan_gp_lsun_64() -> RunConfig:
    """WGAN-GP on LSUN bedrooms at 64x64 with residual networks: 200,000 iterations of G, with batches of 64."""
    gan = WGANGPConfig(body="resnet")
    return constant(gan, 64, batch=64, lr=1e-4, total_kimg=200 * CRITIC_STEPS * 64, beta1=0.0, beta2=0.9)


def wgan_gp_dcgan_lsun_64() -> RunConfig:
    """wgan_gp_lsun_64 with the networks of DCGAN, 5x5 kernels, and Adam's beta1 0.5, as the paper compares networks."""
    return replace(wgan_gp_lsun_64(), gan=WGANGPConfig(body="dcgan"), beta1=0.5)


def wgan_gp_cifar10() -> RunConfig:
    """WGAN-GP on CIFAR-10 without labels: 100,000 iterations of G, while the learning rate falls to 0."""
    gan = WGANGPConfig(body="cifar", maps=128, generator_batch=2, dequantize=True)
    decay, kimg = DecayConfig(kind="linear"), 100 * CRITIC_STEPS * 64
    return constant(gan, 32, batch=64, lr=2e-4, total_kimg=kimg, decay=decay, beta1=0.0, beta2=0.9)


def wgan_gp_cifar10_conditional() -> RunConfig:
    """wgan_gp_cifar10 with labels: class-conditional batch norm in G, and a critic that also classifies."""
    row = wgan_gp_cifar10()
    return replace(row, gan=replace(row.gan, conditional=True))


def wgan_gp_64_small() -> RunConfig:
    """wgan_gp_lsun_64 for a laptop: 16 feature maps next to the images instead of 64, and 300 kimg."""
    row = wgan_gp_lsun_64()
    return replace(row, gan=replace(row.gan, maps=16), schedule=replace(row.schedule, total_kimg=300))
