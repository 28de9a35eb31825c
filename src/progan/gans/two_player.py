"""What the classic GANs share: a generator and a discriminator that play against each other, image by image."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from progan.errors import ConfigError
from progan.gans.base import GAN, WHOLE_BATCH, Batch, GANConfig, ImageSpec, Latent, Optimizer, Phase, Terms, frozen
from progan.gans.network_tricks import (
    add_minibatch_discrimination,
    dropping,
    features,
    freeze_first,
    spectral_norm,
)
from progan.gans.rules import Rules
from progan.gans.tricks import NetworkTricks, TwoPlayerConfig
from progan.losses import Adversarial
from progan.ops import hashed_uniform
from progan.schedule import Stage

_DIMS = 5  # dimensions of the kernels of minibatch discrimination (Salimans et al. 2016, section 6)

Dropout = Callable[[Tensor, float], Tensor]
"""Function from features and the probability of keeping each to features, of which the others are zero."""


def keep_all(x: Tensor, keep: float) -> Tensor:
    """Return all features: the dropout of a network that is not being trained."""
    return x


def dropout(batch: Batch, stream: str, *, whole_maps: bool = False) -> Dropout:
    """Return a dropout whose masks are functions of the seed and of the position of each sample (Hinton et al. 2012).

    What is kept is divided by the probability of keeping it. Calls are numbered: the n-th call with the same batch and
    stream always drops the same features.

    Args:
        batch: samples to which the dropout is applied.
        stream: name of the masks.
        whole_maps: whether to drop whole feature maps (Tompson et al. 2015) instead of single features.
    """
    calls = 0

    def drop(x: Tensor, keep: float) -> Tensor:
        nonlocal calls
        calls += 1
        if keep == 1:
            return x
        shape = x.shape[:2] + (1,) * (x.ndim - 2) if whole_maps else x.shape
        seeds = batch.uniform(f"{stream}_{calls}", 2)
        seeds = seeds.repeat(len(x) // len(seeds), 1)  # of real and generated images in one pass
        kept = hashed_uniform(seeds, shape[1:].numel()) < keep
        return x * (kept.view(shape).to(x.dtype) / keep)

    return drop


def condition_size(spec: ImageSpec) -> int:
    """Return the number of components of the vectors that describe the classes or attributes of a data set.

    Raises:
        ConfigError: if the data set has neither.
    """
    if not (size := spec.classes or spec.attributes):
        raise ConfigError(
            "this GAN is conditional, but the data has no labels; give each class a subfolder, use 'progan prepare "
            "--labels FILE', or choose label columns with --label-columns"
        )
    return size


def condition(labels: Tensor, spec: ImageSpec, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return labels as vectors [N, K]: classes int64 [N] as one-hot vectors, attributes [N, K] unchanged."""
    return F.one_hot(labels, spec.classes).to(dtype) if spec.classes else labels.to(dtype)


@dataclass(frozen=True, kw_only=True)
class BatchNormConfig(GANConfig):
    """Settings of a GAN whose networks may have batch norm; base class."""

    bn_group: int = 0
    """Number of samples that share batch-norm statistics; 0: the whole batch, over all devices."""

    @property
    def normed(self) -> bool:
        """Whether a network has batch norm."""
        return True

    @property
    def group(self) -> int:
        """Number of samples that one pass must see together."""
        return self.bn_group or 1 if self.normed else 1

    @property
    def whole_share(self) -> bool:
        """Whether batch norm uses the statistics of whole batches."""
        return self.normed and not self.bn_group


def change(discriminator: nn.Module, tricks: NetworkTricks) -> None:
    """Change the layers of a discriminator as the tricks require.

    Raises:
        ConfigError: if more layers are to be frozen than there are.
    """
    if tricks.minibatch:
        add_minibatch_discrimination(discriminator, tricks.minibatch, _DIMS, WHOLE_BATCH)
    if tricks.freeze_d:
        try:
            freeze_first(discriminator, tricks.freeze_d)
        except ValueError as error:
            raise ConfigError(f"gan.tricks.freeze_d {tricks.freeze_d}: {error}") from error
    if tricks.spectral_norm:
        spectral_norm(discriminator)


