"""The contract between a GAN and the training loop: networks, what is sampled, and the phases that train them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol, Self

import torch
from torch import Tensor, nn

from progan.errors import ConfigError
from progan.schedule import Stage, levels_of


@dataclass(frozen=True)
class ImageSpec:
    """Shape and labels of the images of a data set."""

    channels: int
    height: int
    width: int
    classes: int = 0
    """Number of classes, for labels int64 [N]; 0 without classes."""
    attributes: int = 0
    """Number of attributes of each image, for labels float32 [N, attributes]; 0 without attributes."""
    others: tuple["ImageSpec", ...] = ()
    """Specifications of further data sets, for GANs with several sources."""

    @property
    def every(self) -> tuple["ImageSpec", ...]:
        """Specification of each source, starting with this one."""
        return self, *self.others

    @property
    def shorter(self) -> int:
        """Shorter side of the images [pixels]."""
        return min(self.height, self.width)

    @property
    def start(self) -> tuple[int, int]:
        """Height and width of level 0 [pixels]."""
        return self.size(0)

    @property
    def levels(self) -> int:
        """Number of levels: one more than the shorter side can be halved without falling below 4."""
        return levels_of(self.shorter)

    def size(self, level: int) -> tuple[int, int]:
        """Return height and width at a level [pixels]; each level has twice the size of the one below it."""
        missing = self.levels - 1 - level
        return self.height >> missing, self.width >> missing

    def check_doubling(self) -> None:
        """Raise ConfigError unless repeated doubling of level 0 gives the full size."""
        factor = 1 << (self.levels - 1)
        if self.height % factor or self.width % factor:
            fits = f"{self.height // factor * factor}x{self.width // factor * factor}"
            raise ConfigError(
                f"these networks double images {self.levels - 1} times, so both sides must be multiples of {factor}; "
                f"the data has {self.height}x{self.width}; use 'progan prepare SOURCE STORE --resolution {fits}'"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; only those of version 0.1.0 if they suffice."""
        new = {"attributes": self.attributes, "others": [other.to_dict() for other in self.others]}
        old = {name: getattr(self, name) for name in ("channels", "height", "width", "classes")}
        return old | {name: value for name, value in new.items() if value}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return the specification from the values of ``to_dict``."""
        return cls(**{**values, "others": tuple(cls.of(other) for other in values.get("others", ()))})


class Draw(Protocol):
    """Random numbers; each row is a function of the run's seed, the stream and the position of the sample."""

    def __call__(self, stream: str, *shape: int) -> Tensor:
        """Return numbers [N, *shape] of a stream, always the same for the same stream."""
        ...


def _alone(samples: Tensor) -> Tensor:
    return samples


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Samples of one forward pass. What a phase does not use is never loaded or drawn."""

    level: int
    """Index of the latest block."""
    alpha: Tensor | None
    """Weight of the latest block, a scalar tensor; None outside of a fade."""
    positions: Tensor
    """Position of each sample since the start of training, int64 [N] on the CPU, different on all ranks."""
    load: Callable[[int], Tensor]
    """Function that loads the real images of a source, float32 [N, C, H, W] in [-1, 1]."""
    load_labels: Callable[[int], Tensor | None]
    """Function that loads the labels of a source without its images."""
    normal: Draw
    """Function that draws from N(0, 1)."""
    uniform: Draw
    """Function that draws from [0, 1)."""
    step_uniform: Draw
    """Function that draws from [0, 1) once for the whole step, without a first dimension: equal on all ranks and in
    all passes."""
    images_seen: int = 0
    """Number of real images that were shown before this iteration."""
    held_out: Callable[[], "Batch"] | None = None
    """Function that returns as many samples of images that are never shown in training; None if there are none."""
    gather: Callable[[Tensor], Tensor] = _alone
    """Function that collects samples [N, ...] of the same pass from all ranks, in the order of positions and without
    gradient."""

    @cached_property
    def _loaded(self) -> dict[int, Tensor]:
        return {}

    def real(self, source: int = 0) -> Tensor:
        """Return the real images of a source, float32 [N, C, H, W] in [-1, 1]; they are read once."""
        if source not in self._loaded:
            self._loaded[source] = self.load(source)
        return self._loaded[source]

    def labels_of(self, source: int = 0) -> Tensor:
        """Return the labels of a source's images: classes int64 [N], or attributes float32 [N, K].

        Raises:
            ValueError: if the data has no labels.
        """
        labels = self.load_labels(source)
        if labels is None:
            raise ValueError("the GAN uses labels, but the data has none")
        return labels

    @property
    def images(self) -> Tensor:
        """Real images of the first source."""
        return self.real()

    @cached_property
    def labels(self) -> Tensor:
        """Labels of the first source."""
        return self.labels_of()


Terms = dict[str, Tensor]
"""Terms of a loss by name, each [N]. The loss is the sum of their means."""


@dataclass(frozen=True)
class Phase:
    """One kind of training step: which networks it trains, and on what."""

    name: str
    trains: tuple[str, ...]
    """Names of the networks that are trained; all others are frozen meanwhile."""
    loss: Callable[[Batch], Terms]
    """Function that computes the terms of the loss."""
    _: KW_ONLY
    repeats: int = 1
    """Number of steps per iteration."""
    batch: int = 1
    """Number of samples per step, as a multiple of the schedule's batch."""
    lr: float = 1.0
    """Learning rate, relative to the schedule's."""
    shows_images: bool = True
    """Whether the steps show real images that no other phase shows. These advance the clock, by the images of one
    source. A phase that shows none gets the first images of the iteration if it uses images and its batch is 1."""
    moves_average: bool = False
    """Whether to update the moving average of the sampler right after this phase. It is updated at the end of the
    iteration if no phase does so."""
    before_step: Callable[[], None] | None = None
    """Function called before the forward passes of every step."""
    after_step: Callable[[], None] | None = None
    """Function called after every step, when the float buffers of the trained networks are averaged over all ranks."""


