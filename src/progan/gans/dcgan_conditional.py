"""Conditional DCGAN: the networks for MNIST with labels in the code of DCGAN's authors (Radford et al. 2016).

The label is joined to the input of every layer of both networks, as maps of constant values for convolutions. Batch
norm has neither gain nor shift. Each batch of real images trains one of the networks, the first G, the second D, and so
on. The authors' images are in [0, 1]; those of this package, which G returns and D takes, are in [-1, 1].
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from progan.batchnorm import BatchNorm1d, BatchNorm2d
from progan.errors import ConfigError
from progan.gans.base import Batch, ImageSpec, Latent, Optimizer, Phase
from progan.gans.dcgan_networks import Doubling, Halving, initialize, quarter
from progan.gans.tricks import TwoPlayerConfig
from progan.gans.two_player import BatchNormConfig, TwoPlayer, alternating, condition, condition_size, taking_batches
from progan.losses import NON_SATURATING
from progan.ops import at_least_float32, no_autocast
from progan.schedule import Stage

KERNEL = 5  # side of all kernels [pixels]


@dataclass(frozen=True, kw_only=True)
class ConditionalDCGANConfig(TwoPlayerConfig, BatchNormConfig):
    """Networks and steps of the conditional DCGAN."""

    maps: int = 64
    """Feature maps next to the images; twice as many at a quarter of the size."""
    dense: int = 1024
    """Features of the dense layers."""
    latent_size: int = 100
    """Number of components of a latent, uniform in [-1, 1]."""
    turns: Literal["batches", "steps"] = "batches"
    """Use each batch of real images for one of the networks in turns (authors), or for a step of D and a step of G."""
    weight_decay: float = 2.5e-5
    """Weight decay (L2 penalty) of both networks."""
    bn_eps: float = 1e-8
    """Epsilon of batch norm."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("maps", 1), ("dense", 1), ("latent_size", 1), ("weight_decay", 0), ("bn_group", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"gan.{name} must be at least {least}, got {getattr(self, name)}")

    @property
    def takes_labels(self) -> bool:
        """Whether the generator takes labels in addition to latents."""
        return True

    def make(self, spec: ImageSpec) -> "ConditionalDCGAN":
        """Return both networks for images of a data set, with initial weights."""
        return ConditionalDCGAN(self, spec)

    def make_sampler(self, spec: ImageSpec) -> "ConditionalGenerator":
        """Return the generator alone."""
        return ConditionalGenerator(spec, Latent(self.latent_size, "uniform"), **self.shared())

    def shared(self) -> dict[str, Any]:
        """Return the arguments that both networks have."""
        return {name: getattr(self, name) for name in ("maps", "dense", "bn_eps", "bn_group")}


class ConditionalDCGAN(TwoPlayer):
    """Generator, discriminator and their steps."""

    def __init__(self, config: ConditionalDCGANConfig, spec: ImageSpec) -> None:
        self.config, decayed = config, Optimizer(weight_decay=config.weight_decay)
        super().__init__(
            config,
            spec,
            config.make_sampler(spec),
            ConditionalDiscriminator(spec, **config.shared()),
            adversarial=NON_SATURATING,
            conditional=True,
            reuse_fakes=config.turns == "steps",
            optimizers={"generator": decayed, "discriminator": decayed},
        )

    def steps(self, stage: Stage) -> list[Phase]:
        return alternating(self) if self.config.turns == "steps" else taking_batches(self, stage)

    def score(self, batch: Batch, images: Tensor, stream: str) -> Tensor:
        return self.discriminator(images, batch.labels)


class ConditionalGenerator(nn.Module):
    """Generator: two dense layers to a quarter of the size, then two transposed 5x5 convolutions.

    Args:
        spec: shape and labels of the images, whose sides must be multiples of 4.
        latent: prior of the latents.
        maps: number of feature maps before the last layer.
        dense: number of features of the first layer.
        bn_eps: epsilon of batch norm.
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
        maps: int = 64,
        dense: int = 1024,
        bn_eps: float = 1e-8,
        bn_group: int = 0,
    ) -> None:
        super().__init__()
        self.latent, self.spec, self.start, more = latent, spec, quarter(spec), _norm(bn_eps, bn_group)
        known = condition_size(spec)
        flat = 2 * maps * math.prod(self.start)
        self.first, self.first_norm = nn.Linear(latent.size + known, dense, bias=False), BatchNorm1d(dense, **more)
        self.second, self.second_norm = nn.Linear(dense + known, flat, bias=False), BatchNorm1d(flat, **more)
        self.third, self.third_norm = Doubling(2 * maps + known, maps, KERNEL), BatchNorm2d(maps, **more)
        self.image = Doubling(maps + known, spec.channels, KERNEL)
        initialize(self)

    def forward(self, z: Tensor, level: int = 0, alpha: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        if labels is None:
            raise ValueError("this generator requires labels")
        y = condition(labels, self.spec, z.dtype)
        x = torch.relu(self.first_norm(self.first(_joined(z, y))))
        x = torch.relu(self.second_norm(self.second(_joined(x, y))))
        x = x.unflatten(1, (-1, *self.start)).contiguous(memory_format=torch.channels_last)
        x = at_least_float32(torch.relu(self.third_norm(self.third(_joined(x, y)))))
        with no_autocast(x):  # 16-bit floats would round images to about 8 bits
            return 2 * torch.sigmoid(self.image(_joined(x, y))) - 1  # the authors' images are in [0, 1]


class ConditionalDiscriminator(nn.Module):
    """Discriminator: two 5x5 convolutions that halve the size, and two dense layers.

    The arguments are those of ``ConditionalGenerator``. Batch norm always uses the statistics of the batch.

    Shape: x [N, C, H, W], labels [N] or [N, K] -> scores [N], before the sigmoid.
    """

    def __init__(
        self, spec: ImageSpec, *, maps: int = 64, dense: int = 1024, bn_eps: float = 1e-8, bn_group: int = 0
    ) -> None:
        super().__init__()
        self.spec, known = spec, condition_size(spec)
        more = _norm(bn_eps, bn_group) | {"track_running_stats": False}
        flat = 2 * maps * math.prod(quarter(spec))
        self.first = Halving(spec.channels + known, maps, KERNEL)
        self.second, self.second_norm = Halving(maps + known, 2 * maps, KERNEL), BatchNorm2d(2 * maps, **more)
        self.third, self.third_norm = nn.Linear(flat + known, dense, bias=False), BatchNorm1d(dense, **more)
        self.score = nn.Linear(dense + known, 1, bias=False)
        self.leaky = nn.LeakyReLU(0.2, inplace=True)
        initialize(self)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        y = condition(labels, self.spec, x.dtype)
        x = self.leaky(self.first(_joined((x + 1) / 2, y)))
        x = self.leaky(self.second_norm(self.second(_joined(x, y)))).flatten(1)
        x = self.leaky(self.third_norm(self.third(_joined(x, y))))
        return at_least_float32(self.score(_joined(x, y))[:, 0])


def _joined(x: Tensor, y: Tensor) -> Tensor:
    """Features or maps [N, C, ...] and conditions [N, K], as [N, C + K, ...]."""
    y = y.to(x.dtype).view(*y.shape, *[1] * (x.ndim - 2)).expand(-1, -1, *x.shape[2:])
    return torch.cat([x, y], 1)


def _norm(eps: float, group: int) -> dict[str, Any]:
    """Arguments of batch norm."""
    return {"eps": eps, "group": group, "affine": False}
