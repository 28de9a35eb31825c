"""The contract between a GAN and the training loop: networks, what is sampled, and the phases that train them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol, Self

from torch import Tensor, nn

from progan.errors import ConfigError
from progan.schedule import Stage, levels_of


@dataclass(frozen=True)
class ImageSpec:
    """What networks must know of the data."""

    channels: int
    height: int
    width: int
    classes: int = 0
    """Number of classes, for labels int64 [N]; 0: there are none."""
    attributes: int = 0
    """Numbers that describe each image, for labels float32 [N, attributes]; 0: there are none."""
    others: tuple["ImageSpec", ...] = ()
    """The same of further sources, for GANs that take several."""

    @property
    def every(self) -> tuple["ImageSpec", ...]:
        """That of each source, this one first."""
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
        """Number of levels: as often as the shorter side can be halved before it is below 4, and one more."""
        return levels_of(self.shorter)

    def size(self, level: int) -> tuple[int, int]:
        """Height and width at a level [pixels]; each level has twice the size of the one below it."""
        missing = self.levels - 1 - level
        return self.height >> missing, self.width >> missing

    def check_doubling(self) -> None:
        """Raise ConfigError if networks that double level 0 again and again would not end at the full size."""
        factor = 1 << (self.levels - 1)
        if self.height % factor or self.width % factor:
            fits = f"{self.height // factor * factor}x{self.width // factor * factor}"
            raise ConfigError(
                f"these networks double images {self.levels - 1} times, so both sides must be multiples of {factor}; "
                f"the data has {self.height}x{self.width}; try 'progan prepare SOURCE STORE --resolution {fits}'"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, those of version 0.1.0 where they say all."""
        new = {"attributes": self.attributes, "others": [other.to_dict() for other in self.others]}
        old = {name: getattr(self, name) for name in ("channels", "height", "width", "classes")}
        return old | {name: value for name, value in new.items() if value}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """The one that ``to_dict`` made these values of."""
        return cls(**{**values, "others": tuple(cls.of(other) for other in values.get("others", ()))})


class Draw(Protocol):
    """Random numbers, each row a function of the run's seed, the stream and the position of the sample."""

    def __call__(self, stream: str, *shape: int) -> Tensor:
        """Numbers [N, *shape] of a stream; the same again for the same stream."""
        ...


def _alone(samples: Tensor) -> Tensor:
    return samples


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The samples of one forward pass; what a phase does not ask for is never loaded or drawn."""

    level: int
    """Index of the newest block."""
    alpha: Tensor | None
    """Weight of the newest block, a scalar tensor; None when nothing fades."""
    positions: Tensor
    """Number of each sample since the start of training, int64 [N] on the CPU; no two ranks have the same."""
    load: Callable[[int], Tensor]
    """Gives the real images of a source, float32 [N, C, H, W] in [-1, 1]."""
    load_labels: Callable[[int], Tensor | None]
    """Gives their labels, without loading the images."""
    normal: Draw
    """Draws from N(0, 1)."""
    uniform: Draw
    """Draws from [0, 1)."""
    step_uniform: Draw
    """Draws from [0, 1) without a first dimension: one for the whole step, equal on all ranks and in all passes."""
    gather: Callable[[Tensor], Tensor] = _alone
    """Takes samples [N, ...] of this pass to those of the same pass of all ranks, in the order of positions; it carries
    no gradient."""

    @cached_property
    def _loaded(self) -> dict[int, Tensor]:
        return {}

    def real(self, source: int = 0) -> Tensor:
        """Real images of a source, float32 [N, C, H, W] in [-1, 1], read once."""
        if source not in self._loaded:
            self._loaded[source] = self.load(source)
        return self._loaded[source]

    def labels_of(self, source: int = 0) -> Tensor:
        """Labels of a source's images: classes int64 [N], or attributes float32 [N, K].

        Raises:
            ValueError: if the data has none.
        """
        labels = self.load_labels(source)
        if labels is None:
            raise ValueError("labels are asked for, but the data has none")
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
"""Named terms of a loss, each [N]; the loss is the sum of their means."""


@dataclass(frozen=True)
class Phase:
    """One kind of step: which networks it trains, and on what."""

    name: str
    trains: tuple[str, ...]
    """Names of networks; all others are frozen meanwhile."""
    loss: Callable[[Batch], Terms]
    _: KW_ONLY
    repeats: int = 1
    """Steps in each iteration."""
    batch: int = 1
    """Samples of a step, in batches of the schedule."""
    lr: float = 1.0
    """Learning rate, as a share of the schedule's."""
    shows_images: bool = True
    """Whether its steps show real images that no other phase shows. They move the clock, by the images of one source.
    A phase that shows none gets the first ones of the iteration if it asks for images and its batch is 1."""
    moves_average: bool = False
    """Whether the moving average of the sampler moves right behind this phase; at the iteration's end if no phase
    says so."""
    before_step: Callable[[], None] | None = None
    """Called before the forward passes of every step."""
    after_step: Callable[[], None] | None = None
    """Called after every step. The float buffers of the trained networks are averaged over all ranks before that."""


