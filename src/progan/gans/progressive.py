"""Progressive Growing of GANs (Karras, Aila, Laine, Lehtinen, ICLR 2018): the networks and their losses."""

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from progan.errors import ConfigError
from progan.gans.base import Batch, ImageSpec, Phase, Terms
from progan.layers import EqualizedConv2d, EqualizedLinear, leaky, shared_weights
from progan.losses import ADVERSARIAL, drift, gradient_penalty
from progan.ops import downscale2, fade_images, minibatch_stddev, pixel_norm, stddev_groups, upscale2


@dataclass(frozen=True, kw_only=True)
class ProGANConfig:
    """Networks and objective of a ProGAN; the defaults are the paper's CelebA-HQ networks (table 2)."""

    fmap_base: int = 8192
    """Feature maps double towards small resolutions: block k has fmap_base / 2^k of them ..."""
    fmap_max: int = 512
    """... but never more than this."""
    fmap_decay: float = 1.0
    """Exponent of that halving."""
    latent_size: int | None = None
    """Components of a latent; None: as many as the 4x4 block has maps."""
    stddev_group: int = 4
    """Samples in a group of the minibatch standard deviation; 0: no such layer. The paper takes the whole batch."""
    fused_downscale: bool = False
    """D averages before bias and leaky ReLU, as networks of the authors' TensorFlow program need it."""
    conditional: bool = False
    """Give the labels to G, and let D classify (AC-GAN)."""
    loss: Literal["wgan", "least_squares", "non_saturating", "hinge"] = "wgan"
    """Adversarial loss."""
    penalty_weight: float = 10.0
    """Weight of the gradient penalty (WGAN-GP); it is also divided by penalty_target squared."""
    penalty_target: float = 1.0
    """Wanted norm of D's gradient; 750 for CIFAR-10 (appendix D)."""
    drift_weight: float = 0.001
    """Weight of the squared real scores (appendix A.1)."""
    n_critic: int = 1
    """Steps of D for each step of G."""
    simultaneous: bool = False
    """Update G and D from one batch and one set of latents (CIFAR-10)."""

    def __post_init__(self) -> None:
        if self.simultaneous and self.n_critic != 1:
            raise ConfigError(f"gan.simultaneous needs gan.n_critic 1, got {self.n_critic}")
        for name in ("fmap_base", "fmap_max", "n_critic"):
            if getattr(self, name) < 1:
                raise ConfigError(f"gan.{name} must be at least 1, got {getattr(self, name)}")
        if self.penalty_target <= 0:
            raise ConfigError(f"gan.penalty_target must be positive, got {self.penalty_target}")

    def maps(self, block: int) -> int:
        """Feature maps of block 0 (latent), 1 (4x4), 2 (8x8), ..."""
        return max(min(int(self.fmap_base / 2.0 ** (block * self.fmap_decay)), self.fmap_max), 1)

    def make(self, spec: ImageSpec) -> "ProGAN":
        """Both networks for images of a data set, with fresh weights."""
        return ProGAN(self, spec)

    def make_generator(self, spec: ImageSpec) -> "Generator":
        """The generator alone."""
        return Generator(self, spec)


