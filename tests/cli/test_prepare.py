from pathlib import Path

import pytest
import tyro

from progan.cli.prepare import Prepare
from progan.data.options import PrepareOptions
from progan.data.store import Store
from progan.errors import DataError
from references.image_files import noise, save


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for i in range(4):
        save(tmp_path / "photos" / ("ab"[i % 2]) / f"{i}.png", noise(20, 24 + i, seed=i))
    return tmp_path / "photos"


def test_prepares_and_says_what_is_in_the_store(tmp_path: Path, photos: Path, capsys) -> None:
    (photos / "a" / "bad.png").write_bytes(b"nothing")
    arguments = [str(photos), str(tmp_path / "store"), "--resolution", "16", "--on-error", "skip", "--workers", "0"]
    assert tyro.cli(Prepare, args=arguments).run() == 0
    text = capsys.readouterr().out
    for line in (
        "images       4 of 16x16",
        "originals    20x24 to 20x27, 4 sizes",
        "channels     3 (RGB)",
        "classes      a 2, b 2",
        "levels       4, 8, 16",
        "skipped      1\n  a/bad.png: not an image",
        f"next: progan train PRESET {tmp_path / 'store'}",
    ):
        assert line in text
    assert Store.open(tmp_path / "store").count == 4


def test_every_option_has_a_flag(tmp_path: Path) -> None:
    arguments = "a b --resolution 8x16 --crop 1,2,30,40 --fit stretch --filter box --upscale --channels 1"
    arguments += " --labels none --on-error skip --split test --workers 3"
    command = tyro.cli(Prepare, args=arguments.split())
    wanted = PrepareOptions("8x16", "1,2,30,40", "stretch", "box", True, 1, "none", "skip", "test")
    assert command == Prepare(Path("a"), Path("b"), wanted, 3)
    assert tyro.cli(Prepare, args=["a", "b"]) == Prepare(Path("a"), Path("b"))


def test_mistakes_are_errors_of_the_user(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(DataError, match=r"fotos: no such file or folder\n  found: .*photos"):
        tyro.cli(Prepare, args=[str(tmp_path / "fotos"), str(tmp_path / "store")]).run()
