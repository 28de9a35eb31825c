"""Removal of JPEG artifacts by an autoencoder with symmetric skip connections (Mao, Shen, Yang, NIPS 2016).

CelebA-HQ uses such a network as its first step (ProGAN appendix C).
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
    """Network and training examples. The defaults are RED30 of the paper."""

    maps: int = 64
    """Number of feature maps of every layer."""
    depth: int = 15
    """Number of convolutions in the encoder, and also in the decoder."""
    crop: int = 64
    """Side of the random crops to train on [pixels]; not aligned to JPEG blocks. 0: whole images."""
    lowest_quality: int = 10
    """Lowest JPEG quality of the training examples."""
    highest_quality: int = 70
    """Highest JPEG quality of the training examples."""
    loss: Literal["squared", "absolute"] = "squared"
    """Error to minimize; the paper uses the squared error."""

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
        """Make the network for the images of a data set, with initial weights."""
        return ArtefactRemoval(self, spec)

    def make_sampler(self, spec: ImageSpec) -> "Autoencoder":
        """Make the network alone."""
        return Autoencoder(self, spec.channels)


class Autoencoder(nn.Module):
    """RED: ``depth`` convolutions and ``depth`` mirrored ones, with a skip connection at every second depth.

    The paper's deconvolutions have stride 1 and are therefore convolutions. The skip connection at depth 0 adds the
    image itself, so that the network learns a correction. Unlike the paper's, its last layer is initialized to zero, so
    that the network is the identity at first.

    Shape: [N, C, H, W] in [-1, 1] -> the same, of any size.
    """

    latent: Latent | None = None
    scale = 1
    """Number of output pixels per input pixel in height and width."""

    def __init__(self, config: ArtefactsConfig, channels: int) -> None:
        super().__init__()
        sizes = [channels] + [config.maps] * config.depth
        self.encoder = nn.ModuleList(_conv(i, o) for i, o in itertools.pairwise(sizes))
        self.decoder = nn.ModuleList(_conv(o, i) for i, o in itertools.pairwise(sizes))  # layer k: to depth k
        nn.init.zeros_(self.decoder[0].weight)  # type: ignore[arg-type]
        self.reach = 2 * config.depth
        """Number of input pixels in each direction on which an output pixel depends."""

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
    """The autoencoder and its training step: compress examples as JPEG and learn to restore them."""

    def __init__(self, config: ArtefactsConfig, spec: ImageSpec) -> None:
        if spec.channels not in (1, 3):
            raise ConfigError(f"JPEG supports images with 1 or 3 channels, the data has {spec.channels}")
        self.config = config
        self.generator = Autoencoder(config, spec.channels)
        super().__init__({"generator": self.generator})

    def phases(self, stage: Stage) -> list[Phase]:
        return [Phase("restore", ("generator",), self.loss)]

    def loss(self, batch: Batch) -> Terms:
        """Return the error of the restored images."""
        worse, clean = self.examples(batch)
        restored = self.generator(worse)
        if self.config.loss == "squared":
            return {"squared": squared_error(restored, clean)}
        return {"absolute": (restored - clean).abs().mean((1, 2, 3))}

    def examples(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return compressed crops of the images, and the original crops."""
        low, high, side = self.config.lowest_quality, self.config.highest_quality, self.config.crop
        draws = batch.uniform("example", 5)
        clean = patches(batch.images, draws[:, :2], side and side + _GRID)
        worse = jpeg(clean, low + (draws[:, 4] * (high - low + 1)).long().clamp(max=high - low))
        pairs = patches(torch.cat([worse, clean], 1), draws[:, 2:4], side)
        return pairs.tensor_split(2, 1)  # type: ignore[return-value]  # two of them

    def samples(self, sampler: nn.Module, batch: Batch) -> Tensor:
        """Return compressed, restored and original images side by side."""
        worse, clean = self.examples(batch)
        return torch.cat([worse, sampler(worse), clean], 3)


def jpeg(images: Tensor, quality: Tensor) -> Tensor:
    """Compress and decompress images as JPEG with libjpeg, chroma 4:2:0.

    Args:
        images: images in [-1, 1] with 1 or 3 channels.
        quality: JPEG quality of each image, 1 ... 95, integers [N].

    Shape: [N, C, H, W] -> the same.
    """
    pixels = to_uint8(images).permute(0, 2, 3, 1).cpu().numpy()
    worse = np.stack([_jpeg(one, q) for one, q in zip(pixels, quality.tolist(), strict=True)])
    return to_float(torch.from_numpy(worse.reshape(pixels.shape)).to(images.device).permute(0, 3, 1, 2))


def _jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    to_pil(pixels).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(Image.open(file))
