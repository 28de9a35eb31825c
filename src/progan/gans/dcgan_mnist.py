"""DCGAN on MNIST as two widely used tutorials teach it, one in TensorFlow's Keras, one in PyTorch.

Both are small: a dense layer to a quarter of the size, two doublings in G, two halvings with dropout in D. The one in
Keras trains both networks at once: a step uses one batch of latents, and both gradients are taken at the same point,
through the same dropout masks. The one in PyTorch takes turns: G is trained by the images that D was just shown, after
D's step and through new masks. D's loss is the sum over real and generated images, without a factor 1/2.

Keras adds Adam's epsilon before the correction of the second moment, so that it weighs more in the first steps than in
PyTorch: 1e-7 acts as 3.2e-6 in the first and as 1e-6 in the tenth. With gradients this small the steps differ. Its
running variances lack the factor N / (N - 1).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from progan.batchnorm import BatchNorm1d, BatchNorm2d
from progan.errors import ConfigError
from progan.gans.base import Batch, ImageSpec, Latent, Phase
from progan.gans.dcgan_networks import quarter
from progan.gans.same_padding import SameConv2d, SameConvTranspose2d
from progan.gans.tricks import TwoPlayerConfig
from progan.gans.two_player import BatchNormConfig, Dropout, TwoPlayer, alternating, dropout, keep_all, simultaneous
from progan.losses import NON_SATURATING
from progan.ops import at_least_float32, no_autocast
from progan.schedule import Stage

KEEP = 0.7  # probability of keeping a feature or map in D


@dataclass(frozen=True, kw_only=True)
class DCGANMnistConfig(TwoPlayerConfig, BatchNormConfig):
    """Networks and steps of DCGAN in two tutorials."""

    tutorial: Literal["keras", "torch"] = "keras"
    """Tutorial whose networks and steps to use."""
    maps: int = 64
    """Feature maps next to the images; twice as many at half the size, and 4 times at a quarter."""
    latent_size: int = 100
    """Number of components of a latent, from N(0, 1)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("maps", 1), ("latent_size", 1), ("bn_group", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"gan.{name} must be at least {least}, got {getattr(self, name)}")

    def make(self, spec: ImageSpec) -> "DCGANMnist":
        """Return both networks for images of a data set, with initial weights."""
        return DCGANMnist(self, spec)

    def make_sampler(self, spec: ImageSpec) -> nn.Module:
        """Return the generator alone."""
        kind = KerasGenerator if self.tutorial == "keras" else TorchGenerator
        return kind(spec, Latent(self.latent_size), maps=self.maps, bn_group=self.bn_group)


class DCGANMnist(TwoPlayer):
    """Generator, discriminator and their steps."""

    def __init__(self, config: DCGANMnistConfig, spec: ImageSpec) -> None:
        self.config = config
        super().__init__(
            config,
            spec,
            config.make_sampler(spec),
            (KerasDiscriminator if config.tutorial == "keras" else TorchDiscriminator)(spec, maps=config.maps),
            adversarial=NON_SATURATING,
            reuse_fakes=config.tutorial == "torch",
        )

    def steps(self, stage: Stage) -> list[Phase]:
        return simultaneous(self) if self.config.tutorial == "keras" else alternating(self)

    def score(self, batch: Batch, images: Tensor, stream: str) -> Tensor:
        return self.discriminator(images, dropout(batch, stream, whole_maps=self.config.tutorial == "torch"))


