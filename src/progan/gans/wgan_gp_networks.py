"""Networks of WGAN-GP: convolutional ones with 5x5 kernels, and residual ones (Gulrajani et al. 2017, appendix F)."""

import itertools
import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from progan.batchnorm import BatchNorm2d
from progan.errors import ConfigError
from progan.gans.base import ImageSpec, Latent
from progan.gans.wgan_gp_layers import ClassBatchNorm, convolution, convolve, initialize, layer_norm, rectified
from progan.layers import LEAK
from progan.ops import at_least_float32, downscale2, no_autocast

SMALLEST = 16  # shorter side of images [pixels], for two halvings
DCGAN_INIT = 0.02  # standard deviation of the weights of the dcgan networks, which are uniform too (authors' code)


class ConvGenerator(nn.Module):
    """Generator: a dense layer to about 4x4, then transposed 5x5 convolutions that double the size, and ReLU.

    Padding is TensorFlow's: of the 2H + 3 rows that such a convolution gives, rows 1 to 2H are kept, or fewer of them
    where the size above is odd.

    Args:
        spec: shape of the images, of any size from 16.
        latent: prior of the latents.
        maps: number of feature maps before the last layer; doubled with each halving of the size.
        plain: whether to omit batch norm, as in the networks for MNIST, whose output is a sigmoid.
        bn_group: number of samples that share batch-norm statistics; 0: the whole batch.

    Shape: z [N, Z] -> images [N, C, H, W] in [-1, 1].

    Raises:
        ConfigError: if images are too small.
    """

    def __init__(
        self, spec: ImageSpec, latent: Latent, *, maps: int = 64, plain: bool = False, bn_group: int = 0
    ) -> None:
        super().__init__()
        self.latent, self.plain, sizes = latent, plain, _sizes(spec)
        self.sizes = sizes[-2::-1]
        widths = [maps << k for k in reversed(range(len(sizes) - 1))]
        self.start = (widths[0], *sizes[-1])
        self.dense = nn.Linear(latent.size, math.prod(self.start))
        self.norms = nn.ModuleList(nn.Identity() if plain else BatchNorm2d(w, group=bn_group) for w in widths)
        self.convs = nn.ModuleList(
            nn.ConvTranspose2d(i, o, 5, 2, padding=1) for i, o in itertools.pairwise([*widths, spec.channels])
        )
        for layer in (self.dense, *self.convs):
            initialize(layer, stdev=None if plain else DCGAN_INIT)

    def forward(self, z: Tensor, level: int = 0, alpha: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        x = self.dense(z).unflatten(1, self.start).contiguous(memory_format=torch.channels_last)
        for norm, conv, (height, width) in zip(self.norms, self.convs[:-1], self.sizes, strict=False):
            x = conv(torch.relu(norm(x)))[:, :, :height, :width]
        x = at_least_float32(torch.relu(self.norms[-1](x)))
        with no_autocast(x):  # 16-bit floats would round images to about 8 bits
            x = self.convs[-1](x)[:, :, : self.sizes[-1][0], : self.sizes[-1][1]]
            return torch.tanh(x / 2 if self.plain else x)  # 2 sigmoid(x) - 1 = tanh(x / 2)


class ConvCritic(nn.Module):
    """Critic: 5x5 convolutions that halve the size, leaky ReLU, and a dense layer.

    Padding is TensorFlow's: one pixel before and two after an even side, two before and after an odd one.

    Args:
        spec: shape of the images, of any size from 16.
        maps: number of feature maps of the first layer; doubled with each halving of the size.
        plain: whether to omit the layer norm after all but the first convolution, as in the networks for MNIST, which
            take images in [0, 1]; images in [-1, 1] are converted.

    Shape: x [N, C, H, W] -> scores [N, 1].
    """

    def __init__(self, spec: ImageSpec, *, maps: int = 64, plain: bool = False) -> None:
        super().__init__()
        self.plain, sizes = plain, _sizes(spec)
        widths = [maps << k for k in range(len(sizes) - 1)]
        self.convs = nn.ModuleList(_Halving(i, o, 5, 2) for i, o in itertools.pairwise([spec.channels, *widths]))
        self.norms = nn.ModuleList(nn.Identity() if plain or not k else layer_norm(w) for k, w in enumerate(widths))
        self.score = nn.Linear(widths[-1] * math.prod(sizes[-1]), 1)
        for layer in self.convs:
            initialize(layer, stdev=None if plain else DCGAN_INIT)
        initialize(self.score, stdev=None if plain else DCGAN_INIT)

    def forward(self, x: Tensor) -> Tensor:
        if self.plain:
            x = (x + 1) / 2
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = rectified(norm(conv(x)), LEAK)
        return at_least_float32(self.score(x.flatten(1)))


class ResNetGenerator(nn.Module):
    """Generator: a dense layer to 4x4, residual blocks that double the size, batch norm, ReLU and a 3x3 convolution.

    Args:
        spec: shape of the images, whose sides must be multiples of a power of two.
        latent: prior of the latents.
        widths: number of feature maps of each size, the largest size first.
        cifar: whether the first convolution of each block has a bias, and the last one of the network starts smaller.
        classes: number of classes; 0 without.
        bn_group: number of samples that share batch-norm statistics; 0: the whole batch.

    Shape: z [N, Z], labels int64 [N] -> images [N, C, H, W] in [-1, 1].
    """

    def __init__(
        self,
        spec: ImageSpec,
        latent: Latent,
        *,
        widths: list[int],
        cifar: bool = False,
        classes: int = 0,
        bn_group: int = 0,
    ) -> None:
        super().__init__()
        self.latent, self.start, self.classes = latent, (widths[-1], *spec.start), classes
        self.dense = nn.Linear(latent.size, math.prod(self.start))
        initialize(self.dense)

        def norm(maps: int) -> nn.Module:
            return ClassBatchNorm(maps, classes, bn_group) if classes else BatchNorm2d(maps, group=bn_group)

        self.blocks = nn.ModuleList(
            Block(i, o, resample="up", norm1=norm(i), norm2=norm(o), bias=cifar)
            for i, o in itertools.pairwise(reversed(widths))
        )
        self.norm = BatchNorm2d(widths[0], group=bn_group)
        self.image = convolution(widths[0], spec.channels, 3, he=not cifar)

    def forward(self, z: Tensor, level: int = 0, alpha: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        x = self.dense(z).unflatten(1, self.start).contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = block(x, labels if self.classes else None)
        x = at_least_float32(torch.relu_(self.norm(x)))
        with no_autocast(x):  # 16-bit floats would round images to about 8 bits
            return torch.tanh(self.image(x))


class ResNetCritic(nn.Module):
    """Critic: a 3x3 convolution, residual blocks with layer norm that halve the size, and a dense layer.

    Shape: x [N, C, H, W] -> scores [N, 1].
    """

    def __init__(self, spec: ImageSpec, *, widths: list[int]) -> None:
        super().__init__()
        self.image = convolution(spec.channels, widths[0], 3, he=False)
        self.blocks = nn.ModuleList(
            Block(i, o, resample="down", norm1=layer_norm(i), norm2=layer_norm(i), bias=False)
            for i, o in itertools.pairwise(widths)
        )
        self.score = nn.Linear(widths[-1] * math.prod(spec.start), 1)
        initialize(self.score)

    def forward(self, x: Tensor) -> Tensor:
        x = self.image(x)
        for block in self.blocks:
            x = block(x)
        return at_least_float32(self.score(x.flatten(1)))


class CIFARCritic(nn.Module):
    """Critic: four residual blocks without norm, of which the first two halve the size, mean over all pixels, dense.

    Shape: x [N, C, H, W] -> scores and logits of the classes [N, 1 + classes].
    """

    def __init__(self, spec: ImageSpec, *, maps: int = 128, classes: int = 0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            [
                Block(spec.channels, maps, resample="down", first=True),
                Block(maps, maps, resample="down"),
                Block(maps, maps),
                Block(maps, maps),
            ]
        )
        self.score = nn.Linear(maps, 1)
        self.logits = nn.Linear(maps, classes) if classes else None
        for layer in (self.score, self.logits):
            initialize(layer)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        x = rectified(x).mean((2, 3))
        score = self.score(x)
        return at_least_float32(score if self.logits is None else torch.cat([score, self.logits(x)], 1))


class Block(nn.Module):
    """Residual block: twice a norm, ReLU and a 3x3 convolution, added to a shortcut, a 1x1 convolution.

    A convolution of a single pixel commutes with repeating or averaging pixels, so that the shortcut's is applied at
    the smaller size; the authors' order differs from program to program.

    Args:
        into: number of feature maps of the input.
        out: number of feature maps of the output.
        resample: whether to double the size (nearest neighbor) before the first convolution, to halve it (mean of 2x2
            pixels) after the second one, or neither; then the shortcut is the input itself.
        norm1: norm of the input; None without.
        norm2: norm between the convolutions; None without.
        bias: whether the first convolution has a bias.
        first: whether the input are images, which have no ReLU.

    Shape: x [N, into, H, W] -> [N, out, H, W], or 2H, 2W or H/2, W/2.
    """

    def __init__(
        self,
        into: int,
        out: int,
        *,
        resample: Literal["up", "down", "none"] = "none",
        norm1: nn.Module | None = None,
        norm2: nn.Module | None = None,
        bias: bool = True,
        first: bool = False,
    ) -> None:
        super().__init__()
        self.resample, self.first = resample, first
        middle = into if resample == "down" and not first else out
        self.norm1, self.norm2 = norm1, norm2
        self.conv1 = convolution(into, middle, 3, bias=bias, upscale=resample == "up")
        self.conv2 = convolution(middle, out, 3)
        self.shortcut = None if resample == "none" else convolution(into, out, 1, he=False)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        y = self.conv1(x if self.first else rectified(_normed(self.norm1, x, labels)))
        y = self.conv2(rectified(_normed(self.norm2, y, labels)))
        if self.shortcut is None:
            return x + y
        if self.resample == "down":
            return self.shortcut(downscale2(x)) + downscale2(y)
        return F.interpolate(self.shortcut(x), scale_factor=2, mode="nearest") + y


def resnet_widths(spec: ImageSpec, maps: int, most: int) -> list[int]:
    """Return the number of feature maps of each size of residual networks, from the images' down to 4 to 7 pixels.

    Args:
        spec: shape of the images.
        maps: number of feature maps next to the images, doubled with each halving of the size.
        most: largest number, as a multiple of ``maps``.

    Raises:
        ConfigError: if images cannot be halved, or are too small.
    """
    spec.check_doubling()
    _check_size(spec)
    return [maps * min(1 << halvings, most) for halvings in range(spec.levels)]


def _check_size(spec: ImageSpec) -> None:
    if spec.shorter < SMALLEST:
        raise ConfigError(
            f"WGAN-GP's networks require images of at least {SMALLEST}x{SMALLEST}; the data has "
            f"{spec.height}x{spec.width}; use 'progan prepare SOURCE STORE --resolution {SMALLEST}'"
        )


def _sizes(spec: ImageSpec) -> list[tuple[int, int]]:
    """Height and width after each halving, rounded up, until the shorter side is at most 4."""
    _check_size(spec)
    sizes = [(spec.height, spec.width)]
    while min(sizes[-1]) > 4:
        height, width = sizes[-1]
        sizes.append((math.ceil(height / 2), math.ceil(width / 2)))
    return sizes


class _Halving(nn.Conv2d):
    """5x5 convolution with stride 2 and TensorFlow's SAME padding: 1 pixel before and 2 after an even side, else 2."""

    def forward(self, input: Tensor) -> Tensor:
        pads = [pad for side in input.shape[:1:-1] for pad in ((2, 2) if side % 2 else (1, 2))]  # left, right, top, ...
        return convolve(F.pad(input, pads), self.weight, self.bias, stride=2)


def _normed(norm: nn.Module | None, x: Tensor, labels: Tensor | None) -> Tensor:
    if norm is None:
        return x
    return norm(x) if labels is None else norm(x, labels)
