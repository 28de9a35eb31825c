"""AAE: adversarial autoencoder (Makhzani et al. 2015), whose codes follow a prior that one can sample from.

An encoder and a decoder learn to reconstruct images. A discriminator tells codes from samples of the prior, and the
encoder learns to fool it. So the codes of the data fill the prior, and the decoder turns its samples into images.

Each minibatch serves three updates in turn, each with its own learning rate and momentum: reconstruction (encoder and
decoder), discriminator, encoder. Tasks besides plain codes:

- ``class_prior`` (section 2.3): each part of the prior belongs to a class, which the discriminator is told.
- ``semi_supervised`` (section 5): the code is a category and a style, each with a prior and a discriminator. A fourth
  update trains the categories by some labels.
- ``clustering`` (section 6): the same without labels, with as many categories as there shall be clusters.

The paper's networks are dense, with pixels in 0 ... 1. Its section 7, dimensionality reduction, is not built. No
program of the authors is known.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from progan.errors import ConfigError
from progan.gans.aae_networks import CodeDiscriminator, Coder
from progan.gans.base import GAN, Batch, ImageSpec, Latent, Optimizer, Phase, Terms
from progan.gans.labeled import Labeled, check_labeled
from progan.gans.priors import Categorical, Petals, SwissRoll
from progan.gans.two_player import BatchNormConfig, dropout
from progan.losses import NON_SATURATING
from progan.schedule import Stage


@dataclass(frozen=True, kw_only=True)
class AAEConfig(BatchNormConfig):
    """Networks and steps of AAE; the defaults are those of the paper for the likelihood on MNIST (section 3)."""

    task: Literal["codes", "class_prior", "semi_supervised", "clustering"] = "codes"
    """What the codes are: samples of a prior (codes), of a part of it for each class (class_prior), or a category and
    a style, with the categories taught by labels (semi_supervised) or found (clustering)."""
    networks: Literal["dense", "conv"] = "dense"
    """Dense layers as in the paper, or convolutions as in DCGAN, for images of 16 pixels and more."""
    hidden: tuple[int, ...] = (1000, 1000)
    """Features of the hidden layers of the encoder; those of the decoder are the same in reverse."""
    d_hidden: tuple[int, ...] = (1000, 1000)
    """Features of the hidden layers of each discriminator."""
    maps: int = 64
    """Feature maps next to the images, if networks is conv."""
    latent_size: int = 8
    """Number of components of the style, which is the whole code if there are no categories."""
    prior: Literal["normal", "petals", "swiss_roll"] = "normal"
    """Prior of the style: normal, or in the plane: a mixture of Gaussians, or a spiral (figure 4)."""
    prior_scale: float = 5.0
    """Standard deviation of the prior; the radius of the swiss roll."""
    parts: int = 10
    """Number of Gaussians of petals, and of parts of the swiss roll; a class_prior has one for each class."""
    posterior: Literal["deterministic", "gaussian"] = "deterministic"
    """Whether an image has one code, or a normal distribution of codes (section 2.1)."""
    reconstruction: Literal["squared", "absolute", "bce"] = "squared"
    """Distance of an image and its reconstruction in units of 0 ... 1, or cross-entropy of its pixels."""
    reduction: Literal["sum", "mean"] = "sum"
    """Sum over the pixels of an image, or mean."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """Optimizer of all updates."""
    momentum: float = 0.9
    """Momentum of the reconstruction and of the labels (beta1 of Adam)."""
    adversarial_momentum: float = 0.1
    """Momentum of the two adversarial updates (beta1 of Adam)."""
    adversarial_lr: float = 10.0
    """Learning rate of the two adversarial updates, relative to that of the reconstruction."""
    labels_lr: float = 10.0
    """Learning rate of the update by labels, relative to that of the reconstruction."""
    labeled: int = 0
    """Number of images whose labels are used, the same of each class, drawn by labeled_seed; 0: all."""
    labeled_seed: int = 0
    """Seed of the draw of the images whose labels are used."""
    clusters: int = 16
    """Number of categories if task is clustering."""
    unlabeled_share: float = 0.0
    """Share of the samples whose class the discriminator is not told, if task is class_prior."""
    input_keep: float = 1.0
    """Probability of keeping a pixel at the input of the encoder in training (dropout)."""
    encoder_norm: bool = False
    """Batch norm in a dense encoder, after each of its layers. At its output, it keeps categories from staying unused,
    which the paper's text does not mention."""
    init: float = 0.01
    """Standard deviation of the initial weights of dense networks."""

    def __post_init__(self) -> None:
        for name in ("maps", "latent_size", "parts", "clusters"):
            if getattr(self, name) < 1:
                raise ConfigError(f"gan.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("hidden", "d_hidden"):
            if min(getattr(self, name), default=1) < 1:
                raise ConfigError(f"gan.{name} must be at least 1 each, got {getattr(self, name)}")
        for name in ("bn_group", "labeled", "labeled_seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"gan.{name} must be at least 0, got {getattr(self, name)}")
        for name in ("prior_scale", "init", "adversarial_lr", "labels_lr"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"gan.{name} must be a number above 0, got {getattr(self, name)}")
        for name in ("momentum", "adversarial_momentum", "unlabeled_share"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"gan.{name} must be at least 0 and below 1, got {getattr(self, name)}")
        if not 0 < self.input_keep <= 1:
            raise ConfigError(f"gan.input_keep must be above 0 and at most 1, got {self.input_keep}")
        self._check_together()

    def _check_together(self) -> None:
        """Raise ConfigError if settings contradict each other."""
        if self.prior != "normal" and (self.latent_size != 2 or self.task in ("semi_supervised", "clustering")):
            raise ConfigError(
                f"gan.prior {self.prior} lies in the plane: it requires --gan.latent-size 2 and --gan.task codes or "
                f"class_prior, got {self.latent_size} and {self.task}"
            )
        if self.task == "class_prior" and self.prior == "normal":
            raise ConfigError("gan.task class_prior requires a prior with parts: --gan.prior petals or swiss_roll")
        if self.networks == "conv" and self.encoder_norm:
            raise ConfigError("gan.encoder_norm is for --gan.networks dense; convolutions always have batch norm")
        if self.networks == "conv" and self.reconstruction == "bce":
            raise ConfigError("gan.reconstruction bce requires a sigmoid, which only --gan.networks dense has")

    @property
    def normed(self) -> bool:
        """Whether a network has batch norm."""
        return self.networks == "conv" or self.encoder_norm

    @property
    def takes_labels(self) -> bool:
        """Whether the class of a generated image can be chosen."""
        return self.task == "semi_supervised"

    def make(self, spec: ImageSpec) -> "AAE":
        """Return all networks for images of a data set, with initial weights."""
        if self.task in ("class_prior", "semi_supervised") and not spec.classes:
            raise ConfigError(
                f"gan.task {self.task} requires images with classes; give each class a subfolder, use 'progan prepare "
                "--labels FILE', or choose --gan.task codes or clustering"
            )
        check_labeled(self.labeled, spec, used=self.task == "semi_supervised")
        return AAE(self, spec)

    def make_sampler(self, spec: ImageSpec) -> Coder:
        """Return encoder and decoder alone."""
        categories = {"semi_supervised": spec.classes, "clustering": self.clusters}.get(self.task, 0)
        latent: Latent
        if categories:
            latent = Categorical(categories + self.latent_size, scale=self.prior_scale, categories=categories)
        elif self.prior == "normal":
            latent = Latent(self.latent_size, scale=self.prior_scale)
        else:
            kind = Petals if self.prior == "petals" else SwissRoll
            latent = kind(scale=self.prior_scale, parts=spec.classes if self.task == "class_prior" else self.parts)
        return Coder(self, spec, latent, categories)


class AAE(GAN):
    """Encoder, decoder, discriminators of codes and their steps."""

    def __init__(self, config: AAEConfig, spec: ImageSpec) -> None:
        self.config, self.spec, self.coder = config, spec, config.make_sampler(spec)
        self.latent: Latent = self.coder.latent
        self.categories = self.coder.categories
        style = {"hidden": config.d_hidden, "deviation": config.init}
        classes = spec.classes if config.task == "class_prior" else 0
        networks: dict[str, nn.Module] = {
            "encoder": self.coder.encoder,
            "decoder": self.coder.decoder,
            "discriminator": CodeDiscriminator(config.latent_size, classes=classes, **style),
        }
        if self.categories:
            networks["category_discriminator"] = CodeDiscriminator(self.categories, **style)
        self.discriminators = [name for name in networks if name.endswith("discriminator")]
        self.labeled = Labeled(config.labeled, spec, seed=config.labeled_seed)
        super().__init__(networks, sampler=self.coder, memory=self.labeled, optimizers=self._optimizers(config))

    def _optimizers(self, config: AAEConfig) -> dict[str, Optimizer]:
        """An optimizer for each network in each update that trains it."""
        learning = Optimizer(kind=config.optimizer, beta1=config.momentum)
        playing = replace(learning, beta1=config.adversarial_momentum, lr=config.adversarial_lr)
        found = {"encoder": learning, "decoder": learning, "adversarial/encoder": playing}
        found |= dict.fromkeys(self.discriminators, playing)
        if config.task == "semi_supervised":
            found["labels/encoder"] = replace(learning, lr=config.labels_lr)
        return found

    def phases(self, stage: Stage) -> list[Phase]:
        phases = [
            Phase("reconstruction", ("encoder", "decoder"), self.reconstruction_loss),
            Phase("discriminator", tuple(self.discriminators), self.discriminator_loss, shows_images=False),
            Phase("adversarial", ("encoder",), self.encoder_loss, shows_images=False),
        ]
        if self.config.task == "semi_supervised":
            phases.append(Phase("labels", ("encoder",), self.label_loss, shows_images=False))
        return phases

    def samples(self, sampler: nn.Module, batch: Batch) -> Tensor:
        labels = batch.labels if self.config.takes_labels else None
        return sampler(self.latent.draw(batch.normal, batch.uniform), batch.level, None, labels)

    def codes(self, batch: Batch) -> Tensor:
        """Return codes of the real images, samples of their posterior [N, categories + latent_size]."""
        config = self.config
        scores = self.coder.scores(batch.images, dropout(batch, "input"), config.input_keep)
        noise = batch.normal("posterior", config.latent_size) if config.posterior == "gaussian" else None
        return self.coder.code(scores, noise)

    def reconstruction_loss(self, batch: Batch) -> Terms:
        """Return the distance of images and their reconstructions."""
        codes, target = self.codes(batch), (batch.images + 1) / 2
        if self.config.reconstruction == "bce":
            logits = self.coder.decoder.logits(codes)  # type: ignore[operator]  # dense, as the settings check
            distance = F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")
        else:
            error = (self.coder(codes) + 1) / 2 - target
            distance = error.square() if self.config.reconstruction == "squared" else error.abs()
        distance = distance.flatten(1)
        return {"pixels": distance.sum(1) if self.config.reduction == "sum" else distance.mean(1)}

    def discriminator_loss(self, batch: Batch) -> Terms:
        """Return the terms of the discriminators: samples of the prior are real, codes are not."""
        with torch.no_grad():
            codes = self.codes(batch)
        told, latents = self._told(batch), self._latents(batch)
        real, fake = (self._scores(x, told) for x in (latents, codes))
        critic = NON_SATURATING.critic
        return {f"{name}_{k}": v for name in real for k, v in critic(real[name], fake[name]).items()}

    def encoder_loss(self, batch: Batch) -> Terms:
        """Return the terms of the encoder, which wants its codes taken for samples of the prior."""
        fake = self._scores(self.codes(batch), self._told(batch))
        return {f"{name}_{k}": v for name in fake for k, v in NON_SATURATING.generator(fake[name]).items()}

    def label_loss(self, batch: Batch) -> Terms:
        """Return the cross-entropy of the categories with the known labels."""
        images, labels = self.labeled.draw(batch)
        scores = self.coder.scores(images, dropout(batch, "input"), self.config.input_keep)
        return {"cross_entropy": F.cross_entropy(scores[:, : self.categories], labels, reduction="none")}

    def look(self, batches: Iterator[Batch]) -> None:
        """Choose the images whose labels are used."""
        if self.config.task == "semi_supervised":
            self.labeled.choose(batches)

    def _scores(self, codes: Tensor, told: Tensor | None) -> dict[str, Tensor]:
        """Scores of codes by what is judged."""
        scores = {"style": self.networks["discriminator"](codes[:, self.categories :], told)}
        if self.categories:
            scores["category"] = self.networks["category_discriminator"](codes[:, : self.categories])
        return scores

    def _told(self, batch: Batch) -> Tensor | None:
        """The classes that the discriminator is told, with the number of classes for none."""
        if self.config.task != "class_prior":
            return None
        hidden = batch.uniform("hidden", 1)[:, 0] < self.config.unlabeled_share
        return torch.where(hidden, self.spec.classes, batch.labels)

    def _latents(self, batch: Batch) -> Tensor:
        """Samples of the prior; of the part of each image's class, if it has parts for these."""
        if self.config.task != "class_prior":
            return self.latent.draw(batch.normal, batch.uniform, "prior")
        return self.latent.in_parts(batch.normal("prior", 2), batch.labels)  # type: ignore[attr-defined]  # Parts
