"""Networks of WGAN-GP: convolutional ones with 5x5 kernels, and residual ones (Gulrajani et al. 2017, appendix F)."""

import itertools
import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from progan.batchnorm import BatchNorm2d
from progan.errors import ConfigError
from progan.gans.base import ImageSpec, Latent
from progan.layers import LEAK, EqualizedConv2d
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
            _initialize(layer, stdev=None if plain else DCGAN_INIT)

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
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 5, 2) for i, o in itertools.pairwise([spec.channels, *widths]))
        self.norms = nn.ModuleList(nn.Identity() if plain or not k else _layer_norm(w) for k, w in enumerate(widths))
        self.score = nn.Linear(widths[-1] * math.prod(sizes[-1]), 1)
        for layer in self.convs:
            _initialize(layer, stdev=None if plain else DCGAN_INIT)
        _initialize(self.score, stdev=None if plain else DCGAN_INIT)

    def forward(self, x: Tensor) -> Tensor:
        if self.plain:
            x = (x + 1) / 2
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = rectified(norm(conv(F.pad(x, _same(*x.shape[2:])))), LEAK)
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
        _initialize(self.dense)

        def norm(maps: int) -> nn.Module:
            return ClassBatchNorm(maps, classes, bn_group) if classes else BatchNorm2d(maps, group=bn_group)

        self.blocks = nn.ModuleList(
            Block(i, o, resample="up", norm1=norm(i), norm2=norm(o), bias=cifar)
            for i, o in itertools.pairwise(reversed(widths))
        )
        self.norm = BatchNorm2d(widths[0], group=bn_group)
        self.image = _conv(widths[0], spec.channels, 3, he=not cifar)

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
        self.image = _conv(spec.channels, widths[0], 3, he=False)
        self.blocks = nn.ModuleList(
            Block(i, o, resample="down", norm1=_layer_norm(i), norm2=_layer_norm(i), bias=False)
            for i, o in itertools.pairwise(widths)
        )
        self.score = nn.Linear(widths[-1] * math.prod(spec.start), 1)
        _initialize(self.score)

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
            _initialize(layer)

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
        self.conv1 = _conv(into, middle, 3, bias=bias, upscale=resample == "up")
        self.conv2 = _conv(middle, out, 3)
        self.shortcut = None if resample == "none" else _conv(into, out, 1, he=False)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        y = self.conv1(x if self.first else rectified(_normed(self.norm1, x, labels)))
        y = self.conv2(rectified(_normed(self.norm2, y, labels)))
        if self.shortcut is None:
            return x + y
        if self.resample == "down":
            return self.shortcut(downscale2(x)) + downscale2(y)
        return F.interpolate(self.shortcut(x), scale_factor=2, mode="nearest") + y


class ClassBatchNorm(nn.Module):
    """Batch norm whose gains and biases depend on the class of the sample.

    Shape: x [N, C, H, W], labels int64 [N] -> [N, C, H, W].
    """

    def __init__(self, maps: int, classes: int, group: int = 0) -> None:
        super().__init__()
        self.norm = BatchNorm2d(maps, affine=False, group=group)
        self.bias = nn.Parameter(torch.zeros(classes, maps))
        self.gain = nn.Parameter(torch.ones(classes, maps))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        bias, gain = self.bias[labels][:, :, None, None], self.gain[labels][:, :, None, None]
        return torch.addcmul(bias, self.norm(x), gain)


def rectified(x: Tensor, leak: float = 0.0) -> Tensor:
    """Apply (leaky) ReLU, whose second derivative is zero.

    torch passes the zeros of the second derivative on through the whole network below, a third of the work of a
    gradient penalty; here they are left out.
    """
    return _Rectified.apply(x, leak)  # type: ignore[return-value]


class _Rectified(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, leak: float) -> Tensor:
        y = F.leaky_relu(x, leak) if leak else F.relu(x)
        ctx.save_for_backward(y)
        ctx.leak = leak
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        y = ctx.saved_tensors[0].detach()
        return torch.ops.aten.leaky_relu_backward(gradients[0], y, ctx.leak, True), None


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


def _same(height: int, width: int) -> list[int]:
    """TensorFlow's SAME padding of a 5x5 convolution with stride 2, in the order of ``F.pad``: left, right, ..."""
    return [pad for side in (width, height) for pad in ((2, 2) if side % 2 else (1, 2))]


def _layer_norm(maps: int) -> nn.Module:
    """Layer norm over all maps and pixels of a sample, with a gain and a bias for each map."""
    return nn.GroupNorm(1, maps)


def _normed(norm: nn.Module | None, x: Tensor, labels: Tensor | None) -> Tensor:
    if norm is None:
        return x
    return norm(x) if labels is None else norm(x, labels)


def _conv(into: int, out: int, kernel: int, *, he: bool = True, bias: bool = True, upscale: bool = False) -> nn.Module:
    """Convolution that preserves the size, or doubles it first, with initial weights."""
    layer = EqualizedConv2d(into, out, kernel, bias=bias, upscale=upscale, equalized=False)
    _uniform(layer.weight, into * kernel**2, out * kernel**2, he=he)
    return layer


def _initialize(layer: nn.Module | None, *, stdev: float | None = None) -> None:
    """Initialize a layer as the authors' programs do by default: He for convolutions, Glorot for dense layers."""
    if isinstance(layer, nn.Linear):
        _uniform(layer.weight, layer.in_features, layer.out_features, he=False, stdev=stdev)
    elif isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        into, out = (count * math.prod(layer.kernel_size) for count in (layer.in_channels, layer.out_channels))
        strides = math.prod(layer.stride)
        fans = (into / strides, out) if isinstance(layer, nn.ConvTranspose2d) else (into, out / strides)
        _uniform(layer.weight, *fans, he=True, stdev=stdev)
    else:
        return
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


@torch.no_grad()
def _uniform(weight: Tensor, fan_in: float, fan_out: float, *, he: bool, stdev: float | None = None) -> None:
    """Draw from a uniform distribution of standard deviation sqrt(4 / (fan_in + fan_out)), sqrt(2 / ...) without He."""
    bound = math.sqrt(3) * (stdev or math.sqrt((4 if he else 2) / (fan_in + fan_out)))
    weight.uniform_(-bound, bound)
