"""GANs of points of the plane, for ``progan toy``: small dense networks, any loss, and known cures of mode collapse.

Points are images of one pixel whose channels are the coordinates, [N, 2, 1, 1], so that the training loop and
everything else treat them like any other image. Images of other shapes are flattened.
"""

import itertools
import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from progan.errors import ConfigError
from progan.gans.base import WHOLE_BATCH, Batch, ImageSpec, Latent, Optimizer, Phase, Terms
from progan.gans.network_tricks import clip
from progan.gans.tricks import NetworkTricks, TwoPlayerConfig
from progan.gans.two_player import TwoPlayer, alternating
from progan.gans.unrolling import Weights, unrolled
from progan.layers import MinibatchDiscrimination
from progan.losses import ADVERSARIAL, LOGISTIC, Adversarial, gradient_penalty, least_squares, zero_centered_penalty
from progan.ops import at_least_float32, minibatch_stddev, no_autocast
from progan.schedule import Stage

KERNELS, DIMS = 10, 3
"""Outputs of minibatch discrimination, and the dimensions of the space that each of them projects to."""

LOSSES: dict[str, Adversarial] = {
    **{name: ADVERSARIAL[name] for name in ("saturating", "non_saturating", "least_squares", "hinge", "wgan")},
    "pearson": least_squares(a=-1, b=1, c=0),  # LSGAN equation 8
    "wgan_gp": ADVERSARIAL["wgan"],
}
"""Losses of both networks by the names of the setting ``loss``."""


