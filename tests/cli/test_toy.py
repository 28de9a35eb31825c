"""The command 'progan toy'."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from progan.cli import main
from progan.toy.data import DISTRIBUTIONS
from progan.toy.drawing import FOOT, GAP, HEAD, SIDE
from progan.toy.recipes import COMPARED, KNOWN, PLAIN, TRICKS
from progan.toy.training import train


def run(*args: object) -> int:
    return main(["toy", *map(str, args)])


def test_a_class_gets_a_table_a_picture_a_film_and_numbers(tmp_path: Path, capsys) -> None:
    out = tmp_path / "lesson"
    args = ("grid", "--loss", "hinge", "r1", "--steps", 3, "--seeds", "4,7", "--film", "png", "--frames", 3)
    assert run(*args, "--out", out) == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0] == "25 Gaussians on a grid: 3 steps of 128 points, seeds 4,7"
    assert lines[1].split() == ["loss", "modes", "on", "them", "KL", "seconds"]
    assert [line.split()[0] for line in lines[2:4]] == ["hinge", "r1"]
    assert "hinge" in shown.err  # progress
    report = json.loads((out / "grid.json").read_text())
    assert [(r["loss"], r["seed"], r["modes"]) for r in report["runs"]] == [
        ("hinge", 4, 25),
        ("hinge", 7, 25),
        ("r1", 4, 25),
        ("r1", 7, 25),
    ]
    covered = [r["covered"] for r in report["runs"]]
    assert covered == [sum(count > 0 for count in r["counts"]) for r in report["runs"]]
    assert f"{np.mean(covered[:2]):.1f} ({min(covered[:2])}-{max(covered[:2])}) of 25" in lines[2]
    frames = sorted((out / "grid").iterdir())
    assert len(frames) == 3 + 40
    end = np.asarray(Image.open(out / "grid.png"))
    assert end.shape == (HEAD + SIDE + GAP + FOOT, 2 * SIDE + GAP, 3)
    assert np.array_equal(end, np.asarray(Image.open(frames[2])))
    assert not np.array_equal(end, np.asarray(Image.open(frames[1])))
    again = tmp_path / "again"
    assert run("grid", "--loss", "hinge", "r1", "--steps", 3, "--seeds", 4, "--film", "none", "--out", again) == 0
    assert (again / "grid.png").read_bytes() == (out / "grid.png").read_bytes()


def test_one_run_and_no_film(tmp_path: Path, capsys) -> None:
    assert run("moons", "--loss", "wgan", "--steps", 1, "--film", "none", "--out", tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("1 step of 128 points, seed 0")
    assert lines[1].split()[:2] == ["loss", "segments"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["moons.json", "moons.png"]


def test_tricks_are_compared_with_the_plain_gan(tmp_path: Path, capsys) -> None:
    assert run("ring", "--tricks", "--steps", 1, "--film", "none", "--out", tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2 : 2 + len(COMPARED)]] == list(COMPARED)
    assert run("ring", "--tricks", "--loss", "r1") == 2
    assert "--tricks compares all tricks; omit it to choose some by --loss" in capsys.readouterr().err


@pytest.mark.parametrize("name", TRICKS)
def test_each_trick_changes_the_training(name: str) -> None:
    """From the first steps, except two limits that D has not reached by then."""
    ring = DISTRIBUTIONS["ring"]
    plain, tricked = (train(KNOWN[one], ring, seed=0, steps=6, moments=2).moments[-1] for one in (PLAIN, name))
    assert np.array_equal(plain.points, tricked.points) == (name in ("clip", "one_sided"))


def test_an_mp4_by_default(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    assert run("--loss", "saturating", "--steps", 2, "--frames", 3, "--out", tmp_path) == 0
    with av.open(tmp_path / "ring.mp4") as film:
        assert sum(1 for _ in film.decode(video=0)) == 3 + 40


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["rings"], "unknown data set 'rings'; did you mean ring?"),
        (["r1"], "r1 is a loss; use progan toy ring --loss r1"),
        (["--loss", "wgan-gp"], "unknown loss 'wgan-gp'; did you mean wgan_gp"),
        (["--loss", "r1", "grid"], "grid is a data set; write it first: progan toy grid --loss ..."),
        (["--loss", "all", "r1"], "--loss all already includes every loss; omit the other names"),
        (["--loss", "r1", "r1"], "--loss contains r1 twice"),
        (["--loss"], "--loss requires at least one name"),
        (["--seeds", "3-1"], "the range is empty"),
        (["--seeds", "1,1"], "--seeds 1,1 contains a seed twice"),
        (["--seeds", str(2**63)], "seed must be 0 ... 2^63 - 1"),
        (["--steps", "0"], "--steps must be at least 1, got 0"),
        (["--frames", "1"], "--frames must be at least 2, got 1"),
        (["--film", "none", "--frames", "9"], "--frames 9 requires a film; omit it or --film none"),
    ],
)
def test_mistakes_are_one_clear_line(args: list[str], message: str, tmp_path: Path, capsys) -> None:
    assert run(*args, "--out", tmp_path / "out") == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    assert not (tmp_path / "out").exists()


def test_results_require_a_folder_and_a_film_its_encoder(tmp_path: Path, capsys, monkeypatch) -> None:
    (tmp_path / "file").touch()
    assert run("--out", tmp_path / "file") == 2
    assert capsys.readouterr().err == f"error: {tmp_path}/file: is a file; --out requires a folder\n"
    (tmp_path / "ring").mkdir()
    (tmp_path / "ring/000000.png").touch()
    assert run("--film", "png", "--out", tmp_path) == 2
    assert "ring: already exists, and frames require a new folder" in capsys.readouterr().err
    monkeypatch.setattr("progan.cli.toy.find_spec", lambda name: None)
    assert run("--out", tmp_path) == 2
    assert (
        "--film mp4 requires an encoder that is not installed; fix: pip install 'progan[video]'"
        in capsys.readouterr().err
    )


def test_help_is_enough_to_teach_with(capsys) -> None:
    with pytest.raises(SystemExit):
        run("--help")
    text = " ".join(capsys.readouterr().out.split())
    for word in (
        "ring",
        "swiss roll",
        "unrolled",
        "Salimans et al. 2016",
        "a mode is green",
        "progan toy grid --loss all",
    ):
        assert word.lower() in text.lower(), word
