"""The contract of a metric: a statistic gathered from each set of images, and a function of one or two of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self

import numpy as np
from torch import Tensor


class Statistic(Protocol):
    """What a metric keeps of one set: rows are added batch by batch, and any split into batches gives one result."""

    @property
    def count(self) -> int:
        """Images added so far."""
        ...

    def update(self, rows: Tensor) -> Self:
        """Add the next images uint8 [N, C, H, W], or what an extractor made of them [N, F]; returns itself."""
        ...

    def merge(self, other: Self) -> Self:
        """Add what another one gathered from further images of the same set; returns itself."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """All it knows, for a cache file."""
        ...

    def load(self, arrays: Mapping[str, np.ndarray]) -> Self:
        """Take over what ``arrays`` of another one gave; returns itself."""
        ...


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a statistic must know of the images and of the measurement before it sees any."""

    height: int
    width: int
    channels: int
    seed: int = 0
    """Of every random choice."""
    stream: str = "real"
    """Name of the set: sets of different names draw independently."""
    device: str = "cpu"
    """Where to calculate."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric: what it is called, what it needs, and how it is computed."""

    title: str
    """What it is, for tables and help."""
    on: Literal["images", "features", "probabilities", "digits"]
    """What its statistic is updated with: images themselves, or one of the outputs of an extractor."""
    extractor: str | None = None
    """Name of the network that gives those outputs."""
    statistic: Callable[[Setup], Any]
    """Makes an empty statistic."""
    compute: Callable[..., dict[str, float]]
    """(fake, real, seed=) -> values, or (fake, seed=) -> values if it compares nothing."""
    takes_long: bool = False
    """Whether ``compute`` has a parameter ``progress``, called with the steps done and all of them."""
    names: Mapping[str, str] = field(default_factory=dict)
    """What the values are called in results, where it is not what ``compute`` calls them."""
    compares: bool
    """Whether it needs a real set."""
    key: str
    """Name of the main value in results."""
    higher_is_better: bool | None
    """None where neither is better in itself."""
    paper_count: int
    """Images of each set in the paper."""
    least: int = 2
    """Fewest images of a set for which it is defined."""
    smallest: int = 4
    """Shorter side of the smallest images for which it is defined [pixels]."""
    equal_counts: bool = False
    """Whether it compares sets of equal numbers of images only."""
    few_note: str = ""
    """What to know when there are no more images than features."""
    cacheable: bool = True
    """Whether the statistic of a real set is small enough to be kept on disk."""
