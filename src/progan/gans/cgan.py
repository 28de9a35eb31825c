"""CGAN: conditional GAN (Mirza and Osindero 2014), whose two networks are told what the image should be.

The condition is a vector y for each image: one class as a one-hot vector, several attributes at once, or any numbers,
such as the embedding of a text (see 'progan train --label-columns' and docs/data.md). Numbers are given to the networks
as they are, so they should be about 1 in size.

Each network first maps its input and the condition separately, then both together. The paper gives the widths, SGD with
momentum, and dropout of 0.5 in both networks. What it does not give is as in the original GAN: the range of the initial
weights, dropout in hidden layers, both gradients at the same point, and the generator's loss -log D(G(z)). The loss of
D is the sum of equation 2, without the factor 1/2 of the GAN's program. No program of the authors is known.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from progan.errors import ConfigError
from progan.gans.base import Batch, ImageSpec, Latent
from progan.gans.gan import UNIT_VARIANCE, MaxoutGAN, MaxoutGANConfig, bias_of
from progan.gans.maxout import Maxout, start_uniform
from progan.gans.two_player import Dropout, condition, condition_size, dropout, keep_all
from progan.ops import at_least_float32, no_autocast

_PRIORS: dict[str, tuple[Literal["uniform", "normal"], float, float]] = {
    "cube": ("uniform", 0.5, 0.5),
    "uniform": ("uniform", 0.0, UNIT_VARIANCE),
    "normal": ("normal", 0.0, 1.0),
}


@dataclass(frozen=True, kw_only=True)
class CGANConfig(MaxoutGANConfig):
    """Networks and steps of CGAN; the defaults are those of the paper on MNIST (section 4.1)."""

    half_d_loss: bool = False
    """Halve the loss of D; the paper's equation 2 does not."""
    latent: Literal["cube", "uniform", "normal"] = "cube"
    """Prior of the latents: uniform in the unit hypercube (paper), or uniform or normal of mean 0 and variance 1, which
    trains more easily."""
    d_keep_input: float = 1.0
    """Probability of keeping a pixel at the input of D (dropout); 0.8 in the GAN's program, not mentioned for CGAN."""
    g_keep_hidden: float = 0.5
    """Probability of keeping a hidden feature of G (dropout). Samples are generated without dropout."""
    g_condition_scale: float = 1.0
    """Factor on the condition at the input of G."""
    d_condition_scale: float = 1.0
    """Factor on the condition at the input of D."""
    g_latent_features: int = 200
    """Features of G's layer after the latent."""
    g_condition_features: int = 1000
    """Features of G's layer after the condition."""
    g_joint_features: int = 1200
    """Features of G's layer that joins both."""
    d_image_units: int = 240
    """Maxout units of D's layer after the image."""
    d_image_pieces: int = 5
    """Linear pieces of each of them."""
    d_condition_units: int = 50
    """Maxout units of D's layer after the condition."""
    d_condition_pieces: int = 5
    """Linear pieces of each of them."""
    d_joint_units: int = 240
    """Maxout units of D's layer that joins both."""
    d_joint_pieces: int = 4
    """Linear pieces of each of them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in vars(self):
            if name.endswith(("_features", "_units", "_pieces")) and getattr(self, name) < 1:
                raise ConfigError(f"gan.{name} must be at least 1, got {getattr(self, name)}")

    @property
    def takes_labels(self) -> bool:
        """Whether the sampler takes labels in addition to latents or images."""
        return True

    def make(self, spec: ImageSpec) -> "CGAN":
        """Return both networks for images of a data set, with initial weights."""
        return CGAN(self, spec, self.make_sampler(spec), Discriminator(self, spec), conditional=True)

    def make_sampler(self, spec: ImageSpec) -> "Generator":
        """Return the generator alone."""
        return Generator(self, spec)


class CGAN(MaxoutGAN):
    """Generator, discriminator and their steps."""

    def generated(self, batch: Batch) -> Tensor:
        z, drop = self.latents(batch), dropout(batch, "generator")
        return self.generator(z, batch.level, None, batch.labels, drop=drop)

    def score(self, batch: Batch, images: Tensor, stream: str) -> Tensor:
        return self.discriminator(images, batch.labels, drop=dropout(batch, stream))


class Generator(nn.Module):
    """Generator: a ReLU layer for the latent and one for the condition, one that joins them, and a sigmoid.

    Shape: z [N, Z], labels int64 [N] or float32 [N, K] -> images [N, C, H, W] in [-1, 1].

    Raises:
        ConfigError: if the data has no labels.
    """

    def __init__(self, config: CGANConfig, spec: ImageSpec) -> None:
        super().__init__()
        kind, center, scale = _PRIORS[config.latent]
        self.latent = Latent(config.latent_size, kind, center=center, scale=scale)
        self.spec, self.keep, self.scale = spec, config.g_keep_hidden, config.g_condition_scale
        self.of_latent = nn.Linear(config.latent_size, config.g_latent_features)
        self.of_condition = nn.Linear(condition_size(spec), config.g_condition_features)
        self.joint = nn.Linear(config.g_latent_features + config.g_condition_features, config.g_joint_features)
        self.image = nn.Linear(config.g_joint_features, spec.channels * spec.height * spec.width)
        start_uniform(self, config.g_range)

    def forward(
        self,
        z: Tensor,
        level: int = 0,
        alpha: Tensor | None = None,
        labels: Tensor | None = None,
        drop: Dropout = keep_all,
    ) -> Tensor:
        if labels is None:
            raise ValueError("this generator is conditional and requires labels")
        y = self.scale * condition(labels, self.spec, self.of_condition.weight.dtype)
        x = torch.cat([torch.relu(self.of_latent(z)), torch.relu(self.of_condition(y))], 1)
        x = drop(torch.relu(self.joint(drop(x, self.keep))), self.keep)
        x = at_least_float32(x)
        with no_autocast(x):  # 16-bit floats would round images to about 8 bits
            x = self.image(x).unflatten(1, (self.spec.channels, self.spec.height, self.spec.width))
            return 2 * torch.sigmoid(x) - 1

    @torch.no_grad()
    def set_mean(self, mean: Tensor) -> None:
        """Set the bias to pixel means [C, H, W] in [-1, 1], so that G generates about these before it has learned."""
        self.image.bias.copy_(bias_of((mean + 1) / 2).flatten())


class Discriminator(nn.Module):
    """Discriminator: a maxout layer for the image and one for the condition, one that joins them, and a dense layer.

    Shape: x [N, C, H, W] in [-1, 1], labels int64 [N] or float32 [N, K] -> scores [N], before the sigmoid.

    Raises:
        ConfigError: if the data has no labels.
    """

    def __init__(self, config: CGANConfig, spec: ImageSpec) -> None:
        super().__init__()
        self.spec, self.keep_input, self.keep = spec, config.d_keep_input, config.d_keep_hidden
        self.scale = config.d_condition_scale
        pixels = math.prod((spec.channels, spec.height, spec.width))
        self.of_image = Maxout(pixels, config.d_image_units, config.d_image_pieces)
        self.of_condition = Maxout(condition_size(spec), config.d_condition_units, config.d_condition_pieces)
        both = config.d_image_units + config.d_condition_units
        self.joint = Maxout(both, config.d_joint_units, config.d_joint_pieces)
        self.score = nn.Linear(config.d_joint_units, 1)
        start_uniform(self, config.d_range)

    def forward(self, x: Tensor, labels: Tensor, drop: Dropout = keep_all) -> Tensor:
        x = (x.flatten(1) + 1) / 2
        x = drop(x, self.keep_input) if self.keep_input < 1 else x
        y = self.scale * condition(labels, self.spec, x.dtype)
        x = drop(torch.cat([self.of_image(x), self.of_condition(y)], 1), self.keep)
        return at_least_float32(self.score(drop(self.joint(x), self.keep))[:, 0])
