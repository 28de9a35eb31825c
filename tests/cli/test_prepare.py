import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tyro
from PIL import Image

from progan.cli.prepare import Prepare, summary
from progan.data.columns import Column
from progan.data.inspection import inspect
from progan.data.inspection.report import report
from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.data.sources import open_source
from progan.data.store import Store
from progan.errors import ConfigError, DataError
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
        "images       4, 16x16",
        "originals    20x24 to 20x27, 4 sizes",
        "channels     3 (RGB)",
        "classes      a 2, b 2",
        "names        a/0.png ... b/3.png",
        "levels       4, 8, 16",
        "skipped      1\n  a/bad.png: not an image",
        f"next: progan train PRESET {tmp_path / 'store'}",
    ):
        assert line in text
    assert Store.open(tmp_path / "store").count == 4


def test_says_what_else_is_known_of_the_images(tmp_path: Path, photos: Path, capsys) -> None:
    columns = (
        Column("age", np.zeros(4, np.float32)),
        Column("box", np.zeros((4, 2), np.int64)),
        Column("sky", np.zeros(4, np.int64), ("blue", "red")),
    )
    source = replace(open_source(photos), columns=columns, names=["a\nb", "", "", "\udcff"])
    store = prepare(photos, tmp_path / "store", source=source)
    lines = summary(store).splitlines()
    assert "columns      age (float32), box (int64, 2 values), sky (2 classes)" in lines
    assert "names        a\\nb ... \\udcff" in lines
    text = report(inspect(source, PrepareOptions()), "photos")
    assert "\ncolumns      age (float32), box (int64, 2 values), sky (2 classes)\n" in text


def test_names_that_would_spoil_the_screen_are_escaped_and_cut(tmp_path: Path, photos: Path, capsys) -> None:
    strange = ("a\n\udcff\x1b[31m", "x" * 4000)
    columns = (Column("b\n\udcff", np.zeros(4, np.int64), strange), Column("y" * 4000, np.zeros(4, np.float32)))
    names = ["\udcff" * 2, "\udcff" * 3, "\n", "z" * 4000]
    source = replace(open_source(photos), description="d\n\udcff", classes=strange, columns=columns, names=names)
    source = replace(source, read=lambda rows: (noise(20, 20, seed=3) for _ in rows))
    store = prepare(photos, tmp_path / "store", source=source)
    for text in (summary(store), report(inspect(source, PrepareOptions()), "photos")):
        text.encode()
        assert "\x1b" not in text
        assert max(map(len, text.splitlines())) < 500
        assert r"a\n\udcff\x1b[31m" in text
        assert r"columns      b\n\udcff (2 classes), yyyy" in text
    with pytest.raises(DataError) as caught:
        store.column("age")
    assert len(str(caught.value)) < 1000
    str(caught.value).encode()


def test_every_option_has_a_flag(tmp_path: Path) -> None:
    arguments = "a b --resolution 8x16 --crop 1,2,30,40 --fit stretch --filter box --upscale --channels 1"
    arguments += " --labels none --on-error skip --split test --workers 3"
    command = tyro.cli(Prepare, args=arguments.split())
    wanted = PrepareOptions("8x16", "1,2,30,40", "stretch", "box", True, 1, "none", "skip", "test")
    assert command == Prepare(Path("a"), Path("b"), wanted, 3)
    assert tyro.cli(Prepare, args=["a", "b"]) == Prepare(Path("a"), Path("b"))
    arguments = "mnist_rgb b --from c --count 10 --seed 4 --sheet d.png"
    wanted = Prepare(Path("mnist_rgb"), Path("b"), files=Path("c"), count=10, seed=4, sheet=Path("d.png"))
    assert tyro.cli(Prepare, args=arguments.split()) == wanted
    assert tyro.cli(Prepare, args=["a", "--inspect"]) == Prepare(Path("a"), inspect=True)


