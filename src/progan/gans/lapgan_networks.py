"""Networks of LAPGAN: an MLP for the coarsest images, convolutions for the residuals of all others, and the pyramid.

All of them see normalized images: from every pixel its mean over the data is subtracted, and the rest is divided by its
standard deviation.
"""

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from progan.gans.base import ImageSpec, Latent
from progan.gans.two_player import Dropout, condition, condition_size, keep_all
from progan.ops import at_least_float32, no_autocast

Size = tuple[int, int]
"""Height and width [pixels]."""
LEAST_DEVIATION = 2 / 255
"""Smallest standard deviation by which a pixel is divided, a step of 8-bit colors: some pixels never change."""


def resized(x: Tensor, size: Size) -> Tensor:
    """Return images reduced by at most one half, or enlarged, with bilinear interpolation.

    Shape: x [N, C, H, W] -> [N, C, *size].
    """
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


class PixelScale(nn.Module):
    """Mean and standard deviation of each pixel of the images of a level, by which the networks' images are normalized.

    Shape: all methods [N, C, H, W] -> [N, C, H, W].
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int, size: Size) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("mean", torch.zeros(channels, *size))
        self.register_buffer("deviation", torch.ones(channels, *size))

    def normalized(self, images: Tensor) -> Tensor:
        """Return normalized images of images in [-1, 1]."""
        return (images - self.mean) / self.deviation

    def images(self, normalized: Tensor) -> Tensor:
        """Return the images in about [-1, 1] of normalized ones."""
        return normalized * self.deviation + self.mean

    def coarse(self, image: Tensor) -> Tensor:
        """Return the normalized coarse image of a level: the image of the level below it, enlarged."""
        return self.normalized(resized(image, self.size))

    @torch.no_grad()
    def set(self, mean: Tensor, variance: Tensor) -> None:
        """Set the mean and the variance of every pixel, [C, H, W] each."""
        self.mean.copy_(mean)
        self.deviation.copy_(variance.clamp(min=LEAST_DEVIATION**2).sqrt())


class BaseGenerator(nn.Module):
    """Generator of the coarsest images: dense layers with ReLU, and a linear output.

    Args:
        spec: channels and labels of the images.
        size: size of the images.
        latent_size: number of components of a latent.
        hidden: features of the hidden layers.
        conditional: whether the labels are appended to the latents.

    Shape: z [N, latent_size], labels [N] or [N, K] -> normalized images [N, C, *size].

    Raises:
        ConfigError: if labels are required and there are none.
    """

    def __init__(
        self, spec: ImageSpec, size: Size, *, latent_size: int, hidden: Sequence[int], conditional: bool = False
    ) -> None:
        super().__init__()
        self.spec, self.conditional, self.noise_size = spec, conditional, latent_size
        self.shape = (spec.channels, *size)
        self.hidden = _dense(latent_size + (condition_size(spec) if conditional else 0), hidden)
        self.image = nn.Linear(hidden[-1], math.prod(self.shape))

    def forward(self, noise: Tensor, coarse: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        x = _joined(noise, labels, self.spec) if self.conditional else noise
        for layer in self.hidden:
            x = torch.relu(layer(x))
        x = at_least_float32(x)
        with no_autocast(x):  # 16-bit floats would round images to about 8 bits
            return self.image(x).unflatten(1, self.shape)


class BaseDiscriminator(nn.Module):
    """Discriminator of the coarsest images: dense layers with ReLU and dropout, and a dense layer.

    The arguments are those of ``BaseGenerator``; ``keep`` is the probability of keeping a feature.

    Shape: x [N, C, *size], labels [N] or [N, K] -> scores [N], before the sigmoid.
    """

    def __init__(
        self, spec: ImageSpec, size: Size, *, hidden: Sequence[int], keep: float = 0.5, conditional: bool = False
    ) -> None:
        super().__init__()
        self.spec, self.conditional, self.keep = spec, conditional, keep
        into = spec.channels * math.prod(size)
        self.hidden = _dense(into + (condition_size(spec) if conditional else 0), hidden)
        self.score = nn.Linear(hidden[-1], 1)

    def forward(
        self, x: Tensor, coarse: Tensor | None = None, labels: Tensor | None = None, drop: Dropout = keep_all
    ) -> Tensor:
        x = x.flatten(1)
        x = _joined(x, labels, self.spec) if self.conditional else x
        for layer in self.hidden:
            x = drop(torch.relu(layer(x)), self.keep)
        return at_least_float32(self.score(x)[:, 0])


class ResidualGenerator(nn.Module):
    """Generator of what a coarse image lacks: two 7x7 convolutions with ReLU and a linear 5x5 one, of one size.

    Its input is a plane of noise and the coarse image and, if the GAN is conditional, a plane that a dense layer makes
    of the labels.

    Args:
        spec: channels and labels of the images.
        size: size of the images.
        maps: feature maps of both hidden layers.
        conditional: whether there is a plane of the labels.

    Shape: noise [N, H * W], coarse [N, C, H, W], labels [N] or [N, K] -> residuals [N, C, H, W].

    Raises:
        ConfigError: if labels are required and there are none.
    """

    def __init__(self, spec: ImageSpec, size: Size, *, maps: int, conditional: bool = False) -> None:
        super().__init__()
        self.size, self.noise_size = size, math.prod(size)
        self.plane = LabelPlane(spec, size) if conditional else None
        self.body = nn.Sequential(
            nn.Conv2d(1 + spec.channels + conditional, maps, 7, padding=3),
            nn.ReLU(inplace=True),
            nn.Conv2d(maps, maps, 7, padding=3),
            nn.ReLU(inplace=True),
        )
        self.residual = nn.Conv2d(maps, spec.channels, 5, padding=2)

    def forward(self, noise: Tensor, coarse: Tensor, labels: Tensor | None = None) -> Tensor:
        planes = [noise.unflatten(1, (1, *self.size)), coarse]
        if self.plane is not None:
            planes.append(self.plane(labels))
        x = at_least_float32(self.body(torch.cat(planes, 1)))
        with no_autocast(x):  # 16-bit floats would round images to about 8 bits
            return self.residual(x)


class ResidualDiscriminator(nn.Module):
    """Discriminator of residuals: it sees their sum with the coarse image.

    A 5x5 convolution and one with stride 2, both with ReLU, then dropout and a dense layer. The padding, which keeps
    the size or halves it, is ours.

    The arguments are those of ``ResidualGenerator``; ``keep`` is the probability of keeping a feature.

    Shape: residual, coarse [N, C, H, W], labels [N] or [N, K] -> scores [N], before the sigmoid.
    """

    def __init__(self, spec: ImageSpec, size: Size, *, maps: int, keep: float = 0.5, conditional: bool = False) -> None:
        super().__init__()
        self.keep = keep
        self.plane = LabelPlane(spec, size) if conditional else None
        self.body = nn.Sequential(
            nn.Conv2d(spec.channels + conditional, maps, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(maps, maps, 5, 2, padding=2),
            nn.ReLU(inplace=True),
        )
        self.score = nn.Linear(maps * math.prod((side + 1) // 2 for side in size), 1)

    def forward(
        self, residual: Tensor, coarse: Tensor, labels: Tensor | None = None, drop: Dropout = keep_all
    ) -> Tensor:
        x = residual + coarse
        if self.plane is not None:
            x = torch.cat([x, self.plane(labels).to(x.dtype)], 1)
        return at_least_float32(self.score(drop(self.body(x).flatten(1), self.keep))[:, 0])


class LabelPlane(nn.Module):
    """Dense layer that turns the labels into a plane as large as the images.

    Shape: labels [N] or [N, K] -> [N, 1, *size].
    """

    def __init__(self, spec: ImageSpec, size: Size) -> None:
        super().__init__()
        self.spec, self.size = spec, size
        self.dense = nn.Linear(condition_size(spec), math.prod(size))

    def forward(self, labels: Tensor | None) -> Tensor:
        return self.dense(_condition(labels, self.spec, self.dense.weight.dtype)).unflatten(1, (1, *self.size))


class Pyramid(nn.Module):
    """Sampler: the generators of all levels, and the scales of their pixels.

    Args:
        generators: generator of each level, from coarse to fine.
        scales: scale of the pixels of each level.
        levels: number of levels of the final images (``ImageSpec.levels``): the last level has the number below it.

    Shape: z [N, Z], the latent of the coarsest image and the noise planes of all other levels; labels [N] or [N, K] ->
    images [N, C, H, W] of the level, in about [-1, 1].
    """

    def __init__(self, generators: Sequence[nn.Module], scales: Sequence[PixelScale], *, levels: int) -> None:
        super().__init__()
        self.generators, self.scales = nn.ModuleList(generators), nn.ModuleList(scales)
        self.level_sizes: tuple[Size, ...] = tuple(scale.size for scale in scales)
        self.noise_sizes: list[int] = [generator.noise_size for generator in generators]  # type: ignore[misc]
        self.latent = Latent(sum(self.noise_sizes), "uniform")
        self.last = levels - 1

    def forward(
        self, z: Tensor, level: int | None = None, alpha: Tensor | None = None, labels: Tensor | None = None
    ) -> Tensor:
        missing = 0 if level is None else self.last - level
        return self.pyramid(z, labels, count=len(self.level_sizes) - missing)[-1]

    def pyramid(self, z: Tensor, labels: Tensor | None = None, *, count: int | None = None) -> list[Tensor]:
        """Return the images of all levels, or of the first ``count`` ones, each of which contains those before it.

        Shape: z [N, Z], labels [N] or [N, K] -> [N, C, *size] for each level, coarse to fine, in about [-1, 1].
        """
        images: list[Tensor] = []
        noises = z.split(self.noise_sizes, 1)[:count]
        for noise, generator, scale in zip(noises, self.generators, self.scales, strict=False):
            coarse: Tensor | None = scale.coarse(images[-1]) if images else None  # type: ignore[operator]
            image = generator(noise, coarse, labels)
            image = image if coarse is None else coarse + image
            images.append(scale.images(image))  # type: ignore[operator]
        return images


def _dense(into: int, widths: Sequence[int]) -> nn.ModuleList:
    return nn.ModuleList(itertools.starmap(nn.Linear, itertools.pairwise((into, *widths))))


def _joined(x: Tensor, labels: Tensor | None, spec: ImageSpec) -> Tensor:
    """Features with the vectors of the labels appended."""
    return torch.cat([x, _condition(labels, spec, x.dtype)], 1)


def _condition(labels: Tensor | None, spec: ImageSpec, dtype: torch.dtype) -> Tensor:
    if labels is None:
        raise ValueError("these networks are conditional and require labels")
    return condition(labels, spec, dtype)
