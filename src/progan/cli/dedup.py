"""The command 'progan dedup': find near-duplicates in a store and write a store without them."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from progan.cli import optional
from progan.curation.dedup import BITS, DISTANCE, groups_of, groups_sheet, kept_by, semantic_codes, write_without
from progan.data.store import Store
from progan.errors import ConfigError, DataError
from progan.images import save_png


@dataclass(frozen=True)
class Dedup:
    """Find near-duplicates by hashes of an autoencoder's code and write a store without them (DCGAN section 4.1.1).

    STORE is not changed, and no file is overwritten.
    """

    store: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="STORE")]
    """Store written by 'progan prepare', with a 32-pixel level."""
    out: Annotated[Path | None, optional("PATH", "only report the duplicates")] = None
    """Folder for a new store without the duplicates."""
    sheet: Annotated[Path | None, optional("PATH", "none")] = None
    """PNG file for an image of the groups: one group per row, the image to keep first."""
    keep: Literal["first", "last"] = "first"
    """Which image of each group to keep."""
    distance: int = DISTANCE
    """Number of bits, out of 128, in which duplicates may differ. The paper uses 0, which finds the fewest."""
    seed: int = 0
    """Seed of the autoencoder's training."""
    json: bool = False
    """Print one JSON object with all groups instead of a summary."""

    def run(self) -> int:
        """Find the duplicates, write the requested files and print the result."""
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
                raise DataError(f"{path}: already exists and is not overwritten\n  fix:   choose a new name")

    def _summary(self, report: dict, seconds: float) -> str:
        groups = sorted(report["groups"], key=len, reverse=True)
        lines = [f"images       {report['images']}"]
        lines += [f"duplicates   {report['duplicates']} in {len(groups)} groups, at most {self.distance} bits apart"]
        lines += [f"group        {' '.join(map(str, group[:12]))}{' ...' * (len(group) > 12)}" for group in groups[:8]]
        lines += [f"             ... and {len(groups) - 8} more; use --json to list all"] * (len(groups) > 8)
        lines += [f"sheet        {self.sheet}"] * bool(self.sheet and groups)
        lines += [f"store        {self.out}, {report['images'] - report['duplicates']} images"] * bool(self.out)
        return "\n".join([*lines, f"time         {seconds:.1f} s"])


def main(args: Sequence[str]) -> int:
    """Parse the options and run the command."""
    return tyro.cli(Dedup, args=list(args), prog="progan dedup").run()
