"""The command 'progan dedup'."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from progan.cli import main
from progan.curation import dedup
from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.data.store import Store
from small import write_images


@pytest.fixture(autouse=True)
def short_training(monkeypatch) -> None:
    monkeypatch.setattr(dedup, "_SEEN", 1_000)


@pytest.fixture(scope="module")
def doubled(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Thirty images; numbers 28 and 29 are numbers 3 and 4 again."""
    folder = tmp_path_factory.mktemp("doubled")
    images = write_images(folder / "images", count=30, size=(32, 32), classes=1) / "class0"
    for copy, original in ((28, 3), (29, 4)):
        Image.open(images / f"{original:03}.png").save(images / f"{copy:03}.png")
    return prepare(folder / "images", folder / "store", PrepareOptions(resolution="32"), workers=0)


def run(*args: object) -> int:
    return main(["dedup", *map(str, args)])


def test_report_alone_writes_nothing(doubled: Store, capsys) -> None:
    before = sorted(doubled.path.parent.iterdir())
    assert run(doubled.path) == 0
    out = capsys.readouterr().out
    assert "images       30\nduplicates   2 in 2 groups" in out
    assert "group        3 28\ngroup        4 29\n" in out
    assert sorted(doubled.path.parent.iterdir()) == before


@pytest.mark.parametrize(("keep", "groups", "gone"), [("first", [[3, 28], [4, 29]], [28, 29]),
                                                     ("last", [[28, 3], [29, 4]], [3, 4])])  # fmt: skip
def test_store_and_sheet_are_written(
    keep: str, groups: list, gone: list, doubled: Store, tmp_path: Path, capsys
) -> None:
    out, sheet = tmp_path / "new", tmp_path / "groups.png"
    assert run(doubled.path, "--out", out, "--sheet", sheet, "--keep", keep, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["images"], report["duplicates"], report["groups"]) == (30, 2, groups)
    assert (Store.open(out).level(32) == np.delete(doubled.level(32), gone, axis=0)).all()
    assert Image.open(sheet).size == (2 * 66 - 2, 2 * 66 - 2)


def test_mistakes_get_one_line_and_change_nothing(doubled: Store, store: Store, tmp_path: Path, capsys) -> None:
    cases = {
        (doubled.path, "--out", doubled.path): "already exists and is not overwritten",
        (doubled.path, "--sheet", doubled.path / "manifest.json"): "already exists and is not overwritten",
        (doubled.path, "--distance", "32"): "--distance must be 0 ... 31 bits of 128, got 32",
        (tmp_path / "nowhere",): "nowhere",
        (store.path, "--out", tmp_path / "new"): "no images with a shorter side of 32",
    }
    for args, message in cases.items():
        assert run(*args) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert message in captured.err
        assert len(captured.err.strip().splitlines()) == 1
    assert Store.open(doubled.path).hash == doubled.hash
    assert not (tmp_path / "new").exists()