class _Generator(nn.Module):
    """A dense layer to a quarter of the size with batch norm of each feature, then ``body`` and ``image``.

    Args:
        latent: prior of the latents.
        start: height and width behind the dense layer [pixels].
        maps: feature maps behind the dense layer.
        bias: whether the dense layer has a bias.
        norm: arguments of batch norm.
        body: layers that follow, up to the last.
        image: last layer, followed by tanh.

    Shape: z [N, Z] -> images [N, C, H, W] in [-1, 1].
    """

    def __init__(
        self,
        latent: Latent,
        start: tuple[int, int],
        maps: int,
        *,
        bias: bool,
        norm: dict[str, Any],
        body: Sequence[nn.Module],
        image: nn.Module,
    ) -> None:
        super().__init__()
        self.latent, self.start, flat = latent, start, maps * math.prod(start)
        self.dense = nn.Sequential(nn.Linear(latent.size, flat, bias=bias), BatchNorm1d(flat, **norm), nn.ReLU())
        self.body, self.image = nn.Sequential(*body), image

    def forward(self, z: Tensor, level: int = 0, alpha: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        x = self.dense(z).unflatten(1, (-1, *self.start)).contiguous(memory_format=torch.channels_last)
        x = at_least_float32(self.body(x))
        with no_autocast(x):  # 16-bit floats would round images to about 8 bits
            return torch.tanh(self.image(x))


class _Discriminator(nn.Module):
    """Two convolutions that halve the size, each followed by leaky ReLU and dropout, and a dense layer.

    Shape: x [N, C, H, W] -> scores [N], before the sigmoid.
    """

    def __init__(self, first: nn.Module, second: nn.Module, features: int) -> None:
        super().__init__()
        self.first, self.second, self.score = first, second, nn.Linear(features, 1)
        self.leaky = nn.LeakyReLU(0.2, inplace=True)

    def forward(self, x: Tensor, drop: Dropout = keep_all) -> Tensor:
        for convolution in (self.first, self.second):
            x = drop(self.leaky(convolution(x)), KEEP)
        return at_least_float32(self.score(x.flatten(1))[:, 0])


class KerasGenerator(_Generator):
    """Generator of the tutorial in Keras: 5x5 transposed convolutions without bias, with TensorFlow's SAME padding."""

    def __init__(self, spec: ImageSpec, latent: Latent, *, maps: int = 64, bn_group: int = 0) -> None:
        norm: dict[str, Any] = {"eps": 1e-3, "momentum": 0.01, "group": bn_group}  # Keras counts what is kept: 0.99
        body: list[nn.Module] = []
        for into, out, stride in ((4 * maps, 2 * maps, 1), (2 * maps, maps, 2)):
            convolution = SameConvTranspose2d(into, out, 5, stride, bias=False)
            body += [convolution, BatchNorm2d(out, **norm), nn.ReLU(inplace=True)]
        image = SameConvTranspose2d(maps, spec.channels, 5, 2, bias=False)
        super().__init__(latent, quarter(spec), 4 * maps, bias=False, norm=norm, body=body, image=image)
        _glorot(self)


class KerasDiscriminator(_Discriminator):
    """Discriminator of the tutorial in Keras: 5x5 convolutions with TensorFlow's SAME padding."""

    def __init__(self, spec: ImageSpec, *, maps: int = 64) -> None:
        first, second = SameConv2d(spec.channels, maps, 5, 2), SameConv2d(maps, 2 * maps, 5, 2)
        super().__init__(first, second, 2 * maps * math.prod(quarter(spec)))
        _glorot(self)


class TorchGenerator(_Generator):
    """Generator of the tutorial in PyTorch: two 4x4 transposed convolutions and a 7x7 convolution, all with bias."""

    def __init__(self, spec: ImageSpec, latent: Latent, *, maps: int = 64, bn_group: int = 0) -> None:
        norm: dict[str, Any] = {"group": bn_group}
        body: list[nn.Module] = []
        for into, out in ((4 * maps, 2 * maps), (2 * maps, maps)):
            body += [nn.ConvTranspose2d(into, out, 4, 2, 1), BatchNorm2d(out, **norm), nn.ReLU(inplace=True)]
        image = nn.Conv2d(maps, spec.channels, 7, padding=3)
        super().__init__(latent, quarter(spec), 4 * maps, bias=True, norm=norm, body=body, image=image)


class TorchDiscriminator(_Discriminator):
    """Discriminator of the tutorial in PyTorch: 4x4 convolutions, whose maps are dropped as a whole."""

    def __init__(self, spec: ImageSpec, *, maps: int = 64) -> None:
        first, second = nn.Conv2d(spec.channels, maps, 4, 2, 1), nn.Conv2d(maps, 2 * maps, 4, 2, 1)
        super().__init__(first, second, 2 * maps * math.prod(quarter(spec)))


def _glorot(network: nn.Module) -> None:
    """Draw all weights as Keras does by default (Glorot and Bengio 2010); biases are zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
