"""What a run writes for people: stats.jsonl, TensorBoard events, log.txt and the line on the terminal."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from progan.files import replacing

STATS, METRICS = "stats.jsonl", "metrics.jsonl"
TIMINGS = ("seconds", "kimg_per_s")
"""Fields of stats.jsonl that differ between two runs with equal weights."""


class RunLog:
    """The log files of one run directory; after a resume they go on as if nothing had happened.

    Args:
        kimg: position from which the run goes on; later lines of an interrupted attempt are dropped.
        quiet: write nothing to the terminal.
    """

    def __init__(self, run: Path, *, kimg: float = 0.0, quiet: bool = False) -> None:
        self.run, self.quiet, self.bar = run, quiet, None
        for name in (STATS, METRICS):
            if (run / name).exists():
                kept = [row for row in read_stats(run, name) if row["kimg"] <= kimg]
                with replacing(run / name) as file:
                    file.write("".join(json.dumps(row) + "\n" for row in kept).encode())
        self.events = _tensorboard(run, kimg)
        if self.events is None:
            self.say("TensorBoard events are off: pip install 'progan[tensorboard]' to have them")

    def say(self, text: str) -> None:
        """A line for the terminal and for log.txt."""
        with (self.run / "log.txt").open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        if not self.quiet:
            tqdm.write(text, file=sys.stderr)

    def row(self, values: dict[str, Any], file_name: str = STATS) -> None:
        """One line of stats.jsonl or metrics.jsonl, and its numbers as TensorBoard scalars."""
        with (self.run / file_name).open("a") as file:
            file.write(json.dumps(values) + "\n")
        if self.events is not None:
            for name, value in values.items():
                self.events.add_scalar(name, value, round(1000 * values["kimg"]))

    def end_progress(self) -> None:
        """Leave the progress bar as it is; what is said next comes below it."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def close(self) -> None:
        """Flush and close."""
        self.end_progress()
        if self.events is not None:
            self.events.close()

    def progress(self, *, kimg: float, total_kimg: float, stage: str, stage_left_s: float, run_left_s: float) -> None:
        """Redraw the progress bar."""
        if self.quiet:
            return
        if self.bar is None:
            form = "{percentage:3.0f}%|{bar:20}| {n:.1f}/{total:g} kimg {desc}"
            self.bar = tqdm(total=total_kimg, initial=kimg, bar_format=form, mininterval=0.5, dynamic_ncols=True)
        rate = self.bar.format_dict["rate"] or (kimg - self.bar.initial) / max(self.bar.format_dict["elapsed"], 1e-9)
        self.bar.set_description_str(
            f"| {stage} | {rate:.3g} kimg/s | stage {clock(stage_left_s)} left | run {clock(run_left_s)} left",
            refresh=False,
        )
        self.bar.update(min(kimg, total_kimg) - self.bar.n)  # the last batch may go beyond the end


def read_stats(run: Path, name: str = STATS) -> list[dict[str, Any]]:
    """The rows of a run's stats.jsonl or metrics.jsonl, up to the first that is not whole."""
    rows, path = [], run / name
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            break
        if not isinstance(row, dict) or not isinstance(row.get("kimg"), int | float):
            break
        rows.append(row)
    return rows


def clock(seconds: float) -> str:
    """A duration for people.

    >>> clock(75), clock(7300), clock(200_000)
    ('1:15', '2:01:40', '2 d 7 h')
    """
    s = round(seconds)
    if s >= 86_400:
        return f"{s // 86_400} d {s % 86_400 // 3600} h"
    return f"{s // 3600}:{s % 3600 // 60:02}:{s % 60:02}" if s >= 3600 else f"{s // 60}:{s % 60:02}"


def _tensorboard(run: Path, kimg: float) -> Any:
    """A writer of event files, or None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    again = any(run.glob("events.out.tfevents.*"))  # readers then forget what an interrupted attempt wrote later on
    return SummaryWriter(str(run), purge_step=round(1000 * kimg) + 1 if again else None)