class TwoPlayer(GAN):
    """A generator against a discriminator; base class of the classic GANs, which differ in what is given here.

    By default they take turns: a step of the discriminator on real and generated images, then a step of the generator
    on new ones. Subclasses override ``steps``, ``score`` or the losses.

    Args:
        config: settings, of which the tricks are applied here.
        spec: shape and labels of the images.
        generator: sampler with the attribute ``latent``.
        discriminator: network from images [N, C, H, W] to scores [N]; tricks may change its layers.
        adversarial: losses of both.
        conditional: whether both networks are given the labels of the images.
        reuse_fakes: whether the generator's step uses the images that the discriminator was just shown, which saves
            generating others. Requires one step of each on the same positions.
        optimizers: see ``GAN``.
    """

    def __init__(
        self,
        config: TwoPlayerConfig,
        spec: ImageSpec,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        adversarial: Adversarial,
        conditional: bool = False,
        reuse_fakes: bool = False,
        optimizers: dict[str, Optimizer] | None = None,
    ) -> None:
        self.spec, self.conditional, self.tricks = spec, conditional, config.tricks
        self.generator, self.discriminator = generator, discriminator
        self.reuse_fakes = reuse_fakes and not (self.tricks.d_steps or self.tricks.g_steps)
        self.latent: Latent = generator.latent  # type: ignore[assignment]
        self._fakes: dict[int, Tensor] = {}  # of D's step, by first position, until G's step of the same iteration
        change(discriminator, self.tricks)
        networks = {"generator": generator, "discriminator": discriminator}
        if self.tricks.wrong_labels and (not conditional or spec.classes == 1):
            raise ConfigError("gan.tricks.wrong_labels requires a conditional GAN and more than a single class")
        compared = config.held_out > 0
        self.rules = Rules(self.tricks, adversarial, networks, logistic=config.logistic, compared=compared)
        super().__init__(networks, memory=self.rules.memory, optimizers=self.rules.optimizers(optimizers or {}))

    def phases(self, stage: Stage) -> list[Phase]:
        def held_out(batch: Batch) -> Tensor:
            return self.judge(batch, self.reals(batch), "held_out")

        return self.rules.phases(self.steps(stage), stage, held_out)

    def steps(self, stage: Stage) -> list[Phase]:
        """Return the phases without tricks."""
        return alternating(self)

    def samples(self, sampler: nn.Module, batch: Batch) -> Tensor:
        return sampler(self.latents(batch), batch.level, batch.alpha, self.labels(batch))

    def latents(self, batch: Batch) -> Tensor:
        """Return latents [N, Z]."""
        return self.latent.draw(batch.normal, batch.uniform)

    def labels(self, batch: Batch) -> Tensor | None:
        """Return the labels of the batch's images if the GAN is conditional."""
        return batch.labels if self.conditional else None

    def generated(self, batch: Batch) -> Tensor:
        """Return generated images [N, C, H, W]."""
        return self.generator(self.latents(batch), batch.level, None, self.labels(batch))

    def reals(self, batch: Batch) -> Tensor:
        """Return the real images as the discriminator is shown them."""
        return self.rules.shown(batch, batch.images)

    def fakes(self, batch: Batch) -> Tensor:
        """Return generated images as the discriminator is shown them."""
        return self.rules.shown(batch, self.generated(batch))

    def score(self, batch: Batch, images: Tensor, stream: str) -> Tensor:
        """Return the discriminator's scores [N]; ``stream`` keeps random numbers of different passes apart."""
        return self.discriminator(images)

    def judge(self, batch: Batch, images: Tensor, stream: str) -> Tensor:
        """Return the discriminator's scores [N] as in ``score``, with the dropout of the tricks."""
        with self.dropped(batch, stream):
            return self.score(batch, images, stream)

    @contextmanager
    def dropped(self, batch: Batch, stream: str) -> Iterator[None]:
        """Context in which the discriminator has the dropout of the tricks, if any."""
        keep, drop = 1 - self.tricks.d_dropout, dropout(batch, f"{stream}_dropped")
        with dropping(self.discriminator, lambda x: drop(x, keep)) if keep < 1 else nullcontext():
            yield

    def discriminator_loss(self, batch: Batch) -> Terms:
        """Return the terms of the discriminator, which have no gradient in the generator."""
        if self.reuse_fakes:
            self.generator.requires_grad_(True)  # for the graph that G's step uses
            fake = self._fakes[int(batch.positions[0])] = self.fakes(batch)
            return self.discriminator_terms(batch, fake.detach())
        with torch.no_grad():
            fake = self.fakes(batch)
        return self.discriminator_terms(batch, fake)

    def discriminator_terms(self, batch: Batch, fake: Tensor) -> Terms:
        """Return the terms of the discriminator for given generated images; real ones are scored in a separate pass."""
        real = self.reals(batch)
        terms = self.rules.critic(batch, self.judge(batch, real, "real"), self.judge(batch, fake, "fake"))
        if share := self.tricks.wrong_labels:
            wrong = self.rules.as_fake(self.judge(self._mismatched(batch), real, "wrong"))
            terms |= {"fake": (1 - share) * terms["fake"], "wrong": share * wrong}
        return terms | self.penalties(batch, real, fake)

    def _mismatched(self, batch: Batch) -> Batch:
        """The same samples with other classes than their own, all of equal probability, or with others' attributes."""
        draw = batch.uniform("wrong_labels", 1)[:, 0]
        if self.spec.classes:
            wrong = (batch.labels + 1 + (draw * (self.spec.classes - 1)).long()) % self.spec.classes
        else:
            every, places = batch.gather(batch.labels), batch.gather(batch.positions.to(draw.device))
            own = torch.searchsorted(places, batch.positions.to(draw.device))
            wrong = every[(own + 1 + (draw * (len(every) - 1)).long()) % len(every)]
        return replace(batch, load_labels=lambda source: wrong)

    def penalties(self, batch: Batch, real: Tensor, fake: Tensor) -> Terms:
        """Return the terms of the tricks that penalize the discriminator's gradients."""
        return self.rules.penalties(batch, lambda x: self.judge(batch, x, "penalty"), real, fake)

    def generator_loss(self, batch: Batch) -> Terms:
        """Return the terms of the generator; the loop freezes the discriminator meanwhile."""
        fake = self._fakes.pop(int(batch.positions[0]), None)
        return self.generator_terms(batch, self.fakes(batch) if fake is None else fake)

    def generator_terms(self, batch: Batch, fake: Tensor) -> Terms:
        """Return the terms of the generator for given generated images."""
        if self.tricks.feature_matching:
            return self._matching(batch, fake)
        on_fake = self.judge(batch, fake, "fake")
        if not self.rules.adversarial.relative:
            return self.rules.generator(on_fake)
        with torch.no_grad():
            on_real = self.judge(batch, self.reals(batch), "real")
        return self.rules.generator(on_fake, on_real)

    def _matching(self, batch: Batch, fake: Tensor) -> Terms:
        """The squared distance between the mean features of all real and of all generated images of the step.

        Each sample has a term of its own, so that the mean over several ranks has the value and the gradient of the
        distance.
        """
        with features(self.discriminator) as seen:
            with torch.no_grad():
                self.judge(batch, self.reals(batch), "real")
            self.judge(batch, fake, "fake")
        of_real, of_fake = seen
        mean = batch.gather(of_fake.detach()).mean(0)
        away = mean - batch.gather(of_real).mean(0)
        distance = away.square().sum() + 2 * ((of_fake - mean) * away).sum(1)
        return {"features": self.tricks.feature_matching * distance}

    def joint_loss(self, batch: Batch) -> Terms:
        """Return the terms of both at the same point, for one simultaneous step.

        Both see the same generated images through the same dropout masks. No term has a gradient in the weights of the
        other network.
        """
        fake = self.fakes(batch)
        terms = {f"discriminator_{k}": v for k, v in self.discriminator_terms(batch, fake.detach()).items()}
        with frozen(self.discriminator):
            return terms | {f"generator_{k}": v for k, v in self.generator_terms(batch, fake).items()}


def alternating(gan: TwoPlayer, *, n_critic: int = 1, generator_batch: int = 1) -> list[Phase]:
    """Return the usual phases: ``n_critic`` steps of the discriminator, then one of the generator.

    Args:
        gan: the GAN.
        n_critic: number of steps of the discriminator.
        generator_batch: number of images in a step of the generator, as a multiple of the schedule's batch.
    """
    return [
        Phase("discriminator", ("discriminator",), gan.discriminator_loss, repeats=n_critic),
        Phase("generator", ("generator",), gan.generator_loss, shows_images=False, batch=generator_batch),
    ]


def simultaneous(gan: TwoPlayer) -> list[Phase]:
    """Return the single phase of a simultaneous step of both networks."""
    return [Phase("both", ("discriminator", "generator"), gan.joint_loss)]


def taking_batches(gan: TwoPlayer, stage: Stage) -> list[Phase]:
    """Return the single phase of a stage in which each batch trains one network: the first G, the second D, and so on.

    The batches of G count as well, although G sees none of their images (the code of DCGAN's authors).
    """
    if stage.images_seen // stage.batch % 2:
        return [Phase("discriminator", ("discriminator",), gan.discriminator_loss)]
    return [Phase("generator", ("generator",), gan.generator_loss)]