@dataclass(frozen=True)
class Ramp:
    """A number that changes linearly with the images shown, and then stays constant."""

    first: float
    """Value at the start of the run."""
    last: float
    """Final value."""
    kimg: float
    """Thousands of real images until the final value is reached."""

    def at(self, images_seen: int) -> float:
        """Return the value after ``images_seen`` real images.

        >>> [Ramp(0.5, 0.7, kimg=10).at(images) for images in (0, 5_000, 20_000)]
        [0.5, 0.6, 0.7]
        """
        done = min(images_seen / (1000 * self.kimg), 1.0) if self.kimg else 1.0
        return self.first + (self.last - self.first) * done


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """Optimizer of a network. None means the value in the settings of the run."""

    kind: Literal["adam", "rmsprop", "sgd"] = "adam"
    """Algorithm."""
    lr: float = 1.0
    """Learning rate, relative to the schedule's."""
    beta1: float | Ramp | None = None
    """Decay rate of Adam's first moment, or momentum of SGD."""
    beta2: float | None = None
    """Decay rate of the second moment of Adam and RMSprop."""
    eps: float | None = None
    """Epsilon, added to the square root of the second moment."""
    weight_decay: float = 0.0
    """Weight decay (L2 penalty), added to the gradients."""

    def __post_init__(self) -> None:
        if self.kind not in ("adam", "rmsprop", "sgd"):
            raise ValueError(f"an optimizer must be adam, rmsprop or sgd, not {self.kind!r}")
        if self.kind == "rmsprop" and self.beta1 is not None:
            raise ValueError("RMSprop has no momentum; omit beta1")


@dataclass(frozen=True)
class Latent:
    """Prior distribution of latents."""

    size: int
    """Number of components."""
    kind: Literal["sphere", "normal", "uniform"] = "normal"
    """Distribution; 'sphere' is drawn like 'normal', but only the direction matters."""
    center: float = 0.0
    """Mean of each component."""
    scale: float = 1.0
    """Standard deviation of a normal prior, or half the width of a uniform one."""

    def draw(self, normal: Draw, uniform: Draw, stream: str = "latent") -> Tensor:
        """Return latents [N, size] from a stream of draws."""
        if self.kind == "uniform":
            return self.center + self.scale * (2 * uniform(stream, self.size) - 1)
        return self.of_normal(normal(stream, self.size))

    def of_normal(self, z: Tensor) -> Tensor:
        """Return latents of this prior from numbers of N(0, 1), so that a walk through these stays within the prior.

        Shape: [N, size] -> [N, size].
        """
        if self.kind == "uniform":
            return self.center + self.scale * (2 * torch.special.ndtr(z) - 1)
        return z if (self.center, self.scale) == (0, 1) else self.center + self.scale * z


