"""Definition of an experiment: rows that name presets, the paper's numbers, and how ours are measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from progan.errors import ConfigError
from progan.presets import PRESETS
from progan.training.config import RunConfig


@dataclass(frozen=True)
class Value:
    """A number as reported in a table."""

    mean: float
    deviation: float | None = None
    """Standard deviation over runs."""
    best: float | None = None
    """Value of the best run."""


Paper = Mapping[str, float | Value]
"""Numbers of a paper, by the names of the values of our metrics."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table: a preset, and what the paper reports for it."""

    name: str
    """Name of the row in the table."""
    preset: str
    """Name of the preset, a key of ``PRESETS``."""
    title: str = ""
    """Description of the row, or of the change from the previous row."""
    paper: Paper = field(default_factory=dict)
    change: Mapping[str, Any] = field(default_factory=dict)
    """Settings that differ from the preset's, by name, such as {"mirror": False}."""
    data: str = ""
    """Subfolder of DATA, named after the recipe that makes it, if every row uses different data."""
    differs: tuple[str, ...] = ()
    """How the preset differs from the paper, and what it adds where the paper does not say."""

    @property
    def label(self) -> str:
        """Name and title of the row."""
        return f"{self.name}: {self.title}" if self.title else self.name

    @property
    def variant(self) -> str:
        """Preset and changes, as part of the name of a run directory."""
        parts = ((name.split(".")[-1], value) for name, value in self.change.items())
        texts = (f"{name}={'+'.join(value) if isinstance(value, tuple) else value}" for name, value in parts)
        return "-".join([self.preset, *texts])

    def config(self) -> RunConfig:
        """Return the settings of the run as in the paper.

        Raises:
            ConfigError: if there is no such preset.
        """
        if self.preset not in PRESETS:
            raise ConfigError(f"row {self.name}: this version has no preset {self.preset!r}")
        config = PRESETS[self.preset]()
        return _changed(config, self.change)


def _changed(settings: Any, change: Mapping[str, Any]) -> Any:
    """A copy of settings with other values; names may lead through parts, as in "gan.tricks.r1"."""
    parts: dict[str, dict[str, Any]] = {}
    values: dict[str, Any] = {}
    for name, value in change.items():
        part, _, rest = name.partition(".")
        if rest:
            parts.setdefault(part, {})[rest] = value
        else:
            values[part] = value
    inner = {part: _changed(getattr(settings, part), changed) for part, changed in parts.items()}
    return replace(settings, **values, **inner)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A table or a figure of a paper."""

    name: str
    """Name in 'progan reproduce NAME'."""
    title: str
    caption: str
    """Summary of the experiment in our words."""
    source: str
    """Paper and section."""
    data: str
    """Images that the paper used."""
    prepare: str
    """Command that makes DATA."""
    recipe: str = ""
    """Known data set from which DATA must be prepared, if the paper crops or selects images."""
    rows: tuple[Row, ...]
    metrics: tuple[str, ...] = ()
    """Names of the metrics, keys of ``METRICS``. If empty, nothing is trained and parameters are counted."""
    values: tuple[str, ...] = ()
    """Names of the values in the table, if not all that the metrics give."""
    repeats: int = 1
    """Number of measurements per run, each with different latents; their mean is reported."""
    seeds: int = 1
    """Number of runs per row."""
    best: bool = False
    """Whether to report the best run as well as the mean."""
    figures: tuple[str, ...] = ()
    """Names of figures, keys of ``FIGURES``, in addition to the grid of images of all rows."""

    @property
    def trains(self) -> bool:
        """Whether the rows are trained. Otherwise their parameters are counted."""
        return bool(self.metrics)

    def row(self, name: str) -> Row:
        """Return the row of a given name.

        Raises:
            ConfigError: if there is no such row.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise ConfigError(f"{self.name} has no row {name!r}; choose from {', '.join(row.name for row in self.rows)}")
