"""The command 'progan reproduce' as its user meets it."""

from pathlib import Path

import pytest

from progan.cli import main
from progan.cli.reproduce import Reproduce
from progan.experiments import EXPERIMENTS
from progan.experiments.page import NOT_YET, frame


def run(*args: object) -> int:
    return main(["reproduce", *map(str, args)])


def test_list_shows_every_table_and_figure(capsys) -> None:
    assert run("--list") == 0
    lines = capsys.readouterr().out.splitlines()
    named = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert named == list(EXPERIMENTS)
    assert any("wgan-gp, lsgan" in line for line in lines)


def test_table_2_needs_no_data_and_goes_into_a_page(tmp_path: Path, capsys) -> None:
    assert run("table2", "--rows", "cifar10", "--out", tmp_path) == 0
    said = capsys.readouterr().out
    assert "| cifar10  | ours  | 1,296,908  | 1,298,689     |" in said
    assert "`progan reproduce table2 --rows cifar10`" in said
    assert "to_rgb.3" in (tmp_path / "table2-paper/layers.md").read_text()
    page = tmp_path / "page.md"
    page.write_text(frame(EXPERIMENTS))
    assert run("page", page, tmp_path / "table2-paper") == 0
    assert page.read_text().count(NOT_YET) == len(EXPERIMENTS) - 1
    assert "1,298,689" in page.read_text()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["table7"], "unknown table 'table7'; did you mean"),
        (["table2", "--rows", "x"], "table2 has no row 'x'; choose from celebahq, lsun"),
        (["table3"], "table3 requires DATA: 50,000 CIFAR-10 training images"),
        (["table3", "--scale", "big"], "scale must be smoke, small, paper or a number such as 0.01, got 'big'"),
        (["table3", "--jobs", "0"], "jobs must be at least 1, got 0"),
        (["table3", "nowhere", "--seeds", "1"], "nowhere"),
        (["figure4", "--runs", "nowhere"], "expected a run directory of 'progan train'"),
        (["table3", "--runs", "nowhere"], "--runs draws the curves of figure4 and figure4c, not table3"),
        (["table3", "--resolution", "48"], "resolution must be a power of two, at least 4; got 48"),
        (["table3", "--scale", "1e400"], "scale must be smoke"),
        (["page", "nowhere.md", "nowhere"], "nowhere.md: no such file"),
    ],
)
def test_mistakes_are_one_line(args: list[str], message: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROGAN_CACHE", str(tmp_path / "cache"))
    assert run(*args) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "reproduced").exists()


def test_the_command_is_kept_without_paths() -> None:
    options = Reproduce(table="table4", data=Path("/home/me/digits"), rows=("k4-gan", "k2-gan"), seeds=3, scale="0.1")
    expected = "progan reproduce table4 digits --scale 0.1 --rows k4-gan k2-gan --seeds 3"
    assert options._command() == expected
