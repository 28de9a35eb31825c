"""Networks of AAE (Makhzani et al. 2015): encoder and decoder, which are the sampler, and discriminators of codes."""

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from progan.batchnorm import BatchNorm1d
from progan.gans.base import ImageSpec, Latent
from progan.gans.dcgan_networks import Generator, halvings, initialize
from progan.gans.two_player import Dropout, condition, keep_all
from progan.ops import at_least_float32, no_autocast

if TYPE_CHECKING:
    from progan.gans.aae import AAEConfig


class Coder(nn.Module):
    """Sampler of AAE: an encoder, and a decoder that generates images from codes, or from latents of the prior.

    Codes are [N, latent_size], or begin with the probabilities of ``categories``: [N, categories + latent_size].
    """

    def __init__(self, config: "AAEConfig", spec: ImageSpec, latent: Latent, categories: int) -> None:
        super().__init__()
        self.spec, self.latent, self.categories = spec, latent, categories
        outputs = categories + config.latent_size * (2 if config.posterior == "gaussian" else 1)
        self.encoder: nn.Module
        if config.networks == "dense":
            norm = partial(BatchNorm1d, group=config.bn_group) if config.encoder_norm else None
            self.encoder = DenseEncoder(spec, config.hidden, outputs, deviation=config.init, norm=norm)
            self.decoder: nn.Module = DenseDecoder(latent, config.hidden, spec, deviation=config.init)
        else:
            more: dict[str, Any] = {"maps": config.maps}
            self.encoder = ConvEncoder(spec, outputs, bn_group=config.bn_group, **more)
            self.decoder = Generator(spec, latent, bn_group=config.bn_group, **more)

    def forward(self, x: Tensor, level: int = 0, alpha: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        """Generate images [N, C, H, W] in [-1, 1] from codes; ``labels`` replace the categories in them."""
        if labels is not None:
            x = torch.cat([condition(labels, self.spec, x.dtype), x[:, self.categories :]], 1)
        return self.decoder(x)

    def encode(self, images: Tensor, level: int = 0) -> Tensor:
        """Return codes; of a Gaussian posterior, its mean."""
        return self.code(self.scores(images))

    def scores(self, images: Tensor, drop: Dropout = keep_all, keep: float = 1.0) -> Tensor:
        """Return the encoder's output: scores of the categories, the style, and its log-variances if it is random.

        Args:
            images: [N, C, H, W] in [-1, 1].
            drop: dropout of the input.
            keep: probability of keeping each pixel.
        """
        return at_least_float32(self.encoder(images, drop, keep))

    def code(self, scores: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return codes from the encoder's output.

        Args:
            scores: output of ``scores``.
            noise: numbers of N(0, 1) [N, latent_size] for a sample of a Gaussian posterior; without them, its mean.
        """
        category, style = scores[:, : self.categories], scores[:, self.categories :]
        if self.latent.size != scores.shape[1]:  # a Gaussian posterior
            style, log_variance = style.chunk(2, 1)
            if noise is not None:
                style = style + noise * (log_variance / 2).exp()
        return torch.cat([category.softmax(1), style], 1) if self.categories else style


class DenseEncoder(nn.Module):
    """Encoder: dense layers with ReLU, and a linear one, each followed by batch norm if ``norm`` makes some.

    Shape: images [N, C, H, W] in [-1, 1] -> [N, outputs].
    """

    def __init__(
        self,
        spec: ImageSpec,
        hidden: tuple[int, ...],
        outputs: int,
        *,
        deviation: float,
        norm: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        pixels = spec.channels * spec.height * spec.width
        self.layers = dense(pixels, *hidden, outputs, deviation=deviation, norm=norm)

    def forward(self, x: Tensor, drop: Dropout = keep_all, keep: float = 1.0) -> Tensor:
        return self.layers(drop((x.flatten(1) + 1) / 2, keep))


class DenseDecoder(nn.Module):
    """Decoder: dense layers with ReLU, and a linear one with a sigmoid.

    Shape: codes [N, latent.size] -> images [N, C, H, W] in [-1, 1].
    """

    def __init__(self, latent: Latent, hidden: tuple[int, ...], spec: ImageSpec, *, deviation: float) -> None:
        super().__init__()
        self.shape = (spec.channels, spec.height, spec.width)
        self.layers = dense(latent.size, *reversed(hidden), math.prod(self.shape), deviation=deviation)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * torch.sigmoid(self.logits(x)) - 1

    def logits(self, x: Tensor) -> Tensor:
        """Return images before the sigmoid."""
        x = at_least_float32(self.layers[:-1](x))
        with no_autocast(x):  # 16-bit floats would round images to about 8 bits
            return self.layers[-1](x).unflatten(1, self.shape)


class ConvEncoder(nn.Module):
    """Encoder: the convolutions of DCGAN's discriminator and a dense layer.

    Unlike there, batch norm keeps running statistics, so that the code of an image does not depend on others.

    Shape: images [N, C, H, W] in [-1, 1] -> [N, outputs].
    """

    def __init__(self, spec: ImageSpec, outputs: int, *, maps: int, bn_group: int) -> None:
        super().__init__()
        self.body, features = halvings(spec, maps=maps, more={"group": bn_group})
        self.output = nn.Linear(features, outputs)
        initialize(self)

    def forward(self, x: Tensor, drop: Dropout = keep_all, keep: float = 1.0) -> Tensor:
        return self.output(self.body(drop(x, keep)).flatten(1))


class CodeDiscriminator(nn.Module):
    """Discriminator of codes: dense layers with ReLU, and a linear one.

    Args:
        size: number of components of a code.
        hidden: number of features of each hidden layer.
        classes: number of classes that may be given beside a code, with one more for a code without a class.
        deviation: standard deviation of the initial weights.

    Shape: codes [N, size], classes int64 [N] or None -> scores [N], before the sigmoid.
    """

    def __init__(self, size: int, hidden: tuple[int, ...], *, classes: int = 0, deviation: float) -> None:
        super().__init__()
        self.classes = classes
        self.layers = dense(size + (classes + 1 if classes else 0), *hidden, 1, deviation=deviation)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        if labels is not None:
            x = torch.cat([x, F.one_hot(labels, self.classes + 1).to(x.dtype)], 1)
        return at_least_float32(self.layers(x)[:, 0])


def dense(*sizes: int, deviation: float, norm: Callable[[int], nn.Module] | None = None) -> nn.Sequential:
    """Return dense layers between these sizes with ReLU between them, and weights from N(0, deviation^2).

    Each is followed by ``norm`` of its features, if that is given.
    """
    layers: list[nn.Module] = []
    for into, out in itertools.pairwise(sizes):
        layer = nn.Linear(into, out)
        nn.init.normal_(layer.weight, 0.0, deviation)
        nn.init.zeros_(layer.bias)
        layers += [layer, *([norm(out)] if norm else []), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
