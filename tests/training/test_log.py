"""The files and the line that tell people how a run goes."""

import json
import sys
from pathlib import Path

import pytest

from event_files import assert_events_equal_stats
from progan.training import log
from progan.training.log import RunLog, clock, read_stats

TIMES = {"stage_left_s": 75.0, "run_left_s": 7300.0}


def write(path: Path, *, start: float = 0.0, kimgs: tuple[float, ...]) -> None:
    path.mkdir(exist_ok=True)
    run = RunLog(path, kimg=start, quiet=True)
    for kimg in kimgs:
        run.row({"kimg": kimg, "loss/real": 1 / 3 + kimg, "skipped_steps": 0.0})
    run.close()


def test_events_equal_stats(tmp_path: Path) -> None:
    write(tmp_path, kimgs=(0.05, 0.1, 0.15))
    assert [row["kimg"] for row in read_stats(tmp_path)] == [0.05, 0.1, 0.15]
    assert_events_equal_stats(tmp_path)


@pytest.mark.parametrize("start", [0.0, 0.1])
def test_after_a_resume_both_go_on_as_if_nothing_had_happened(start: float, tmp_path: Path) -> None:
    write(tmp_path, kimgs=(0.05, 0.1, 0.15, 0.2))  # killed; the last checkpoint is of ``start``
    later = tuple(k for k in (0.05, 0.1, 0.15, 0.2, 0.25) if k > start)
    write(tmp_path, start=start, kimgs=later)
    assert [row["kimg"] for row in read_stats(tmp_path)] == [0.05, 0.1, 0.15, 0.2, 0.25]
    assert_events_equal_stats(tmp_path)


def test_half_written_last_line_is_dropped(tmp_path: Path) -> None:
    write(tmp_path, kimgs=(0.05, 0.1))
    with (tmp_path / "stats.jsonl").open("a") as file:
        file.write('{"kimg": 0.15, "lo')
    assert len(read_stats(tmp_path)) == 2
    write(tmp_path, start=0.1, kimgs=(0.15,))
    assert [json.loads(line)["kimg"] for line in (tmp_path / "stats.jsonl").read_text().splitlines()] == [
        0.05,
        0.1,
        0.15,
    ]


def test_without_tensorboard_it_says_so_and_goes_on(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    run = RunLog(tmp_path)
    run.row({"kimg": 1.0})
    run.close()
    assert "TensorBoard events are off: install it with pip install 'progan[tensorboard]'" in capsys.readouterr().err
    assert read_stats(tmp_path) == [{"kimg": 1.0}]
    assert not list(tmp_path.glob("events*"))


def test_what_is_said_is_on_the_terminal_and_in_the_log(tmp_path: Path, monkeypatch, capsys) -> None:
    pytest.importorskip("tensorboard")  # whose absence is said, too
    run = RunLog(tmp_path)
    run.say("resuming")
    run.close()
    assert capsys.readouterr() == ("", "resuming\n")
    assert (tmp_path / "log.txt").read_text().endswith(" resuming\n")


def test_progress_shows_where_the_run_is(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    run = RunLog(tmp_path, kimg=2.0)
    run.progress(kimg=2.0, total_kimg=4.5, stage="8", **TIMES)
    run.progress(kimg=3.0, total_kimg=4.5, stage="16 fade 0.25", **TIMES)
    run.progress(kimg=4.6, total_kimg=4.5, stage="16", **TIMES)  # the last batch goes beyond the end
    run.end_progress()
    run.say("done")
    run.close()
    text = capsys.readouterr().err
    last, done = text.rstrip("\n").split("\r")[-1].split("\n")[0], text.rstrip("\n").split("\n")[-1]
    assert last.startswith("100%|")
    assert "4.5/4.5 kimg | 16 |" in last
    assert "kimg/s | run 2:01:40 left, stage 1:15" in last
    assert done == "done"


def test_without_a_terminal_progress_is_a_line_a_minute(tmp_path: Path, monkeypatch, capsys) -> None:
    """Of 14 calls, 10 s apart from each other, in which 0.1 kimg are shown each time."""
    now = [0.0]
    monkeypatch.setattr(log.time, "monotonic", lambda: now[0])
    run = RunLog(tmp_path, kimg=2.0)
    for i in range(14):
        now[0] = 10.0 * i
        run.progress(kimg=2.0 + i / 10, total_kimg=4.5, stage="8", **TIMES)
    run.close()
    lines = capsys.readouterr().err.splitlines()
    left = "run 2:01:40 left, stage 1:15"
    assert [line for line in lines if "left" in line] == [
        f"2.0/4.5 kimg | 8 | {left}",
        f"2.6/4.5 kimg | 8 | 0.01 kimg/s | {left}",
        f"3.2/4.5 kimg | 8 | 0.01 kimg/s | {left}",
        f"3.3/4.5 kimg | 8 | 0.01 kimg/s | {left}",  # where it ended
    ]


def test_quiet_shows_nothing(tmp_path: Path, capsys) -> None:
    run = RunLog(tmp_path, quiet=True)
    run.progress(kimg=1, total_kimg=2, stage="4", **TIMES)
    run.say("x")
    run.close()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599.6, "1:00:00"), (86399, "23:59:59"), (86400, "1 d 0 h")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_timings_are_the_only_fields_that_two_equal_runs_may_differ_in() -> None:
    assert log.TIMINGS == ("seconds", "kimg_per_s", "loading_s")
