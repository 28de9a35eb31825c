"""Priors of codes besides a normal or uniform one: petals, a swiss roll, and categories (Makhzani et al. 2015).

Each is a function of independent numbers from N(0, 1), so that latents are drawn and walked through like those of any
other prior. The paper shows these distributions only in figures 3 and 4; their measures here are ours.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from progan.gans.base import Latent

_NEAR = 1e-6  # closest that a share comes to 0 and 1, whose quantiles are infinite
_RADIUS, _ALONG, _ACROSS = 1.4, 0.5, 0.1  # of petals: distance of their means, and standard deviations, times the scale
_TURNS, _THICKNESS = 2, 0.01  # of the roll, and its standard deviation across, times the scale


@dataclass(frozen=True)
class Parts(Latent):
    """A prior in the plane that consists of parts of equal probability, one for each class if there are labels."""

    size: int = 2
    parts: int = 10
    """Number of parts."""

    def of_normal(self, z: Tensor) -> Tensor:
        share = torch.special.ndtr(z[:, 0].double()) * self.parts
        part = share.floor().clamp(0, self.parts - 1)
        return self.within(part, torch.stack([(share - part).to(z.dtype), z[:, 1]], 1))

    def in_parts(self, z: Tensor, part: Tensor) -> Tensor:
        """Return latents of given parts.

        Args:
            z: numbers of N(0, 1), [N, 2].
            part: number of the part of each, int64 [N].

        Shape: -> [N, 2].
        """
        return self.within(part, torch.stack([torch.special.ndtr(z[:, 0]), z[:, 1]], 1))

    def within(self, part: Tensor, place: Tensor) -> Tensor:
        """Return latents [N, 2] from the number of a part [N], a uniform and a normal number in it [N, 2]."""
        raise NotImplementedError


@dataclass(frozen=True)
class Petals(Parts):
    """A mixture of Gaussians in the plane, each long in the direction away from the origin (figure 4 a)."""

    def within(self, part: Tensor, place: Tensor) -> Tensor:
        angle = part.to(place.dtype) * (2 * math.pi / self.parts)
        along = _RADIUS + _ALONG * torch.special.ndtri(place[:, 0].clamp(_NEAR, 1 - _NEAR))
        across = _ACROSS * place[:, 1]
        x = along * angle.cos() - across * angle.sin()
        y = along * angle.sin() + across * angle.cos()
        return self.center + self.scale * torch.stack([x, y], 1)


@dataclass(frozen=True)
class SwissRoll(Parts):
    """A spiral from the origin, along which the classes follow each other (figure 4 b)."""

    def within(self, part: Tensor, place: Tensor) -> Tensor:
        share = (part.to(place.dtype) + place[:, 0]) / self.parts
        radius, angle = share.sqrt(), 2 * math.pi * _TURNS * share.sqrt()
        point = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
        across = F.normalize(point + 1e-12, dim=1) * (_THICKNESS * place[:, 1:])
        return self.center + self.scale * (point + across)


@dataclass(frozen=True)
class Categorical(Latent):
    """A one-hot vector of a random category, followed by the style: numbers from N(0, scale^2) (figure 6)."""

    categories: int = 0
    """Number of categories, which are the first components."""

    def of_normal(self, z: Tensor) -> Tensor:
        chosen = F.one_hot(z[:, : self.categories].argmax(1), self.categories)
        return torch.cat([chosen.to(z.dtype), super().of_normal(z[:, self.categories :])], 1)
