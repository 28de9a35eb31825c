"""LSGAN: least squares GAN (Mao et al. 2017), whose discriminator is trained by squared errors instead of a sigmoid.

Scores are drawn to constants: a for generated and b for real images in D's step, c for generated images in G's step
(equation 2). Images that D takes for real but that are far from its boundary still have a gradient. (-1, 1, 0) makes G
minimize the Pearson chi-squared divergence (equation 8); (0, 1, 1) is as good (equation 9) and what the authors' code
uses. The paper has half the mean of the squares; the code has half their sum over the batch, which is N times as much.
Adam and RMSprop hide nearly all of that, plain gradient descent none.

The authors train D and G by the same latents, with a forward pass for each. G does not change in between, so here one
pass serves both.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from progan.batchnorm import BatchNorm1d, BatchNorm2d
from progan.errors import ConfigError
from progan.gans import dcgan_networks
from progan.gans.base import Batch, ImageSpec, Latent, Optimizer, Phase, Terms
from progan.gans.dcgan_networks import check_size, quarter
from progan.gans.same_padding import SameConv2d, SameConvTranspose2d
from progan.gans.tricks import TwoPlayerConfig
from progan.gans.two_player import BatchNormConfig, TwoPlayer, alternating, condition, condition_size
from progan.losses import least_squares
from progan.ops import at_least_float32, no_autocast
from progan.schedule import Stage

INIT = 0.02  # standard deviation of all weights; in D's convolutions without those beyond twice that (authors' code)


@dataclass(frozen=True, kw_only=True)
class LSGANConfig(TwoPlayerConfig, BatchNormConfig):
    """Networks and loss of LSGAN."""

    networks: Literal["dcgan", "scenes", "labels"] = "dcgan"
    """Networks: those of DCGAN; the deeper ones for scenes at 112x112 (figure 2a); or those for many classes of 28x28
    images (figure 2b)."""
    a: float = 0.0
    """Score to which D draws generated images."""
    b: float = 1.0
    """Score to which D draws real images."""
    c: float = 1.0
    """Score to which G draws generated images."""
    reduction: Literal["half_mean", "mean", "sum"] = "half_mean"
    """Loss: half the mean of the squares (paper), their mean, or half their sum over the batch (authors' code)."""
    optimizer: Literal["adam", "rmsprop"] = "adam"
    """Optimizer of both networks."""
    latent_size: int = 1024
    """Number of components of a latent, uniform in [-1, 1]."""
    maps: int = 64
    """Feature maps next to the images."""
    label_size: int = 256
    """Numbers that describe a class in the networks for labels."""
    kernel: Literal[4, 5] = 4
    """Side of the kernels of the networks of DCGAN [pixels]."""
    norm: Literal["both", "generator", "discriminator", "none"] = "both"
    """Networks with batch norm."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("maps", "latent_size", "label_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"gan.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("a", "b", "c"):
            if not math.isfinite(getattr(self, name)):
                raise ConfigError(f"gan.{name} must be a finite number, got {getattr(self, name)}")
        if self.a == self.b:
            raise ConfigError(f"gan.a and gan.b must differ, both are {self.a:g}")
        if self.bn_group < 0:
            raise ConfigError(f"gan.bn_group must be at least 0, got {self.bn_group}")
        if self.kernel not in (4, 5) or (self.kernel == 5 and self.networks != "dcgan"):
            raise ConfigError(f"gan.kernel must be 4 or 5, and is a setting of gan.networks dcgan; got {self.kernel}")

    @property
    def logistic(self) -> bool:
        """Whether the scores of D are logits."""
        return False

    @property
    def normed(self) -> bool:
        """Whether a network has batch norm."""
        return self.norm != "none"

    @property
    def takes_labels(self) -> bool:
        """Whether the generator takes labels in addition to latents."""
        return self.networks == "labels"

    def make(self, spec: ImageSpec) -> "LSGAN":
        """Return both networks for images of a data set, with initial weights."""
        return LSGAN(self, spec)

    def make_sampler(self, spec: ImageSpec) -> nn.Module:
        """Return the generator alone."""
        kinds = {"dcgan": dcgan_networks.Generator, "scenes": SceneGenerator, "labels": LabelGenerator}
        return kinds[self.networks](spec, Latent(self.latent_size, "uniform"), **self._shared("generator"))

    def make_discriminator(self, spec: ImageSpec) -> nn.Module:
        """Return the discriminator alone."""
        kinds = {"dcgan": dcgan_networks.Discriminator, "scenes": SceneDiscriminator, "labels": LabelDiscriminator}
        return kinds[self.networks](spec, **self._shared("discriminator"))

    def _shared(self, network: str) -> dict[str, Any]:
        """Arguments of one of the networks."""
        same = {"maps": self.maps, "norm": self.norm in ("both", network), "bn_group": self.bn_group}
        own = {"dcgan": {"kernel": self.kernel}, "scenes": {}, "labels": {"label_size": self.label_size}}
        return {**same, **own[self.networks]}


class LSGAN(TwoPlayer):
    """Generator, discriminator and their steps."""

    def __init__(self, config: LSGANConfig, spec: ImageSpec) -> None:
        self.config = config
        optimizer = Optimizer(kind=config.optimizer)
        super().__init__(
            config,
            spec,
            config.make_sampler(spec),
            config.make_discriminator(spec),
            adversarial=least_squares(a=config.a, b=config.b, c=config.c),
            conditional=config.takes_labels,
            reuse_fakes=True,
            optimizers={"generator": optimizer, "discriminator": optimizer},
        )

    def steps(self, stage: Stage) -> list[Phase]:
        factor = {"half_mean": 1.0, "mean": 2.0, "sum": float(stage.batch)}[self.config.reduction]
        return [replace(phase, loss=_times(factor, phase.loss)) for phase in alternating(self)]

    def score(self, batch: Batch, images: Tensor, stream: str) -> Tensor:
        return self.discriminator(images, batch.labels) if self.conditional else self.discriminator(images)


def _times(factor: float, loss: Callable[[Batch], Terms]) -> Callable[[Batch], Terms]:
    """``loss`` with every term multiplied by a number."""
    return lambda batch: {name: factor * term for name, term in loss(batch).items()}


class SceneGenerator(nn.Module):
    """Generator of figure 2a: a dense layer, then 3x3 transposed convolutions, every second of which doubles the size.

    From 7x7 to 112x112 there are 256, 256, 256, 256, 128, 64 maps. Other sizes have more or fewer of these layers:
    those with the largest number of maps are followed by another one that keeps the size.

    Args:
        spec: shape of the images, whose sides must be multiples of a power of two.
        latent: prior of the latents.
        maps: number of feature maps next to the images; doubled with each halving of the size, up to 4 times as many.
        norm: whether to use batch norm.
        bn_group: number of samples that share batch-norm statistics; 0: the whole batch.

    Shape: z [N, Z] -> images [N, C, H, W] in [-1, 1].
    """

    def __init__(
        self, spec: ImageSpec, latent: Latent, *, maps: int = 64, norm: bool = True, bn_group: int = 0
    ) -> None:
        super().__init__()
        check_size(spec)
        most = 4 * maps
        self.latent, self.start = latent, spec.start
        self.dense = nn.Linear(latent.size, most * math.prod(spec.start))
        body, into = _normed(most, norm, nn.ReLU(inplace=True), bn_group), most
        for out in reversed([min(maps << halvings, most) for halvings in range(spec.levels - 1)]):
            for stride in (2, 1) if out == most else (2,):
                body += [SameConvTranspose2d(into, out, 3, stride)]
                body += _normed(out, norm, nn.ReLU(inplace=True), bn_group)
                into = out
        self.body = nn.Sequential(*body)
        self.image = SameConvTranspose2d(into, spec.channels, 3)
        _initialize(self)

    def forward(self, z: Tensor, level: int = 0, alpha: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        x = self.dense(z).unflatten(1, (-1, *self.start)).contiguous(memory_format=torch.channels_last)
        x = at_least_float32(self.body(x))
        with no_autocast(x):  # 16-bit floats would round images to about 8 bits
            return torch.tanh(self.image(x))


class SceneDiscriminator(nn.Module):
    """Discriminator of figure 2a: 5x5 convolutions that halve the size, and a dense layer without a sigmoid.

    The arguments are those of ``SceneGenerator``; the convolutions have ``maps`` maps and then twice as many each, up
    to 8 times as many.

    Shape: x [N, C, H, W] -> scores [N].
    """

    def __init__(self, spec: ImageSpec, *, maps: int = 64, norm: bool = True, bn_group: int = 0) -> None:
        super().__init__()
        check_size(spec)
        body, into = [], spec.channels
        for halvings in range(spec.levels - 1):
            out = min(maps << halvings, 8 * maps)
            body += [SameConv2d(into, out, 5, 2), *_normed(out, norm and halvings > 0, _leaky(), bn_group, own=True)]
            into = out
        self.body = nn.Sequential(*body)
        self.score = nn.Linear(into * math.prod(spec.start), 1)
        _initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        return at_least_float32(self.score(self.body(x).flatten(1))[:, 0])


class LabelGenerator(nn.Module):
    """Generator of figure 2b: classes become numbers beside the latent; then 5x5 transposed convolutions.

    Args:
        spec: shape and labels of the images, whose sides must be multiples of 4.
        latent: prior of the latents.
        label_size: numbers that describe a class.
        maps: half the number of feature maps of both layers.
        norm: whether to use batch norm.
        bn_group: number of samples that share batch-norm statistics; 0: the whole batch.

    Shape: z [N, Z], labels [N] or [N, K] -> images [N, C, H, W] in [-1, 1].

    Raises:
        ConfigError: if the images have no labels, or a size that does not fit.
    """

    def __init__(
        self,
        spec: ImageSpec,
        latent: Latent,
        *,
        label_size: int = 256,
        maps: int = 64,
        norm: bool = True,
        bn_group: int = 0,
    ) -> None:
        super().__init__()
        self.latent, self.start, self.spec = latent, quarter(spec), spec
        self.label = nn.Linear(condition_size(spec), label_size)
        self.dense = nn.Linear(latent.size + label_size, 2 * maps * math.prod(self.start))
        self.body = nn.Sequential(
            *_normed(2 * maps, norm, nn.ReLU(inplace=True), bn_group),
            SameConvTranspose2d(2 * maps, 2 * maps, 5, 2),
            *_normed(2 * maps, norm, nn.ReLU(inplace=True), bn_group),
        )
        self.image = SameConvTranspose2d(2 * maps, spec.channels, 5, 2)
        _initialize(self)

    def forward(self, z: Tensor, level: int = 0, alpha: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        if labels is None:
            raise ValueError("this generator requires labels")
        x = self.dense(torch.cat([z, self.label(condition(labels, self.spec, z.dtype))], 1))
        x = self.body(x.unflatten(1, (-1, *self.start)).contiguous(memory_format=torch.channels_last))
        x = at_least_float32(x)
        with no_autocast(x):  # 16-bit floats would round images to about 8 bits
            return 2 * torch.sigmoid(self.image(x)) - 1  # the authors' images are in [0, 1]


class LabelDiscriminator(nn.Module):
    """Discriminator of figure 2b: the numbers of a class are joined to the features of three layers.

    The arguments are those of ``LabelGenerator``; the convolutions have ``label_size`` maps and, in addition, one
    for each channel of the images and ``maps``.

    Shape: x [N, C, H, W], labels [N] or [N, K] -> scores [N].
    """

    def __init__(
        self, spec: ImageSpec, *, label_size: int = 256, maps: int = 64, norm: bool = True, bn_group: int = 0
    ) -> None:
        super().__init__()
        self.spec, wide = spec, 16 * maps
        first, second = spec.channels + label_size, maps + label_size
        self.label = nn.Linear(condition_size(spec), label_size)
        self.first = nn.Sequential(SameConv2d(spec.channels, first, 5, 2), _leaky())
        body = SameConv2d(first + label_size, second, 5, 2)
        self.second = nn.Sequential(body, *_normed(second, norm, _leaky(), bn_group, own=True))
        dense = nn.Linear(second * math.prod(quarter(spec)) + label_size, wide)
        self.third = nn.Sequential(dense, *_normed(wide, norm, _leaky(), bn_group, own=True, flat=True))
        self.score = nn.Linear(wide + label_size, 1)
        _initialize(self)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        y = self.label(condition(labels, self.spec, x.dtype))
        x = self.first((x + 1) / 2)
        maps = y[:, :, None, None].expand(-1, -1, *x.shape[2:])
        x = self.second(torch.cat([x, maps.to(x.dtype)], 1)).flatten(1)
        x = self.third(torch.cat([x, y.to(x.dtype)], 1))
        return at_least_float32(self.score(torch.cat([x, y.to(x.dtype)], 1))[:, 0])


def _normed(
    maps: int, norm: bool, activation: nn.Module, group: int, *, own: bool = False, flat: bool = False
) -> list[nn.Module]:
    """Batch norm, if any, and an activation; ``own``: always with the statistics of the batch."""
    if not norm:
        return [activation]
    kind = BatchNorm1d if flat else BatchNorm2d
    return [kind(maps, eps=1e-5, momentum=0.1, group=group, track_running_stats=not own), activation]


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.2, inplace=True)


def _initialize(network: nn.Module) -> None:
    """Draw all weights from N(0, 0.02), those of convolutions within two standard deviations; biases are zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.trunc_normal_(module.weight, 0.0, INIT, -2 * INIT, 2 * INIT)
        elif isinstance(module, nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, INIT)
        else:
            continue
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]
