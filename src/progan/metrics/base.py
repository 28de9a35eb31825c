"""The interface of a metric: a statistic of each set of images, and a function of one or two statistics."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self

import numpy as np
from torch import Tensor


class Statistic(Protocol):
    """What a metric stores about one set; rows are added in batches, on which the result does not depend."""

    @property
    def count(self) -> int:
        """Images added so far."""
        ...

    def update(self, rows: Tensor, *labels: Tensor) -> Self:
        """Add the next images uint8 [N, C, H, W], or an extractor's outputs for them [N, F]; return itself.

        A labeled metric also passes the class of each image, int64 [N].
        """
        ...

    def merge(self, other: Self) -> Self:
        """Add the statistic of further images of the same set; return itself."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the whole state, for a cache file."""
        ...

    def load(self, arrays: Mapping[str, np.ndarray]) -> Self:
        """Restore the state that ``arrays`` returned; return itself."""
        ...


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Facts about the images and the measurement that a statistic requires before the first image."""

    height: int
    width: int
    channels: int
    seed: int = 0
    """Seed of every random choice."""
    stream: str = "real"
    """Name of the set; sets with different names draw independently."""
    classes: tuple[str, ...] = ()
    """Names of the classes of the images; empty without classes."""
    device: str = "cpu"
    """Device to compute on, such as "cuda:1"."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric: its name, its requirements, and how it is computed."""

    title: str
    """Short description, for tables and help."""
    on: Literal["images", "features", "probabilities", "digits"]
    """Input of the statistic: images, or one of the outputs of an extractor."""
    extractor: str | None = None
    """Name of the network that computes these outputs."""
    statistic: Callable[[Setup], Any]
    """Creates an empty statistic."""
    compute: Callable[..., dict[str, float]]
    """(fake, real, seed=) -> values, or (fake, seed=) -> values if the metric does not compare two sets."""
    takes_long: bool = False
    """Whether ``compute`` has a parameter ``progress``, which is called with the steps done and their total."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Names of values in results, where they differ from the names that ``compute`` uses."""
    compares: bool
    """Whether the metric compares two sets, and so requires real images unless ``alone`` is given."""
    alone: str = ""
    """What the metric compares with if there are no real images; empty if it cannot be measured without them."""
    paired: bool = False
    """Whether image i of one set is compared with image i of the other, as reconstructions with their originals."""
    labeled: bool = False
    """Whether the statistic requires the class of each image."""
    key: str
    """Name of the main value in results."""
    higher_is_better: bool | None
    """None if neither is better in itself."""
    paper_count: int
    """Number of images of each set in the paper."""
    least: int = 2
    """Smallest number of images of a set for which the metric is defined."""
    smallest: int = 4
    """Shorter side of the smallest images for which the metric is defined [pixels]."""
    equal_counts: bool = False
    """Whether both sets must have the same number of images."""
    few_note: str = ""
    """Note for reports if there are no more images than features."""
    remark: Callable[[Any, Mapping[str, float]], str] | None = None
    """(statistic of the generated images, values) -> note for reports."""
    cacheable: bool = True
    """Whether the statistic of a real set is small enough to be stored on disk."""
