"""SRGAN for 4x super-resolution (Ledig et al., CVPR 2017), the second network of CelebA-HQ (ProGAN appendix C)."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from progan.batchnorm import BatchNorm2d
from progan.errors import ConfigError
from progan.gans.base import GAN, Batch, GANConfig, ImageSpec, Latent, Phase, Terms
from progan.images import to_float, to_uint8
from progan.layers import LEAK
from progan.losses import NON_SATURATING
from progan.metrics import lite0
from progan.restoration.patches import patches, squared_error
from progan.schedule import Stage

SCALE = 4
_COMPARED = (1, 3, 5)  # last maps of EfficientNet-Lite0 at 1/2, 1/4 and 1/8 of the side: 16, 24 and 40 of them


@dataclass(frozen=True, kw_only=True)
class SuperResolutionConfig(GANConfig):
    """Networks and loss. The defaults are the paper's, with different perceptual features."""

    maps: int = 64
    """Number of feature maps of the generator (figure 4)."""
    blocks: int = 16
    """Number of residual blocks of the generator."""
    critic_maps: int = 64
    """Number of feature maps of the discriminator at full size; it doubles at each of the three smaller sizes."""
    crop: int = 96
    """Side of the random crops to train on [pixels]; a multiple of 4. 0: whole images."""
    pretrain_steps: int = 1_000_000
    """Number of first steps that train the generator with the squared error alone (section 3.2: 10^6)."""
    pixel_weight: float = 1.0
    """Weight of the squared error of pixels."""
    feature_weight: float = 0.1
    """Weight of the distance between features of EfficientNet-Lite0 (requires 'progan[lite0]'). 0: not used."""
    adversarial_weight: float = 1e-3
    """Weight of the adversarial loss (equation 3)."""
    bn_group: int = 0
    """Number of samples that share batch-norm statistics. 0: the whole batch, over all devices."""

    def __post_init__(self) -> None:
        for name in ("maps", "critic_maps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"gan.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("blocks", "pretrain_steps", "bn_group"):
            if getattr(self, name) < 0:
                raise ConfigError(f"gan.{name} must not be negative, got {getattr(self, name)}")
        if self.blocks > 1000:  # also what a file of unknown origin may ask for
            raise ConfigError(f"gan.blocks must be at most 1000, got {self.blocks}")
        if self.crop < 0 or self.crop % SCALE:
            raise ConfigError(f"gan.crop must be 0 or a multiple of {SCALE} pixels, got {self.crop}")

    @property
    def group(self) -> int:
        """Number of samples that must be in the same pass."""
        return self.bn_group or 1

    @property
    def whole_share(self) -> bool:
        """Whether batch norm, which both networks have, uses the statistics of whole batches."""
        return not self.bn_group

    def make(self, spec: ImageSpec) -> "SuperResolution":
        """Make both networks for the images of a data set, with initial weights."""
        return SuperResolution(self, spec)

    def make_sampler(self, spec: ImageSpec) -> "Generator":
        """Make the generator alone."""
        return Generator(self, spec.channels)


class _Residual(nn.Module):
    """Residual block: two convolutions with batch norm, added to the input."""

    def __init__(self, maps: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(maps, maps, 3, padding=1, bias=False), norm(maps)
        self.second, self.second_norm = nn.Conv2d(maps, maps, 3, padding=1, bias=False), norm(maps)
        self.activation = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.activation(self.first_norm(self.first(x)))
        return x + self.second_norm(self.second(y))


class Generator(nn.Module):
    """SRResNet: residual blocks at the small size, then two sub-pixel convolutions (figure 4).

    Shape: [N, C, H, W] in [-1, 1] -> [N, C, 4H, 4W], of any size.
    """

    latent: Latent | None = None
    scale = SCALE
    """Number of output pixels per input pixel in height and width."""

    def __init__(self, config: SuperResolutionConfig, channels: int) -> None:
        super().__init__()
        maps, norm = config.maps, partial(BatchNorm2d, group=config.bn_group)
        self.first = nn.Sequential(nn.Conv2d(channels, maps, 9, padding=4), nn.PReLU())
        self.blocks = nn.Sequential(*(_Residual(maps, norm) for _ in range(config.blocks)))
        self.after = nn.Sequential(nn.Conv2d(maps, maps, 3, padding=1, bias=False), norm(maps))
        self.enlarge = nn.Sequential(*itertools.chain(*(self._twice(maps) for _ in range(2))))
        self.last = nn.Conv2d(maps, channels, 9, padding=4)
        # First, blocks, after; then 1 pixel at sizes 1 and 2, and 4 at size 4.
        self.reach = 4 + 2 * config.blocks + 1 + 1 + 1 + 1
        """Largest number of input pixels in each direction on which an output pixel depends."""

    @staticmethod
    def _twice(maps: int) -> tuple[nn.Module, ...]:
        return nn.Conv2d(maps, 4 * maps, 3, padding=1), nn.PixelShuffle(2), nn.PReLU()

    def forward(self, x: Tensor, level: int = 0, alpha: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        x = self.first(x)
        x = x + self.after(self.blocks(x))
        return self.last(self.enlarge(x))


class Discriminator(nn.Module):
    """Eight convolutions, of which every second halves the size, and two dense layers (figure 4).

    Shape: [N, C, H, W] of a fixed size -> scores [N] before the sigmoid.
    """

    def __init__(self, config: SuperResolutionConfig, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        maps, activation = config.critic_maps, nn.LeakyReLU(LEAK, inplace=True)
        norm = partial(BatchNorm2d, group=config.bn_group)
        layers: list[nn.Module] = [nn.Conv2d(channels, maps, 3, padding=1), activation]
        widths = [maps * factor for factor in (1, 1, 2, 2, 4, 4, 8, 8)]
        for number, (maps_in, maps_out) in enumerate(itertools.pairwise(widths)):
            stride = 2 if number % 2 == 0 else 1
            layers += [nn.Conv2d(maps_in, maps_out, 3, stride, 1, bias=False), norm(maps_out), activation]
        self.features = nn.Sequential(*layers)
        self.score = nn.Sequential(
            nn.Linear(widths[-1] * _sixteenth(size[0]) * _sixteenth(size[1]), 16 * maps),
            activation,
            nn.Linear(16 * maps, 1),
        )
        self.register_load_state_dict_pre_hook(_forget_steps)

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.features(x).flatten(1))[:, 0].float()


def _forget_steps(_: nn.Module, state: dict[str, Any], prefix: str, *__: Any) -> None:
    """Ignore the number of generator steps in checkpoints of version 0.1.0, which follows from the images seen."""
    state.pop(f"{prefix}_extra_state", None)


def _sixteenth(side: int) -> int:
    return -(-side // 16)


class SuperResolution(GAN):
    """Both networks and their training steps: first the squared error alone, then with features and D."""

    def __init__(self, config: SuperResolutionConfig, spec: ImageSpec) -> None:
        if spec.channels not in (1, 3):
            raise ConfigError(f"super-resolution supports images with 1 or 3 channels, the data has {spec.channels}")
        size = (config.crop, config.crop) if config.crop else (spec.height, spec.width)
        self.config, self.size = config, size
        self.generator = Generator(config, spec.channels)
        self.discriminator = Discriminator(config, spec.channels, size)
        super().__init__({"generator": self.generator, "discriminator": self.discriminator})
        self.distance = FeatureDistance() if config.feature_weight else None

    def phases(self, stage: Stage) -> list[Phase]:
        if stage.images_seen < self.config.pretrain_steps * stage.batch:
            return [Phase("pretrain", ("generator",), self.pixel_loss)]
        return [
            Phase("discriminator", ("discriminator",), self.discriminator_loss),
            Phase("generator", ("generator",), self.generator_loss, shows_images=False),
        ]

    def pixel_loss(self, batch: Batch) -> Terms:
        """Return the squared error, which trains an SRResNet."""
        small, real = self.examples(batch)
        return {"pixels": squared_error(self.generator(small), real)}

    def discriminator_loss(self, batch: Batch) -> Terms:
        """Return the loss terms of D; real and generated images have separate batch statistics."""
        small, real = self.examples(batch)
        with torch.no_grad():
            fake = self.generator(small)
        return NON_SATURATING.critic(self.discriminator(real), self.discriminator(fake))

    def generator_loss(self, batch: Batch) -> Terms:
        """Return the loss terms of G (equation 3)."""
        config, (small, real) = self.config, self.examples(batch)
        fake = self.generator(small)
        terms = {"pixels": config.pixel_weight * squared_error(fake, real)}
        if self.distance is not None:
            terms["features"] = config.feature_weight * self.distance(fake, real)
        adversarial = NON_SATURATING.generator(self.discriminator(fake))
        return terms | {name: config.adversarial_weight * term for name, term in adversarial.items()}

    def examples(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return downscaled and original images, both in [-1, 1]."""
        real = patches(batch.images, batch.uniform("crop", 2), self.config.crop)
        if tuple(real.shape[2:]) != self.size:
            raise ConfigError(
                f"super-resolution does not grow: got images of {real.shape[2]}x{real.shape[3]}, expected "
                f"{self.size[0]}x{self.size[1]}; set schedule.start_resolution to schedule.resolution"
            )
        return downscale(real), real

    def samples(self, sampler: nn.Module, batch: Batch) -> Tensor:
        """Return bicubic, super-resolved and original images side by side."""
        small, real = self.examples(batch)
        return torch.cat([upscale(small), sampler(small), real], 3)


class FeatureDistance:
    """Distance between features of two images: maps of EfficientNet-Lite0 at three sizes instead of the paper's VGG.

    At every position, the maps are normalized to a vector of length 1, so that all layers have equal weight.

    Raises:
        ConfigError: if the package with the weights is not installed.
    """

    def __init__(self) -> None:
        self._networks: dict[torch.device, Any] = {}
        self._network(torch.device("cpu"))  # fails early if the weights are not installed

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the mean squared distance of these vectors, averaged over the sizes; ``b`` gets no gradient.

        Shape: [N, 1 or 3, H, W] in [-1, 1] -> [N].
        """
        with torch.no_grad():
            wanted = self._vectors(b)
        pairs = zip(self._vectors(a), wanted, strict=True)
        return torch.stack([(x - y).square().sum(1).mean((1, 2)) for x, y in pairs]).mean(0)

    def _network(self, device: torch.device) -> Any:
        if device not in self._networks:
            self._networks[device] = lite0.load(device=str(device)).network
        return self._networks[device]

    def _vectors(self, images: Tensor) -> list[Tensor]:
        pixels = images.float().expand(-1, 3, -1, -1) * (255 / 2) + 255 / 2
        maps = itertools.islice(self._network(images.device).maps(lite0.normalized(pixels)), max(_COMPARED) + 1)
        return [F.normalize(x.float(), dim=1, eps=1e-6) for number, x in enumerate(maps) if number in _COMPARED]


def downscale(images: Tensor) -> Tensor:
    """Downscale images to a quarter of their size by bicubic interpolation with anti-aliasing, as in Pillow, to 8 bits.

    Shape: [N, C, 4H, 4W] in [-1, 1] -> [N, C, H, W].
    """
    small = F.interpolate(images, scale_factor=1 / SCALE, mode="bicubic", antialias=True)
    return to_float(to_uint8(small))


def upscale(images: Tensor) -> Tensor:
    """Upscale images to four times their size by bicubic interpolation, as in Pillow: the baseline of the network."""
    return F.interpolate(images, scale_factor=SCALE, mode="bicubic", antialias=True)
