"""Removal of JPEG artefacts by an autoencoder with symmetric skip connections (Mao, Shen, Yang, NIPS 2016).

CelebA-HQ (ProGAN appendix C) begins with such a network.
"""

import io
import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from progan.errors import ConfigError
from progan.gans.base import GAN, Batch, GANConfig, ImageSpec, Latent, Phase, Terms
from progan.images import to_float, to_pil, to_uint8
from progan.restoration.patches import patches, squared_error
from progan.schedule import Stage

_SKIP = 2  # layers from one skip connection to the next (section 3.1)
_GRID = 16  # JPEG's units with 4:2:0 chroma [pixels]


@dataclass(frozen=True, kw_only=True)
class ArtefactsConfig(GANConfig):
    """Network and training examples; the defaults are the paper's RED30."""

    maps: int = 64
    """Feature maps of every layer."""
    depth: int = 15
    """Convolutions of the encoder, and as many of the decoder."""
    crop: int = 64
    """Side of the random part of each image that is trained on [pixels]; JPEG's blocks lie anywhere in it. 0: all."""
    lowest_quality: int = 10
    """JPEG quality of the examples, from here ..."""
    highest_quality: int = 70
    """... to here."""
    loss: Literal["squared", "absolute"] = "squared"
    """Error that is minimized; squared in the paper."""

    def __post_init__(self) -> None:
        for name in ("maps", "depth"):
            if getattr(self, name) < 1:
                raise ConfigError(f"gan.{name} must be at least 1, got {getattr(self, name)}")
        if self.depth > 1000:  # also what a file of unknown origin may ask for
            raise ConfigError(f"gan.depth must be at most 1000, got {self.depth}")
        if self.crop < 0:
            raise ConfigError(f"gan.crop must be 0 or a number of pixels, got {self.crop}")
        if not 1 <= self.lowest_quality <= self.highest_quality <= 95:
            raise ConfigError(
                f"gan.lowest_quality and gan.highest_quality must be 1 ... 95 in this order, "
                f"got {self.lowest_quality} and {self.highest_quality}"
            )

    def make(self, spec: ImageSpec) -> "ArtefactRemoval":
        """The network for images of a data set, with fresh weights."""
        return ArtefactRemoval(self, spec)

    def make_sampler(self, spec: ImageSpec) -> "Autoencoder":
        """The network alone."""
        return Autoencoder(self, spec.channels)


class Autoencoder(nn.Module):
    """RED: ``depth`` convolutions and ``depth`` mirrored ones, whose outputs meet again at every second depth.

    The paper's deconvolutions have stride 1, which makes them convolutions. The skip connection at depth 0 adds the
    image itself, so that the network learns a correction; its last layer starts at zero (ours: it starts as identity).

    Shape: [N, C, H, W] in [-1, 1] -> the same, of any size.
    """

    latent: Latent | None = None
    scale = 1
    """Output pixels for each input pixel, in height and width."""

    def __init__(self, config: ArtefactsConfig, channels: int) -> None:
        super().__init__()
        sizes = [channels] + [config.maps] * config.depth
        self.encoder = nn.ModuleList(_conv(i, o) for i, o in itertools.pairwise(sizes))
        self.decoder = nn.ModuleList(_conv(o, i) for i, o in itertools.pairwise(sizes))  # layer k: to depth k
        nn.init.zeros_(self.decoder[0].weight)  # type: ignore[arg-type]
        self.reach = 2 * config.depth
        """Input pixels in each direction that an output pixel depends on."""

    def forward(self, x: Tensor, level: int = 0, alpha: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        depths = [x]
        for layer in self.encoder:
            depths.append(F.relu(layer(depths[-1])))
        y = depths.pop()
        for depth, layer in reversed(list(enumerate(self.decoder))):
            y = layer(y)
            if depth % _SKIP == 0:
                y = y + depths[depth]
            if depth:
                y = F.relu(y)
        return y


def _conv(maps_in: int, maps: int) -> nn.Conv2d:
    layer = nn.Conv2d(maps_in, maps, 3, padding=1)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


class ArtefactRemoval(GAN):
    """The autoencoder and its one step: make examples worse, and learn to undo it."""

    def __init__(self, config: ArtefactsConfig, spec: ImageSpec) -> None:
        if spec.channels not in (1, 3):
            raise ConfigError(f"JPEG knows images of 1 or 3 channels, the data has {spec.channels}")
        self.config = config
        self.generator = Autoencoder(config, spec.channels)
        super().__init__({"generator": self.generator})

    def phases(self, stage: Stage) -> list[Phase]:
        return [Phase("restore", ("generator",), self.loss)]

    def loss(self, batch: Batch) -> Terms:
        """Error of the restored images."""
        worse, clean = self.examples(batch)
        restored = self.generator(worse)
        if self.config.loss == "squared":
            return {"squared": squared_error(restored, clean)}
        return {"absolute": (restored - clean).abs().mean((1, 2, 3))}

    def examples(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Compressed parts of the images, and the same as they were."""
        low, high, side = self.config.lowest_quality, self.config.highest_quality, self.config.crop
        draws = batch.uniform("example", 5)
        clean = patches(batch.images, draws[:, :2], side and side + _GRID)
        worse = jpeg(clean, low + (draws[:, 4] * (high - low + 1)).long().clamp(max=high - low))
        pairs = patches(torch.cat([worse, clean], 1), draws[:, 2:4], side)
        return pairs.tensor_split(2, 1)  # type: ignore[return-value]  # two of them

    def samples(self, sampler: nn.Module, batch: Batch) -> Tensor:
        """Compressed, restored and true image side by side."""
        worse, clean = self.examples(batch)
        return torch.cat([worse, sampler(worse), clean], 3)


def jpeg(images: Tensor, quality: Tensor) -> Tensor:
    """The images after JPEG compression by libjpeg, chroma 4:2:0.

    Args:
        images: in [-1, 1], with 1 or 3 channels.
        quality: of each image, 1 ... 95, integers [N].

    Shape: [N, C, H, W] -> the same.
    """
    pixels = to_uint8(images).permute(0, 2, 3, 1).cpu().numpy()
    worse = np.stack([_jpeg(one, q) for one, q in zip(pixels, quality.tolist(), strict=True)])
    return to_float(torch.from_numpy(worse.reshape(pixels.shape)).to(images.device).permute(0, 3, 1, 2))


def _jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    to_pil(pixels).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(Image.open(file))