def test_mistakes_are_errors_of_the_user(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(DataError, match=r"fotos: no such file or folder\n  found: .*photos"):
        tyro.cli(Prepare, args=[str(tmp_path / "fotos"), str(tmp_path / "store")]).run()


def test_inspects_without_writing_a_store(tmp_path: Path, photos: Path, capsys) -> None:
    assert Prepare(photos, inspect=True, sheet=tmp_path / "sheet.png", workers=1).run() == 0
    text = capsys.readouterr().out
    assert "images       4 of 4 can be read" in text
    assert f"progan prepare {photos} photos_16 --resolution 16" in text
    assert f"sheet        {tmp_path / 'sheet.png'}: all 4 images, one class below the other" in text
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.mode == "RGB"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["photos", "sheet.png"]


def test_the_sheet_of_an_inspection_is_a_temporary_file(tmp_path: Path, photos: Path, capsys, monkeypatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    assert Prepare(photos, inspect=True, workers=1).run() == 0
    (path,) = (tmp_path / "temporary").glob("*/sheet.png")
    assert f"sheet        {path}: all 4 images" in capsys.readouterr().out
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nothing"))
    assert Prepare(photos, inspect=True, workers=1).run() == 0
    assert "sheet        none, because it cannot be written (No such file" in capsys.readouterr().out


def test_the_sheet_of_a_store_is_in_it_and_changes_nothing_else(tmp_path: Path, photos: Path, capsys) -> None:
    command = Prepare(photos, photos / "store", PrepareOptions(resolution="16"), workers=0)
    assert command.run() == 0
    first, made = capsys.readouterr().out.splitlines(), Store.open(photos / "store")
    assert f"sheet        {photos / 'store/sheet.png'}: all 4 images, one class below the other" in "\n".join(first)
    assert (photos / "store/sheet.png").is_file()
    (photos / "store/sheet.png").write_bytes(bytes(10_000_000))
    assert command.run() == 0  # the store is inside of its source, and its sheet is no image of it, nor of its size
    again = capsys.readouterr().out.splitlines()
    assert [line for line in again if line[:4] != "time"] == [line for line in first if line[:4] != "time"]
    assert Store.open(photos / "store").count == 4
    other = Prepare(photos, tmp_path / "other", PrepareOptions(resolution="16"), sheet=tmp_path / "s.png", workers=0)
    assert other.run() == 0
    assert f"sheet        {tmp_path / 's.png'}: all 4" in capsys.readouterr().out
    assert not (tmp_path / "other/sheet.png").exists()
    assert Store.open(tmp_path / "other").hash == made.hash
    with pytest.raises(DataError, match="the contact sheet cannot be written"):
        replace(other, sheet=photos / "a/0.png/sheet.png").run()


def test_what_looks_wrong_is_said(tmp_path: Path, capsys) -> None:
    for name in ("train", "masks"):
        for i in range(3):
            save(tmp_path / "in" / name / f"{i}.png", noise(16, 16, 1, seed=i) // 16)
    (tmp_path / "in/notes.txt").write_text("")
    assert Prepare(tmp_path / "in", tmp_path / "store", PrepareOptions(labels="folder"), workers=0).run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert Prepare(tmp_path / "in", images=PrepareOptions(labels="folder"), inspect=True, workers=1).run() == 0
    for found in (lines, capsys.readouterr().out.splitlines()):
        for words in (
            "values       brightness 0 ... 15, mean",
            "warning      classes are named like splits of the data: train;",
            "warning      classes are named like files that accompany pictures: masks;",
            "warning      no pixel is brighter than 15 of 255;",
            "warning      every image is there twice, such as masks/0.png = train/0.png",
            "warning      3 pictures are in more than one class, such as masks/0.png = train/0.png (masks and train)",
        ):
            assert any(line.startswith(words) for line in found), words


def test_many_classes_are_counted(tmp_path: Path) -> None:
    for i in range(30):
        save(tmp_path / "in" / f"c{i % 25:02}" / f"{i}.png", noise(8, 8, seed=i))
    text = summary(prepare(tmp_path / "in", tmp_path / "store", workers=0))
    assert "classes      c00 2, c01 2, c02 2, c03 2, c04 2, c05 1, " in text
    assert ", c19 1, ... (25 classes of 1 to 2 images)\n" in text


def test_notes_of_the_source_are_printed(tmp_path: Path, photos: Path, capsys) -> None:
    source = replace(open_source(photos), notes=("2 files left out: 2 .heic\n",))
    store = prepare(photos, tmp_path / "store", source=source, workers=0)
    assert "note         2 files left out: 2 .heic\\n" in summary(store).splitlines()
    assert (
        "note         2 files left out: 2 .heic\\n" in report(inspect(source, PrepareOptions()), "photos").splitlines()
    )


def test_a_name_is_a_path_first_and_a_recipe_else(tmp_path: Path, photos: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    photos.rename(tmp_path / "lsun_cat")
    small = PrepareOptions(resolution="16")
    assert Prepare(Path("lsun_cat"), Path("store"), small, workers=0).run() == 0
    assert "note: reading the folder lsun_cat; for the data set of that name, add --from" in capsys.readouterr().err
    (tmp_path / "lsun_cat").rename(tmp_path / "files")
    given = Prepare(Path("lsun_cat"), Path("lsun_cat"), small, workers=0, files=Path("files"))
    assert given.run() == 0
    assert given.run() == 0  # the store of that name is no source
    with pytest.raises(DataError, match="lsun_cat: is not downloaded automatically"):
        Prepare(Path("lsun_cat"), Path("other"), workers=0).run()


def test_mistakes_about_recipes(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(DataError, match=r"mnst: no such file(?s:.*)data set: did you mean mnist"):
        Prepare(Path("mnst"), tmp_path / "store").run()
    with pytest.raises(ConfigError, match="--from requires the name of a data set, but 'mnst' is not one;"):
        Prepare(Path("mnst"), tmp_path / "store", files=photos).run()
    with pytest.raises(ConfigError, match="STORE is missing"):
        Prepare(photos).run()
    with pytest.raises(DataError, match="celeba: is not downloaded automatically"):
        Prepare(Path("celeba"), inspect=True).run()


def test_options_without_an_effect_are_refused(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(ConfigError, match="--dask is for writing a store"):
        Prepare(photos, inspect=True, dask="tcp://10.0.0.1:8786").run()
    for option in ({"count": 10}, {"seed": 3}):
        with pytest.raises(ConfigError, match=f"--{next(iter(option))} is for mnist_rgb only; remove it"):
            Prepare(photos, tmp_path / "store", **option).run()


def test_inspects_a_recipe_with_its_own_settings(photos: Path, capsys) -> None:
    assert Prepare(Path("celeba"), inspect=True, files=photos, workers=1).run() == 0
    text = capsys.readouterr().out
    assert "suggestion   128x128 RGB" in text
    assert f"progan prepare celeba celeba_128 --resolution 128 --from {photos}" in text