@dataclass(frozen=True)
class Ramp:
    """A number that changes in a straight line while images are shown, and then stays."""

    first: float
    last: float
    kimg: float
    """Thousands of real images until it is ``last``."""

    def at(self, images_seen: int) -> float:
        """The number after so many real images.

        >>> [Ramp(0.5, 0.7, kimg=10).at(images) for images in (0, 5_000, 20_000)]
        [0.5, 0.6, 0.7]
        """
        done = min(images_seen / (1000 * self.kimg), 1.0) if self.kimg else 1.0
        return self.first + (self.last - self.first) * done


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """How a network is stepped; None: as the settings of the run say."""

    kind: Literal["adam", "rmsprop", "sgd"] = "adam"
    lr: float = 1.0
    """Learning rate, as a share of the schedule's."""
    beta1: float | Ramp | None = None
    """Adam's decay of the gradients' mean, or the momentum of SGD."""
    beta2: float | None = None
    """Decay of the squared gradients' mean of Adam and RMSprop."""
    eps: float | None = None
    """What is added to the root of that mean."""
    weight_decay: float = 0.0
    """Times the weights, added to the gradients (L2)."""

    def __post_init__(self) -> None:
        if self.kind not in ("adam", "rmsprop", "sgd"):
            raise ValueError(f"an optimizer is adam, rmsprop or sgd, not {self.kind!r}")
        if self.kind == "rmsprop" and self.beta1 is not None:
            raise ValueError("RMSprop has no momentum here; leave beta1 out")


@dataclass(frozen=True)
class Latent:
    """The prior of latents."""

    size: int
    """Components."""
    kind: Literal["sphere", "normal", "uniform"] = "normal"
    """'sphere' is drawn as 'normal', and only the direction matters."""
    center: float = 0.0
    scale: float = 1.0
    """Standard deviation of a normal prior, half the width of a uniform one."""

    def draw(self, normal: Draw, uniform: Draw, stream: str = "latent") -> Tensor:
        """Latents [N, size] made of a stream of draws."""
        if self.kind == "uniform":
            return self.center + self.scale * (2 * uniform(stream, self.size) - 1)
        z = normal(stream, self.size)
        return z if (self.center, self.scale) == (0, 1) else self.center + self.scale * z


