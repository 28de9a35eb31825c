"""What a measurement gives: values with everything that decides what they mean."""

from dataclasses import asdict, dataclass, field
from typing import Any

from progan.version import __version__

FORMAT = "progan metrics 1"


@dataclass(frozen=True, kw_only=True)
class Result:
    """One metric, measured."""

    metric: str
    title: str
    key: str
    """Name of the main value."""
    values: dict[str, float]
    real_values: dict[str, float]
    """The same with real images in place of the fakes: against other real images (the floor of the metric at that
    number of images) where it compares, else of the real images alone. Empty without a real set."""
    count: int
    """Fake images."""
    real_count: int
    """Real images they were compared with; 0 if the metric compares nothing."""
    floor_count: int
    """Images behind ``real_values``."""
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
    """All that was measured in one go."""

    fake: dict[str, Any]
    real: dict[str, Any] | None
    size: tuple[int, int, int]
    """Height, width [pixels] and channels."""
    mirror: bool
    seed: int
    results: list[Result] = field(default_factory=list)
    version: str = __version__
    format: str = FORMAT

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)
