"""The command 'progan video'."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from progan.cli import main
from progan.gans import ProGANConfig
from progan.gans.base import ImageSpec
from progan.snapshot import Snapshot

av = pytest.importorskip("av")


def make(path: Path, *, level: int = 1, kimg: float = 1.0) -> Snapshot:
    torch.manual_seed(0)
    spec, config = ImageSpec(3, 8, 16), ProGANConfig(fmap_base=64, fmap_max=8, latent_size=6)
    generator = config.make_sampler(spec).requires_grad_(False)
    snapshot = Snapshot(generator, "progan", config, spec, level=level, kimg=kimg)
    snapshot.save(path)
    return snapshot


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    for level, kimg in ((0, 5.0), (1, 10.0)):
        make(tmp_path / f"run/snapshots/{kimg:011.3f}.safetensors", level=level, kimg=kimg)
    return tmp_path / "run"


def run(*args: object) -> int:
    return main(["video", *map(str, args)])


def decoded(path: Path) -> np.ndarray:
    with av.open(path) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(int)


def test_a_walk_is_a_loop_and_one_seed_gives_one_film(run_dir: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "walk.mp4"
    args = ("--grid", "3x2", "--seconds", 2, "--fps", 20, "--sigma", 0.25, "--enlarge", 3)
    assert run(run_dir, out, *args) == 0
    assert capsys.readouterr().out == f"{out}: 40 frames, 2.0 s at 20 frames per second\n"
    film = decoded(out)
    assert film.shape == (40, 2 * 24 + 2, 3 * 48 + 2 * 2, 3)
    steps = np.abs(film - np.roll(film, -1, 0)).mean((1, 2, 3))
    assert steps[-1] < 2 * steps.mean()  # first and last frame are as near as any two neighbours
    assert np.abs(film[0] - film[20]).mean() > 3 * steps[-1]
    for name, seed, batch in (("one", 0, 32), ("again", 0, 5), ("other", 1, 32)):
        assert run(run_dir, tmp_path / name, *args, "--seed", seed, "--batch", batch) == 0
    one, again, other = ([frame(tmp_path / name, i) for i in (0, 17, 39)] for name in ("one", "again", "other"))
    assert np.abs(np.subtract(one, again)).max() <= 1  # sums of other lengths may be rounded otherwise
    assert np.abs(np.subtract(one, other)).mean() > 20


def frame(folder: Path, number: int) -> np.ndarray:
    assert len(list(folder.iterdir())) == 40
    return np.asarray(Image.open(folder / f"{number:06d}.png")).astype(int)


def test_training_goes_through_all_snapshots(run_dir: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "training.mp4"
    assert run(run_dir, out, "--kind", "training", "--seconds", 1, "--fps", 10, "--grid", "1x1") == 0
    assert capsys.readouterr().out == f"{out}: 10 frames, 1.0 s at 10 frames per second\n"
    film = decoded(out)
    assert film.shape == (10, 256 + 16, 512, 3)
    steps = np.abs(np.diff(film, axis=0)).mean((1, 2, 3))
    assert steps.argmax() == 4
    assert run(run_dir, tmp_path / "few", "--kind", "training", "--seconds", 0.01, "--no-caption") == 0
    assert len(list((tmp_path / "few").iterdir())) == 2  # at least one frame for each snapshot


def test_a_smaller_resolution_and_a_gif(run_dir: Path, tmp_path: Path) -> None:
    args = ("--seconds", 0.2, "--grid", "1x1", "--enlarge", 2, "--resolution", 4, "--filter", "lanczos")
    assert run(run_dir, tmp_path / "walk.gif", *args) == 0
    assert decoded(tmp_path / "walk.gif").shape == (5, 8, 16, 3)  # 25 frames a second


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--grid", "4"], "grid must be columns x rows, such as 4x2; got '4'"),
        (["--grid", "0x2"], "grid must be columns x rows, such as 4x2; got '0x2'"),
        (["--seconds", "0"], "seconds must be greater than 0 seconds, got 0"),
        (["--sigma", "nan"], "sigma must be greater than 0 seconds, got nan"),
        (["--fps", "0"], "fps must be at least 1, got 0"),
        (["--enlarge", "0"], "enlarge must be at least 1, got 0"),
        (
            ["--grid", "999x1", "--enlarge", "2", "--resolution", "4"],
            "an MP4 has at most 16384 pixels per side, got 8x17980; try a smaller --grid or",
        ),
        (["--crf", "99"], "crf must be 0 ... 51, got 99"),
        (["--seed=-1"], "seed must be 0 ... 2^62 - 1, got -1"),
        (["--label", "1"], "this generator was trained without labels"),
        (["--resolution", "16"], "resolution 16 is not supported by this generator; choose from 4, 8"),
        (["--kind", "training", "--resolution", "4"], "a video of training shows every resolution"),
    ],
)
def test_wrong_options_are_one_line(args: list[str], message: str, run_dir: Path, tmp_path: Path, capsys) -> None:
    assert run(run_dir, tmp_path / "film.mp4", *args) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err[:7]) == ("", 1, "error: ")
    assert message in err
    assert not (tmp_path / "film.mp4").exists()


def test_a_film_that_would_stand_still_is_told(run_dir: Path, tmp_path: Path, capsys) -> None:
    args = ("--grid", "1x1", "--enlarge", 1, "--resolution", 4, "--fps", 2)
    assert run(run_dir, tmp_path / "walk.gif", *args, "--seconds", 4, "--sigma", 0.5) == 0
    assert "warning" not in capsys.readouterr().err
    assert run(run_dir, tmp_path / "walk.gif", *args, "--seconds", 4, "--sigma", 45) == 0
    said = "warning: a loop of 4 s hardly moves with a sigma of 45 s; try --seconds 360 or --sigma 0.5\n"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["interpolation", "training"])
def test_a_class_by_its_name(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec, config = ImageSpec(3, 8, 16, 2), ProGANConfig(fmap_base=64, fmap_max=8, latent_size=6, conditional=True)
    generator = config.make_sampler(spec).requires_grad_(False)
    file = tmp_path / "run/snapshots/00000.000.safetensors"
    Snapshot(generator, "progan", config, spec, level=1, classes=("cat", "dog")).save(file)
    for label in ("1", "dog", "cat"):
        args = ("--kind", kind, "--grid", "1x1", "--seconds", 0.1, "--fps", 10, "--caption", "--label", label)
        assert run(tmp_path / "run", tmp_path / label, *args) == 0
    frames = {label: (tmp_path / label / "000000.png").read_bytes() for label in ("1", "dog", "cat")}
    assert frames["1"] == frames["dog"] != frames["cat"]


def test_wrong_places(run_dir: Path, tmp_path: Path, capsys) -> None:
    file, folder = next((run_dir / "snapshots").iterdir()), tmp_path / "folder" / "film.mp4"
    folder.mkdir(parents=True)
    for args, message in [
        ((run_dir, tmp_path / "film.mkv"), "a video ends in .mp4 or .gif"),
        ((run_dir, run_dir), "already exists, and frames require a new folder"),
        ((run_dir, folder), "film.mp4: is a folder; choose another name"),
        ((tmp_path / "none", tmp_path / "film.mp4"), "does not exist"),
        (
            (file, tmp_path / "film.mp4", "--kind", "training"),
            "is a file; a video of training requires a run",
        ),
    ]:
        assert run(*args) == 2
        assert message in capsys.readouterr().err