@dataclass(frozen=True, kw_only=True)
class PointsConfig(TwoPlayerConfig):
    """Networks, loss and cures of a GAN of points; the defaults are a plain GAN."""

    group_setting: ClassVar[str | None] = "minibatch_group"

    width: int = 128
    """Width of the hidden layers of both networks."""
    layers: int = 2
    """Number of hidden layers of both networks."""
    activation: Literal["relu", "tanh"] = "relu"
    """Function after each hidden layer."""
    orthogonal: float = 0.0
    """Gain of orthogonal initial weights, with biases 0; 0: torch's initialization of dense layers."""
    latent_size: int = 16
    """Number of components of a latent, which are N(0, 1)."""
    loss: Literal["saturating", "non_saturating", "least_squares", "pearson", "hinge", "wgan", "wgan_gp"] = (
        "non_saturating"
    )
    """Loss of both networks. saturating: equation 1 of the GAN paper; least_squares and pearson: LSGAN with (a, b, c)
    = (0, 1, 1) and (-1, 1, 0); wgan clips the weights of D, and wgan_gp penalizes its gradient."""
    n_critic: int = 1
    """Number of steps of D per step of G."""
    clip: float = 0.1
    """Largest absolute value of D's parameters after each of its steps, if the loss is wgan."""
    penalty_weight: float = 0.1
    """Weight of the gradient penalty if the loss is wgan_gp; the authors' program for points has 0.1."""
    r1: float = 0.0
    """Weight gamma of the penalty gamma/2 |grad D|^2 at real points (Mescheder et al. 2018); 0: none."""
    unrolled: int = 0
    """Number of steps of D that G looks ahead and differentiates through (Metz et al. 2017); 0: none."""
    unrolled_lr: float = 0.05
    """Learning rate of the unrolled steps, which are plain gradient descent."""
    minibatch: Literal["none", "stddev", "discrimination"] = "none"
    """What D's last layer is told about the other points of a group: nothing, the standard deviation of its features
    (Karras et al. 2018), or their distances (minibatch discrimination, Salimans et al. 2016)."""
    minibatch_group: int = 32
    """Number of points that D compares; 0: the whole batch."""
    optimizer: Literal["adam", "rmsprop"] = "adam"
    """Optimizer of both networks."""
    d_lr: float = 1.0
    """Learning rate of D, relative to the schedule's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (
            *(("width", 1), ("layers", 0), ("latent_size", 1), ("n_critic", 1), ("unrolled", 0)),
            *(("minibatch_group", 0), ("orthogonal", 0), ("penalty_weight", 0), ("r1", 0)),
        ):
            if not least <= getattr(self, name) < math.inf:
                raise ConfigError(f"gan.{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("clip", "d_lr", "unrolled_lr"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"gan.{name} must be above 0, got {getattr(self, name)}")
        for name, known in (("loss", LOSSES), ("minibatch", ("none", "stddev", "discrimination"))):
            if getattr(self, name) not in known:
                raise ConfigError(f"gan.{name} must be one of {', '.join(known)}; got {getattr(self, name)!r}")
        if self.unrolled and (self.r1 or self.loss in ("wgan", "wgan_gp")):
            bound = "gan.r1" if self.r1 else f"gan.loss {self.loss}"
            raise ConfigError(
                f"gan.unrolled does not work with {bound}: unrolled steps have neither penalty nor clipping"
            )
        if self.unrolled and self.minibatch == "discrimination":
            raise ConfigError("gan.unrolled does not work with gan.minibatch discrimination; use stddev")
        if self.unrolled and self.tricks != NetworkTricks():
            raise ConfigError("gan.unrolled does not work with tricks; omit one of the two")

    @property
    def logistic(self) -> bool:
        """Whether the scores of D are logits."""
        return self.loss in LOGISTIC

    @property
    def group(self) -> int:
        """Number of samples that one pass must see together."""
        own = 1 if self.minibatch == "none" else self.minibatch_group or WHOLE_BATCH
        return max(own, super().group)

    @property
    def batches_shown(self) -> int:
        """Number of batches of real images per iteration."""
        return self.n_critic

    def make(self, spec: ImageSpec) -> "Points":
        """Return both networks for points or images, with initial weights."""
        return Points(self, spec)

    def make_sampler(self, spec: ImageSpec) -> "Generator":
        """Return the generator alone."""
        return Generator(self, spec)

    def make_discriminator(self, spec: ImageSpec) -> "Discriminator":
        """Return the discriminator alone."""
        return Discriminator(self, spec)

    def hidden(self, into: int) -> nn.Sequential:
        """Return the hidden layers of a network, [N, into] -> [N, width]."""
        activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[self.activation]
        widths = [into, *[self.width] * self.layers]
        return nn.Sequential(*(m for i, o in itertools.pairwise(widths) for m in (self.dense(i, o), activation())))

    def dense(self, into: int, out: int) -> nn.Linear:
        """Return a dense layer with initial weights."""
        layer = nn.Linear(into, out)
        if self.orthogonal:
            nn.init.orthogonal_(layer.weight, self.orthogonal)
            nn.init.zeros_(layer.bias)
        return layer


class Generator(nn.Module):
    """Generator: dense layers with a linear output.

    Shape: z [N, Z] -> points [N, C, H, W].
    """

    def __init__(self, config: PointsConfig, spec: ImageSpec) -> None:
        super().__init__()
        self.latent, self.shape = Latent(config.latent_size), (spec.channels, spec.height, spec.width)
        self.features = config.hidden(config.latent_size)
        self.output = config.dense(config.width if config.layers else config.latent_size, math.prod(self.shape))

    def forward(self, z: Tensor, level: int = 0, alpha: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        with no_autocast(z):  # 16-bit floats would round points to a grid
            return self.output(self.features(at_least_float32(z))).unflatten(1, self.shape)


class Discriminator(nn.Module):
    """Discriminator: dense layers, the last of which may also see how much the points of a group differ.

    Shape: x [N, C, H, W] -> scores [N].
    """

    def __init__(self, config: PointsConfig, spec: ImageSpec) -> None:
        super().__init__()
        self.group, self.stddev = config.group, config.minibatch == "stddev"
        size = spec.channels * spec.height * spec.width
        self.features, size = config.hidden(size), config.width if config.layers else size
        self.distances = MinibatchDiscrimination(size, KERNELS, DIMS) if config.minibatch == "discrimination" else None
        self.score = config.dense(size + {"none": 0, "stddev": 1, "discrimination": KERNELS}[config.minibatch], 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x.flatten(1))
        if self.stddev:
            x = torch.cat([x, minibatch_stddev(x[:, :, None, None], self.group).flatten(1)], 1)
        if self.distances is not None:
            x = torch.cat([x, self.distances(x, self.group)], 1)
        return at_least_float32(self.score(x)[:, 0])


class Points(TwoPlayer):
    """Generator, discriminator and their steps."""

    def __init__(self, config: PointsConfig, spec: ImageSpec) -> None:
        self.config = config
        how = {"kind": config.optimizer}
        super().__init__(
            config,
            spec,
            config.make_sampler(spec),
            config.make_discriminator(spec),
            adversarial=LOSSES[config.loss],
            reuse_fakes=config.n_critic == 1 and not config.unrolled,
            optimizers={
                "generator": Optimizer(**how),  # type: ignore[arg-type]
                "discriminator": Optimizer(**how, lr=config.d_lr),  # type: ignore[arg-type]
            },
        )

    def steps(self, stage: Stage) -> list[Phase]:
        phases = alternating(self, n_critic=self.config.n_critic)
        return [replace(phases[0], after_step=self.clip), phases[1]] if self.config.loss == "wgan" else phases

    def clip(self) -> None:
        """Clip all parameters of D."""
        clip(self.discriminator, self.config.clip)

    def discriminator_terms(self, batch: Batch, fake: Tensor) -> Terms:
        terms, config = super().discriminator_terms(batch, fake), self.config
        if config.loss == "wgan_gp":
            mix = batch.uniform("mix", 1).view(-1, 1, 1, 1)
            slopes = gradient_penalty(self.discriminator, self.reals(batch), fake, mix)
            terms["penalty"] = config.penalty_weight * slopes
        if config.r1:
            terms["r1"] = config.r1 / 2 * zero_centered_penalty(self.discriminator, self.reals(batch))
        return terms

    def generator_loss(self, batch: Batch) -> Terms:
        """Return the terms of G against D, or against D some steps later."""
        if not self.config.unrolled:
            return super().generator_loss(batch)
        fake = self.fakes(batch)

        def loss(weights: Weights) -> Tensor:
            real_scores, scores = (
                functional_call(self.discriminator, weights, (x,)) for x in (self.reals(batch), fake)
            )
            terms = self.rules.adversarial.critic(real_scores, scores)
            return torch.stack([term.mean() for term in terms.values()]).sum()

        weights = unrolled(self.discriminator, loss, steps=self.config.unrolled, lr=self.config.unrolled_lr)
        return self.rules.generator(functional_call(self.discriminator, weights, (fake,)))
