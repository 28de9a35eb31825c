"""ProGAN's generator and discriminator, with the layers of all rows of the paper's table 1."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from progan.batchnorm import BatchNorm2d
from progan.errors import ConfigError
from progan.gans.base import WHOLE_BATCH, GANConfig, ImageSpec, Latent
from progan.layers import (
    AdaptiveNoise,
    EqualizedConv2d,
    EqualizedLinear,
    LayerNorm,
    MinibatchDiscrimination,
    leaky,
    normalized,
    relu,
)
from progan.ops import (
    at_least_float32,
    downscale2,
    fade,
    minibatch_stddev,
    no_autocast,
    pixel_norm,
    upscale2,
)

FEWEST_MAPS = 4
"""Fewest feature maps of a network that is made narrower."""


@dataclass(frozen=True, kw_only=True)
class NetworksConfig(GANConfig):
    """Settings of ProGAN's networks; the defaults are the paper's for CelebA-HQ (table 2)."""

    group_setting: ClassVar[str | None] = "stddev_group"

    fmap_base: int = 8192
    """Number of feature maps before halving: block k has fmap_base / 2^k feature maps, up to fmap_max."""
    fmap_max: int = 512
    """Largest number of feature maps of a block."""
    fmap_decay: float = 1.0
    """Exponent of the halving of feature maps: block k has fmap_base / 2^(k * fmap_decay) of them."""
    latent_size: int | None = None
    """Number of latent components. None: as many as the 4x4 block has feature maps."""
    stddev_group: int = 4
    """Group size of the minibatch standard deviation; 0 disables the layer. The paper uses the whole batch."""
    minibatch_discrimination: int = 0
    """Number of kernels of minibatch discrimination, which requires stddev_group 0 (row e* of table 1); 0: none."""
    equalized: bool = True
    """Scale the weights at run time (section 4.1) instead of at initialization only."""
    normalize_latents: bool = True
    """Normalize latents to a hypersphere."""
    generator_norm: Literal["pixel", "batch", "none"] = "pixel"
    """Normalization in G: pixel norm after the activations (section 4.2), or batch norm before them."""
    generator_activation: Literal["leaky", "relu"] = "leaky"
    """Activation in G; D always uses leaky ReLU."""
    tanh: bool = False
    """Apply tanh to the images of G."""
    discriminator_norm: Literal["none", "layer"] = "none"
    """Normalization in D before the activations."""
    adaptive_noise: bool = False
    """Multiply D's features by noise that grows with its scores of real images (appendix B, for least squares)."""
    fused_downscale: bool = False
    """Average in D before bias and leaky ReLU, as networks of the authors' TensorFlow implementation do."""
    conditional: bool = False
    """Pass the labels to G and let D classify (AC-GAN)."""
    bn_group: int = 0
    """Number of samples that share batch-norm statistics; 0: the whole batch, over all devices."""

    def __post_init__(self) -> None:
        for name in ("stddev_group", "minibatch_discrimination", "bn_group"):
            if getattr(self, name) < 0:
                raise ConfigError(f"gan.{name} must be at least 0, got {getattr(self, name)}")
        for name in ("fmap_base", "fmap_max"):
            if getattr(self, name) < 1:
                raise ConfigError(f"gan.{name} must be at least 1, got {getattr(self, name)}")
        if self.latent_size is not None and self.latent_size < 1:
            raise ConfigError(f"gan.latent_size must be at least 1, got {self.latent_size}")
        if self.stddev_group and self.minibatch_discrimination:
            raise ConfigError("gan.minibatch_discrimination requires gan.stddev_group 0")

    def maps(self, block: int) -> int:
        """Return the number of feature maps of block 0 (latent), 1 (4x4), 2 (8x8), ..."""
        return max(min(int(self.fmap_base / 2.0 ** (block * self.fmap_decay)), self.fmap_max), 1)

    @property
    def latent(self) -> Latent:
        """Prior of the latents."""
        return Latent(self.latent_size or self.maps(0), "sphere" if self.normalize_latents else "normal")

    @property
    def group(self) -> int:
        """Number of samples that one pass must see together."""
        if self.minibatch_discrimination:
            return WHOLE_BATCH
        return math.lcm(
            self.stddev_group or 1, self.bn_group if self.generator_norm == "batch" and self.bn_group else 1
        )

    @property
    def whole_share(self) -> bool:
        """Whether batch norm uses the statistics of whole batches."""
        return self.generator_norm == "batch" and not self.bn_group

    def narrower(self, share: float) -> Self:
        """Return a copy with about ``share`` of the feature maps and of the kernels of minibatch discrimination."""
        fewer = {name: max(round(getattr(self, name) * share), FEWEST_MAPS) for name in ("fmap_base", "fmap_max")}
        if kernels := self.minibatch_discrimination:
            fewer["minibatch_discrimination"] = max(round(kernels * share), 1)
        return replace(self, **fewer)

    def sizes(self) -> dict[str, int]:
        """Sizes that ``narrower`` changes (see ``GANConfig.sizes``)."""
        return {
            "at most {} feature maps": self.fmap_max,
            "{} latent components": self.latent.size,
            "{} kernels of minibatch discrimination": self.minibatch_discrimination,
        }


