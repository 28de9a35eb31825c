"""What an experiment of a paper is: rows that name presets, the paper's numbers, and how ours are measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from progan.errors import ConfigError
from progan.presets import PRESETS
from progan.training.config import RunConfig


@dataclass(frozen=True)
class Value:
    """A number as tables give it."""

    mean: float
    deviation: float | None = None
    """Standard deviation over runs."""
    best: float | None = None
    """Of the best run."""


Paper = Mapping[str, float | Value]
"""A paper's numbers by the names that our metrics give to theirs."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table: a preset, and what the paper reports for it."""

    name: str
    """As the table calls it."""
    preset: str
    """Of PRESETS."""
    title: str = ""
    """What it is, or what it changes in the row above."""
    paper: Paper = field(default_factory=dict)
    change: Mapping[str, Any] = field(default_factory=dict)
    """Settings that differ from the preset's, by name, like {"mirror": False}."""
    data: str = ""
    """Folder below DATA, where every row has data of its own; the name of the recipe that makes it."""
    differs: tuple[str, ...] = ()
    """What the preset has otherwise than the paper, or adds where the paper is silent."""

    @property
    def label(self) -> str:
        """Name and title."""
        return f"{self.name}: {self.title}" if self.title else self.name

    @property
    def variant(self) -> str:
        """The preset with its changes, as part of a run directory's name."""
        return "-".join([self.preset, *(f"{name.split('.')[-1]}={value}" for name, value in self.change.items())])

    def config(self) -> RunConfig:
        """The run as the paper has it.

        Raises:
            ConfigError: if there is no such preset.
        """
        if self.preset not in PRESETS:
            raise ConfigError(f"row {self.name}: this version has no preset {self.preset!r}")
        config = PRESETS[self.preset]()
        for name, value in self.change.items():
            part, _, key = name.rpartition(".")
            inner = {part: replace(getattr(config, part), **{key: value})} if part else {key: value}
            config = replace(config, **inner)
        return config


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A table or a figure."""

    name: str
    """What is typed."""
    title: str
    caption: str
    """What it is about, in our words."""
    source: str
    """Paper and section."""
    data: str
    """The images that the paper took."""
    prepare: str
    """The command that makes DATA."""
    recipe: str = ""
    """The known data set that DATA must be prepared from, where the paper cuts or chooses images."""
    rows: tuple[Row, ...]
    metrics: tuple[str, ...] = ()
    """Of METRICS; empty: nothing is trained, parameters are counted."""
    repeats: int = 1
    """Measurements of one run, with other latents each, whose mean counts."""
    seeds: int = 1
    """Runs of each row."""
    best: bool = False
    """Whether the best run is given beside the mean."""
    figures: tuple[str, ...] = ()
    """Of FIGURES, beside the sheet of all rows."""

    @property
    def trains(self) -> bool:
        """Whether its rows are trained; else their parameters are counted."""
        return bool(self.metrics)

    def row(self, name: str) -> Row:
        """The row of that name.

        Raises:
            ConfigError: if there is none.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise ConfigError(f"{self.name} has no row {name!r}; choose from {', '.join(row.name for row in self.rows)}")
