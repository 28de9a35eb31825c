"""The command line as a whole: help, version, and one line for whatever is wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import progan
from progan import cli
from progan.cli import COMMANDS, main, nearest
from progan.data.store import Store
from progan.errors import ConfigError
from references.image_files import noise, save

PARTS = {"__init__", "celebahq", "faces", "metric_codes"}  # modules of commands that have several
MEMORY = "error: not enough memory; try a smaller --batch (--micro-batch for training) or --device cpu\n"


def test_help_lists_every_command_and_each_has_a_module(capsys) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    modules = {p.stem for p in Path(cli.__file__).parent.glob("*.py")} - PARTS
    assert modules == set(COMMANDS)
    assert all(f"  {name} " in text and description in text for name, description in COMMANDS.items())


def test_nothing_at_all_shows_the_help_but_is_no_success(capsys) -> None:
    assert main([]) == 2
    assert "progan COMMAND --help" in capsys.readouterr().out


def test_version(capsys) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"progan {progan.__version__}\n"


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("trian", "did you mean train?"),
        ("genrate", "did you mean generate?"),
        ("xyzzy", f"choose from {', '.join(COMMANDS)}"),
    ],
)
def test_unknown_command_names_the_nearest(word: str, hint: str, capsys) -> None:
    assert main([word]) == 2
    assert capsys.readouterr() == ("", f"error: unknown command {word!r}; {hint}\n")


def test_nearest_names_at_most_two() -> None:
    assert nearest("schedule.batchh", ["schedule.batch", "seed"]) == "did you mean schedule.batch?"
    assert nearest("aaa", ["aab", "aac", "aad"]).count(" or ") == 1


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("x: bad\n  found: 1\n  fix:   type this"), 2, "error: x: bad; found: 1; fix: type this\n"),
        (OSError(28, "No space left on device", "a/b"), 2, "error: [Errno 28] No space left on device: 'a/b'\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), 2, MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), 2, MEMORY),
    ],
)
def test_what_a_command_raises_becomes_one_line(
    error: BaseException, code: int, line: str, capsys, monkeypatch
) -> None:
    def fail(args: object) -> int:
        raise error

    monkeypatch.setattr("progan.cli.generate.main", fail)
    assert main(["generate"]) == code
    assert capsys.readouterr() == ("", line)


def test_what_is_a_bug_of_ours_is_not_hidden(monkeypatch) -> None:
    def fail(args: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr("progan.cli.generate.main", fail)
    with pytest.raises(ZeroDivisionError):
        main(["generate"])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys) -> None:
    words = {"train": ["train", "demo"], "analyse": ["analyse", "neighbours"]}.get(command, [command])
    with pytest.raises(SystemExit) as stopped:
        main([*words, "--help"])
    assert stopped.value.code == 0
    assert "--" in capsys.readouterr().out


def test_a_path_that_looks_like_an_option_is_told(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "-dash" / "0.png", noise(8, 8))
    assert main(["prepare", "-dash", "store"]) == 2
    assert capsys.readouterr().err == "error: -dash: names that begin with '-' look like options; write ./-dash\n"
    assert main(["prepare", "./-dash", "store", "--workers", "0"]) == 0
    assert main(["prepare", "--workers", "0", "--", "-dash", "other"]) == 0


def test_module_is_the_same_program() -> None:
    result = subprocess.run([sys.executable, "-m", "progan", "nonsense"], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith("error: unknown command 'nonsense'")


@pytest.mark.parametrize(
    "variables", [{"PYTHONIOENCODING": "cp1252"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_no_output_fails_on_the_encoding_of_the_console(variables: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("0.png,\u732b\n1.png,\u72d7\n", encoding="utf-8")
    for i in range(2):
        save(tmp_path / "in" / f"{i}.png", noise(8, 8, seed=i))
    command = [sys.executable, "-m", "progan", "prepare", "in", "store", "--labels", "labels.csv"]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, **variables}, capture_output=True, check=False)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    assert rb"\u732b 1" in done.stdout
    assert Store.open(tmp_path / "store").classes == ("\u72d7", "\u732b")
