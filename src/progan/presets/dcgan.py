"""DCGAN (Radford et al. 2016): runs of the PyTorch example and of the authors' Theano version."""

from dataclasses import replace

from progan.gans import ConditionalDCGANConfig, DCGANConfig, DCGANMnistConfig
from progan.presets.family import constant
from progan.schedule import DecayConfig
from progan.training.config import RunConfig


def dcgan_celeba_64() -> RunConfig:
    """DCGAN on faces (CelebA) at 64x64 as in the PyTorch example: 25 epochs of 202,599 images."""
    return constant(DCGANConfig(), 64, batch=64, lr=2e-4, total_kimg=25 * 202.599, beta1=0.5, beta2=0.999)


def dcgan_celeba_64_small() -> RunConfig:
    """dcgan_celeba_64 for a laptop: 16 feature maps next to the images instead of 64, and 400 kimg."""
    row = dcgan_celeba_64()
    return replace(row, gan=DCGANConfig(maps=16), schedule=replace(row.schedule, total_kimg=400))


def dcgan_mnist() -> RunConfig:
    """DCGAN on MNIST at 28x28: the networks of the PyTorch example, one halving shorter; 25 epochs."""
    row = dcgan_celeba_64()
    return replace(row, schedule=replace(row.schedule.resized(28), total_kimg=25 * 60.0))


def dcgan_mnist_small() -> RunConfig:
    """dcgan_mnist for a laptop: 32 feature maps next to the images instead of 64, and 300 kimg."""
    row = dcgan_mnist()
    return replace(row, gan=DCGANConfig(maps=32), schedule=replace(row.schedule, total_kimg=300))


def dcgan_faces_64() -> RunConfig:
    """DCGAN on faces at 64x64 as in the authors' version: 25 epochs of 350,000 images."""
    gan = DCGANConfig(
        maps=128, kernel=5, latent="uniform", turns="batches", reuse_fakes=False, bn_eps=1e-8, weight_decay=1e-5
    )
    return constant(gan, 64, batch=128, lr=2e-4, total_kimg=25 * 350.0, beta1=0.5, beta2=0.999)


def dcgan_lsun_64() -> RunConfig:
    """DCGAN on LSUN bedrooms at 64x64 as in the paper: 5 epochs of 3,033,042 images."""
    row = dcgan_faces_64()
    return replace(row, schedule=replace(row.schedule, total_kimg=5 * 3033.042))


def dcgan_imagenet_32() -> RunConfig:
    """DCGAN on ImageNet-1k at 32x32, whose features classify CIFAR-10 in the paper: 25 epochs of 1,281,167 images."""
    row = dcgan_faces_64()
    return replace(row, schedule=replace(row.schedule.resized(32), total_kimg=25 * 1281.167))


def dcgan_mnist_keras() -> RunConfig:
    """DCGAN on MNIST at 28x28 as a tutorial in Keras teaches it: 50 epochs."""
    gan = DCGANMnistConfig(tutorial="keras")
    return constant(gan, 28, batch=256, lr=1e-4, total_kimg=50 * 60.0, beta1=0.9, beta2=0.999, adam_eps=1e-7)


def dcgan_mnist_keras_small() -> RunConfig:
    """dcgan_mnist_keras for a laptop: 16 feature maps next to the images instead of 64, batches of 64, learning rate
    5e-4, beta1 0.5, and 200 kimg.
    """
    row = dcgan_mnist_keras()
    schedule = replace(row.schedule, batch=64, lr=5e-4, total_kimg=200)
    return replace(row, gan=DCGANMnistConfig(tutorial="keras", maps=16), schedule=schedule, beta1=0.5)


def dcgan_mnist_torch() -> RunConfig:
    """DCGAN on MNIST at 28x28 as a tutorial in PyTorch teaches it: 50 epochs."""
    gan = DCGANMnistConfig(tutorial="torch")
    return constant(gan, 28, batch=64, lr=2e-4, total_kimg=50 * 60.0, beta1=0.9, beta2=0.999)


def dcgan_mnist_torch_small() -> RunConfig:
    """dcgan_mnist_torch for a laptop: 24 feature maps next to the images instead of 64, learning rate 5e-4, beta1 0.5,
    and 200 kimg.

    With the tutorial's rate of 2e-4 and beta1 of 0.9, nobody could read the digits after 200 kimg.
    """
    row = dcgan_mnist_torch()
    gan = DCGANMnistConfig(tutorial="torch", maps=24)
    return replace(row, gan=gan, schedule=replace(row.schedule, lr=5e-4, total_kimg=200), beta1=0.5)


def dcgan_mnist_conditional() -> RunConfig:
    """DCGAN on MNIST with labels as in the authors' code: 100 epochs, then 100 while the learning rate falls to 0."""
    return constant(
        ConditionalDCGANConfig(),
        28,
        batch=128,
        lr=2e-4,
        total_kimg=200 * 60.0,
        decay=DecayConfig(kind="linear", start_kimg=100 * 60.0),
        beta1=0.5,
        beta2=0.999,
    )


def dcgan_mnist_conditional_small() -> RunConfig:
    """dcgan_mnist_conditional for a laptop: 24 feature maps next to the images instead of 64, 256 dense features
    instead of 1024, a step of both networks on each batch of 64, and 200 kimg.
    """
    row = dcgan_mnist_conditional()
    gan = ConditionalDCGANConfig(maps=24, dense=256, turns="steps")
    schedule = replace(row.schedule, batch=64, total_kimg=200, decay=row.schedule.decay.stretched(200 / 12_000))
    return replace(row, gan=gan, schedule=schedule)
