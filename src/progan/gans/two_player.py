"""What the classic GANs share: a generator and a discriminator that play against each other, image by image."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from progan.errors import ConfigError
from progan.gans.base import GAN, Batch, GANConfig, ImageSpec, Latent, Optimizer, Phase, Terms
from progan.losses import Adversarial
from progan.ops import hashed_uniform
from progan.schedule import Stage

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
        kept = hashed_uniform(batch.uniform(f"{stream}_{calls}", 2), shape[1:].numel()) < keep
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


class TwoPlayer(GAN):
    """A generator against a discriminator; base class of the classic GANs, which differ in what is given here.

    By default they take turns: a step of the discriminator on real and generated images, then a step of the generator
    on new ones. Subclasses override ``phases``, ``score`` or the losses.

    Args:
        spec: shape and labels of the images.
        generator: sampler with the attribute ``latent``.
        discriminator: network from images [N, C, H, W] to scores [N].
        adversarial: losses of both.
        conditional: whether both networks are given the labels of the images.
        reuse_fakes: whether the generator's step uses the images that the discriminator was just shown, which saves
            generating others. Requires one step of each on the same positions.
        optimizers: see ``GAN``.
    """

    def __init__(
        self,
        spec: ImageSpec,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        adversarial: Adversarial,
        conditional: bool = False,
        reuse_fakes: bool = False,
        optimizers: dict[str, Optimizer] | None = None,
    ) -> None:
        self.spec, self.adversarial, self.conditional = spec, adversarial, conditional
        self.generator, self.discriminator, self.reuse_fakes = generator, discriminator, reuse_fakes
        self.latent: Latent = generator.latent  # type: ignore[assignment]
        self._fakes: dict[int, Tensor] = {}  # of D's step, by first position, until G's step of the same iteration
        super().__init__({"generator": generator, "discriminator": discriminator}, optimizers=optimizers)

    def phases(self, stage: Stage) -> list[Phase]:
        return alternating(self)

    def samples(self, sampler: nn.Module, batch: Batch) -> Tensor:
        return sampler(self.latents(batch), batch.level, batch.alpha, self.labels(batch))

    def latents(self, batch: Batch) -> Tensor:
        """Return latents [N, Z]."""
        return self.latent.draw(batch.normal, batch.uniform)

    def labels(self, batch: Batch) -> Tensor | None:
        """Return the labels of the batch's images if the GAN is conditional."""
        return batch.labels if self.conditional else None

    def fakes(self, batch: Batch) -> Tensor:
        """Return generated images [N, C, H, W]."""
        return self.generator(self.latents(batch), batch.level, None, self.labels(batch))

    def score(self, batch: Batch, images: Tensor, stream: str) -> Tensor:
        """Return the discriminator's scores [N]; ``stream`` keeps random numbers of different passes apart."""
        return self.discriminator(images)

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
        return self.adversarial.critic(self.score(batch, batch.images, "real"), self.score(batch, fake, "fake"))

    def generator_loss(self, batch: Batch) -> Terms:
        """Return the terms of the generator; the loop freezes the discriminator meanwhile."""
        fake = self._fakes.pop(int(batch.positions[0]), None)
        return self.adversarial.generator(self.score(batch, self.fakes(batch) if fake is None else fake, "fake"))

    def joint_loss(self, batch: Batch) -> Terms:
        """Return the terms of both at the same point, for one simultaneous step.

        Both see the same generated images through the same dropout masks. No term has a gradient in the weights of the
        other network.
        """
        fake = self.fakes(batch)
        terms = {f"discriminator_{k}": v for k, v in self.discriminator_terms(batch, fake.detach()).items()}
        self.discriminator.requires_grad_(False)
        on_fake = self.score(batch, fake, "fake")
        self.discriminator.requires_grad_(True)
        return terms | {f"generator_{k}": v for k, v in self.adversarial.generator(on_fake).items()}


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
