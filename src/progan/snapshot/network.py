"""A trained network, and what it does with images: it translates, encodes or reconstructs them."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from progan.errors import CheckpointError, ConfigError
from progan.gans.base import ImageSpec, Latent
from progan.images import to_float, to_uint8
from progan.sizes import size_text
from progan.snapshot.registry import ENCODERS

MOST_PIXELS = 1 << 22  # of images generated at once, four of 1024x1024: each requires some 300 MB in the full networks


@dataclass(frozen=True)
class Network:
    """A generator, or a network that encodes or translates images, at one moment of its training."""

    sampler: nn.Module
    """The network; see ``gans.base.Sampler``."""
    gan: str
    """Name of the kind of network in the registry."""
    config: Any
    """Settings of the GAN."""
    spec: ImageSpec
    level: int
    """Index of the latest block."""
    alpha: float = 1.0
    """Weight of the latest block; below 1 in a fade."""
    kimg: float = 0.0
    """Thousands of real images shown in training."""
    classes: tuple[str, ...] = ()
    """Names of the classes of the data; empty without classes."""

    @property
    def latent(self) -> Latent:
        """Prior of the latents.

        Raises:
            ConfigError: if the network translates images.
        """
        if self.sampler.latent is None:
            raise ConfigError(f"a {self.gan} network generates images from other images, not from latents")
        return self.sampler.latent  # type: ignore[return-value]

    @property
    def directions(self) -> tuple[str, ...]:
        """Names of the directions of translation, if there is more than one."""
        return getattr(self.sampler, "directions", ())

    @property
    def categories(self) -> int:
        """Number of leading components of a code that are probabilities of categories; 0 if there are none.

        They are the classes of a network trained with labels, or clusters that it has found without.
        """
        return getattr(self.sampler, "categories", 0)

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return next(self.sampler.parameters()).device

    def translate(self, images: Tensor | np.ndarray, *, direction: str | None = None, batch: int = 32) -> Tensor:
        """Translate or restore images.

        Args:
            images: uint8 [N, C, H, W].
            direction: one of ``directions``, if there are several; by default, the first.
            batch: number of images translated at once.

        Shape: -> uint8 [N, C, H, W] on the CPU; the size may differ.

        Raises:
            ConfigError: if the network generates images from latents, or does not have this direction.
            CheckpointError: if an image is not finite.
        """
        return torch.cat(list(self.translations(images, direction=direction, batch=batch)))

    @torch.no_grad()
    def translations(
        self, images: Tensor | np.ndarray, *, direction: str | None = None, batch: int = 32
    ) -> Iterator[Tensor]:
        """Yield the images of ``translate`` batch by batch."""
        if self.sampler.latent is not None and not self.directions:
            raise ConfigError(
                f"a {self.gan} generator generates images from latents, not from other images; use generate"
            )
        if direction is not None and direction not in self.directions:
            there = ", ".join(self.directions) or "only one, which has no name"
            raise ConfigError(f"direction {direction!r} is not supported by this network; choose from {there}")
        more = {"direction": direction or self.directions[0]} if self.directions else {}
        for some in self._floats(_pixels(images), batch):
            yield self._images(self.sampler(some, self.level, None, None, **more))

    @torch.no_grad()
    def reconstruct(self, images: Tensor | np.ndarray, *, batch: int = 32) -> Tensor:
        """Encode images and generate them again from their codes.

        Shape: uint8 [N, C, H, W] -> the same, on the CPU.

        Raises:
            ConfigError: if there is no encoder, its codes are not latents, or the images have another size or number
                of channels than those of the network.
            CheckpointError: if an image is not finite.
        """
        encode, _ = self.encoder, self.latent
        pixels = self._own_size(images)
        parts = [
            self._images(self.sampler(encode(some, self.level), self.level)) for some in self._floats(pixels, batch)
        ]
        return torch.cat(parts)

    @torch.no_grad()
    def encode(self, images: Tensor | np.ndarray, *, batch: int = 32) -> Tensor:
        """Return the codes of images.

        Shape: uint8 [N, C, H, W] -> float32 [N, F] on the CPU.

        Raises:
            ConfigError: if there is no encoder, or the images have another size or number of channels than those of
                the network.
            CheckpointError: if a code is not finite.
        """
        return self._codes(self.encoder, images, batch)

    @torch.no_grad()
    def features(self, images: Tensor | np.ndarray, *, batch: int = 32) -> Tensor:
        """Return the features of images from which the encoder computes their codes.

        Shape: uint8 [N, C, H, W] -> float32 [N, F] on the CPU.

        Raises:
            ConfigError, CheckpointError: as ``encode``, or if the encoder provides no features.
        """
        self.encoder  # noqa: B018  # raises the error of a network without one
        if not hasattr(self.sampler, "features"):
            raise ConfigError(f"{self.gan} networks have no features besides their codes; encode without features")
        return self._codes(self.sampler.features, images, batch)  # type: ignore[arg-type]

    def _codes(self, encode: Callable[..., Tensor], images: Tensor | np.ndarray, batch: int) -> Tensor:
        pixels = self._own_size(images)
        codes = torch.cat([encode(some, self.level).float().cpu() for some in self._floats(pixels, batch)])
        if not torch.isfinite(codes).all():
            raise CheckpointError(f"the encoder at {self.kimg:.1f} kimg computes codes that are not finite (NaN)")
        return codes

    @property
    def encoder(self) -> Callable[..., Tensor]:
        """Return the encoder, which is a method of ``sampler``.

        Raises:
            ConfigError: if there is none.
        """
        if not hasattr(self.sampler, "encode"):
            raise ConfigError(f"a {self.gan} network has no encoder; networks with one: {', '.join(ENCODERS)}")
        return self.sampler.encode  # type: ignore[return-value]

    def _own_size(self, images: Tensor | np.ndarray) -> Tensor:
        """Images as a tensor, after a check that they have the size and channels that the network is trained on."""
        pixels, (height, width), channels = _pixels(images), self.spec.size(self.level), self.spec.channels
        if tuple(pixels.shape[1:]) != (channels, height, width):
            side = size_text(height, width)
            raise ConfigError(
                f"images must be [N, {channels}, {height}, {width}] for this {self.gan} network, got "
                f"{list(pixels.shape)}; 'progan prepare SOURCE STORE --resolution {side} --channels {channels}' "
                "prepares them"
            )
        return pixels

    def _floats(self, pixels: Tensor, batch: int) -> Iterator[Tensor]:
        """Images uint8 [N, C, H, W] in [-1, 1] on the device, batch by batch."""
        for some in pixels.split(max(1, min(batch, MOST_PIXELS // max(math.prod(pixels.shape[2:]), 1)))):
            yield to_float(some.to(self.device))

    def _images(self, out: Tensor) -> Tensor:
        """Images uint8 on the CPU from those in [-1, 1] that the network has generated."""
        if not torch.isfinite(out).all():
            raise CheckpointError(f"the generator at {self.kimg:.1f} kimg generates images that are not finite (NaN)")
        return to_uint8(out).cpu()


def _pixels(images: Tensor | np.ndarray) -> Tensor:
    pixels = torch.as_tensor(images)
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or not len(pixels):
        raise ConfigError(f"images must be uint8 [N, C, H, W], got {pixels.dtype} {list(pixels.shape)}")
    return pixels
