"""Progressive Growing of GANs (Karras, Aila, Laine, Lehtinen, ICLR 2018): the networks and their losses."""

import itertools
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from progan.errors import ConfigError
from progan.gans.base import GAN, Batch, ImageSpec, Phase, Terms, frozen
from progan.gans.progressive_networks import Discriminator, Generator, NetworksConfig, Noise
from progan.gans.rules import Rules
from progan.gans.tricks import Tricks, as_tricks, held_out
from progan.layers import shared_weights
from progan.losses import ADVERSARIAL, LOGISTIC, Scorer, drift, gradient_penalty
from progan.ops import fade_images, stddev_groups
from progan.schedule import Stage


@dataclass(frozen=True, kw_only=True)
class ProGANConfig(NetworksConfig):
    """Networks and loss of a ProGAN; the defaults are the paper's CelebA-HQ networks (table 2)."""

    loss: Literal["wgan", "least_squares", "non_saturating", "saturating", "hinge"] = "wgan"
    """Adversarial loss of both networks."""
    penalty_weight: float = 10.0
    """Weight of the gradient penalty (WGAN-GP), which is also divided by the square of penalty_target."""
    penalty_target: float = 1.0
    """Target norm of D's gradient; 750 for CIFAR-10 (appendix D)."""
    drift_weight: float = 0.001
    """Weight of the drift term: the squared scores of real images (appendix A.1)."""
    n_critic: int = 1
    """Number of steps of D per step of G."""
    simultaneous: bool = False
    """Update G and D from the same batch and the same latents (CIFAR-10)."""
    tricks: Tricks = field(default_factory=Tricks)
    """Tricks, all off by default."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "tricks", as_tricks(self.tricks, Tricks))
        if self.simultaneous and self.n_critic != 1:
            raise ConfigError(f"gan.simultaneous requires gan.n_critic 1, got {self.n_critic}")
        if self.n_critic < 1:
            raise ConfigError(f"gan.n_critic must be at least 1, got {self.n_critic}")
        if self.penalty_target <= 0:
            raise ConfigError(f"gan.penalty_target must be positive, got {self.penalty_target}")

    @property
    def takes_labels(self) -> bool:
        """Whether the generator takes the class."""
        return self.conditional

    @property
    def held_out(self) -> float:
        """Share of the images that is never shown in training."""
        return held_out(self.tricks, logistic=self.loss in LOGISTIC)

    @property
    def batches_shown(self) -> int:
        """Number of batches of real images per iteration."""
        return self.n_critic

    def make(self, spec: ImageSpec) -> "ProGAN":
        """Return both networks for images of a data set, with initial weights."""
        return ProGAN(self, spec)

    def make_sampler(self, spec: ImageSpec) -> Generator:
        """Return the generator alone."""
        return Generator(self, spec)


class ProGAN(GAN):
    """Generator, discriminator and their steps: WGAN-GP with drift term by default, AC-GAN terms if conditional."""

    def __init__(self, config: ProGANConfig, spec: ImageSpec) -> None:
        if config.conditional and spec.classes < 2:
            raise ConfigError(f"gan.conditional requires labels of at least 2 classes, but the data has {spec.classes}")
        spec.check_doubling()
        self.config, self.spec = config, spec
        self.generator, self.discriminator = Generator(config, spec), Discriminator(config, spec)
        if config.tricks.freeze_d:
            self.discriminator.freeze(config.tricks.freeze_d)
        networks = {"generator": self.generator, "discriminator": self.discriminator}
        logistic, compared = config.loss in LOGISTIC, config.held_out > 0
        self.rules = Rules(config.tricks, ADVERSARIAL[config.loss], networks, logistic=logistic, compared=compared)
        super().__init__(networks, memory=self.rules.memory, optimizers=self.rules.optimizers({}))

    def phases(self, stage: Stage) -> list[Phase]:
        return self.rules.phases(self._steps(), stage, self._held_out_scores)

    def _steps(self) -> list[Phase]:
        """The phases without tricks."""
        after = None if self.discriminator.noise is None else self.discriminator.noise.update
        if self.config.simultaneous:
            return [Phase("both", ("discriminator", "generator"), self.joint_loss, after_step=after)]
        repeats = self.config.n_critic
        return [
            Phase("discriminator", ("discriminator",), self.discriminator_loss, repeats=repeats, after_step=after),
            Phase("generator", ("generator",), self.generator_loss, shows_images=False),
        ]

    def samples(self, sampler: nn.Module, batch: Batch) -> Tensor:
        z = self.generator.latent.draw(batch.normal, batch.uniform)
        labels = batch.positions.to(z.device) % self.spec.classes if self.config.conditional else None
        return sampler(z, batch.level, batch.alpha, labels)

    def discriminator_loss(self, batch: Batch) -> Terms:
        """Return the terms of D on real and generated images; the generated ones carry no graph."""
        with torch.no_grad():
            fake = self._fakes(batch)
        return self._discriminator_terms(batch, fake)

    def generator_loss(self, batch: Batch) -> Terms:
        """Return the terms of G; the loop freezes D, since this phase does not train it."""
        return self._generator_terms(batch, self._fakes(batch))

    def joint_loss(self, batch: Batch) -> Terms:
        """Return the terms of both networks from one batch; no term has a gradient in the other network's weights."""
        fake = self._fakes(batch)
        terms = {f"discriminator_{k}": v for k, v in self._discriminator_terms(batch, fake.detach()).items()}
        with frozen(self.discriminator):
            return terms | {f"generator_{k}": v for k, v in self._generator_terms(batch, fake).items()}

    def _fakes(self, batch: Batch) -> Tensor:
        z = self.generator.latent.draw(batch.normal, batch.uniform)
        labels = batch.labels if self.config.conditional else None
        return self.rules.shown(batch, self.generator(z, batch.level, batch.alpha, labels))

    def _reals(self, batch: Batch) -> Tensor:
        real = batch.images if batch.alpha is None else fade_images(batch.images, batch.alpha)
        return self.rules.shown(batch, real)

    def _held_out_scores(self, batch: Batch) -> Tensor:
        return self._scorer(batch, "held_out")(self._reals(batch))

    def _discriminator_terms(self, batch: Batch, fake: Tensor) -> Terms:
        config, real = self.config, self._reals(batch)
        with shared_weights():
            on_real, on_fake = self._scores(batch, real, fake)
            penalty = self._penalty(batch, real, fake) if config.penalty_weight else None
        if self.discriminator.noise is not None:
            self.discriminator.noise.add(on_real[:, 0])
        terms = self.rules.critic(batch, on_real[:, 0], on_fake[:, 0])
        terms |= self.rules.penalties(batch, self._scorer(batch, "tricks"), real, fake)
        if config.drift_weight:
            terms["drift"] = config.drift_weight * drift(on_real[:, 0])
        if penalty is not None:
            terms["penalty"] = config.penalty_weight * penalty
        if config.conditional:
            terms["class_real"] = F.cross_entropy(on_real[:, 1:], batch.labels, reduction="none")
            terms["class_fake"] = F.cross_entropy(on_fake[:, 1:], batch.labels, reduction="none")
        return terms

    def _scores(self, batch: Batch, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Score real and generated images in one pass, interleaved so that each kind is compared with itself only."""
        group = stddev_groups(len(real), self.discriminator.group)[0]

        def interleaved(*both: Tensor) -> Tensor:
            dealt = [x.unflatten(0, (group, -1)) for x in both]  # [G, M, ...]
            return torch.stack(dealt, 1).flatten(0, 2)  # [G * 2 * M, ...]

        draws = self._noise(batch, "real"), self._noise(batch, "fake")
        images = interleaved(real, fake).contiguous(memory_format=torch.channels_last)
        scores = self.discriminator(
            images, batch.level, batch.alpha, group, lambda width: interleaved(*(draw(width) for draw in draws))
        ).unflatten(0, (group, 2, -1))
        return scores[:, 0].flatten(0, 1), scores[:, 1].flatten(0, 1)

    def _noise(self, batch: Batch, name: str) -> Noise:
        """Draws for D's noise in one pass."""
        streams = (f"noise_{name}_{number}" for number in itertools.count())
        return lambda width: batch.normal(next(streams), width)

    def _generator_terms(self, batch: Batch, fake: Tensor) -> Terms:
        on_fake = self.discriminator(fake, batch.level, batch.alpha, noise=self._noise(batch, "generator"))
        if self.rules.adversarial.relative:
            with torch.no_grad():
                on_real = self._scorer(batch, "generator_real")(self._reals(batch))
            terms = self.rules.generator(on_fake[:, 0], on_real)
        else:
            terms = self.rules.generator(on_fake[:, 0])
        if self.config.conditional:
            terms["class_fake"] = F.cross_entropy(on_fake[:, 1:], batch.labels, reduction="none")
        return terms

    def _penalty(self, batch: Batch, real: Tensor, fake: Tensor) -> Tensor:
        mix, missing = batch.uniform("mix", 1).view(-1, 1, 1, 1), self.spec.levels - 1 - batch.level
        scorer = self._scorer(batch, "penalty")
        return gradient_penalty(scorer, real, fake, mix, target=self.config.penalty_target, enlarged=2.0**missing)

    def _scorer(self, batch: Batch, name: str) -> Scorer:
        """D's scores as a function of images; ``name`` keeps its noise apart."""
        noise = self._noise(batch, name)
        return lambda x: self.discriminator(x, batch.level, batch.alpha, noise=noise)[:, 0]
