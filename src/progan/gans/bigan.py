"""BiGAN: a GAN with an encoder that inverts its generator (Donahue et al. 2017, Adversarial Feature Learning).

D tells pairs of an image and a code apart: (x, E(x)) of real images and (G(z), z) of latents. E and G are trained to
confuse it by swapped labels. If D cannot tell the pairs apart, E inverts G (theorem 2), although no loss compares an
image with its reconstruction. The features of E before its output classify images well (table 1).

As in the authors' code, all three networks take their steps at once: both gradients are taken at the same point, from
the same images, codes and latents. ``update`` "alternating" trains D first, then E and G on the same real images and
new latents. Either side of a loss, pairs of real and of generated images, counts one half. D sees both kinds in
separate batches, each with batch-norm statistics of its own. G and E keep running statistics for their use after
training; those of D always are the batch's. The authors measure theirs after each epoch instead, with fixed weights.

The dense networks are those of the authors' code for MNIST. They have no biases, and batch norm has neither gain nor
shift. The networks see pixels in 0 ... 1; images outside of them are in -1 ... 1. The convolutional ones are DCGAN's,
with an encoder like its discriminator; the authors' networks for ImageNet differ.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from progan.errors import ConfigError
from progan.gans.base import GAN, Batch, ImageSpec, Latent, Optimizer, Phase, Terms
from progan.gans.bigan_networks import (
    BiGANNetworksConfig,
    ConvDiscriminator,
    ConvEncoder,
    DenseDiscriminator,
    DenseEncoder,
    DenseGenerator,
    conv_generator,
)
from progan.losses import NON_SATURATING
from progan.schedule import Stage


@dataclass(frozen=True, kw_only=True)
class BiGANConfig(BiGANNetworksConfig):
    """Networks and steps of BiGAN; the defaults are those of the authors' code for MNIST."""

    weight_decay: float = 2.5e-5
    """Weight decay (L2 penalty) of all networks."""
    update: Literal["simultaneous", "alternating"] = "simultaneous"
    """Take all gradients at the same point (authors), or train D first and then E and G."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.weight_decay < float("inf"):
            raise ConfigError(f"gan.weight_decay must be a number of at least 0, got {self.weight_decay}")

    def make(self, spec: ImageSpec) -> "BiGAN":
        """Return all networks for images of a data set, with initial weights."""
        return BiGAN(self, spec)

    def make_sampler(self, spec: ImageSpec) -> "Pair":
        """Return the generator and the encoder."""
        if self.networks == "conv":
            return Pair(conv_generator(self, spec, self.latent), ConvEncoder(self, spec, self.latent))
        return Pair(DenseGenerator(self, spec, self.latent), DenseEncoder(self, spec, self.latent))

    def make_discriminator(self, spec: ImageSpec) -> nn.Module:
        """Return the discriminator of pairs."""
        kind = ConvDiscriminator if self.networks == "conv" else DenseDiscriminator
        return kind(self, spec, self.latent)


class Pair(nn.Module):
    """Generator and encoder, as snapshots contain them.

    Shape: z [N, Z] -> images [N, C, H, W] in [-1, 1].
    """

    def __init__(self, generator: nn.Module, encoder: nn.Module) -> None:
        super().__init__()
        self.generator, self.encoder = generator, encoder
        self.latent: Latent = generator.latent  # type: ignore[assignment]

    def forward(self, z: Tensor, level: int = 0, alpha: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        return self.generator(z)

    def encode(self, images: Tensor, level: int = 0) -> Tensor:
        """Return the codes E(x) of images, [N, Z]; G generates reconstructions from them."""
        return self.encoder(images)

    def features(self, images: Tensor, level: int = 0) -> Tensor:
        """Return the output of the encoder's last hidden layer, [N, F], which table 1 classifies."""
        return self.encoder.features(images)  # type: ignore[operator]


class BiGAN(GAN):
    """Generator, encoder, discriminator and their steps."""

    def __init__(self, config: BiGANConfig, spec: ImageSpec) -> None:
        self.config = config
        pair = config.make_sampler(spec)
        self.generator, self.encoder, self.latent = pair.generator, pair.encoder, pair.latent
        self.discriminator = config.make_discriminator(spec)
        networks = {"generator": self.generator, "encoder": self.encoder, "discriminator": self.discriminator}
        decayed = Optimizer(weight_decay=config.weight_decay)
        super().__init__(networks, sampler=pair, optimizers=dict.fromkeys(networks, decayed))

    def phases(self, stage: Stage) -> list[Phase]:
        if self.config.update == "simultaneous":
            return [Phase("both", ("discriminator", "generator", "encoder"), self.joint_loss)]
        return [
            Phase("discriminator", ("discriminator",), self.discriminator_loss),
            Phase("generator", ("generator", "encoder"), self.generator_loss, shows_images=False),
        ]

    def samples(self, sampler: nn.Module, batch: Batch) -> Tensor:
        return sampler(self._latents(batch))

    def joint_loss(self, batch: Batch) -> Terms:
        """Return the terms of all networks at the same point, for one simultaneous step."""
        z = self._latents(batch)
        code, fake = self.encoder(batch.images), self.generator(z)
        d_terms = self._discriminator_terms(batch.images, code.detach(), fake.detach(), z)
        self.discriminator.requires_grad_(False)
        terms = self._generator_terms(batch.images, code, fake, z)
        self.discriminator.requires_grad_(True)
        return {f"discriminator_{name}": term for name, term in d_terms.items()} | terms

    def discriminator_loss(self, batch: Batch) -> Terms:
        """Return the terms of the discriminator, which have no gradient in the other networks."""
        z = self._latents(batch)
        with torch.no_grad():
            code, fake = self.encoder(batch.images), self.generator(z)
        return self._discriminator_terms(batch.images, code, fake, z)

    def generator_loss(self, batch: Batch) -> Terms:
        """Return the terms of generator and encoder; the loop freezes the discriminator meanwhile."""
        z = self._latents(batch)
        return self._generator_terms(batch.images, self.encoder(batch.images), self.generator(z), z)

    def _latents(self, batch: Batch) -> Tensor:
        return self.latent.draw(batch.normal, batch.uniform)

    def _discriminator_terms(self, real: Tensor, code: Tensor, fake: Tensor, z: Tensor) -> Terms:
        """Half the cross-entropy of each kind of pairs: (x, E(x)) has the label 1, (G(z), z) has 0."""
        terms = NON_SATURATING.critic(self.discriminator(real, code), self.discriminator(fake, z))
        return {name: term / 2 for name, term in terms.items()}

    def _generator_terms(self, real: Tensor, code: Tensor, fake: Tensor, z: Tensor) -> Terms:
        """The same with swapped labels: pairs of real images train E, and pairs of generated images G."""
        terms = NON_SATURATING.critic(self.discriminator(fake, z), self.discriminator(real, code))
        return {"encoder": terms["fake"] / 2, "generator": terms["real"] / 2}
