"""The contract between a GAN and the training loop: a GAN is named networks and a list of phases."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from torch import Tensor, nn


@dataclass(frozen=True)
class ImageSpec:
    """What a network must know of a data set."""

    channels: int
    height: int
    width: int
    classes: int = 0

    @property
    def shorter(self) -> int:
        """Shorter side of the images [pixels]."""
        return min(self.height, self.width)

    @property
    def start(self) -> tuple[int, int]:
        """Height and width of level 0, whose shorter side is 4 [pixels]."""
        return self.height * 4 // self.shorter, self.width * 4 // self.shorter

    @property
    def levels(self) -> int:
        """Number of levels from 4 pixels up to the full size."""
        return self.shorter.bit_length() - 2

    def size(self, level: int) -> tuple[int, int]:
        """Height and width at a level [pixels]."""
        return self.start[0] << level, self.start[1] << level


Draw = Callable[[str, int], Tensor]
"""(stream, width) -> numbers [N, width], row n a function of the seed, the stream and the sample's position."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The samples of one forward pass; what a phase does not ask for is never loaded."""

    level: int
    """Index of the newest block."""
    alpha: Tensor | None
    """Weight of the newest block, a scalar tensor; None when nothing fades."""
    load: Callable[[], tuple[Tensor, Tensor | None]]
    """Gives real images, float32 [N, C, H, W] in [-1, 1], and their labels [N]."""
    normal: Draw
    """Draws from N(0, 1)."""
    uniform: Draw
    """Draws from [0, 1)."""

    @cached_property
    def _loaded(self) -> tuple[Tensor, Tensor | None]:
        return self.load()

    @property
    def images(self) -> Tensor:
        """Real images, float32 [N, C, H, W] in [-1, 1]."""
        return self._loaded[0]

    @property
    def labels(self) -> Tensor:
        """Labels of the real images, int64 [N].

        Raises:
            ValueError: if the data has no classes.
        """
        labels = self._loaded[1]
        if labels is None:
            raise ValueError("labels are asked for, but the data has none")
        return labels


Terms = dict[str, Tensor]
"""Named terms of a loss, each [N]; the loss is the sum of their means."""


@dataclass(frozen=True)
class Phase:
    """One kind of step: which networks it trains, and on what."""

    name: str
    trains: tuple[str, ...]
    loss: Callable[[Batch], Terms]
    repeats: int = 1
    shows_images: bool = True
    """Whether the phase consumes real images, and so moves the clock."""
    after_step: Callable[[], None] | None = None


class Generator(Protocol):
    """What sampling needs of a generator."""

    latent_size: int

    def __call__(self, z: Tensor, level: int, alpha: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        """Images [N, C, H, W] in about [-1, 1]."""
        ...


class GAN(Protocol):
    """Networks and the phases that train them."""

    networks: nn.ModuleDict
    """The one called "generator" is averaged, kept in snapshots and sampled."""

    def phases(self) -> list[Phase]:
        """The steps of one iteration, in order."""
        ...

    def samples(self, generator: nn.Module, batch: Batch) -> Tensor:
        """Images [n, C, H, W] in about [-1, 1] that show what ``generator``, the average, has learnt."""
        ...


WHOLE_BATCH = 1 << 30
"""The group of networks with batch statistics."""


class GANConfig(Protocol):
    """A frozen dataclass with the settings of a GAN."""

    @property
    def group(self) -> int:
        """Samples that one pass must see together, every M-th of N = M * group; 1: any, WHOLE_BATCH: all of them."""
        ...

    def make(self, spec: ImageSpec) -> GAN:
        """Its networks for images of a data set, with fresh weights."""
        ...

    def make_generator(self, spec: ImageSpec) -> nn.Module:
        """The network called "generator" alone."""
        ...
