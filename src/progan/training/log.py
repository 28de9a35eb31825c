"""What a run writes for people: stats.jsonl, TensorBoard events, log.txt and the progress line on the terminal."""

import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from progan.files import replacing

STATS, METRICS = "stats.jsonl", "metrics.jsonl"
TIMINGS = ("seconds", "kimg_per_s", "loading_s")
"""Fields of stats.jsonl that differ between two runs with equal weights."""
LINE_S = 60
"""Seconds between two lines of progress where there is no terminal."""


class RunLog:
    """Log files of one run directory; a resumed run continues them as if it had never stopped.

    Args:
        kimg: position at which the run starts or resumes [thousands of images]; later rows are dropped.
        quiet: write nothing to the terminal.
    """

    def __init__(self, run: Path, *, kimg: float = 0.0, quiet: bool = False) -> None:
        self.run, self.quiet, self.bar = run, quiet, None
        self._began, self._next_line, self._line = (0.0, kimg), 0.0, ""
        for name in (STATS, METRICS):
            if (run / name).exists():
                kept = [line for line, row in _rows(run / name) if row["kimg"] <= kimg]
                with replacing(run / name) as file:
                    file.write("".join(f"{line}\n" for line in kept).encode())
        self.events = _tensorboard(run, kimg)
        if self.events is None:
            self.say("TensorBoard events are off: install it with pip install 'progan[tensorboard]'")

    def say(self, text: str, details: str = "") -> None:
        """Write a line to the terminal and to log.txt, which also gets the ``details``."""
        with (self.run / "log.txt").open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n{details}")
        if not self.quiet:
            tqdm.write(text, file=sys.stderr)

    def row(self, values: dict[str, Any], file_name: str = STATS) -> None:
        """Write a row to stats.jsonl or metrics.jsonl, and its numbers as TensorBoard scalars."""
        with (self.run / file_name).open("a", encoding="utf-8") as file:
            file.write(f"{_line(values)}\n")
        if self.events is not None:
            for name, value in values.items():
                if isinstance(value, int | float):
                    self.events.add_scalar(name, value, round(1000 * values["kimg"]))

    def end_progress(self) -> None:
        """Leave the progress as it is now; the next line is written below it."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
            self._write_line()

    def close(self) -> None:
        """Flush and close."""
        self.end_progress()
        if self.events is not None:
            self.events.close()

    def progress(self, *, kimg: float, total_kimg: float, stage: str, stage_left_s: float, run_left_s: float) -> None:
        """Redraw the progress bar, or write a line every minute where there is no terminal."""
        if self.quiet:
            return
        now, terminal = time.monotonic(), sys.stderr.isatty()
        left = f"run {clock(run_left_s)} left, stage {clock(stage_left_s)}"
        if self.bar is None:
            form = "{percentage:3.0f}%|{bar:10}| {n:.1f}/{total:g} kimg {desc}"
            how: dict[str, Any] = {"mininterval": 0.5, "dynamic_ncols": True, "disable": not terminal}
            self.bar = tqdm(total=total_kimg, initial=kimg, bar_format=form, **how)
            self._began, self._next_line = (now, kimg), now
        rate = (kimg - self._began[1]) / max(now - self._began[0], 1e-9)
        if terminal:
            rate = self.bar.format_dict["rate"] or rate
            self.bar.set_description_str(f"| {stage} | {rate:.3g} kimg/s | {left}", refresh=False)
            self.bar.update(min(kimg, total_kimg) - self.bar.n)  # the last batch may go beyond the end
        else:
            speed = f"{rate:.3g} kimg/s | " if rate else ""
            self._line = f"{min(kimg, total_kimg):.1f}/{total_kimg:g} kimg | {stage} | {speed}{left}"
            if now >= self._next_line:
                self._next_line = now + LINE_S
                self._write_line()

    def _write_line(self) -> None:
        if self._line:
            print(self._line, file=sys.stderr, flush=True)
        self._line = ""


def read_stats(run: Path, name: str = STATS) -> list[dict[str, Any]]:
    """Read stats.jsonl or metrics.jsonl of a run up to the first incomplete row, without values that are not finite."""
    return [{k: value for k, value in row.items() if value is not None} for _, row in _rows(run / name)]


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Lines of a file and the rows that they are, up to the first incomplete one."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            return
        if not isinstance(row, dict) or not isinstance(row.get("kimg"), int | float):
            return
        yield line, row


def _line(row: dict[str, Any]) -> str:
    """A row as JSON, which has no NaN: a number that is not finite becomes null."""
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
    return json.dumps(finite, allow_nan=False)


def clock(seconds: float) -> str:
    """Format a duration.

    >>> clock(75), clock(7300), clock(200_000)
    ('1:15', '2:01:40', '2 d 7 h')
    """
    s = round(seconds)
    if s >= 86_400:
        return f"{s // 86_400} d {s % 86_400 // 3600} h"
    return f"{s // 3600}:{s % 3600 // 60:02}:{s % 60:02}" if s >= 3600 else f"{s // 60}:{s % 60:02}"


def _tensorboard(run: Path, kimg: float) -> Any:
    """Return a writer of event files, or None if TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    again = any(run.glob("events.out.tfevents.*"))  # readers then forget what an interrupted attempt wrote later on
    return SummaryWriter(str(run), purge_step=round(1000 * kimg) + 1 if again else None)
