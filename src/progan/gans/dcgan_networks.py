"""Networks of DCGAN (Radford et al. 2016), which WGAN and others use as well: strided convolutions and batch norm.

There are two forms. With 4x4 kernels they are the networks of the authors' Torch and PyTorch versions, with 5x5 kernels
those of their Theano version, whose first batch norm treats each feature of the dense layer separately.
"""

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn

from progan import strided
from progan.batchnorm import BatchNorm1d, BatchNorm2d
from progan.errors import ConfigError
from progan.gans.base import ImageSpec, Latent
from progan.ops import at_least_float32, no_autocast

INIT = 0.02  # standard deviation of all weights, and of batch norm's gains around 1 (section 4)
SMALLEST = 16  # shorter side of images [pixels], for two halvings


class Generator(nn.Module):
    """Generator: a dense layer to about 4x4, then transposed convolutions that double the size, batch norm and ReLU.

    Args:
        spec: shape of the images, whose sides must be multiples of a power of two.
        latent: prior of the latents.
        maps: number of feature maps before the last layer; doubled with each halving of the size.
        most_maps: largest number of feature maps of a layer.
        kernel: side of the kernels: 4 or 5 [pixels].
        norm: whether to use batch norm.
        eps: epsilon of batch norm.
        extra: number of additional 3x3 convolutions before the last layer.
        bn_group: number of samples that share batch-norm statistics; 0: the whole batch.

    Shape: z [N, Z] -> images [N, C, H, W] in [-1, 1].

    Raises:
        ConfigError: if the networks do not fit the size of the images.
    """

    def __init__(
        self,
        spec: ImageSpec,
        latent: Latent,
        *,
        maps: int = 64,
        most_maps: int = 1024,
        kernel: int = 4,
        norm: bool = True,
        eps: float = 1e-5,
        extra: int = 0,
        bn_group: int = 0,
    ) -> None:
        super().__init__()
        check_size(spec)
        self.latent, self.start, more = latent, spec.start, {"eps": eps, "group": bn_group}
        widths = list(reversed(_widths(spec, maps, most_maps)))
        flat = widths[0] * math.prod(spec.start)
        self.dense = nn.Linear(latent.size, flat, bias=False)
        first = BatchNorm1d(flat, **more) if kernel == 5 else BatchNorm2d(widths[0], **more)
        self.first = first if norm else nn.Identity()
        body: list[nn.Module] = []
        for into, out in itertools.pairwise(widths):
            body += _layer(Doubling(into, out, kernel), out if norm else 0, nn.ReLU(inplace=True), more)
        for _ in range(extra):
            body += _layer(_same(widths[-1]), widths[-1] if norm else 0, nn.ReLU(inplace=True), more)
        self.body = nn.Sequential(*body)
        self.image = Doubling(widths[-1], spec.channels, kernel)
        initialize(self)

    def forward(self, z: Tensor, level: int = 0, alpha: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        x = self.dense(z)
        if not isinstance(self.first, BatchNorm2d):
            x = self.first(x)
        x = x.unflatten(1, (-1, *self.start)).contiguous(memory_format=torch.channels_last)
        if isinstance(self.first, BatchNorm2d):
            x = self.first(x)
        x = at_least_float32(self.body(torch.relu_(x)))
        with no_autocast(x):  # 16-bit floats would round images to about 8 bits
            return torch.tanh(self.image(x))


class Discriminator(nn.Module):
    """Discriminator: convolutions that halve the size, batch norm except in the first, leaky ReLU, and a dense layer.

    The arguments are those of ``Generator``. Batch norm always uses the statistics of the batch.

    Shape: x [N, C, H, W] -> scores [N], before the sigmoid.
    """

    def __init__(
        self,
        spec: ImageSpec,
        *,
        maps: int = 64,
        most_maps: int = 1024,
        kernel: int = 4,
        norm: bool = True,
        eps: float = 1e-5,
        extra: int = 0,
        bn_group: int = 0,
    ) -> None:
        super().__init__()
        more = {"eps": eps, "group": bn_group, "track_running_stats": False}
        self.body, features = halvings(
            spec, maps=maps, most_maps=most_maps, kernel=kernel, norm=norm, extra=extra, more=more
        )
        self.score = nn.Linear(features, 1, bias=False)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)  # real and generated images: equal gradients cancel exactly
        return at_least_float32(self.score(self.body(x).flatten(1))[:, 0])


