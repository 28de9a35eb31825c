"""GAN: the original generative adversarial network (Goodfellow et al. 2014), without convolutions on MNIST.

G has ReLU layers and a sigmoid output. D has maxout layers with dropout, through which G is trained as well. Both are
trained by SGD with momentum.

The paper's algorithm 1 alternates: k steps of D, then one of G. The authors' program takes both gradients at the same
point and steps once with both, which is the default here. It also halves the loss of D, and maximizes log D(G(z))
instead of minimizing log(1 - D(G(z))), as section 3 of the paper recommends.

The networks see pixels in 0 ... 1, as in the paper; images outside of them are in -1 ... 1. On CIFAR-10 the authors
normalize the contrast of each image and train a linear output on it. Such networks see the pixels in -1 ... 1 here,
without a normalization of the contrast, so that samples are images.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from progan.errors import ConfigError
from progan.gans.base import Batch, ImageSpec, Latent, Optimizer, Phase, Ramp
from progan.gans.maxout import Maxout, MaxoutConv2d, start_uniform
from progan.gans.tricks import TwoPlayerConfig
from progan.gans.two_player import Dropout, TwoPlayer, alternating, dropout, keep_all, simultaneous
from progan.losses import ADVERSARIAL, halved
from progan.ops import at_least_float32, no_autocast
from progan.schedule import Stage

UNIT_VARIANCE = 3**0.5  # half the width of a uniform distribution with variance 1
_EXTREME = 1e-7  # closest that pixel means may come to 0 and 1, whose inverse sigmoid is infinite
_CONVOLUTIONS = ((8, 4, 4), (8, 3, 4), (5, 3, 2))  # kernel, padding and pooling of D [pixels], CIFAR-10
_DECONVOLUTION, _STRIDE = 5, 3  # kernel and stride of G [pixels], CIFAR-10


@dataclass(frozen=True, kw_only=True)
class MaxoutGANConfig(TwoPlayerConfig):
    """Settings that GAN and CGAN share: latents, dropout, loss and steps."""

    latent_size: int = 100
    """Number of components of a latent."""
    loss: Literal["non_saturating", "saturating"] = "non_saturating"
    """Loss of G: -log D(G(z)) (non_saturating), or log(1 - D(G(z))) as in the min-max game (saturating)."""
    half_d_loss: bool = True
    """Halve the loss of D, as in the authors' program."""
    update: Literal["simultaneous", "alternating"] = "simultaneous"
    """Take both gradients at the same point (authors' program), or train D first and then G (paper's algorithm 1)."""
    d_steps: int = 1
    """Steps of D for each step of G (k in algorithm 1); only if update is alternating."""
    momentum: float = 0.5
    """Momentum of SGD at the start."""
    final_momentum: float = 0.7
    """Final momentum of SGD."""
    momentum_kimg: float = 249 * 50.0
    """Thousands of real images until the momentum is final. The authors' program raises it after each of 249 epochs of
    50,000 images; here it rises with every step."""
    pixel_bias: bool = True
    """Initialize the output bias of G such that all pixels have the mean of the data."""
    d_keep_hidden: float = 0.5
    """Probability of keeping a hidden feature of D (dropout)."""
    g_range: float = 0.05
    """Weights of G are initialized uniformly in plus or minus this range."""
    d_range: float = 0.005
    """Weights of D are initialized uniformly in plus or minus this range."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("latent_size", "d_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"gan.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("momentum", "final_momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"gan.{name} must be at least 0 and below 1, got {getattr(self, name)}")
        for name in ("momentum_kimg", "g_range", "d_range"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"gan.{name} must be a number of at least 0, got {getattr(self, name)}")
        for name in (field for field in vars(self) if "_keep_" in field):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"gan.{name} must be above 0 and at most 1, got {getattr(self, name)}")
        if self.d_steps > 1 and self.update == "simultaneous":
            raise ConfigError(f"gan.d_steps {self.d_steps} requires --gan.update alternating")

    @property
    def batches_shown(self) -> int:
        """Number of batches of real images per iteration."""
        return self.d_steps


class MaxoutGAN(TwoPlayer):
    """Steps that GAN and CGAN share; the arguments are those of ``TwoPlayer``."""

    def __init__(
        self,
        config: MaxoutGANConfig,
        spec: ImageSpec,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        conditional: bool = False,
    ) -> None:
        self.config = config
        momentum = Ramp(config.momentum, config.final_momentum, kimg=config.momentum_kimg)
        super().__init__(
            config,
            spec,
            generator,
            discriminator,
            adversarial=halved(ADVERSARIAL[config.loss]) if config.half_d_loss else ADVERSARIAL[config.loss],
            conditional=conditional,
            optimizers={name: Optimizer(kind="sgd", beta1=momentum) for name in ("generator", "discriminator")},
        )

    def steps(self, stage: Stage) -> list[Phase]:
        if self.config.update == "simultaneous":
            return simultaneous(self)
        return alternating(self, n_critic=self.config.d_steps)

    def score(self, batch: Batch, images: Tensor, stream: str) -> Tensor:
        return self.discriminator(images, drop=dropout(batch, stream))

    def look(self, batches: Iterator[Batch]) -> None:
        """Initialize the output bias of G by the mean of every pixel."""
        if not self.config.pixel_bias:
            return
        total, count = 0.0, 0
        for batch in batches:
            total, count = total + batch.images.double().sum(0), count + len(batch.images)
        self.generator.set_mean(total / count)  # type: ignore[operator]


@dataclass(frozen=True, kw_only=True)
class OriginalGANConfig(MaxoutGANConfig):
    """Networks and steps of the original GAN; the defaults are those of the authors' program on MNIST."""

    latent: Literal["uniform", "normal"] = "uniform"
    """Prior of the latents: uniform or normal, of mean 0 and variance 1 in both cases."""
    generator: Literal["dense", "conv"] = "dense"
    """Last layer of G: dense, or a 5x5 transposed convolution of stride 3."""
    g_hidden: tuple[int, ...] = (1200, 1200)
    """Features of the hidden layers of G; if generator is conv, another one of g_maps maps follows."""
    g_maps: int = 80
    """Feature maps of the last hidden layer of G, only if generator is conv."""
    g_last_hidden: Literal["relu", "sigmoid"] = "relu"
    """Activation of the last hidden layer of G; that of the others is ReLU."""
    g_output: Literal["sigmoid", "linear"] = "sigmoid"
    """Output of G: sigmoid for pixels that both networks see in 0 ... 1, or linear for pixels in -1 ... 1."""
    g_output_range: float = 0.05
    """Weights of the last layer of G are initialized uniformly in plus or minus this range."""
    discriminator: Literal["dense", "conv"] = "dense"
    """Layers of D: dense maxout layers, or three convolutional ones before them."""
    d_maps: tuple[int, int, int] = (32, 32, 192)
    """Feature maps of the convolutional maxout layers of D, only if discriminator is conv; each has 2 pieces."""
    d_units: tuple[int, ...] = (240, 240)
    """Units of the dense maxout layers of D."""
    d_pieces: int = 5
    """Linear pieces of each unit of the dense maxout layers."""
    d_keep_input: float = 0.8
    """Probability of keeping a pixel at the input of D (dropout)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("g_hidden", "d_maps", "d_units"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # files have lists
        for name in ("g_hidden", "g_maps", "d_maps", "d_units", "d_pieces"):
            value = getattr(self, name)
            if min(value if isinstance(value, tuple) else (value,), default=1) < 1:
                raise ConfigError(f"gan.{name} must be at least 1, got {value}")
        if not 0 <= self.g_output_range < float("inf"):
            raise ConfigError(f"gan.g_output_range must be a number of at least 0, got {self.g_output_range}")

    def make(self, spec: ImageSpec) -> "OriginalGAN":
        """Return both networks for images of a data set, with initial weights."""
        return OriginalGAN(self, spec, self.make_sampler(spec), Discriminator(self, spec))

    def make_sampler(self, spec: ImageSpec) -> "Generator":
        """Return the generator alone."""
        return Generator(self, spec)


class OriginalGAN(MaxoutGAN):
    """Generator, discriminator and their steps."""


class Generator(nn.Module):
    """Generator: dense layers, and a last one that is dense or a transposed convolution.

    The transposed convolution starts from maps of about a third of the size; rows and columns that are too many at the
    lower and right edge are cut off.

    Shape: z [N, Z] -> images [N, C, H, W] in [-1, 1], or in about [-1, 1] if the output is linear.

    Raises:
        ConfigError: if images are too small for a transposed convolution.
    """

    def __init__(self, config: OriginalGANConfig, spec: ImageSpec) -> None:
        super().__init__()
        self.latent = Latent(config.latent_size, config.latent, scale=1.0)
        if config.latent == "uniform":
            self.latent = Latent(config.latent_size, "uniform", scale=UNIT_VARIANCE)
        self.shape = (spec.channels, spec.height, spec.width)
        self.sigmoids, self.linear = config.g_last_hidden == "sigmoid", config.g_output == "linear"
        widths, self.start = list(config.g_hidden), (0, 0)
        if config.generator == "conv":
            _check_side(spec, "the transposed convolution of the generator", _DECONVOLUTION)
            self.start = tuple(-(-(side - _DECONVOLUTION) // _STRIDE) + 1 for side in self.shape[1:])
            widths.append(config.g_maps * self.start[0] * self.start[1])
        widths = [self.latent.size, *widths]
        self.hidden = nn.ModuleList(map(nn.Linear, widths, widths[1:]))
        if config.generator == "conv":
            self.image = nn.ConvTranspose2d(config.g_maps, spec.channels, _DECONVOLUTION, _STRIDE, bias=False)
        else:
            self.image = nn.Linear(widths[-1], math.prod(self.shape), bias=False)
        self.bias = nn.Parameter(torch.zeros(self.shape))  # of each pixel, also after the convolution
        start_uniform(self.hidden, config.g_range)
        start_uniform(self.image, config.g_output_range)

    def forward(self, z: Tensor, level: int = 0, alpha: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        x = z
        for i, layer in enumerate(self.hidden):
            last = i == len(self.hidden) - 1
            x = torch.sigmoid(layer(x)) if last and self.sigmoids else torch.relu(layer(x))
        x = at_least_float32(x)
        with no_autocast(x):  # 16-bit floats would round images to about 8 bits
            if isinstance(self.image, nn.ConvTranspose2d):
                x = self.image(x.unflatten(1, (-1, *self.start)))[:, :, : self.shape[1], : self.shape[2]]
            else:
                x = self.image(x).unflatten(1, self.shape)
            x = x + self.bias
            return x if self.linear else 2 * torch.sigmoid(x) - 1

    @torch.no_grad()
    def set_mean(self, mean: Tensor) -> None:
        """Set the bias to pixel means [C, H, W] in [-1, 1], so that G generates about these before it has learned."""
        self.bias.copy_(mean if self.linear else bias_of((mean + 1) / 2))


class Discriminator(nn.Module):
    """Discriminator: maxout layers with dropout at the input of each layer, and a dense layer.

    Shape: x [N, C, H, W] in [-1, 1] -> scores [N], before the sigmoid.

    Raises:
        ConfigError: if images are too small for the convolutions.
    """

    def __init__(self, config: OriginalGANConfig, spec: ImageSpec) -> None:
        super().__init__()
        self.centered = config.g_output == "linear"
        self.keep_input, self.keep_hidden = config.d_keep_input, config.d_keep_hidden
        self.convolutions, features = nn.ModuleList(), math.prod((spec.channels, spec.height, spec.width))
        if config.discriminator == "conv":
            _check_side(spec, "the convolutions of the discriminator", 10)
            into = [spec.channels, *config.d_maps]
            for i, (kernel, padding, pool) in enumerate(_CONVOLUTIONS):
                more = {"kernel": kernel, "padding": padding, "pool": pool}
                self.convolutions.append(MaxoutConv2d(into[i], into[i + 1], 2, **more))
            with torch.no_grad():
                features = self._convolved(torch.zeros(1, spec.channels, spec.height, spec.width), keep_all).numel()
        widths = [features, *config.d_units]
        self.dense = nn.ModuleList(
            Maxout(wide, units, config.d_pieces) for wide, units in zip(widths, config.d_units, strict=False)
        )
        self.score = nn.Linear(widths[-1], 1)
        start_uniform(self, config.d_range)

    def forward(self, x: Tensor, drop: Dropout = keep_all) -> Tensor:
        x = drop(x if self.centered else (x + 1) / 2, self.keep_input)
        x = self._convolved(x, drop).flatten(1)
        for layer in self.dense:
            x = drop(layer(x), self.keep_hidden)
        return at_least_float32(self.score(x)[:, 0])

    def _convolved(self, x: Tensor, drop: Dropout) -> Tensor:
        for layer in self.convolutions:
            x = drop(layer(x), self.keep_hidden)
        return x


def bias_of(mean: Tensor) -> Tensor:
    """Return the inverse sigmoid of pixel means in [0, 1]."""
    return torch.logit(mean, eps=_EXTREME)


def _check_side(spec: ImageSpec, what: str, least: int) -> None:
    if spec.shorter < least:
        raise ConfigError(
            f"{what} requires images of at least {least}x{least}, the data has {spec.height}x{spec.width}; use "
            f"'progan prepare SOURCE STORE --resolution {least}', or a dense network (--gan.generator dense "
            "--gan.discriminator dense)"
        )
