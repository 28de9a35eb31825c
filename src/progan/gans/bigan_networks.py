"""Networks of BiGAN (Donahue et al. 2017): the dense ones of the authors' code for MNIST, and DCGAN's with an encoder.

D sees an image and a code. Where the code joins, a dense layer is given both side by side. That is the same as adding a
projection of the code to that of the features, before batch norm, as the authors' code does. Convolutions add it.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from progan.batchnorm import BatchNorm1d
from progan.errors import ConfigError
from progan.gans import dcgan_networks
from progan.gans.base import ImageSpec, Latent
from progan.gans.dcgan_networks import halvings, initialize
from progan.gans.two_player import BatchNormConfig
from progan.ops import at_least_float32, no_autocast


@dataclass(frozen=True, kw_only=True)
class BiGANNetworksConfig(BatchNormConfig):
    """Settings of the networks of BiGAN; the defaults are those of the authors' code for MNIST."""

    networks: Literal["dense", "conv"] = "dense"
    """Networks: dense layers, or DCGAN's convolutions."""
    latent_size: int = 50
    """Number of components of a latent, uniform in [-1, 1], and of a code."""
    hidden: tuple[int, ...] = (1024, 1024)
    """Features of the hidden layers of each dense network."""
    maps: int = 64
    """Feature maps of the convolutional networks next to the images; each halving of the size doubles them."""
    most_maps: int = 512
    """Largest number of feature maps of a convolution."""
    kernel: Literal[4, 5] = 4
    """Side of the kernels of the convolutions [pixels]."""
    d_join: Literal["last", "first"] = "last"
    """Hidden layer of the dense D that is given the code as well: the last (authors), or the first."""
    g_shortcut: bool = True
    """Give the latent to the last hidden layer of the dense G as well, as in the authors' code."""
    code: Literal["squashed", "linear"] = "squashed"
    """Output of E: squashed by a sigmoid to the range of the latents (authors), or linear."""
    bias: bool = False
    """Whether dense layers have biases."""
    norm: bool = True
    """Whether the networks have batch norm."""
    bn_eps: float = 1e-8
    """Epsilon of batch norm."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))  # files have lists
        for name in ("latent_size", "maps", "most_maps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"gan.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("bn_group", "bn_eps"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"gan.{name} must be a number of at least 0, got {getattr(self, name)}")
        if min(self.hidden, default=0) < 1:
            raise ConfigError(f"gan.hidden must be numbers of at least 1, such as 256 256; got {self.hidden}")
        if self.kernel not in (4, 5):
            raise ConfigError(f"gan.kernel must be 4 or 5, got {self.kernel}")

    @property
    def normed(self) -> bool:
        """Whether a network has batch norm."""
        return self.norm

    @property
    def convolutions(self) -> dict[str, Any]:
        """Arguments that the convolutional networks share."""
        return {name: getattr(self, name) for name in ("maps", "most_maps", "kernel")}

    @property
    def latent(self) -> Latent:
        """Prior of the latents."""
        return Latent(self.latent_size, "uniform")


class _Hidden(nn.Module):
    """Dense layer, batch norm without gain and shift, and an activation.

    Args:
        into: features of the input.
        out: features of the output.
        config: settings of the networks.
        norm: whether to use batch norm, if the settings do.
        slope: slope of the ReLU for negative inputs.
        tracked: whether batch norm keeps running statistics, which it uses outside of training.

    Shape: x [N, into] -> [N, out].
    """

    def __init__(
        self,
        into: int,
        out: int,
        config: BiGANNetworksConfig,
        *,
        norm: bool,
        slope: float = 0.2,
        tracked: bool = True,
    ) -> None:
        super().__init__()
        self.dense = nn.Linear(into, out, bias=config.bias)
        more = {"affine": False, "track_running_stats": tracked, "eps": config.bn_eps, "group": config.bn_group}
        self.norm = BatchNorm1d(out, **more) if norm and config.norm else nn.Identity()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.leaky_relu(self.norm(self.dense(x)), self.slope)


class _Stack(nn.Module):
    """Hidden layers of a dense network.

    Args:
        into: features of the input.
        config: settings of the networks.
        code: number of components of the code that one of the layers is given as well.
        joint: index of that layer; -1: none.
        norm_first: whether the first layer has batch norm as well.
        more: further arguments of the layers.

    Shape: x [N, into], z [N, code] -> [N, last of config.hidden].
    """

    def __init__(
        self,
        into: int,
        config: BiGANNetworksConfig,
        *,
        code: int = 0,
        joint: int = -1,
        norm_first: bool = False,
        **more: Any,
    ) -> None:
        super().__init__()
        self.joint = joint
        self.layers = nn.ModuleList(
            _Hidden(wide + code * (i == joint), out, config, norm=i > 0 or norm_first, **more)
            for i, (wide, out) in enumerate(itertools.pairwise([into, *config.hidden]))
        )

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        for i, layer in enumerate(self.layers):
            x = layer(torch.cat([x, z.to(x.dtype)], 1) if i == self.joint and z is not None else x)
        return x


class DenseGenerator(nn.Module):
    """Generator: dense layers with batch norm and ReLU, and a sigmoid.

    Shape: z [N, Z] -> images [N, C, H, W] in [-1, 1].
    """

    def __init__(self, config: BiGANNetworksConfig, spec: ImageSpec, latent: Latent) -> None:
        super().__init__()
        self.latent, self.shape, last = latent, (spec.channels, spec.height, spec.width), len(config.hidden) - 1
        again = last if config.g_shortcut and last else -1
        self.hidden = _Stack(latent.size, config, code=latent.size, joint=again, norm_first=True, slope=0.0)
        self.image = nn.Linear(config.hidden[-1], math.prod(self.shape), bias=config.bias)
        initialize(self)

    def forward(self, z: Tensor, level: int = 0, alpha: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        x = at_least_float32(self.hidden(z, z))
        with no_autocast(x):  # 16-bit floats would round images to about 8 bits
            return 2 * torch.sigmoid(self.image(x).unflatten(1, self.shape)) - 1  # the authors' images are in [0, 1]


class _Encoder(nn.Module):
    """Encoder: hidden layers, and a dense layer to the code, which a sigmoid draws into the range of the latents.

    Args:
        config: settings of the networks.
        latent: prior of the latents.
        body: hidden layers.
        features: number of features that these end in.

    Shape: x [N, C, H, W] in [-1, 1] -> codes [N, Z].
    """

    def __init__(self, config: BiGANNetworksConfig, latent: Latent, body: nn.Module, features: int) -> None:
        super().__init__()
        self.body, self.squashed = body, config.code == "squashed"
        self.code = nn.Linear(features, latent.size, bias=config.bias)
        initialize(self)

    def features(self, x: Tensor) -> Tensor:
        """Return the features before the code, [N, F]."""
        return self.body(x).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        code = at_least_float32(self.code(self.features(x)))
        return 2 * torch.sigmoid(code) - 1 if self.squashed else code


class DenseEncoder(_Encoder):
    """Encoder of dense layers with leaky ReLU, all but the first with batch norm."""

    def __init__(self, config: BiGANNetworksConfig, spec: ImageSpec, latent: Latent) -> None:
        super().__init__(config, latent, _Stack(_pixels(spec), config), config.hidden[-1])

    def features(self, x: Tensor) -> Tensor:
        return super().features((x.flatten(1) + 1) / 2)


class ConvEncoder(_Encoder):
    """Encoder of the convolutions of DCGAN's discriminator, whose last maps are its features."""

    def __init__(self, config: BiGANNetworksConfig, spec: ImageSpec, latent: Latent) -> None:
        body, features = halvings(spec, **config.convolutions, norm=config.norm, more=_norm(config))
        super().__init__(config, latent, body, features)


