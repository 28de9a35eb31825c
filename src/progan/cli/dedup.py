"""The command 'progan dedup': near duplicates in a store, and a store without them."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from progan.curation.dedup import BITS, DISTANCE, groups_of, groups_sheet, kept_by, semantic_codes, write_without
from progan.data.store import Store
from progan.errors import ConfigError, DataError
from progan.images import save_png


@dataclass(frozen=True)
class Dedup:
    """Find near duplicates by the signs of an autoencoder's code (DCGAN section 4.1.1); write a store without them.

    STORE stays as it is, and nothing is overwritten.
    """

    store: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="STORE")]
    """Store written by 'progan prepare', with a 32-pixel level."""
    out: Path | None = None
    """Folder for a new store without the duplicates. Default: only report them."""
    sheet: Path | None = None
    """PNG file for a picture of the groups, one in each row, the image that stays in front."""
    keep: Literal["first", "last"] = "first"
    """Which image of a group stays."""
    distance: int = DISTANCE
    """Most bits of 128 in which duplicates differ; 0 finds fewest and is the paper's."""
    seed: int = 0
    """Of the autoencoder's training."""
    json: bool = False
    """Print one JSON object with every group instead of a summary."""

    def run(self) -> int:
        """Find, write and print."""
        start = time.perf_counter()
        self._check()
        store = Store.open(self.store)
        codes = semantic_codes(store.level(32), seed=self.seed, progress=True)
        if self.keep == "first":
            kept = kept_by(codes, self.distance)
        else:
            kept = store.count - 1 - kept_by(codes[::-1], self.distance)[::-1]
        groups = groups_of(kept)
        if self.keep == "last":
            groups = [group[::-1] for group in groups]
        report = {"store": str(self.store), "images": store.count, "duplicates": sum(map(len, groups)) - len(groups)}
        report |= {"distance": self.distance, "seed": self.seed, "keep": self.keep, "groups": groups}
        if self.sheet and groups:
            save_png(groups_sheet(store, groups), self.sheet)
        if self.out:
            write_without(store, kept, self.out, progress=True)
        print(json.dumps(report) if self.json else self._summary(report, time.perf_counter() - start))
        return 0

    def _check(self) -> None:
        if not 0 <= self.distance < BITS // 4:
            raise ConfigError(f"--distance must be 0 ... {BITS // 4 - 1} bits of {BITS}, got {self.distance}")
        for path in (self.out, self.sheet):
            if path and path.exists():
                raise DataError(f"{path}: is there already, and nothing is overwritten\n  fix:   choose a new name")

    def _summary(self, report: dict, seconds: float) -> str:
        groups = sorted(report["groups"], key=len, reverse=True)
        lines = [f"images       {report['images']}"]
        lines += [f"duplicates   {report['duplicates']} of {len(groups)} others, at most {self.distance} bits apart"]
        lines += [f"group        {' '.join(map(str, group[:12]))}{' ...' * (len(group) > 12)}" for group in groups[:8]]
        lines += [f"             ... and {len(groups) - 8} more; --json lists all"] * (len(groups) > 8)
        lines += [f"sheet        {self.sheet}"] * bool(self.sheet and groups)
        lines += [f"store        {self.out}, {report['images'] - report['duplicates']} images"] * bool(self.out)
        return "\n".join([*lines, f"time         {seconds:.1f} s"])


def main(args: Sequence[str]) -> int:
    """Parse and run."""
    return tyro.cli(Dedup, args=list(args), prog="progan dedup").run()