class Generator(nn.Module):
    """Generator: latents to images of any level up to the full size. All blocks exist from the start.

    Shape: z [N, latent_size], labels int64 [N] -> [N, C, H, W] at ``level``, in about [-1, 1].
    """

    def __init__(self, config: NetworksConfig, spec: ImageSpec) -> None:
        super().__init__()
        self.start, self.classes = spec.start, spec.classes if config.conditional else 0
        self.latent, self.first_level = config.latent, 0
        self.options = config
        maps = [config.maps(level + 1) for level in range(spec.levels)]
        norm = partial(BatchNorm2d, group=config.bn_group) if config.generator_norm == "batch" else None
        conv = partial(normalized, EqualizedConv2d, norm, kernel=3, equalized=config.equalized)
        # The gain of the dense layer is the authors' (they count it as a 4x4 convolution of a constant).
        self.dense = EqualizedLinear(
            self.latent.size + self.classes,
            maps[0] * math.prod(self.start),
            gain=math.sqrt(2) / 4,
            bias=False,
            equalized=config.equalized,
        )
        self.dense_bias = None if norm else nn.Parameter(torch.zeros(maps[0]))
        self.dense_norm = norm(maps[0]) if norm else None
        self.first = conv(maps[0], maps[0])
        self.blocks = nn.ModuleList(
            nn.ModuleList([conv(i, o, upscale=True), conv(o, o)]) for i, o in itertools.pairwise(maps)
        )
        self.to_rgb = nn.ModuleList(
            EqualizedConv2d(m, spec.channels, 1, gain=1, equalized=config.equalized) for m in maps
        )

    def forward(self, z: Tensor, level: int, alpha: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        x = before = self._features_4x4(z, labels)
        for first, second in itertools.islice(self.blocks, level):  # type: ignore[misc]  # pairs of layers
            before = x
            x = self._activate(first(x))
            x = self._activate(second(x))
        image = self._image(x, level)
        if alpha is None or level == 0:
            return image
        return fade(upscale2(self._image(before, level - 1)), image, alpha)

    def _features_4x4(self, z: Tensor, labels: Tensor | None) -> Tensor:
        if self.classes:
            if labels is None:
                raise ValueError(f"a generator of {self.classes} classes requires labels [N]")
            z = torch.cat([z, F.one_hot(labels, self.classes).to(z.dtype)], 1)
        z = pixel_norm(z) if self.options.normalize_latents else z
        x = self.dense(z).unflatten(1, (-1, *self.start))  # [N, C, 4, 4]
        if self.dense_bias is not None:
            x = x + self.dense_bias.view(-1, 1, 1)
        if self.dense_norm is not None:
            x = self.dense_norm(x)
        x = self._activate(x).contiguous(memory_format=torch.channels_last)
        return self._activate(self.first(x))

    def _activate(self, x: Tensor) -> Tensor:
        x = leaky(x) if self.options.generator_activation == "leaky" else relu(x)
        return pixel_norm(x) if self.options.generator_norm == "pixel" else x

    def _image(self, x: Tensor, level: int) -> Tensor:
        x = at_least_float32(x)
        with no_autocast(x):  # 16-bit floats would round images to about 8 bits
            image = self.to_rgb[level](x)
        return torch.tanh(image) if self.options.tanh else image


Noise = Callable[[int], Tensor]
"""Function that returns numbers [N, width] from N(0, 1), new ones at each call."""


class Discriminator(nn.Module):
    """Discriminator: images of any level to a score and, in a conditional GAN, class logits.

    Args of a call:
        group: replaces the configured number of samples that are compared.
        noise: source of the adaptive noise, if the configuration has it.

    Shape: x [N, C, H, W] at ``level`` -> [N, 1 + classes]; column 0 is the score.
    """

    def __init__(self, config: NetworksConfig, spec: ImageSpec) -> None:
        super().__init__()
        self.group = WHOLE_BATCH if config.minibatch_discrimination else config.stddev_group or 1
        self.stddev, self.fused_downscale = config.stddev_group > 0, config.fused_downscale
        maps = [config.maps(level + 1) for level in range(spec.levels)]
        norm = LayerNorm if config.discriminator_norm == "layer" else None
        conv = partial(normalized, EqualizedConv2d, norm, equalized=config.equalized)
        # Never normalized, as in Gulrajani et al.: layer norm of a linear map of an image would hide its contrast.
        self.from_rgb = nn.ModuleList(EqualizedConv2d(spec.channels, m, 1, equalized=config.equalized) for m in maps)
        self.blocks = nn.ModuleList(  # block k takes level k + 1 to level k
            nn.ModuleList([conv(i, i, kernel=3), conv(i, o, kernel=3)]) for o, i in itertools.pairwise(maps)
        )
        self.last = conv(maps[0] + (1 if self.stddev else 0), maps[0], kernel=3)
        features, kernels = config.maps(0), config.minibatch_discrimination
        self.dense = normalized(
            EqualizedLinear, norm, maps[0] * math.prod(spec.start), features, equalized=config.equalized
        )
        outputs = 1 + (spec.classes if config.conditional else 0)
        self.score = EqualizedLinear(features + kernels, outputs, gain=1, equalized=config.equalized)
        self.discrimination = MinibatchDiscrimination(features, kernels) if kernels else None
        self.noise = AdaptiveNoise() if config.adaptive_noise else None

    def forward(
        self,
        x: Tensor,
        level: int,
        alpha: Tensor | None = None,
        group: int | None = None,
        noise: Noise | None = None,
    ) -> Tensor:
        y = leaky(self.from_rgb[level](x))
        for number in range(level, 0, -1):
            wide, narrow = self.blocks[number - 1]  # type: ignore[misc]  # a pair of layers
            y = leaky(wide(self._disturb(y, noise)))
            y = self._narrow(narrow, self._disturb(y, noise))
            if number == level and alpha is not None:
                old = leaky(self.from_rgb[level - 1](downscale2(x)))
                y = fade(old, y, alpha)
        if self.stddev:
            y = torch.cat([y, minibatch_stddev(y, group or self.group)], 1)
        y = leaky(self.last(self._disturb(y, noise)))
        y = leaky(self.dense(self._disturb(y, noise).flatten(1)))
        if self.discrimination is not None:
            y = torch.cat([y, self.discrimination(y, group or self.group).to(y.dtype)], 1)
        return self.score(y).float()

    def freeze(self, count: int) -> None:
        """Freeze the blocks of the ``count`` highest levels, and all layers that images enter by, for good (FreezeD).

        Raises:
            ConfigError: if there are fewer blocks.
        """
        if count > len(self.blocks):
            raise ConfigError(f"gan.tricks.freeze_d must be at most {len(self.blocks)}, the number of blocks of D")
        self.from_rgb.requires_grad_(False)
        for block in self.blocks[len(self.blocks) - count :]:
            block.requires_grad_(False)

    def _disturb(self, y: Tensor, noise: Noise | None) -> Tensor:
        return y if self.noise is None or noise is None else self.noise(y, noise(y.shape[1]))

    def _narrow(self, conv: nn.Module, y: Tensor) -> Tensor:
        if not self.fused_downscale:
            return downscale2(leaky(conv(y)))
        # Average, then bias and leaky ReLU; the average of a constant is that constant.
        return leaky(downscale2(conv(y)))
