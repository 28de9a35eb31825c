"""The command 'progan metric codes'."""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from progan.cli import optional
from progan.errors import ConfigError
from progan.evaluation.codes import TITLES, Codes, measure_codes

FORMAT = "progan code metrics 1"


@dataclass(frozen=True)
class MetricCodes:
    """Measure how well codes tell classes apart: errors of categories and clusters, accuracy of nearest neighbors.

    Several files, such as those of networks trained with different labeled images, give mean and standard deviation.
    """

    test: Annotated[
        tyro.conf.Positional[tuple[Path, ...]],
        tyro.conf.arg(metavar="TEST.npz", help_behavior_hint="(required)"),
    ] = ()
    """Codes of labeled test images, written by 'progan encode'."""
    train: Annotated[tuple[Path, ...], optional("TRAIN.npz", "none")] = ()
    """Codes of labeled training images: one file of the same snapshot for each TEST.npz, in the same order. They are
    the neighbors, and label the clusters, which the test images do otherwise."""
    json: bool = False
    """Print a JSON object instead of a table."""

    def run(self) -> int:
        """Measure and print."""
        if not self.test:
            raise ConfigError("pass at least one file of codes, written by 'progan encode SNAPSHOT IMAGES TEST.npz'")
        if self.train and len(self.train) != len(self.test):
            raise ConfigError(
                f"--train requires one file for each of the {len(self.test)} test files, got {len(self.train)}"
            )
        files = [self._measured(i) for i in range(len(self.test))]
        _check_alike(files)
        report = {"format": FORMAT, "files": files, "mean": {}, "std": {}}
        for name in files[0]["values"]:
            values = [file["values"][name] for file in files]
            report["mean"][name] = statistics.fmean(values)
            report["std"][name] = statistics.stdev(values) if len(values) > 1 else None
        print(json.dumps(report, indent=1) if self.json else _table(report))
        return 0

    def _measured(self, i: int) -> dict[str, Any]:
        """Values of a file, and what they are of."""
        test, path = Codes.load(self.test[i]), self.train[i] if self.train else None
        train = None if path is None else Codes.load(path)
        values = measure_codes(test, train, name=str(self.test[i]), other=str(path or self.test[i]))
        facts = {"test": str(self.test[i]), "count": len(test.index), "kind": test.kind, "size": test.values.shape[1]}
        facts |= {"classes": len(test.classes), "snapshot": test.header.get("snapshot", "")[:16]}
        return facts | {
            "train": None if path is None else str(path),
            "train_count": 0 if train is None else len(train.index),
            "values": values,
        }


def _check_alike(files: list[dict[str, Any]]) -> None:
    """Raise ConfigError if files differ in what they contain or in what can be measured, so that a mean means nothing.

    The number of components may differ, as networks of several sizes may be compared.
    """
    first = files[0]
    for file in files[1:]:
        facts = [f"{one['kind']} with {', '.join(TITLES[name] for name in one['values'])}" for one in (first, file)]
        if facts[0] != facts[1]:
            raise ConfigError(
                f"a mean requires files of one kind, but {first['test']} has {facts[0]}, {file['test']} {facts[1]}; "
                "measure them one by one"
            )


def _table(report: dict[str, Any]) -> str:
    """One line for each file, then the mean and the standard deviation of each value."""
    lines = []
    for file in report["files"]:
        train = f", {file['train']} ({file['train_count']} images)" if file["train"] else ""
        size = f"{file['size']} component{'s' * (file['size'] > 1)}"
        what = f"{file['kind']} of {size}, {file['count']} images of {file['classes']} classes"
        lines.append(f"{file['test']}: {what}{train}")
    many, width = len(report["files"]) > 1, max(len(TITLES[name]) for name in report["mean"])
    lines += ["", " " * width + ("      mean       std" if many else "     value")]
    for name, mean in report["mean"].items():
        deviation = f"{report['std'][name]:>10.2%}" if many else ""
        lines.append(f"{TITLES[name]:<{width}}{mean:>10.2%}{deviation}")
    return "\n".join(lines)
