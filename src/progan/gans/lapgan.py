"""LAPGAN: a Laplacian pyramid of GANs (Denton et al. 2015), which generates images from coarse to fine.

The coarsest images, such as 8x8, come from a plain GAN. At each further level, a conditional GAN is given the image of
the level below it, enlarged, and generates what that lacks:

    coarse = enlarged(reduced(image))        residual = image - coarse
    image  = coarse + G(noise, coarse)

D sees the sum of residual and coarse image, real or generated. In training, coarse images are always those of real
images, so that no level depends on another, and all can be trained at once or one after the other. Only samples go
through the whole pyramid, each level continuing from what the one below it has generated.

The networks and steps are those of the authors' code; the sizes of the levels are those of the paper. Images are
reduced and enlarged with bilinear interpolation. D's loss is the mean over a batch of which half is real and half is
generated, here from the same coarse images.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from progan.errors import ConfigError
from progan.gans.base import GAN, Batch, GANConfig, ImageSpec, Optimizer, Phase, Ramp, Terms
from progan.gans.lapgan_networks import (
    BaseDiscriminator,
    BaseGenerator,
    PixelScale,
    Pyramid,
    ResidualDiscriminator,
    ResidualGenerator,
    Size,
    resized,
)
from progan.gans.two_player import dropout
from progan.losses import NON_SATURATING
from progan.schedule import Stage

_OF_THE_PAPER = {28: (8, 14, 28), 64: (4, 8, 16, 32, 64)}  # levels by the shorter side of the images [pixels]
_COARSEST = 8  # largest shorter side of the coarsest images for all other sizes [pixels]


@dataclass(frozen=True, kw_only=True)
class LAPGANConfig(GANConfig):
    """Networks and steps of LAPGAN; the defaults are those of the authors' code."""

    levels: tuple[int, ...] = ()
    """Shorter sides of the images of the levels from coarse to fine [pixels], such as 8 14 28. By default, 8 14 28 for
    images of 28 pixels, 4 8 16 32 64 for those of 64, and for others halvings down to at most 8."""
    order: Literal["at_once", "in_turn"] = "at_once"
    """Train all levels in every iteration (at_once), or one after the other, each on turn_kimg images (in_turn)."""
    turn_kimg: float = 1000.0
    """Thousands of real images on which each level is trained if order is in_turn. The last level is trained until the
    end of the run, which must be longer than all turns before it."""
    conditional: bool = False
    """Give all networks the labels of the images."""
    latent_size: int = 100
    """Number of components of the latent of the coarsest image."""
    base_g_hidden: tuple[int, ...] = (8000, 8000)
    """Features of the hidden layers of the generator of the coarsest images."""
    base_d_hidden: tuple[int, ...] = (1600, 1600)
    """Features of the hidden layers of the discriminator of the coarsest images."""
    g_maps: int = 64
    """Feature maps of the generators of residuals."""
    d_maps: int = 64
    """Feature maps of the discriminators of residuals."""
    d_keep: float = 0.5
    """Probability of keeping a feature in the discriminators (dropout)."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """Optimizer of all networks: SGD with momentum (authors' code), or Adam with the settings of the run."""
    momentum: float = 0.5
    """Momentum of SGD at the start."""
    final_momentum: float = 0.7
    """Final momentum of SGD."""
    momentum_kimg: float = 250 * 45.0
    """Thousands of real images until the momentum is final. The authors' code adds 0.0008 after each epoch of 45,000
    images; here it rises with every step."""

    def __post_init__(self) -> None:
        for name in ("levels", "base_g_hidden", "base_d_hidden"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # files have lists
        pairs = list(zip(self.levels, self.levels[1:], strict=False))
        if self.levels and (not pairs or self.levels[0] < 1 or any(not a < b <= 2 * a for a, b in pairs)):
            raise ConfigError(
                "gan.levels must be at least two sides, each larger than the one before and at most twice as large, "
                f"such as 8 14 28; got {' '.join(map(str, self.levels))}"
            )
        for name in ("base_g_hidden", "base_d_hidden", "g_maps", "d_maps", "latent_size"):
            value = getattr(self, name)
            if min(value if isinstance(value, tuple) else (value,), default=0) < 1:
                raise ConfigError(f"gan.{name} must be at least 1, got {value}")
        for name in ("momentum", "final_momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"gan.{name} must be at least 0 and below 1, got {getattr(self, name)}")
        if not 0 < self.d_keep <= 1:
            raise ConfigError(f"gan.d_keep must be above 0 and at most 1, got {self.d_keep}")
        if not 0 < self.turn_kimg < float("inf"):
            raise ConfigError(f"gan.turn_kimg must be above 0, got {self.turn_kimg}")
        if not 0 <= self.momentum_kimg < float("inf"):
            raise ConfigError(f"gan.momentum_kimg must be a number of at least 0, got {self.momentum_kimg}")

    @property
    def takes_labels(self) -> bool:
        """Whether the sampler takes labels in addition to latents."""
        return self.conditional

    def sizes_of(self, spec: ImageSpec) -> list[Size]:
        """Return height and width of the images of every level [pixels], from coarse to fine.

        Raises:
            ConfigError: if the levels do not end at the size of the data, or the data has images of one pixel.

        >>> LAPGANConfig().sizes_of(ImageSpec(3, 32, 48))
        [(8, 12), (16, 24), (32, 48)]
        """
        if spec.shorter < 2:
            raise ConfigError(f"LAPGAN requires images of at least 2x2, the data has {spec.height}x{spec.width}")
        sides = self.levels or _OF_THE_PAPER.get(spec.shorter) or _halvings(spec.shorter)
        if sides[-1] != spec.shorter:
            raise ConfigError(
                f"gan.levels end at {sides[-1]} pixels, but the data has {spec.height}x{spec.width}; use "
                f"'progan prepare SOURCE STORE --resolution {sides[-1]}', or levels that end at {spec.shorter}"
            )
        shape = (spec.height, spec.width)
        return [tuple(round(length * side / spec.shorter) for length in shape) for side in sides]  # type: ignore[misc]

    def check_length(self, spec: ImageSpec, total_kimg: float) -> None:
        levels = len(self.sizes_of(spec))
        before = (levels - 1) * self.turn_kimg
        if self.order == "in_turn" and total_kimg <= before:
            raise ConfigError(
                f"gan.order in_turn begins to train the last of {levels} levels after {before:g} kimg, but "
                f"schedule.total_kimg is {total_kimg:g}; use --gan.turn-kimg {total_kimg / levels:.4g}, or a larger "
                f"--schedule.total-kimg such as {levels * self.turn_kimg:g}"
            )

    def make(self, spec: ImageSpec) -> "LAPGAN":
        """Return the networks of all levels for images of a data set, with initial weights."""
        return LAPGAN(self, spec)

    def make_sampler(self, spec: ImageSpec) -> Pyramid:
        """Return the generators of all levels, as a sampler."""
        sizes, more = self.sizes_of(spec), {"conditional": self.conditional}
        base = BaseGenerator(spec, sizes[0], latent_size=self.latent_size, hidden=self.base_g_hidden, **more)
        others = [ResidualGenerator(spec, size, maps=self.g_maps, **more) for size in sizes[1:]]
        scales = [PixelScale(spec.channels, size) for size in sizes]
        return Pyramid([base, *others], scales, levels=spec.levels)

    def make_discriminators(self, spec: ImageSpec) -> list[nn.Module]:
        """Return the discriminators of all levels, from coarse to fine."""
        first, *others = self.sizes_of(spec)
        more: dict[str, Any] = {"keep": self.d_keep, "conditional": self.conditional}
        base = BaseDiscriminator(spec, first, hidden=self.base_d_hidden, **more)
        return [base, *(ResidualDiscriminator(spec, size, maps=self.d_maps, **more) for size in others)]


class LAPGAN(GAN):
    """Generators and discriminators of all levels, named after the shorter sides of their images, and their steps."""

    def __init__(self, config: LAPGANConfig, spec: ImageSpec) -> None:
        self.config, self.spec, self.pyramid = config, spec, config.make_sampler(spec)
        self.discriminators = config.make_discriminators(spec)
        self.names = [str(min(size)) for size in self.pyramid.level_sizes]
        networks: dict[str, nn.Module] = {}
        for name, *pair in zip(self.names, self.pyramid.generators, self.discriminators, strict=True):
            networks |= {f"generator_{name}": pair[0], f"discriminator_{name}": pair[1]}
        how = Optimizer()
        if config.optimizer == "sgd":
            how = Optimizer(kind="sgd", beta1=Ramp(config.momentum, config.final_momentum, kimg=config.momentum_kimg))
        optimizers = dict.fromkeys(networks, how)
        super().__init__(networks, sampler=self.pyramid, memory=self.pyramid.scales, optimizers=optimizers)

    def phases(self, stage: Stage) -> list[Phase]:
        turn = min(int(stage.images_seen / (1000 * self.config.turn_kimg)), len(self.names) - 1)
        levels = [turn] if self.config.order == "in_turn" else range(len(self.names))
        phases: list[Phase] = []
        for level in levels:
            discriminator, generator = f"discriminator_{self.names[level]}", f"generator_{self.names[level]}"
            # All levels are trained on the same real images, which are counted once.
            phases += [
                Phase(
                    discriminator,
                    (discriminator,),
                    partial(self.discriminator_loss, level=level),
                    shows_images=not phases,
                ),
                Phase(generator, (generator,), partial(self.generator_loss, level=level), shows_images=False),
            ]
        return phases

    def samples(self, sampler: nn.Module, batch: Batch) -> Tensor:
        z = self.pyramid.latent.draw(batch.normal, batch.uniform)
        return sampler(z, batch.level, None, self.labels(batch))

    def labels(self, batch: Batch) -> Tensor | None:
        """Return the labels of the batch's images if the GAN is conditional."""
        return batch.labels if self.config.conditional else None

    def look(self, batches: Iterator[Batch]) -> None:
        """Set the scale of every pixel of every level by its mean and standard deviation."""
        sums = [torch.zeros(2, self.spec.channels, *size, dtype=torch.float64) for size in self.pyramid.level_sizes]
        count = 0
        for batch in batches:
            count += len(batch.images)
            for total, images in zip(sums, self.reduced(batch.images), strict=True):
                x = images.cpu().double()
                total += torch.stack([x.sum(0), x.square().sum(0)])
        for total, scale in zip(sums, self.pyramid.scales, strict=True):
            mean, square = total / count
            scale.set(mean, square - mean.square())  # type: ignore[operator]

    def reduced(self, images: Tensor) -> list[Tensor]:
        """Return images at the sizes of all levels, from coarse to fine; each level is made from the one above it.

        Shape: [N, C, H, W] -> [N, C, *size] for each level.
        """
        levels = [images]
        for size in reversed(self.pyramid.level_sizes[:-1]):
            levels.append(resized(levels[-1], size))
        return levels[::-1]

    def real(self, batch: Batch, level: int) -> tuple[Tensor, Tensor | None]:
        """Return residuals and coarse images of the batch's real images, both normalized.

        The sum of both is the normalized image. The coarsest images are residuals of nothing.

        Shape: -> [N, C, *size] each.
        """
        images, scale = self.reduced(batch.images), self.pyramid.scales[level]
        image: Tensor = scale.normalized(images[level])  # type: ignore[operator]
        if level == 0:
            return image, None
        coarse: Tensor = scale.coarse(images[level - 1])  # type: ignore[operator]
        return image - coarse, coarse

    def fakes(self, batch: Batch, level: int, coarse: Tensor | None) -> Tensor:
        """Return generated residuals [N, C, *size] for coarse images."""
        noise = 2 * batch.uniform("latent", self.pyramid.noise_sizes[level]) - 1
        return self.pyramid.generators[level](noise, coarse, self.labels(batch))

    def score(self, batch: Batch, level: int, residual: Tensor, coarse: Tensor | None, stream: str) -> Tensor:
        """Return the discriminator's scores [N]; ``stream`` keeps the dropout of different passes apart."""
        return self.discriminators[level](residual, coarse, self.labels(batch), dropout(batch, stream))

    def discriminator_loss(self, batch: Batch, level: int) -> Terms:
        """Return the terms of the discriminator of a level, each of which is half of the batch."""
        residual, coarse = self.real(batch, level)
        with torch.no_grad():
            fake = self.fakes(batch, level, coarse)
        scores = (self.score(batch, level, x, coarse, name) for x, name in ((residual, "real"), (fake, "fake")))
        return {name: term / 2 for name, term in NON_SATURATING.critic(*scores).items()}

    def generator_loss(self, batch: Batch, level: int) -> Terms:
        """Return the terms of the generator of a level, which is given the coarse images of real ones."""
        coarse = self.real(batch, level)[1] if level else None
        fake = self.fakes(batch, level, coarse)
        return NON_SATURATING.generator(self.score(batch, level, fake, coarse, "fake"))


def _halvings(side: int) -> tuple[int, ...]:
    """Return sides that are halved, rounded up, until one is at most 8 pixels; at least once."""
    sides = [side]
    while len(sides) < 2 or sides[0] > _COARSEST:
        sides.insert(0, (sides[0] + 1) // 2)
    return tuple(sides)