class Generator(nn.Module):
    """G: latents to images of any level up to the full size; all blocks exist from the start.

    Shape: z [N, latent_size], labels int64 [N] -> [N, C, H, W] at ``level``, in about [-1, 1].
    """

    def __init__(self, config: ProGANConfig, spec: ImageSpec) -> None:
        super().__init__()
        self.start, self.classes = spec.start, spec.classes if config.conditional else 0
        self.latent_size = config.latent_size or config.maps(0)
        maps = [config.maps(level + 1) for level in range(spec.levels)]
        # The gain of the dense layer is the authors' (they count it as a 4x4 convolution of a constant).
        self.dense = EqualizedLinear(
            self.latent_size + self.classes, maps[0] * math.prod(self.start), gain=math.sqrt(2) / 4, bias=False
        )
        self.dense_bias = nn.Parameter(torch.zeros(maps[0]))
        self.first = EqualizedConv2d(maps[0], maps[0], 3)
        self.blocks = nn.ModuleList(
            nn.ModuleList([EqualizedConv2d(i, o, 3, upscale=True), EqualizedConv2d(o, o, 3)])
            for i, o in itertools.pairwise(maps)
        )
        self.to_rgb = nn.ModuleList(EqualizedConv2d(m, spec.channels, 1, gain=1) for m in maps)

    def forward(self, z: Tensor, level: int, alpha: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        x = before = self._features_4x4(z, labels)
        for first, second in itertools.islice(self.blocks, level):  # type: ignore[misc]  # pairs of layers
            before = x
            x = pixel_norm(leaky(first(x)))
            x = pixel_norm(leaky(second(x)))
        image = self.to_rgb[level](x)
        if alpha is None or level == 0:
            return image
        return torch.lerp(upscale2(self.to_rgb[level - 1](before)), image, alpha.to(image.dtype))

    def _features_4x4(self, z: Tensor, labels: Tensor | None) -> Tensor:
        if self.classes:
            if labels is None:
                raise ValueError(f"a generator of {self.classes} classes needs labels [N]")
            z = torch.cat([z, F.one_hot(labels, self.classes).to(z.dtype)], 1)
        x = self.dense(pixel_norm(z)).unflatten(1, (-1, *self.start))  # [N, C, 4, 4]
        x = x + self.dense_bias.view(-1, 1, 1)
        x = pixel_norm(leaky(x)).contiguous(memory_format=torch.channels_last)
        return pixel_norm(leaky(self.first(x)))


class Discriminator(nn.Module):
    """D: images of any level to a score and, in a conditional GAN, class logits.

    ``group``, if given, takes the place of the configured stddev group.

    Shape: x [N, C, H, W] at ``level`` -> [N, 1 + classes]; column 0 is the score.
    """

    def __init__(self, config: ProGANConfig, spec: ImageSpec) -> None:
        super().__init__()
        self.group, self.fused_downscale = config.stddev_group, config.fused_downscale
        maps = [config.maps(level + 1) for level in range(spec.levels)]
        self.from_rgb = nn.ModuleList(EqualizedConv2d(spec.channels, m, 1) for m in maps)
        self.blocks = nn.ModuleList(  # block k takes level k + 1 to level k
            nn.ModuleList([EqualizedConv2d(i, i, 3), EqualizedConv2d(i, o, 3)]) for o, i in itertools.pairwise(maps)
        )
        self.last = EqualizedConv2d(maps[0] + (1 if self.group else 0), maps[0], 3)
        self.dense = EqualizedLinear(maps[0] * math.prod(spec.start), config.maps(0))
        self.score = EqualizedLinear(config.maps(0), 1 + (spec.classes if config.conditional else 0), gain=1)

    def forward(self, x: Tensor, level: int, alpha: Tensor | None = None, group: int | None = None) -> Tensor:
        y = leaky(self.from_rgb[level](x))
        for number in range(level, 0, -1):
            wide, narrow = self.blocks[number - 1]  # type: ignore[misc]  # a pair of layers
            y = leaky(wide(y))
            y = self._narrow(narrow, y)
            if number == level and alpha is not None:
                old = leaky(self.from_rgb[level - 1](downscale2(x)))
                y = torch.lerp(old, y, alpha.to(y.dtype))
        if self.group:
            y = torch.cat([y, minibatch_stddev(y, group or self.group)], 1)
        y = leaky(self.last(y))
        return self.score(leaky(self.dense(y.flatten(1)))).float()

    def _narrow(self, conv: nn.Module, y: Tensor) -> Tensor:
        if not self.fused_downscale:
            return downscale2(leaky(conv(y)))
        # Average, then bias and leaky ReLU; the average of a constant is that constant.
        return leaky(downscale2(conv(y)))


class ProGAN:
    """G, D and their steps: WGAN-GP with a drift term by default, AC-GAN terms when conditional."""

    def __init__(self, config: ProGANConfig, spec: ImageSpec) -> None:
        if config.conditional and spec.classes < 2:
            raise ConfigError(f"gan.conditional needs labels of at least 2 classes, the data has {spec.classes}")
        self.config, self.spec = config, spec
        self.generator, self.discriminator = Generator(config, spec), Discriminator(config, spec)
        self.networks = nn.ModuleDict({"generator": self.generator, "discriminator": self.discriminator})
        self.adversarial = ADVERSARIAL[config.loss]

    def phases(self) -> list[Phase]:
        if self.config.simultaneous:
            return [Phase("both", ("discriminator", "generator"), self.joint_loss)]
        return [
            Phase("discriminator", ("discriminator",), self.discriminator_loss, repeats=self.config.n_critic),
            Phase("generator", ("generator",), self.generator_loss, shows_images=False),
        ]

    def discriminator_loss(self, batch: Batch) -> Terms:
        """Terms of D on reals and on fakes that carry no graph."""
        with torch.no_grad():
            fake = self._fakes(batch)
        return self._discriminator_terms(batch, fake)

    def generator_loss(self, batch: Batch) -> Terms:
        """Terms of G; D is frozen by the loop, since this phase does not train it."""
        return self._generator_terms(batch, self._fakes(batch))

    def joint_loss(self, batch: Batch) -> Terms:
        """Terms of both networks from one batch; neither's terms reach the other's weights."""
        fake = self._fakes(batch)
        terms = {f"discriminator_{k}": v for k, v in self._discriminator_terms(batch, fake.detach()).items()}
        self.discriminator.requires_grad_(False)
        terms |= {f"generator_{k}": v for k, v in self._generator_terms(batch, fake).items()}
        self.discriminator.requires_grad_(True)
        return terms

    def _fakes(self, batch: Batch) -> Tensor:
        z = batch.normal("latent", self.generator.latent_size)
        labels = batch.labels if self.config.conditional else None
        return self.generator(z, batch.level, batch.alpha, labels)

    def _discriminator_terms(self, batch: Batch, fake: Tensor) -> Terms:
        config, fake = self.config, fake.float()
        real = batch.images if batch.alpha is None else fade_images(batch.images, batch.alpha)
        with shared_weights():
            on_real, on_fake = self._scores(batch, real, fake)
            penalty = self._penalty(batch, real, fake) if config.penalty_weight else None
        terms = self.adversarial.critic(on_real[:, 0], on_fake[:, 0])
        if config.drift_weight:
            terms["drift"] = config.drift_weight * drift(on_real[:, 0])
        if penalty is not None:
            terms["penalty"] = config.penalty_weight * penalty
        if config.conditional:
            terms["class_real"] = F.cross_entropy(on_real[:, 1:], batch.labels, reduction="none")
            terms["class_fake"] = F.cross_entropy(on_fake[:, 1:], batch.labels, reduction="none")
        return terms

    def _scores(self, batch: Batch, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """D on reals and on fakes in one pass, interleaved such that both keep their own stddev groups."""
        group = stddev_groups(len(real), self.config.stddev_group or len(real))[0]
        dealt = [x.unflatten(0, (group, -1)) for x in (real, fake)]  # [G, M, C, H, W]
        both = torch.stack(dealt, 1).flatten(0, 2).contiguous(memory_format=torch.channels_last)  # [G * 2 * M, ...]
        scores = self.discriminator(both, batch.level, batch.alpha, group).unflatten(0, (group, 2, -1))
        return scores[:, 0].flatten(0, 1), scores[:, 1].flatten(0, 1)

    def _generator_terms(self, batch: Batch, fake: Tensor) -> Terms:
        on_fake = self.discriminator(fake, batch.level, batch.alpha)
        terms = self.adversarial.generator(on_fake[:, 0])
        if self.config.conditional:
            terms["class_fake"] = F.cross_entropy(on_fake[:, 1:], batch.labels, reduction="none")
        return terms

    def _penalty(self, batch: Batch, real: Tensor, fake: Tensor) -> Tensor:
        mix = batch.uniform("mix", 1).view(-1, 1, 1, 1)
        missing = self.spec.levels - 1 - batch.level
        with torch.autocast(real.device.type, enabled=False):  # squares of gradients do not fit 16 bits
            return gradient_penalty(
                lambda x: self.discriminator(x, batch.level, batch.alpha)[:, 0],
                *(real, fake, mix),
                target=self.config.penalty_target,
                enlarged=2.0**missing,
            )
