"""GAN (Goodfellow et al. 2014) and CGAN (Mirza and Osindero 2014): runs of the papers, and small ones for a laptop."""

import math
from dataclasses import replace
from typing import Any

from progan.gans import CGANConfig, OriginalGANConfig
from progan.gans.tricks import NetworkTricks
from progan.presets.family import constant
from progan.schedule import DecayConfig
from progan.training.config import RunConfig


def divided(factor: float, *, lr: float, batch: int) -> DecayConfig:
    """Return the decay of a learning rate that is divided by ``factor`` after every step, down to 1e-6."""
    steps = math.log(2) / math.log(factor)
    return DecayConfig(kind="exponential", half_life_kimg=steps * batch / 1000, floor=1e-6 / lr)


def gan_mnist() -> RunConfig:
    """GAN on MNIST at 28x28 as in the authors' program, which has no end; here 500 epochs of 50,000 images."""
    decay = divided(1.000004, lr=0.1, batch=100)
    return constant(OriginalGANConfig(), 28, batch=100, lr=0.1, total_kimg=500 * 50.0, decay=decay)


def gan_cifar10() -> RunConfig:
    """GAN on CIFAR-10 at 32x32 with dense layers as in the authors' program; 500 epochs of 40,000 images."""
    gan = OriginalGANConfig(
        latent="normal",
        g_hidden=(8000, 8000),
        g_last_hidden="sigmoid",
        g_output="linear",
        g_output_range=0.5,
        d_units=(1600, 1600),
        momentum_kimg=249 * 40.0,
        pixel_bias=False,
    )
    decay = divided(1.000004, lr=0.025, batch=100)
    return constant(gan, 32, batch=100, lr=0.025, total_kimg=500 * 40.0, decay=decay)


def gan_cifar10_conv() -> RunConfig:
    """GAN on CIFAR-10 at 32x32 with convolutional maxout layers in D and a transposed convolution in G; 500 epochs."""
    row = gan_cifar10()
    gan = replace(
        row.gan, generator="conv", g_hidden=(8000,), g_output_range=0.05, discriminator="conv", d_units=(500,)
    )
    schedule = replace(row.schedule, batch=128, lr=0.004, decay=divided(1.000004, lr=0.004, batch=128))
    return replace(row, gan=gan, schedule=schedule)


def cgan_mnist() -> RunConfig:
    """CGAN on MNIST at 28x28 as in the paper, whose end is the best Parzen estimate; here 500 epochs of 50,000."""
    decay = divided(1.00004, lr=0.1, batch=100)
    return constant(CGANConfig(), 28, batch=100, lr=0.1, total_kimg=500 * 50.0, decay=decay)


def gan_mnist_small() -> RunConfig:
    """gan_mnist for a laptop: G 256-256 instead of 1200-1200, D maxout 100x3 instead of 240x5 twice, and 600 kimg."""
    return _small(gan_mnist(), g_hidden=(256, 256), d_units=(100, 100), d_pieces=3)


def cgan_mnist_small() -> RunConfig:
    """cgan_mnist for a laptop: G 100 and 100, then 256; D maxout 100x3 and 50x3, then 100x3; and 600 kimg.

    With the paper's latents and small initial weights, G ignored both latent and class. So latents have unit variance,
    G starts with larger weights and without dropout, and D has GAN's dropout of pixels and half loss. The condition is
    larger: beside 784 pixels, a single 1 hardly counts. D also refuses real images with wrong classes, a quarter of
    what it refuses. Images are generated with averaged weights.
    """
    row = _small(
        cgan_mnist(),
        latent="uniform",
        g_range=0.2,
        g_keep_hidden=1.0,
        d_keep_input=0.8,
        half_d_loss=True,
        g_condition_scale=3.0,
        d_condition_scale=6.0,
        g_latent_features=100,
        g_condition_features=100,
        g_joint_features=256,
        d_image_units=100,
        d_image_pieces=3,
        d_condition_units=50,
        d_condition_pieces=3,
        d_joint_units=100,
        d_joint_pieces=3,
        tricks=NetworkTricks(wrong_labels=0.25),
    )
    return replace(row, schedule=replace(row.schedule, total_kimg=600), ema_decay=0.999)


def _small(row: RunConfig, **widths: Any) -> RunConfig:
    """Return a shorter run of these widths: smaller batches, and a D that starts with larger weights."""
    gan = replace(row.gan, **widths, d_range=0.02, momentum_kimg=300.0)
    return replace(row, gan=gan, schedule=replace(row.schedule, batch=50, total_kimg=600))
