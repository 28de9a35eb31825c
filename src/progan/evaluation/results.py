"""Results of a measurement: values, and everything that decides what they mean."""

from dataclasses import asdict, dataclass, field
from typing import Any

from progan.version import __version__

FORMAT = "progan metrics 1"


@dataclass(frozen=True, kw_only=True)
class Result:
    """Values of one metric."""

    metric: str
    title: str
    key: str
    """Name of the main value."""
    values: dict[str, float]
    real_values: dict[str, float]
    """The same values of real images instead of generated ones: compared with other real images (the floor of the
    metric at that number of images) if the metric compares two sets, else on their own. Empty without a real set."""
    count: int
    """Number of generated images."""
    real_count: int
    """Number of real images they were compared with; 0 if the metric does not compare two sets."""
    floor_count: int
    """Number of images that ``real_values`` were measured on."""
    paper_count: int
    seed: int
    extractor: str = ""
    extractor_hash: str = ""
    note: str = ""

    @property
    def value(self) -> float:
        """The main value."""
        return self.values[self.key]


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that was measured in one call."""

    fake: dict[str, Any]
    real: dict[str, Any] | None
    size: tuple[int, int, int]
    """Height and width [pixels], and channels."""
    mirror: bool
    seed: int
    results: list[Result] = field(default_factory=list)
    version: str = __version__
    format: str = FORMAT

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)
