"""Networks of CycleGAN (Zhu et al. 2017, section 4 and appendix 7.2): generators that translate images, and PatchGANs.

All are fully convolutional. Instance norm has no gain and no bias; layers before batch norm have no bias, layers before
instance norm have one, which changes nothing, as in the authors' code.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from progan.batchnorm import BatchNorm2d
from progan.errors import ConfigError
from progan.gans.base import ImageSpec
from progan.gans.dcgan_networks import initialize
from progan.gans.two_player import BatchNormConfig
from progan.layers import leaky, relu
from progan.ops import at_least_float32, no_autocast, upscale2

Norm = Callable[[int], nn.Module]
"""Function from the number of feature maps to a normalization."""

_WIDEST = 8  # largest number of feature maps of a U-Net or a discriminator, in multiples of those next to the images
_HALVINGS = 2  # of the residual generator
_SMALLEST = 8  # sides of its images [pixels], so that a quarter of them can be reflected


@dataclass(frozen=True, kw_only=True)
class CycleGANNetworksConfig(BatchNormConfig):
    """Networks of CycleGAN; the defaults are those of the authors' PyTorch code for 256x256."""

    generator: Literal["resnet", "unet"] = "resnet"
    """Generators: residual blocks at a quarter of the size (the paper's), or a U-Net (pix2pix)."""
    blocks: int = 9
    """Number of residual blocks: 6 for 128x128, 9 for 256x256 and more (section 7.2)."""
    downs: int = 8
    """Number of halvings of a U-Net: 7 for 128x128, 8 for 256x256. Both sides must be multiples of 2^downs."""
    ngf: int = 64
    """Feature maps of the generators next to the images."""
    upsampling: Literal["transposed", "resize"] = "transposed"
    """How generators double the size: transposed convolution, or repeated pixels and a 3x3 convolution.
    The latter leaves no checkerboard (Odena et al. 2016)."""
    discriminator: Literal["patch", "pixel"] = "patch"
    """Discriminators: of overlapping patches (PatchGAN), or of every single pixel."""
    n_layers: int = 3
    """Number of halvings of a PatchGAN; 1 to 5 see patches of 16, 34, 70, 142 or 286 pixels."""
    ndf: int = 64
    """Feature maps of the discriminators next to the images."""
    norm: Literal["instance", "batch"] = "instance"
    """Normalization of all networks. Batch norm in discriminators always uses the statistics of the batch."""

    def __post_init__(self) -> None:
        for name, least in (("blocks", 0), ("downs", 2), ("ngf", 1), ("ndf", 1), ("bn_group", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"gan.{name} must be at least {least}, got {getattr(self, name)}")
        if not 1 <= self.n_layers <= 5:
            raise ConfigError(f"gan.n_layers must be 1 to 5, got {self.n_layers}")

    @property
    def normed(self) -> bool:
        """Whether the networks have batch norm."""
        return self.norm == "batch"

    @property
    def multiple(self) -> int:
        """Number of pixels of which both sides of an image must be a multiple to be translated without padding."""
        return 1 << (_HALVINGS if self.generator == "resnet" else self.downs)

    @property
    def smallest(self) -> int:
        """Smallest sides of an image to translate without padding [pixels]."""
        return _SMALLEST if self.generator == "resnet" else self.multiple

    def check_size(self, spec: ImageSpec, domain: str) -> None:
        """Raise ConfigError unless all networks fit images of this size; ``domain`` is their name in messages."""
        deep = self.generator == "unet"
        generators = f"the {self.generator} generators{f' with --gan.downs {self.downs}' * deep}"
        least, who, cure = self.smallest, generators, ", or fewer --gan.downs" * deep
        if self.discriminator == "patch" and 3 << self.n_layers > least:
            least, who = 3 << self.n_layers, f"discriminators with --gan.n-layers {self.n_layers}"
            cure = ", or fewer --gan.n-layers" * (self.n_layers > 1)
        there = f"but the images of domain {domain} have {spec.height}x{spec.width}; use 'progan prepare SOURCE STORE"
        if spec.shorter < least:
            fits = -(-least // self.multiple) * self.multiple
            raise ConfigError(f"{who} require at least {least}x{least} pixels, {there} --resolution {fits}'{cure}")
        if spec.height % self.multiple or spec.width % self.multiple:
            fits = f"{spec.height // self.multiple * self.multiple}x{spec.width // self.multiple * self.multiple}"
            raise ConfigError(
                f"{generators} require sides that are multiples of {self.multiple}, {there} --resolution {fits}'"
            )

    def make_generator(self, into: int, out: int) -> nn.Module:
        """Return a generator from ``into`` to ``out`` channels with initial weights."""
        norm = self._norm(tracked=True)
        biased, resize = self.norm == "instance", self.upsampling == "resize"
        if self.generator == "unet":
            return UNet(into, out, norm, maps=self.ngf, downs=self.downs, biased=biased, resize=resize)
        return ResNet(into, out, norm, maps=self.ngf, blocks=self.blocks, biased=biased, resize=resize)

    def make_discriminator(self, channels: int) -> nn.Module:
        """Return a discriminator of images with initial weights."""
        norm, biased = self._norm(tracked=False), self.norm == "instance"
        if self.discriminator == "pixel":
            return PixelDiscriminator(channels, norm, maps=self.ndf, biased=biased)
        return PatchDiscriminator(channels, norm, maps=self.ndf, n_layers=self.n_layers, biased=biased)

    def _norm(self, *, tracked: bool) -> Norm:
        if self.norm == "instance":
            return lambda maps: InstanceNorm()
        return lambda maps: BatchNorm2d(maps, group=self.bn_group, track_running_stats=tracked)


class InstanceNorm(nn.Module):
    """Instance norm: each map of each image to mean 0 and variance 1 (Ulyanov et al. 2016), without gain and bias.

    The gradient of torch's own instance norm is wrong on CPUs (torch 2.13) for a single image, which is CycleGAN's
    batch, in the memory format of the training loop: channels last.

    Shape: [N, C, H, W], unchanged.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x.contiguous(), x.shape[1]).to(x.dtype)


class ResNet(nn.Module):
    """Generator of residual blocks at a quarter of the size (Johnson et al. 2016).

    Args:
        into: channels of the images to translate.
        out: channels of the translations.
        norm: function from the number of feature maps to a normalization.
        maps: number of feature maps next to the images.
        blocks: number of residual blocks.
        biased: whether layers before a normalization have a bias.
        resize: whether to double the size by repeated pixels and a convolution instead of a transposed convolution.

    Shape: x [N, into, H, W] -> [N, out, H, W] in [-1, 1]; H and W are multiples of 4, at least 8.
    """

    def __init__(
        self, into: int, out: int, norm: Norm, *, maps: int, blocks: int, biased: bool, resize: bool = False
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [_reflected(into, maps, 7, bias=biased), norm(maps), nn.ReLU(inplace=True)]
        for _ in range(_HALVINGS):
            layers += [nn.Conv2d(maps, 2 * maps, 3, 2, 1, bias=biased), norm(2 * maps), nn.ReLU(inplace=True)]
            maps *= 2
        layers += [_Residual(maps, norm, biased=biased) for _ in range(blocks)]
        for _ in range(_HALVINGS):
            up = _doubling(maps, maps // 2, 3, bias=biased, resize=resize)
            layers += [up, norm(maps // 2), nn.ReLU(inplace=True)]
            maps //= 2
        self.body = nn.Sequential(*layers)
        self.image = _reflected(maps, out, 7)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        return _image(self.image, self.body(x))


class UNet(nn.Module):
    """U-Net: halves images down to the innermost layer and doubles them again, with skips at every size.

    Feature maps are doubled with each halving, up to 8 times ``maps``. The innermost layer has no normalization on its
    way down. The authors' leaky ReLU works in place, so that their skips carry its output instead of its input; the
    ReLU behind each skip makes both equal.

    Args:
        downs: number of halvings; the authors' code has at least 5.

    The other arguments are those of ``ResNet``.

    Shape: x [N, into, H, W] -> [N, out, H, W] in [-1, 1]; H and W are multiples of 2^downs.
    """

    def __init__(
        self, into: int, out: int, norm: Norm, *, maps: int, downs: int, biased: bool, resize: bool = False
    ) -> None:
        super().__init__()
        widths = [maps * min(1 << level, _WIDEST) for level in range(downs)]
        self.down = nn.Conv2d(into, maps, 4, 2, 1, bias=biased)
        self.inner = _Level(widths, norm, biased=biased, resize=resize)
        self.image = _doubling(2 * maps, out, 4, resize=resize)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        return _image(self.image, relu(self.inner(self.down(x))))


class _Level(nn.Module):
    """One size of a U-Net and all smaller ones, of given widths: features [N, C, H, W] -> [N, 2C, H, W]."""

    def __init__(self, widths: Sequence[int], norm: Norm, *, biased: bool, resize: bool) -> None:
        super().__init__()
        outside, inside = widths[:2]
        innermost = len(widths) == 2
        down = nn.Conv2d(outside, inside, 4, 2, 1, bias=biased)
        self.down = down if innermost else nn.Sequential(down, norm(inside))
        self.inner = None if innermost else _Level(widths[1:], norm, biased=biased, resize=resize)
        up = _doubling(inside if innermost else 2 * inside, outside, 4, bias=biased, resize=resize)
        self.up = nn.Sequential(up, norm(outside))

    def forward(self, x: Tensor) -> Tensor:
        x = leaky(x)
        y = self.down(x)
        if self.inner is not None:
            y = self.inner(y)
        return torch.cat([x, self.up(relu(y))], 1)


class PatchDiscriminator(nn.Module):
    """PatchGAN: scores overlapping patches of images, of 70x70 pixels with 3 layers (Isola et al. 2017).

    Args:
        channels: channels of the images.
        norm: function from the number of feature maps to a normalization; the first layer has none.
        maps: number of feature maps next to the images; doubled with each layer, up to 8 times.
        n_layers: number of layers that halve the size; one that keeps it follows.
        biased: whether layers before a normalization have a bias.

    Shape: x [N, channels, H, W] -> scores [N, 1, H', W'], H' = floor(H / 2^n_layers) - 2.
    """

    def __init__(self, channels: int, norm: Norm, *, maps: int, n_layers: int, biased: bool) -> None:
        super().__init__()
        widths = [maps * min(1 << level, _WIDEST) for level in range(n_layers + 1)]
        layers: list[nn.Module] = [nn.Conv2d(channels, maps, 4, 2, 1), _leaky()]
        for level in range(1, n_layers + 1):
            stride = 2 if level < n_layers else 1
            layers.append(nn.Conv2d(widths[level - 1], widths[level], 4, stride, 1, bias=biased))
            layers += [norm(widths[level]), _leaky()]
        self.body, self.score = nn.Sequential(*layers), nn.Conv2d(widths[-1], 1, 4, 1, 1)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        return at_least_float32(self.score(self.body(x)))


class PixelDiscriminator(nn.Module):
    """Discriminator of single pixels: 1x1 convolutions (Isola et al. 2017). Its arguments are those of PatchGAN's.

    Shape: x [N, channels, H, W] -> scores [N, 1, H, W].
    """

    def __init__(self, channels: int, norm: Norm, *, maps: int, biased: bool) -> None:
        super().__init__()
        hidden = nn.Conv2d(maps, 2 * maps, 1, bias=biased)
        self.body = nn.Sequential(nn.Conv2d(channels, maps, 1), _leaky(), hidden, norm(2 * maps), _leaky())
        self.score = nn.Conv2d(2 * maps, 1, 1, bias=biased)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        return at_least_float32(self.score(self.body(x)))


class _Residual(nn.Module):
    """Two 3x3 convolutions whose result is added to the input, without an activation after the sum."""

    def __init__(self, maps: int, norm: Norm, *, biased: bool) -> None:
        super().__init__()
        first, second = (_reflected(maps, maps, 3, bias=biased) for _ in range(2))
        self.body = nn.Sequential(first, norm(maps), nn.ReLU(inplace=True), second, norm(maps))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class _Resize(nn.Module):
    """Doubles the size by repeated pixels and a 3x3 convolution, with reflected borders."""

    def __init__(self, into: int, out: int, *, bias: bool = True) -> None:
        super().__init__()
        self.conv = _reflected(into, out, 3, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(upscale2(x))


def _reflected(into: int, out: int, kernel: int, *, bias: bool = True) -> nn.Conv2d:
    """A convolution that keeps the size, with reflected borders."""
    return nn.Conv2d(into, out, kernel, padding=kernel // 2, padding_mode="reflect", bias=bias)


def _doubling(into: int, out: int, kernel: int, *, bias: bool = True, resize: bool) -> nn.Module:
    """A layer that doubles the size, by a transposed convolution of a kernel of 3 or 4 pixels or by ``_Resize``."""
    if resize:
        return _Resize(into, out, bias=bias)
    return nn.ConvTranspose2d(into, out, kernel, 2, 1, output_padding=4 - kernel, bias=bias)


def _leaky() -> nn.LeakyReLU:
    return nn.LeakyReLU(0.2, inplace=True)


def _image(layer: nn.Module, x: Tensor) -> Tensor:
    """The image of the last layer; 16-bit floats would round it to about 8 bits."""
    x = at_least_float32(x)
    with no_autocast(x):
        return torch.tanh(layer(x))