def halvings(
    spec: ImageSpec,
    *,
    maps: int = 64,
    most_maps: int = 1024,
    kernel: int = 4,
    norm: bool = True,
    extra: int = 0,
    more: dict[str, Any],
) -> tuple[nn.Sequential, int]:
    """Return the convolutions of a discriminator or an encoder, without initial weights, and the features they end in.

    The arguments are those of ``Generator``; ``more`` are those of batch norm, which keeps running statistics if an
    encoder is to give an image the same code in any batch.

    Raises:
        ConfigError: if the networks do not fit the size of the images.
    """
    check_size(spec)
    widths = _widths(spec, maps, most_maps)
    body: list[nn.Module] = [Halving(spec.channels, widths[0], kernel), _leaky()]
    for _ in range(extra):
        body += _layer(_same(widths[0]), widths[0] if norm else 0, _leaky(), more)
    for into, out in itertools.pairwise(widths):
        body += _layer(Halving(into, out, kernel), out if norm else 0, _leaky(), more)
    return nn.Sequential(*body), widths[-1] * math.prod(spec.start)


def check_size(spec: ImageSpec) -> None:
    """Raise ConfigError unless images can be halved down to 4 to 7 pixels, at least twice."""
    spec.check_doubling()
    if spec.shorter < SMALLEST:
        raise ConfigError(
            f"DCGAN's networks require images of at least {SMALLEST}x{SMALLEST}, such as 28x28, 32x32 or 64x64; the "
            f"data has {spec.height}x{spec.width}; use 'progan prepare SOURCE STORE --resolution {SMALLEST}'"
        )


def quarter(spec: ImageSpec) -> tuple[int, int]:
    """Return a quarter of the height and width of images [pixels], where networks of two halvings begin or end.

    Raises:
        ConfigError: unless both sides are multiples of 4.
    """
    if spec.height % 4 or spec.width % 4:
        fits = max(spec.shorter // 4 * 4, 4)
        raise ConfigError(
            f"these networks require images whose sides are multiples of 4, such as 28x28; the data has "
            f"{spec.height}x{spec.width}; use 'progan prepare SOURCE STORE --resolution {fits}'"
        )
    return spec.height // 4, spec.width // 4


def initialize(network: nn.Module) -> None:
    """Draw all weights from N(0, 0.02), and the gains of batch norm from N(1, 0.02); biases are zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, INIT)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
            nn.init.normal_(module.weight, 1.0, INIT)
            nn.init.zeros_(module.bias)


def _widths(spec: ImageSpec, maps: int, most: int) -> list[int]:
    """Feature maps after each halving of the size."""
    return [min(maps << halvings, most) for halvings in range(spec.levels - 1)]


def _layer(convolution: nn.Module, normed: int, activation: nn.Module, more: dict[str, Any]) -> list[nn.Module]:
    """A convolution, batch norm of ``normed`` maps unless that is 0, and an activation."""
    return [convolution, *([BatchNorm2d(normed, **more)] if normed else []), activation]


class Doubling(nn.ConvTranspose2d):
    """Transposed convolution that doubles the size, without bias.

    Shape: x [N, into, H, W] -> [N, out, 2H, 2W].
    """

    def __init__(self, into: int, out: int, kernel: int) -> None:
        super().__init__(into, out, kernel, 2, bias=False)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        return strided.double(input, self.weight)


class Halving(nn.Conv2d):
    """Convolution that halves the size, without bias.

    Shape: x [N, into, 2H, 2W] -> [N, out, H, W].
    """

    def __init__(self, into: int, out: int, kernel: int) -> None:
        super().__init__(into, out, kernel, 2, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        return strided.halve(input, self.weight)


def _same(maps: int) -> nn.Module:
    return nn.Conv2d(maps, maps, 3, padding=1, bias=False)


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.2, inplace=True)