class DenseDiscriminator(nn.Module):
    """Discriminator of pairs: dense layers with leaky ReLU, all but the first with batch norm, one of them given z.

    Shape: x [N, C, H, W] in [-1, 1], z [N, Z] -> scores [N], before the sigmoid.
    """

    def __init__(self, config: BiGANNetworksConfig, spec: ImageSpec, latent: Latent) -> None:
        super().__init__()
        joint = len(config.hidden) - 1 if config.d_join == "last" else 0
        self.hidden = _Stack(_pixels(spec), config, code=latent.size, joint=joint, tracked=False)
        self.score = nn.Linear(config.hidden[-1], 1, bias=config.bias)
        initialize(self)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return at_least_float32(self.score(self.hidden((x.flatten(1) + 1) / 2, z))[:, 0])


class ConvDiscriminator(nn.Module):
    """Discriminator of pairs: DCGAN's, to whose last maps a projection of z is added before batch norm.

    A further dense layer with batch norm would leave D almost blind: it removes all that distinguishes the means of
    batches of real and of generated pairs.

    Shape: x [N, C, H, W] in [-1, 1], z [N, Z] -> scores [N], before the sigmoid.
    """

    def __init__(self, config: BiGANNetworksConfig, spec: ImageSpec, latent: Latent) -> None:
        super().__init__()
        more = _norm(config) | {"track_running_stats": False}
        body, features = halvings(spec, **config.convolutions, norm=config.norm, more=more)
        self.body, self.end = body[: -1 - config.norm], body[-1 - config.norm :]
        self.joint = nn.Linear(latent.size, features // math.prod(spec.start), bias=False)
        self.score = nn.Linear(features, 1, bias=config.bias)
        initialize(self)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        x = self.body(x.contiguous(memory_format=torch.channels_last))  # as DCGAN's discriminator
        x = self.end(x + self.joint(z).to(x.dtype)[:, :, None, None])
        return at_least_float32(self.score(x.flatten(1))[:, 0])


def conv_generator(config: BiGANNetworksConfig, spec: ImageSpec, latent: Latent) -> nn.Module:
    """Return DCGAN's generator."""
    more = {"eps": config.bn_eps, "bn_group": config.bn_group}
    return dcgan_networks.Generator(spec, latent, **config.convolutions, norm=config.norm, **more)


def _pixels(spec: ImageSpec) -> int:
    return math.prod((spec.channels, spec.height, spec.width))


def _norm(config: BiGANNetworksConfig) -> dict[str, Any]:
    return {"eps": config.bn_eps, "group": config.bn_group}
