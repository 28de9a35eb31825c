"""AAE (Makhzani et al. 2015): runs of the paper, and runs for a laptop."""

from dataclasses import replace
from typing import Any

from progan.gans import AAEConfig
from progan.presets.family import constant
from progan.schedule import DecayConfig
from progan.training.config import RunConfig

_EPOCH = 60.0  # MNIST [thousands of images]
_DROPS = DecayConfig(kind="steps", steps={50 * _EPOCH: 0.1, 1000 * _EPOCH: 0.01})


def _paper(total_epochs: float, **gan: Any) -> RunConfig:
    """A run on MNIST at 28x28 by SGD, whose learning rates fall tenfold after 50 and after 1000 epochs."""
    return constant(AAEConfig(**gan), 28, batch=100, lr=0.01, total_kimg=total_epochs * _EPOCH, decay=_DROPS)


def aae_mnist() -> RunConfig:
    """AAE on MNIST at 28x28, 8-dimensional codes, whose likelihood the paper reports (table 1); 1,200 epochs."""
    return _paper(1200)


def aae_mnist_2d() -> RunConfig:
    """AAE on MNIST at 28x28 with the ten petals of figure 4 as the prior, one for each class; 1,200 epochs."""
    return _paper(1200, task="class_prior", prior="petals", latent_size=2)


def aae_mnist_semi() -> RunConfig:
    """AAE on MNIST at 28x28 with the labels of 1,000 images (section 5, table 2); 1,200 epochs."""
    return _paper(1200, task="semi_supervised", latent_size=10, prior_scale=1.0, labeled=1000, input_keep=0.8)


def aae_mnist_clusters() -> RunConfig:
    """AAE on MNIST at 28x28 that finds 16 clusters without labels (section 6, table 3); 1,200 epochs."""
    return _paper(1200, task="clustering", latent_size=5, prior_scale=1.0, input_keep=0.8)


def aae_mnist_small() -> RunConfig:
    """aae_mnist for a laptop: hidden layers of 500, 300 in D; Adam, averaged weights, and 600 kimg."""
    return _small(aae_mnist(), 600, hidden=(500, 500), prior_scale=1.0)


def aae_mnist_2d_small() -> RunConfig:
    """aae_mnist_2d for a laptop: hidden layers of 500, 300 in D; Adam, averaged weights, and 600 kimg."""
    return _small(aae_mnist_2d(), 600, hidden=(500, 500), prior_scale=1.0)


def aae_mnist_semi_small() -> RunConfig:
    """aae_mnist_semi for a laptop: hidden layers of D 300; Adam, averaged weights, and 1,800 kimg."""
    return _small(aae_mnist_semi(), 1800)


def aae_mnist_clusters_small() -> RunConfig:
    """aae_mnist_clusters for a laptop: hidden layers of 500, 300 in D; Adam, averaged weights, and 600 kimg.

    Without batch norm in the encoder, 4 of the 16 clusters held all digits after these.
    """
    return _small(aae_mnist_clusters(), 600, hidden=(500, 500), encoder_norm=True, init=0.05, adversarial_lr=1.0)


def _small(row: RunConfig, total_kimg: float, **gan: Any) -> RunConfig:
    """A shorter run by Adam, with the mean over the pixels: Adam's steps are the same, and the loss reads better.

    The learning rate falls to 0 in the second half.
    """
    adam = {"optimizer": "adam", "reduction": "mean", "adversarial_lr": 0.2, "adversarial_momentum": 0.5}
    settings = replace(row.gan, **{**adam, "labels_lr": 1.0, "d_hidden": (300, 300), **gan})
    decay = DecayConfig(kind="linear", start_kimg=total_kimg / 2)
    schedule = replace(row.schedule, lr=1e-3, total_kimg=total_kimg, decay=decay)
    return replace(row, gan=settings, schedule=schedule, beta2=0.999, ema_decay=0.999)