class Sampler(Protocol):
    """Module that is averaged, saved in snapshots and shown; it shares its parts with the trained networks.

    A sampler with an encoder has a method ``encode(images, level) -> codes [N, F]``; if its codes begin with the
    probabilities of K categories, it has the attribute ``categories`` = K. One that grows has the attribute
    ``first_level``, the smallest level of images that it generates; one whose levels are no halvings lists the heights
    and widths of all of them as ``level_sizes``, the last of which is that of the data. A module in it lists, as
    ``copied_buffers``, those of its float buffers that the moving average copies instead of averaging.
    """

    latent: Latent | None
    """Prior of the latents; None if images are generated from other images."""

    def __call__(self, x: Tensor, level: int, alpha: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        """Generate images [N, C, H, W] in about [-1, 1] from latents [N, Z] or from images.

        A sampler that translates images in several ways lists these as ``directions``, a tuple of strings, and accepts
        one of them as the keyword ``direction``, by default the first.
        """
        ...


class GAN:
    """Networks and the phases that train them; base class of every GAN.

    Args:
        networks: networks to train, by name.
        sampler: see ``Sampler``; its parameters belong to the networks. By default the network "generator".
        memory: buffers of further state to resume, such as pools of images, counters and probabilities. They must be
            equal on all ranks and are never averaged.
        optimizers: optimizers by "network", or by "phase/network" if a network has a separate optimizer in a phase. All
            others are Adam with the settings of the run.

    Raises:
        ValueError: if the sampler has parameters that are not trained, or an optimizer belongs to no network.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        *,
        sampler: nn.Module | None = None,
        memory: nn.Module | None = None,
        optimizers: Mapping[str, Optimizer] | None = None,
    ) -> None:
        unknown = [key for key in optimizers or {} if key.rpartition("/")[2] not in networks]
        if unknown:
            raise ValueError(f"optimizers {unknown} belong to no network; the networks are {', '.join(networks)}")
        self.networks = nn.ModuleDict(networks)
        self.sampler = networks["generator"] if sampler is None else sampler
        self.memory = nn.Module() if memory is None else memory
        self.optimizers = dict(optimizers or {})
        trained = {id(p) for p in self.networks.parameters()}
        if lost := [name for name, p in self.sampler.named_parameters() if id(p) not in trained]:
            raise ValueError(f"the sampler's {lost[0]} is in none of the networks, so nothing would train it")

    @cached_property
    def _trainable(self) -> tuple[list[nn.Parameter], dict[str, list[nn.Parameter]]]:
        """All parameters, and the trainable ones of each network; some may be frozen for good."""
        trained = {n: [p for p in net.parameters() if p.requires_grad] for n, net in self.networks.items()}
        return list(self.networks.parameters()), trained

    def freeze_all_but(self, names: Sequence[str]) -> None:
        """Freeze all parameters except those of the named networks; networks may share parameters."""
        every, trainable = self._trainable
        for p in every:
            p.requires_grad_(False)
        for p in (p for name in names for p in trainable[name]):
            p.requires_grad_(True)

    def phases(self, stage: Stage) -> list[Phase]:
        """Return the steps of one iteration of a stage, in order; a function of its ``images_seen`` and ``batch``."""
        raise NotImplementedError

    def samples(self, sampler: nn.Module, batch: Batch) -> Tensor:
        """Return images [n, C, H, W] in about [-1, 1] that show what ``sampler``, the moving average, has learned.

        Each image is a function of its position in the batch's ``positions``, so that they may be made in pieces.
        """
        raise NotImplementedError

    def look(self, batches: Iterator[Batch]) -> None:
        """Initialize weights and memory from real images, once, before the first step.

        ``batches`` yields every image of the first source once and is read lazily. Every rank gets all of them, and
        takes over the result of the first rank.
        """


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Context in which a network gets no gradients; layers that are frozen for good remain so behind it."""
    trainable = [p for p in network.parameters() if p.requires_grad]
    for p in trainable:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in trainable:
            p.requires_grad_(True)


WHOLE_BATCH = 1 << 30
"""Value of ``group`` for networks that compare all samples of a batch."""


@dataclass(frozen=True, kw_only=True)
class GANConfig:
    """Settings of a GAN; base class of frozen dataclasses with a field for each setting."""

    sources: ClassVar[int] = 1
    """Number of data sets that the GAN requires."""
    group_setting: ClassVar[str | None] = None
    """Name of the setting that determines ``group``, for messages."""

    @property
    def group(self) -> int:
        """Number of samples that one pass must see together, every M-th of N = M * group; WHOLE_BATCH: all."""
        return 1

    @property
    def whole_share(self) -> bool:
        """Whether a rank must see its share of a batch in one pass, as batch norm of the whole batch requires."""
        return False

    @property
    def batches_shown(self) -> int:
        """Number of batches of real images per iteration."""
        return 1

    @property
    def held_out(self) -> float:
        """Share of the images that is never shown in training."""
        return 0.0

    @property
    def takes_labels(self) -> bool:
        """Whether the sampler takes labels in addition to latents or images."""
        return False

    def narrower(self, share: float) -> Self:
        """Return a copy with about ``share`` of the feature maps, if the settings allow it."""
        return self

    def sizes(self) -> dict[str, int]:
        """Return the sizes that ``narrower`` changes, by texts such as 'at most {} feature maps'."""
        return {}

    def check_length(self, spec: ImageSpec, total_kimg: float) -> None:
        """Raise ConfigError if a run of ``total_kimg`` thousand images would end before all networks are trained."""

    def make(self, spec: ImageSpec) -> GAN:
        """Return the GAN for images of a data set, with initial weights."""
        raise NotImplementedError

    def make_sampler(self, spec: ImageSpec) -> nn.Module:
        """Return the sampler alone, as snapshots contain it."""
        raise NotImplementedError