class Sampler(Protocol):
    """What is averaged, kept in snapshots and shown: a module that shares its parts with the trained networks.

    Where it has an encoder, it has a method ``encode(images, level) -> codes [N, F]``. One that grows has the attribute
    ``first_level``, the smallest level whose images it makes. A module in it names, as ``copied_buffers``, those of its
    float buffers that the average copies in place of averaging.
    """

    latent: Latent | None
    """The prior of what its images are made of; None: they are made of other images."""

    def __call__(self, x: Tensor, level: int, alpha: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        """Images [N, C, H, W] in about [-1, 1] of latents [N, Z] or of images.

        One of images that can do more than one thing names them as ``directions``, a tuple of strings, and takes one
        of these as the keyword ``direction``; the first is meant where none is given.
        """
        ...


class GAN:
    """Networks and the phases that train them; the base class of every GAN.

    Args:
        networks: what is trained, by name.
        sampler: see Sampler; its parameters are those of networks. By default the network called "generator".
        memory: buffers of what else has to resume: pools of images, counters, probabilities. They must be equal on all
            ranks, and are never averaged.
        optimizers: how networks are stepped, by "network", or "phase/network" where one has an optimizer of its own in
            one phase. What is not named has Adam with the settings of the run.

    Raises:
        ValueError: if the sampler has parameters that are not trained, or an optimizer is of no network.
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
            raise ValueError(f"optimizers {unknown} are of no network; there are {', '.join(networks)}")
        self.networks = nn.ModuleDict(networks)
        self.sampler = networks["generator"] if sampler is None else sampler
        self.memory = nn.Module() if memory is None else memory
        self.optimizers = dict(optimizers or {})
        trained = {id(p) for p in self.networks.parameters()}
        if lost := [name for name, p in self.sampler.named_parameters() if id(p) not in trained]:
            raise ValueError(f"the sampler's {lost[0]} is in none of the networks, so nothing would train it")

    @cached_property
    def _trainable(self) -> tuple[list[nn.Parameter], dict[str, list[nn.Parameter]]]:
        """All parameters, and those of each network that may be trained: some can be frozen for good."""
        trained = {n: [p for p in net.parameters() if p.requires_grad] for n, net in self.networks.items()}
        return list(self.networks.parameters()), trained

    def freeze_all_but(self, names: Sequence[str]) -> None:
        """Let only these networks be trained; networks may share parameters."""
        every, trainable = self._trainable
        for p in every:
            p.requires_grad_(False)
        for p in (p for name in names for p in trainable[name]):
            p.requires_grad_(True)

    def phases(self, stage: Stage) -> list[Phase]:
        """The steps of one iteration of a stage, in order; a function of its ``images_seen`` and ``batch``."""
        raise NotImplementedError

    def samples(self, sampler: nn.Module, batch: Batch) -> Tensor:
        """Images [n, C, H, W] in about [-1, 1] that show what ``sampler``, the average, has learned."""
        raise NotImplementedError

    def look(self, batches: Iterator[Batch]) -> None:
        """Set weights and memory by real images, once, before the first step.

        ``batches`` gives every image of the first source once, and is not read further than asked for. Every rank gets
        all of them, and takes over what the first one made.
        """


WHOLE_BATCH = 1 << 30
"""The group of networks that compare all samples of a batch."""


@dataclass(frozen=True, kw_only=True)
class GANConfig:
    """Settings of a GAN; the base class of frozen dataclasses with a field for each setting."""

    sources: ClassVar[int] = 1
    """Number of data sets that it takes."""
    group_setting: ClassVar[str | None] = None
    """Name of the setting behind ``group``, for messages."""

    @property
    def group(self) -> int:
        """Samples that one pass must see together, every M-th of N = M * group; 1: any, WHOLE_BATCH: all of them."""
        return 1

    @property
    def whole_share(self) -> bool:
        """Whether a rank must see its share of a batch in one pass, as batch norm of the whole batch wants it."""
        return False

    @property
    def batches_shown(self) -> int:
        """Batches of real images that an iteration shows."""
        return 1

    @property
    def takes_labels(self) -> bool:
        """Whether the sampler wants labels beside latents or images."""
        return False

    def narrower(self, share: float) -> Self:
        """The same with about ``share`` of the feature maps, where the settings allow it."""
        return self

    def sizes(self) -> dict[str, int]:
        """What ``narrower`` changes, as texts with a place for the number, like 'at most {} feature maps'."""
        return {}

    def make(self, spec: ImageSpec) -> GAN:
        """Its networks for images of a data set, with fresh weights."""
        raise NotImplementedError

    def make_sampler(self, spec: ImageSpec) -> nn.Module:
        """What snapshots hold, alone."""
        raise NotImplementedError
