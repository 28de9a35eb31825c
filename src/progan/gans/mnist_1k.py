"""Discrete mode test (ProGAN appendix E, after Metz et al. 2017): small networks, and an even smaller discriminator.

There is one convolution per resolution. The paper limits D on purpose ("K/2" with about 2000 parameters, "K/4" with
about 500), so that the number of modes that G covers, out of 1000, separates training methods.
"""

import itertools
import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from progan.batchnorm import BatchNorm2d
from progan.errors import ConfigError
from progan.gans.base import GAN, WHOLE_BATCH, Batch, GANConfig, ImageSpec, Latent, Phase, Terms
from progan.gans.unrolling import Weights, unrolled
from progan.layers import EqualizedConv2d, EqualizedLinear
from progan.losses import ADVERSARIAL, Scorer, gradient_penalty
from progan.ops import at_least_float32, fade, fade_images, minibatch_stddev, no_autocast, pixel_norm, upscale2
from progan.schedule import Stage

LATENT = 64  # components of a latent, and maps of G at 4x4
LEAK_G, LEAK_D = 0.3, 0.2


@dataclass(frozen=True, kw_only=True)
class MNIST1KConfig(GANConfig):
    """Networks and loss of the discrete mode test; the defaults are the first column of the paper's table 4."""

    shrink: int = 2
    """Divisor of D's feature maps, which are 32, 16 and 8 at 8, 16 and 32 pixels; 2 is the paper's K/2, 4 is K/4."""
    loss: Literal["wgan", "non_saturating"] = "non_saturating"
    """Adversarial loss; wgan includes the gradient penalty."""
    n_critic: int = 1
    """Number of steps of D per step of G."""
    unrolled: int = 0
    """Number of steps of D that G looks ahead and differentiates through (unrolled GAN); 0: none."""
    unrolled_lr: float = 0.05
    """Learning rate of the unrolled steps, which are plain gradient descent."""
    normalization: Literal["batch", "generator", "ours"] = "batch"
    """Normalization. batch: batch norm in both networks, except in D's first convolution (Radford et al. 2016);
    generator: batch norm in G only, for wgan, whose gradient penalty is defined for single samples; both use He's
    initialization. ours: equalized learning rate, and pixel norm in G."""
    stddev: bool = False
    """Add the minibatch standard deviation of the whole batch as a feature map before D's dense layer."""
    bn_group: int = 0
    """Number of samples that share batch-norm statistics; 0: the whole batch, over all devices."""

    def __post_init__(self) -> None:
        if self.shrink not in (1, 2, 4, 8):
            raise ConfigError(f"gan.shrink must be 1, 2, 4 or 8, got {self.shrink}")
        for name, least in (("n_critic", 1), ("unrolled", 0), ("bn_group", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"gan.{name} must be at least {least}, got {getattr(self, name)}")

    @property
    def group(self) -> int:
        """Number of samples that one pass must see together."""
        if self.stddev:
            return WHOLE_BATCH
        return self.bn_group or 1 if self.normalization != "ours" else 1

    @property
    def whole_share(self) -> bool:
        """Whether batch norm uses the statistics of whole batches."""
        return self.normalization != "ours" and not self.bn_group

    @property
    def batches_shown(self) -> int:
        """Number of batches of real images per iteration."""
        return self.n_critic

    def make(self, spec: ImageSpec) -> "MNIST1K":
        """Return both networks for images of a data set, with initial weights."""
        return MNIST1K(self, spec)

    def make_sampler(self, spec: ImageSpec) -> "Generator":
        """Return the generator alone."""
        return Generator(self, spec)


class Generator(nn.Module):
    """Generator: a dense layer to 4x4, then nearest-neighbor upscaling and one 3x3 convolution per resolution.

    It has 64 maps at 4x4 and half as many at each further resolution. 1x1 convolutions and tanh give images.

    Shape: z [N, 64] -> [N, C, H, W] at ``level``, in [-1, 1].
    """

    def __init__(self, config: MNIST1KConfig, spec: ImageSpec) -> None:
        super().__init__()
        self.latent, self.first_level, self.start, ours = Latent(LATENT), 0, spec.start, config.normalization == "ours"
        maps = [max(LATENT >> level, 1) for level in range(spec.levels)]
        self.dense = EqualizedLinear(LATENT, LATENT * math.prod(spec.start), bias=ours, equalized=ours)
        self.convs = nn.ModuleList(
            _Convolution(i, o, 3, bias=ours, equalized=ours) for i, o in itertools.pairwise(maps)
        )
        self.norms = nn.ModuleList([] if ours else (BatchNorm2d(m, group=config.bn_group) for m in maps))
        self.to_rgb = nn.ModuleList(EqualizedConv2d(m, spec.channels, 1, gain=1, equalized=ours) for m in maps)

    def forward(self, z: Tensor, level: int, alpha: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        x = self.dense(z).unflatten(1, (-1, *self.start)).contiguous(memory_format=torch.channels_last)
        x = before = self._finish(x, 0)
        for number in range(1, level + 1):
            before, x = x, self._finish(self.convs[number - 1](upscale2(x)), number)
        image = self._image(x, level)
        if alpha is None or level == 0:
            return image
        return fade(upscale2(self._image(before, level - 1)), image, alpha)

    def _image(self, x: Tensor, level: int) -> Tensor:
        x = at_least_float32(x)
        with no_autocast(x):  # 16-bit floats would round images to about 8 bits
            return torch.tanh(self.to_rgb[level](x))

    def _finish(self, x: Tensor, level: int) -> Tensor:
        """Batch norm and leaky ReLU, or leaky ReLU and pixel norm."""
        if self.norms:
            return F.leaky_relu(self.norms[level](x), LEAK_G, inplace=True)
        return pixel_norm(F.leaky_relu(x, LEAK_G, inplace=True))


class Discriminator(nn.Module):
    """Discriminator: one 3x3 convolution and a 2x2 mean per resolution down to 4x4, then a dense layer.

    The convolution at full size takes the images themselves. While the network grows, smaller images enter through 1x1
    convolutions, which are unused later. The memory format is NCHW, because channels_last is slower for so few maps.

    Shape: x [N, C, H, W] at ``level`` -> scores [N].
    """

    def __init__(self, config: MNIST1KConfig, spec: ImageSpec) -> None:
        super().__init__()
        self.stddev, ours, norm = config.stddev, config.normalization == "ours", config.normalization == "batch"
        maps = [max((64 >> level) // config.shrink, 1) for level in range(1, spec.levels)]  # out of levels 1, 2, ...
        normed = maps[:-1] if norm else []  # never the convolution of images: it would hide the contrast of a batch
        self.convs = nn.ModuleList(
            _Convolution(i, o, 3, bias=number >= len(normed), equalized=ours)
            for number, (o, i) in enumerate(itertools.pairwise([*maps, spec.channels]))
        )
        self.norms = nn.ModuleList(BatchNorm2d(m, group=config.bn_group, track_running_stats=False) for m in normed)
        self.from_rgb = nn.ModuleList(_Convolution(spec.channels, m, 1, equalized=ours) for m in maps)
        self.score = EqualizedLinear((maps[0] + self.stddev) * math.prod(spec.start), 1, gain=1, equalized=ours)

    def forward(self, x: Tensor, level: int, alpha: Tensor | None = None) -> Tensor:
        x = x.contiguous()
        y = x if level == len(self.convs) else self._enter(x, level)
        for number in range(level, 0, -1):
            y = self.convs[number - 1](y)
            y = self.norms[number - 1](y) if number <= len(self.norms) else y
            y = _halved(F.leaky_relu(y, LEAK_D, inplace=True))
            if number == level and alpha is not None:
                y = fade(self._enter(_halved(x), level - 1), y, alpha)
        if self.stddev:
            y = torch.cat([y, minibatch_stddev(y, len(y))], 1)
        return at_least_float32(self.score(y.flatten(1))[:, 0])

    def _enter(self, x: Tensor, level: int) -> Tensor:
        return F.leaky_relu(self.from_rgb[level](x), LEAK_D, inplace=True)


class _Convolution(EqualizedConv2d):
    """The library's convolution, in the memory format of its input.

    ``EqualizedConv2d`` would use minimal filtering for 64 maps, which is slower for such small images, and
    channels_last.
    """

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * self.scale
        if x.is_contiguous():
            weight = weight.clone(memory_format=torch.contiguous_format)  # contiguous() leaves 1x1 ones as they are
        return F.conv2d(x, weight, self.bias, padding=weight.shape[-1] // 2)


def _halved(x: Tensor) -> Tensor:
    """``downscale2`` as a matrix product over pairs of rows: several times faster for a few small maps."""
    n, c, height, width = x.shape
    return (x.reshape(-1, 2 * width) @ _means(width, x.dtype, x.device)).view(n, c, height // 2, width // 2)


@cache
def _means(width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Matrix [2 width, width / 2] from two rows of pixels to means of 2x2 pixels."""
    return torch.eye(width // 2, dtype=dtype, device=device).repeat_interleave(2, 0).repeat(2, 1) / 4


class MNIST1K(GAN):
    """Generator, discriminator and their steps: the non-saturating loss, optionally unrolled, or WGAN-GP."""

    def __init__(self, config: MNIST1KConfig, spec: ImageSpec) -> None:
        spec.check_doubling()
        self.config, self.spec = config, spec
        self.generator, self.discriminator = Generator(config, spec), Discriminator(config, spec)
        super().__init__({"generator": self.generator, "discriminator": self.discriminator})
        self.adversarial = ADVERSARIAL[config.loss]

    def phases(self, stage: Stage) -> list[Phase]:
        return [
            Phase("discriminator", ("discriminator",), self.discriminator_loss, repeats=self.config.n_critic),
            Phase("generator", ("generator",), self.generator_loss, shows_images=False),
        ]

    def samples(self, sampler: nn.Module, batch: Batch) -> Tensor:
        return sampler(batch.normal("latent", LATENT), batch.level, batch.alpha)

    def discriminator_loss(self, batch: Batch) -> Terms:
        """Return the terms of D, which sees real images, generated ones and those in between in separate passes."""
        with torch.no_grad():
            fake = self._fakes(batch).contiguous()
        real = self._reals(batch)
        score = self._score(batch)
        terms = self.adversarial.critic(score(real), score(fake))
        if self.config.loss == "wgan":
            mix = batch.uniform("mix", 1).view(-1, 1, 1, 1)
            enlarged = 2.0 ** (self.spec.levels - 1 - batch.level)
            terms["penalty"] = 10 * gradient_penalty(score, real, fake, mix, enlarged=enlarged)
        return terms

    def generator_loss(self, batch: Batch) -> Terms:
        """Return the terms of G against D, or against D some steps later (Metz et al. 2017, equation 7)."""
        fake, weights = self._fakes(batch), None
        if self.config.unrolled:
            weights = self._unrolled(batch, self._reals(batch), fake)
        return self.adversarial.generator(self._score(batch, weights)(fake))

    def _unrolled(self, batch: Batch, real: Tensor, fake: Tensor) -> Weights:
        """Return D's weights after steps of gradient descent on these samples, as a function of ``fake``."""

        def loss(weights: Weights) -> Tensor:
            score = self._score(batch, weights)
            return torch.stack([t.mean() for t in self.adversarial.critic(score(real), score(fake)).values()]).sum()

        return unrolled(self.discriminator, loss, steps=self.config.unrolled, lr=self.config.unrolled_lr)

    def _score(self, batch: Batch, weights: Weights | None = None) -> Scorer:
        """Return D as a function of images, with its own weights or with others."""
        if weights is None:
            return lambda x: self.discriminator(x, batch.level, batch.alpha)
        return lambda x: functional_call(self.discriminator, weights, (x, batch.level, batch.alpha))

    def _reals(self, batch: Batch) -> Tensor:
        images = batch.images.contiguous()
        return images if batch.alpha is None else fade_images(images, batch.alpha)

    def _fakes(self, batch: Batch) -> Tensor:
        return self.generator(batch.normal("latent", LATENT), batch.level, batch.alpha)
