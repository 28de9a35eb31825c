"""Discriminators of the classic family with their inputs, for the changes that all of them must take."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from family import FAMILY
from progan.gans.base import GANConfig, ImageSpec
from progan.gans.points import PointsConfig

POINTS = ImageSpec(2, 1, 1)


@dataclass(frozen=True)
class Case:
    """A GAN and its images, and how many of the layers of D take labels only."""

    gan: GANConfig
    spec: ImageSpec
    of_labels: int = 0


NAMES = [name for name in FAMILY if not name.startswith(("aae", "bigan", "lapgan")) and "tricks" not in name]
CASES = {name: Case(FAMILY[name].gan, FAMILY[name].spec) for name in NAMES} | {
    "points": Case(PointsConfig(width=6), POINTS),
    "points_stddev": Case(PointsConfig(width=6, minibatch="stddev"), POINTS),
    "points_discrimination": Case(PointsConfig(width=6, minibatch="discrimination"), POINTS),
}
for conditional in ("cgan", "cgan_vectors", "lsgan_labels"):
    CASES[conditional] = replace(CASES[conditional], of_labels=1)
CRITICS = [name for name in CASES if name.startswith(("wgan_gp", "points"))]  # no batch norm in D


def network_of(name: str) -> nn.Module:
    """A discriminator, with seeded weights."""
    torch.manual_seed(0)
    case = CASES[name]
    return case.gan.make(case.spec).networks["discriminator"]


def inputs_of(name: str, count: int = 4, *, seed: int = 1) -> tuple[Tensor, ...]:
    """Images and, where D takes them, labels."""
    spec, draw = CASES[name].spec, torch.Generator().manual_seed(seed)
    images = torch.rand(count, spec.channels, spec.height, spec.width, generator=draw) * 2 - 1
    if not CASES[name].gan.takes_labels or name.startswith("wgan_gp"):
        return (images,)
    return images, torch.randn(count, spec.attributes, generator=draw) if spec.attributes else torch.arange(count) % 3
