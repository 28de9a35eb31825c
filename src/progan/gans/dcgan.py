"""DCGAN: deep convolutional GAN (Radford et al. 2016), which made GANs of images trainable.

The rules of the paper: strided convolutions instead of pooling; batch norm in both networks, except at G's output and
D's input; no hidden dense layers; ReLU in G with tanh at its output, leaky ReLU in D; Adam with a small learning rate
and beta1 0.5.

The published versions differ. The PyTorch example has 4x4 kernels, 64 maps and normal latents, shows D a batch of real
images and then a batch of generated ones, and trains G by the same generated images. The authors' Theano version has
5x5 kernels, 128 maps and uniform latents, and each batch trains only one of the networks: the first G, the second D,
and so on. The defaults are those of the PyTorch example.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from progan.errors import ConfigError
from progan.gans.base import Batch, ImageSpec, Latent, Optimizer, Phase, Terms
from progan.gans.dcgan_networks import Discriminator, Generator
from progan.gans.tricks import TwoPlayerConfig
from progan.gans.two_player import BatchNormConfig, TwoPlayer, alternating, taking_batches
from progan.gans.virtual_batch_norm import virtual_batch
from progan.losses import ADVERSARIAL, LOGISTIC
from progan.schedule import Stage


@dataclass(frozen=True, kw_only=True)
class DCGANConfig(TwoPlayerConfig, BatchNormConfig):
    """Networks and steps of DCGAN; the defaults are those of the PyTorch example."""

    maps: int = 64
    """Feature maps next to the images; each halving of the size doubles them."""
    d_maps: int = 0
    """The same in D, if its capacity is to differ from that of G; 0: as many as maps."""
    most_maps: int = 1024
    """Largest number of feature maps of a layer."""
    kernel: Literal[4, 5] = 4
    """Side of the kernels [pixels]: 4 as in the PyTorch example, or 5 as in the authors' version."""
    latent_size: int = 100
    """Number of components of a latent."""
    latent: Literal["normal", "uniform"] = "normal"
    """Prior of the latents: N(0, 1), or uniform in [-1, 1] as in the paper."""
    loss: Literal["non_saturating", "saturating", "least_squares", "hinge"] = "non_saturating"
    """Adversarial loss."""
    turns: Literal["steps", "batches"] = "steps"
    """Use each batch of real images for a step of D and a step of G, or for one of the two in turns (authors)."""
    reuse_fakes: bool = True
    """Train G by the images that D was just shown, which saves generating others; only if turns is steps."""
    d_batches: Literal["separate", "mixed"] = "separate"
    """Batches of D: all real and all generated ones, each with its own batch-norm statistics, or both together."""
    norm: Literal["both", "generator", "discriminator", "none"] = "both"
    """Networks with batch norm."""
    bn_eps: float = 1e-5
    """Epsilon of batch norm; 1e-8 in the authors' version."""
    virtual_bn: int = 0
    """Size of a reference batch by which G normalizes each image, instead of by the other images of its batch (virtual
    batch norm, Salimans et al. 2016, section 3.4); 0: batch norm."""
    weight_decay: float = 0.0
    """Weight decay (L2 penalty) of both networks; 1e-5 in the authors' version."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("maps", "most_maps", "latent_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"gan.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("bn_group", "weight_decay", "d_maps", "virtual_bn"):
            if getattr(self, name) < 0:
                raise ConfigError(f"gan.{name} must be at least 0, got {getattr(self, name)}")
        if self.virtual_bn == 1 or (self.virtual_bn and self.norm not in ("both", "generator")):
            raise ConfigError("gan.virtual_bn requires at least 2 reference samples, and gan.norm both or generator")
        if self.kernel not in (4, 5):
            raise ConfigError(f"gan.kernel must be 4 or 5, got {self.kernel}")

    @property
    def logistic(self) -> bool:
        """Whether the scores of D are logits."""
        return self.loss in LOGISTIC

    @property
    def normed(self) -> bool:
        """Whether a network has batch norm."""
        return self.norm != "none"

    def make(self, spec: ImageSpec) -> "DCGAN":
        """Return both networks for images of a data set, with initial weights."""
        return DCGAN(self, spec)

    def make_sampler(self, spec: ImageSpec) -> nn.Module:
        """Return the generator alone."""
        latent = Latent(self.latent_size, self.latent)
        generator = Generator(spec, latent, **self._shared("generator"))
        if not self.virtual_bn:
            return generator
        z = torch.randn(self.virtual_bn, self.latent_size)  # of the seed of the weights
        return virtual_batch(generator, latent.of_normal(z))

    def make_discriminator(self, spec: ImageSpec) -> Discriminator:
        """Return the discriminator alone."""
        return Discriminator(spec, **self._shared("discriminator"))

    def _shared(self, network: str) -> dict[str, Any]:
        """Arguments of one of the networks."""
        same = {name: getattr(self, name) for name in ("maps", "most_maps", "kernel", "bn_group")}
        if network == "discriminator" and self.d_maps:
            same["maps"] = self.d_maps
        return {**same, "norm": self.norm in ("both", network), "eps": self.bn_eps}


class DCGAN(TwoPlayer):
    """Generator, discriminator and their steps."""

    def __init__(self, config: DCGANConfig, spec: ImageSpec) -> None:
        self.config = config
        super().__init__(
            config,
            spec,
            config.make_sampler(spec),
            config.make_discriminator(spec),
            adversarial=ADVERSARIAL[config.loss],
            reuse_fakes=config.reuse_fakes and config.turns == "steps",
            optimizers={name: Optimizer(weight_decay=config.weight_decay) for name in ("generator", "discriminator")},
        )

    def steps(self, stage: Stage) -> list[Phase]:
        return alternating(self) if self.config.turns == "steps" else taking_batches(self, stage)

    def discriminator_terms(self, batch: Batch, fake: Tensor) -> Terms:
        if self.config.d_batches == "separate":
            return super().discriminator_terms(batch, fake)
        real = self.reals(batch)
        scores = self.judge(batch, torch.cat([real, fake]), "mixed")
        return self.rules.critic(batch, *scores.chunk(2)) | self.penalties(batch, real, fake)
