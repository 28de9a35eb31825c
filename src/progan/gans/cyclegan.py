"""CycleGAN: translates images between two domains without pairs (Zhu et al. 2017).

Two generators translate from A to B and back, and a discriminator of each domain tells its images from translations.
What keeps a translation from showing something else is the cycle: there and back again, an image must be the same.
The identity terms also ask a generator to leave an image of its target domain as it is, which preserves colors.

As in the authors' PyTorch code, both generators take one step, then both discriminators take one. These see the
translations from before the generators' step, or older ones from a pool, and their losses count one half. Here, names
end in the domain that they are about: discriminator_b and fool_b judge translations to B (G_A and D_A in the code).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from progan.errors import ConfigError
from progan.gans.base import GAN, Batch, ImageSpec, Latent, Phase, Terms
from progan.gans.cyclegan_networks import CycleGANNetworksConfig
from progan.gans.image_pool import ImagePool
from progan.losses import LEAST_SQUARES, NON_SATURATING, WASSERSTEIN, Adversarial, gradient_penalty, halved
from progan.schedule import Stage

LOSSES = {  # of the scores of all patches; the terms of discriminators are halved
    "least_squares": Adversarial(critic=LEAST_SQUARES.critic, generator=lambda fake: {"fake": (fake - 1).square()}),
    "vanilla": halved(NON_SATURATING),
    "wgan_gp": halved(WASSERSTEIN),
}
DOMAINS = ("a", "b")
"""Names of the sources, in their order."""


@dataclass(frozen=True, kw_only=True)
class CycleGANConfig(CycleGANNetworksConfig):
    """Networks and losses of CycleGAN; the defaults are those of the authors' PyTorch code."""

    sources: ClassVar[int] = 2

    loss: Literal["least_squares", "vanilla", "wgan_gp"] = "least_squares"
    """Loss of the scores: least squares (the paper's), cross-entropy, or Wasserstein distance with a gradient penalty.
    The last one is not in the paper, and the authors' code has it without the penalty."""
    lambda_a: float = 10.0
    """Weight of the cycle A to B to A."""
    lambda_b: float = 10.0
    """Weight of the cycle B to A to B."""
    identity: float = 0.5
    """Weight of the identity terms, relative to the cycle of the same domain; 0: none.
    The paper has them for paintings and flowers only (section 5.2), the authors' code by default."""
    pool_size: int = 50
    """Number of earlier translations that are stored for each discriminator; 0: it is shown the newest ones only."""
    penalty_weight: float = 10.0
    """Weight of the gradient penalty of wgan_gp."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pool_size < 0:
            raise ConfigError(f"gan.pool_size must be at least 0, got {self.pool_size}")
        for name in ("lambda_a", "lambda_b", "identity", "penalty_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"gan.{name} must be a number of at least 0, got {getattr(self, name)}")
        if self.loss == "wgan_gp" and self.norm == "batch":
            raise ConfigError(
                "gan.loss wgan_gp penalizes the gradients of single images, which batch norm mixes; use --gan.norm "
                "instance"
            )

    def make(self, spec: ImageSpec) -> "CycleGAN":
        """Return all networks for images of two data sets, with initial weights."""
        return CycleGAN(self, spec)

    def make_sampler(self, spec: ImageSpec) -> "Translator":
        """Return both generators.

        Raises:
            ConfigError: unless there are two data sets whose images the networks and the losses fit.
        """
        a, b = self.domains(spec)
        ab, ba = self.make_generator(a.channels, b.channels), self.make_generator(b.channels, a.channels)
        return Translator(ab, ba, multiple=self.multiple, smallest=self.smallest)

    def domains(self, spec: ImageSpec) -> tuple[ImageSpec, ImageSpec]:
        """Return the specifications of A and B.

        Raises:
            ConfigError: see ``make_sampler``.
        """
        if len(spec.every) != self.sources:
            raise ConfigError(f"CycleGAN requires {self.sources} data sets, A and B, got {len(spec.every)}")
        a, b = spec.every
        for name, domain in zip("AB", (a, b), strict=True):
            self.check_size(domain, name)
        if self.identity and a.channels != b.channels:
            raise ConfigError(
                f"gan.identity {self.identity:g} requires domains of the same number of channels, but A has "
                f"{a.channels} and B has {b.channels}; use --gan.identity 0"
            )
        if self.loss == "wgan_gp" and (a.height, a.width) != (b.height, b.width):
            raise ConfigError(
                f"gan.loss wgan_gp requires domains of the same size, but A has {a.height}x{a.width} and B has "
                f"{b.height}x{b.width}; use --gan.loss least_squares"
            )
        return a, b


class Translator(nn.Module):
    """Both generators, as snapshots contain them.

    Args:
        ab: generator from A to B.
        ba: generator from B to A.
        multiple: sides that are no multiples of it are padded by their last pixels, and the result is cropped.
        smallest: sides below it are padded as well [pixels].

    Shape: images [N, C, H, W] of A or B -> images of the other domain and the same size, in [-1, 1].
    """

    latent: Latent | None = None
    directions = ("ab", "ba")

    def __init__(self, ab: nn.Module, ba: nn.Module, *, multiple: int, smallest: int) -> None:
        super().__init__()
        self.ab, self.ba, self.multiple, self.smallest = ab, ba, multiple, smallest

    def forward(
        self,
        x: Tensor,
        level: int = 0,
        alpha: Tensor | None = None,
        labels: Tensor | None = None,
        direction: str = "ab",
    ) -> Tensor:
        height, width = x.shape[2:]
        bottom, right = (max(-side % self.multiple, self.smallest - side) for side in (height, width))
        if bottom or right:
            x = F.pad(x, (0, right, 0, bottom), mode="replicate")
        y = self.ab(x) if direction == "ab" else self.ba(x)
        return y[:, :, :height, :width] if bottom or right else y


class _Pass(NamedTuple):
    """What one pass of the generators leaves to the discriminators, by domain where it is a dictionary."""

    positions: Tensor
    fakes: dict[str, Tensor]
    chances: dict[str, Tensor]
    gather: Callable[[Tensor], Tensor]


class CycleGAN(GAN):
    """Both generators, both discriminators, their pools and their steps."""

    def __init__(self, config: CycleGANConfig, spec: ImageSpec) -> None:
        self.config = config
        a, b = config.domains(spec)
        self.translator = config.make_sampler(spec)
        self.discriminators = {"a": config.make_discriminator(a.channels), "b": config.make_discriminator(b.channels)}
        self.adversarial = LOSSES[config.loss]
        self.weights = {"a": config.lambda_a, "b": config.lambda_b}
        self.pools = {
            "a": ImagePool(config.pool_size, a.channels, b.height, b.width),
            "b": ImagePool(config.pool_size, b.channels, a.height, a.width),
        }
        self._passes: list[_Pass] = []  # of the generators' latest step
        self._shown: dict[str, Tensor] = {}  # translations of the discriminators' step, of all ranks, by domain
        networks = {"generator_ab": self.translator.ab, "generator_ba": self.translator.ba}
        networks |= {f"discriminator_{name}": network for name, network in self.discriminators.items()}
        super().__init__(networks, sampler=self.translator, memory=nn.ModuleDict(self.pools))

    def phases(self, stage: Stage) -> list[Phase]:
        generators, discriminators = ("generator_ab", "generator_ba"), ("discriminator_a", "discriminator_b")
        return [
            Phase("generators", generators, self.generators_loss, before_step=self._passes.clear),
            Phase(
                "discriminators",
                discriminators,
                self.discriminators_loss,
                shows_images=False,
                before_step=self._exchange,
            ),
        ]

    def generators_loss(self, batch: Batch) -> Terms:
        """Return the terms of both generators; the loop freezes the discriminators meanwhile."""
        real = {name: batch.real(source) for source, name in enumerate(DOMAINS)}
        ab, ba = self.translator.ab, self.translator.ba
        fake = {"a": ba(real["b"]), "b": ab(real["a"])}
        chances = {name: batch.uniform(f"pool_{name}", 2) for name in DOMAINS}
        detached = {name: images.detach() for name, images in fake.items()}
        self._passes.append(_Pass(batch.positions, detached, chances, batch.gather))
        terms: Terms = {}
        for name, towards in {"a": ba, "b": ab}.items():
            scores = self.discriminators[name](fake[name])
            terms[f"fool_{name}"] = _per_image(self.adversarial.generator(scores)["fake"])
            if weight := self.weights[name]:
                again = towards(fake["b" if name == "a" else "a"])
                terms[f"cycle_{name}"] = weight * _distance(again, real[name])
            if weight := weight * self.config.identity:
                terms[f"identity_{name}"] = weight * _distance(towards(real[name]), real[name])
        return terms

    def _exchange(self) -> None:
        """Let the pools choose the translations of the discriminators' step, in the order of positions."""
        order = torch.cat([some.positions for some in self._passes]).argsort()
        gather = self._passes[-1].gather
        for name, pool in self.pools.items():
            fakes = torch.cat([some.fakes[name] for some in self._passes])[order]
            chances = torch.cat([some.chances[name] for some in self._passes])[order]
            self._shown[name] = pool.exchange(gather(fakes), gather(chances))
        self._passes.clear()

    def discriminators_loss(self, batch: Batch) -> Terms:
        """Return the terms of both discriminators on real images and on what the pools returned."""
        terms: Terms = {}
        rows = batch.positions - batch.images_seen
        for source, name in enumerate(DOMAINS):
            discriminator, real, fake = self.discriminators[name], batch.real(source), self._shown[name][rows]
            found = self.adversarial.critic(discriminator(real), discriminator(fake))
            terms |= {f"{kind}_{name}": _per_image(term) for kind, term in found.items()}
            if self.config.loss == "wgan_gp" and self.config.penalty_weight:
                mix = batch.uniform(f"penalty_mix_{name}", 1).view(-1, 1, 1, 1).to(real.dtype)
                slopes = gradient_penalty(lambda x, d=discriminator: _per_image(d(x)), real, fake, mix)
                terms[f"penalty_{name}"] = self.config.penalty_weight * slopes / 2
        return terms

    def samples(self, sampler: nn.Module, batch: Batch) -> Tensor:
        """Return sheets: above, an image of A, its translation, the way back, and what becomes of A as if of B.

        Below is the same for B. The last column is omitted if the domains have different numbers of channels.
        """
        return _stacked([self._row(sampler, batch.real(0), "ab", "ba"), self._row(sampler, batch.real(1), "ba", "ab")])

    def _row(self, sampler: nn.Module, real: Tensor, there: str, back: str) -> Tensor:
        fake = sampler(real, direction=there)
        images = [real, fake, sampler(fake, direction=back)]
        if real.shape[1] == fake.shape[1]:
            images.append(sampler(real, direction=back))
        channels = max(one.shape[1] for one in images)
        return torch.cat([_with_channels(one, channels) for one in images], 3)


def _per_image(scores: Tensor) -> Tensor:
    """Means over all patches, [N, 1, H, W] -> [N]."""
    return scores.mean((1, 2, 3))


def _distance(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute differences, [N, C, H, W] -> [N]."""
    return (x - y).abs().mean((1, 2, 3))


def _with_channels(x: Tensor, channels: int) -> Tensor:
    """Gray images as color, and opaque ones with an alpha channel."""
    if x.shape[1] == 1 and channels > 1:
        x = x.expand(-1, 3, -1, -1)
    missing = channels - x.shape[1]
    return torch.cat([x, x.new_ones(len(x), missing, *x.shape[2:])], 1) if missing else x


def _stacked(rows: list[Tensor]) -> Tensor:
    """Rows of images one below the other; shorter ones end in white."""
    width = max(row.shape[3] for row in rows)
    return torch.cat([F.pad(row, (0, width - row.shape[3]), value=1.0) for row in rows], 2)
