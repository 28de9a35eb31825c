"""WGAN-GP (Gulrajani et al. 2017): a Wasserstein GAN whose critic is kept smooth by a penalty instead of clipping.

The critic minimizes mean f(G(z)) - mean f(real) + 10 mean (|grad f| - 1)^2, where the gradient is taken at a random
point between a real and a generated image (equation 3). Each point has its own weight, and the norm is over all pixels
of a sample. The penalty is defined for single samples, so the critic must not have batch norm; it has layer norm or
none. The critic's estimate of the distance is in stats.jsonl as "discriminator/distance".

Steps are in the order of algorithm 1: five of the critic, then one of G. The authors' code begins each iteration with
the step of G and omits it in the first one, which is the same sequence.

There are four pairs of networks (``wgan_gp_networks.py``): "resnet" for 64x64, the authors' good one; "dcgan", their
baseline; "mnist"; and "cifar", a residual network for 32x32, with classes if ``conditional``. In that case, G has
class-conditional batch norm, and the critic also learns to classify real images (AC-GAN), which G is to make easy.

The code always uses batch statistics in G, even for samples; here snapshots use running averages, as elsewhere, so that
an image does not depend on the others.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from progan.errors import ConfigError
from progan.gans.base import Batch, ImageSpec, Latent, Phase, Terms
from progan.gans.tricks import TwoPlayerConfig
from progan.gans.two_player import BatchNormConfig, TwoPlayer, alternating
from progan.gans.wgan_gp_layers import slopes_only
from progan.gans.wgan_gp_networks import (
    CIFARCritic,
    ConvCritic,
    ConvGenerator,
    ResNetCritic,
    ResNetGenerator,
    resnet_widths,
)
from progan.layers import shared_weights
from progan.losses import WASSERSTEIN, gradient_penalty
from progan.ops import hashed_uniform
from progan.schedule import Stage

CLASS_WEIGHT_CRITIC, CLASS_WEIGHT_GENERATOR = 1.0, 0.1  # of the classification losses (authors' code)


@dataclass(frozen=True, kw_only=True)
class WGANGPConfig(TwoPlayerConfig, BatchNormConfig):
    """Networks and steps of WGAN-GP; the defaults are the authors' good networks for 64x64."""

    body: Literal["resnet", "dcgan", "mnist", "cifar"] = "resnet"
    """Networks: residual ones that double and halve (resnet) or for 32x32 (cifar), or convolutional ones with 5x5
    kernels and normalization (dcgan) or without (mnist)."""
    maps: int = 64
    """Feature maps next to the images; each halving of the size doubles them, except in cifar, which has 128 of all
    sizes in the paper."""
    latent_size: int = 128
    """Number of components of a latent, which are N(0, 1)."""
    penalty_weight: float = 10.0
    """Weight of the gradient penalty."""
    n_critic: int = 5
    """Number of steps of the critic per step of G."""
    generator_batch: int = 1
    """Number of images in a step of G, as a multiple of the batch; 2 for CIFAR-10 in the paper."""
    conditional: bool = False
    """Generate images of given classes; requires the cifar networks and labels."""
    dequantize: bool = False
    """Add uniform noise of the size of a gray level to real images, so that they are not discrete (authors, CIFAR-10).
    The gray level of a pixel, 0 to 255, is mapped to [-1, 1) as (level + noise) / 128 - 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (
            *(("maps", 1), ("latent_size", 1), ("n_critic", 1), ("generator_batch", 1)),
            *(("penalty_weight", 0), ("bn_group", 0)),
        ):
            if getattr(self, name) < least:
                raise ConfigError(f"gan.{name} must be at least {least}, got {getattr(self, name)}")
        if self.tricks.minibatch:
            raise ConfigError("gan.tricks.minibatch does not work with the penalty of WGAN-GP, which is per sample")
        if self.tricks.wrong_labels:
            raise ConfigError(
                "gan.tricks.wrong_labels requires a critic that takes classes; here it classifies (AC-GAN)"
            )
        if self.conditional and (self.tricks.relativistic or self.tricks.feature_matching):
            raise ConfigError("gan.tricks.relativistic and feature_matching exclude gan.conditional")
        if self.conditional and self.body != "cifar":
            raise ConfigError(f"gan.conditional requires gan.body cifar, got {self.body}")

    @property
    def logistic(self) -> bool:
        """Whether the scores of the critic are logits."""
        return False

    @property
    def normed(self) -> bool:
        """Whether a network has batch norm."""
        return self.body != "mnist"

    @property
    def batches_shown(self) -> int:
        """Number of batches of real images per iteration."""
        return self.n_critic

    @property
    def takes_labels(self) -> bool:
        """Whether the generator takes the class."""
        return self.conditional

    def make(self, spec: ImageSpec) -> "WGANGP":
        """Return both networks for images of a data set, with initial weights."""
        return WGANGP(self, spec)

    def make_sampler(self, spec: ImageSpec) -> ConvGenerator | ResNetGenerator:
        """Return the generator alone."""
        latent = Latent(self.latent_size)
        if self.body in ("mnist", "dcgan"):
            plain = self.body == "mnist"
            return ConvGenerator(spec, latent, maps=self.maps, plain=plain, bn_group=self.bn_group)
        cifar = self.body == "cifar"
        return ResNetGenerator(
            spec,
            latent,
            widths=resnet_widths(spec, self.maps, 1 if cifar else 8),
            cifar=cifar,
            classes=self._classes(spec),
            bn_group=self.bn_group,
        )

    def make_discriminator(self, spec: ImageSpec) -> nn.Module:
        """Return the critic alone."""
        if self.body in ("mnist", "dcgan"):
            return ConvCritic(spec, maps=self.maps, plain=self.body == "mnist")
        if self.body == "cifar":
            return CIFARCritic(spec, maps=self.maps, classes=self._classes(spec))
        return ResNetCritic(spec, widths=resnet_widths(spec, self.maps, 8))

    def _classes(self, spec: ImageSpec) -> int:
        """Number of classes of the networks, 0 if unconditional."""
        if self.conditional and spec.classes < 2:
            raise ConfigError(
                f"gan.conditional requires labels of at least 2 classes, but the data has {spec.classes}; give each "
                "class a subfolder, or omit gan.conditional"
            )
        return spec.classes if self.conditional else 0


class WGANGP(TwoPlayer):
    """Generator, critic and their steps. The critic is the network "discriminator", as in every GAN here."""

    def __init__(self, config: WGANGPConfig, spec: ImageSpec) -> None:
        self.config = config
        generator, critic = config.make_sampler(spec), config.make_discriminator(spec)
        super().__init__(config, spec, generator, critic, adversarial=WASSERSTEIN, conditional=config.conditional)
        # The authors' MNIST images are in [0, 1], so the slope by their pixels is twice that by ours.
        self._enlarged = 0.5 if config.body == "mnist" else 1.0

    def steps(self, stage: Stage) -> list[Phase]:
        return alternating(self, n_critic=self.config.n_critic, generator_batch=self.config.generator_batch)

    def score(self, batch: Batch, images: Tensor, stream: str) -> Tensor:
        return self.discriminator(images)[:, 0]

    def discriminator_terms(self, batch: Batch, fake: Tensor) -> Terms:
        """Return the terms of the critic. Nothing in it couples samples, so it scores all images in one pass."""
        real = self.reals(batch)
        with shared_weights(), self.dropped(batch, "both"):
            outputs = self.discriminator(torch.cat([real, fake]).contiguous(memory_format=torch.channels_last))
            on_real, on_fake = outputs.chunk(2)
            terms = self.rules.critic(batch, on_real[:, 0], on_fake[:, 0])
            if self.config.penalty_weight:
                terms["penalty"] = self.config.penalty_weight * self.penalty(batch, real, fake)
        terms |= self.penalties(batch, real, fake)
        if self.conditional:  # of real images only, as in the authors' code
            wrong = F.cross_entropy(on_real[:, 1:], batch.labels, reduction="none")
            terms["class_real"] = CLASS_WEIGHT_CRITIC * wrong
        distance = (on_real[:, 0] - on_fake[:, 0]).detach()
        return terms | {"distance": distance}  # for the statistics: it has no gradient

    def penalty(self, batch: Batch, real: Tensor, fake: Tensor) -> Tensor:
        """Return the unweighted gradient penalty [N]."""
        mix = batch.uniform("mix", 1).view(-1, 1, 1, 1)
        with slopes_only():
            return gradient_penalty(
                lambda x: self.score(batch, x, "between"), real, fake, mix.to(real.dtype), enlarged=self._enlarged
            )

    def generator_loss(self, batch: Batch) -> Terms:
        """Return the terms of G, which generates images of random classes if conditional."""
        labels = None
        if self.conditional:
            labels = (batch.uniform("classes", 1)[:, 0] * self.spec.classes).long()
        fake = self.rules.shown(batch, self.generator(self.latents(batch), batch.level, None, labels))
        if labels is None:
            return self.generator_terms(batch, fake)
        with self.dropped(batch, "fake"):
            outputs = self.discriminator(fake)
        wrong = F.cross_entropy(outputs[:, 1:], labels, reduction="none")
        return self.rules.generator(outputs[:, 0]) | {"class_fake": CLASS_WEIGHT_GENERATOR * wrong}

    def reals(self, batch: Batch) -> Tensor:
        """Return the real images as the critic is shown them, with noise if they are to be dequantized."""
        real = batch.images
        if self.config.dequantize:
            noise = hashed_uniform(batch.uniform("dequantize", 2), real[0].numel()).view(real.shape)
            real = ((real + 1) * 127.5 + noise) / 128 - 1
        return self.rules.shown(batch, real)
