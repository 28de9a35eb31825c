"""Square crops of all faces of photographs."""

import csv
import io
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from progan.cli import main
from progan.curation import crops, faces
from progan.curation.faces import load_finder, prepare_faces
from progan.curation.scratch import Picture, Scratch
from progan.data.columns import Column
from progan.data.records import Record
from progan.data.sources import open_source
from progan.data.store import Store
from progan.errors import DataError
from references import celebahq as reference


def drawn(*places: tuple[int, int, int], height: int = 240, width: int = 400) -> np.ndarray:
    """Simple faces with (left, top, side)."""
    image = Image.new("RGB", (width, height), (120, 140, 160))
    draw = ImageDraw.Draw(image)
    for left, top, side in places:

        def ellipse(x: float, y: float, w: float, h: float, color: tuple, at=(left, top), side=side) -> None:
            box = (at[0] + side * (x - w), at[1] + side * (y - h), at[0] + side * (x + w), at[1] + side * (y + h))
            draw.ellipse(box, fill=color)

        ellipse(0.5, 0.5, 0.42, 0.55, (225, 185, 160))
        for eye in (0.32, 0.68):
            ellipse(eye, 0.33, 0.13, 0.03, (90, 60, 40))
            ellipse(eye, 0.42, 0.1, 0.05, (150, 110, 95))
            ellipse(eye, 0.42, 0.05, 0.045, (40, 30, 30))
        ellipse(0.5, 0.6, 0.06, 0.05, (200, 150, 130))
        ellipse(0.5, 0.8, 0.17, 0.045, (150, 70, 70))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(2)))


class Boxes:
    """Finds the same faces in every picture."""

    hash = "boxes"

    def __init__(self, *squares: tuple[float, float, float, float]) -> None:
        self.boxes = np.array(squares, float).reshape(-1, 4)

    def squares(self, image: np.ndarray, min_face: float) -> np.ndarray:
        return self.boxes[self.boxes[:, 2] - self.boxes[:, 0] >= min_face]


def rows(store: Path) -> list[dict]:
    with (store / "ranking.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two photographs, one of noise."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(drawn((30, 40, 130), (220, 60, 110))).save(folder / "a.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (120, 120, 3), np.uint8)).save(folder / "b.png")
    return folder


def test_every_face_is_cut_out_as_it_is(photos: Path, tmp_path: Path) -> None:
    finder = Boxes((10, 20, 80, 90), (50.5, 40, 120.5, 110), (0, 0, 30, 30), (110, 110, 210, 210))
    store = prepare_faces(photos, tmp_path / "store", finder, resolution=32, workers=2)
    found = [row for row in rows(tmp_path / "store") if row["rank"]]
    assert [float(row["score"]) for row in found] == sorted((float(row["score"]) for row in found), reverse=True)
    where = sorted((row["file"], float(row["x"]), float(row["y"]), float(row["side"])) for row in found)
    three = [(44.5, 54.5, 70), (85, 74.5, 70), (159.5, 159.5, 100)]  # b.png ends before the middle of the third
    assert where == [("a.png", *place) for place in three] + [("b.png", *place) for place in three[:2]]
    for row, pixels in zip(found, store.level(32), strict=True):
        x, y, half = float(row["x"]), float(row["y"]), float(row["side"]) / 2
        corners = np.array([[x - half, y - half], [x + half, y - half], [x + half, y + half], [x - half, y + half]])
        image = np.asarray(Image.open(photos / row["file"]))
        if row["file"] == "a.png" and (corners < image.shape[1::-1]).all():
            assert np.abs(pixels - reference.warp(image, corners, 32)).max() <= 0.5 + 1e-3


def test_smallest_faces_follow_the_resolution_or_are_chosen(photos: Path, tmp_path: Path) -> None:
    finder = Boxes((10, 20, 80, 90), (0, 0, 40, 40))
    assert prepare_faces(photos, tmp_path / "store", finder, resolution=32).count == 4
    assert prepare_faces(photos, tmp_path / "store", finder, resolution=32, min_face=41).count == 2
    assert prepare_faces(photos, tmp_path / "store", finder, resolution=32, keep=3).count == 3


def test_crops_keep_the_names_and_columns_of_their_pictures(photos: Path, tmp_path: Path) -> None:
    source = replace(open_source(photos), columns=(Column("age", np.array([[7, 8], [9, 10]])),))
    finder = Boxes((10, 20, 80, 90), (50, 40, 120, 110))
    cutting = crops.Cutting(
        name="faces",
        path=photos,
        source=source,
        locate=partial(faces._locate, finder=finder, min_face=32),
        depends=(),
        hint="",
    )
    store = crops.prepare_crops(cutting, tmp_path / "store", resolution=32, keep=3)
    ranked = [row["file"] for row in rows(tmp_path / "store") if row["rank"]][:3]
    assert len(set(ranked)) == 2
    assert list(store.names) == ranked
    assert store.column("age").values.tolist() == [{"a.png": [7, 8], "b.png": [9, 10]}[name] for name in ranked]


def test_opencv_finds_drawn_faces_where_they_are(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    args = ["prepare", "faces", str(photos), str(tmp_path / "store"), "--resolution", "64"]
    assert main(args) == 0
    *found, nothing = rows(tmp_path / "store")
    assert nothing["file"] == "b.png"
    assert nothing["problem"] == "found no face of at least 64 pixels"
    assert Store.open(tmp_path / "store").count == len(found) == 2
    places = sorted((float(row["x"]), float(row["y"])) for row in found)
    np.testing.assert_allclose(places, [(95, 105), (275, 115)], atol=12)


def test_without_cascades_it_says_what_to_type(photos: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(faces, "_CASCADE", "nothing.xml")
    assert main(["prepare", "faces", str(photos), str(tmp_path / "store")]) == 2
    assert "pip install 'progan[faces]', or use --detector mtcnn" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(faces.ConfigError, match="found: import of cv2 halted"):
        load_finder("opencv")


def test_pictures_without_any_face_are_one_line(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(faces.DataError, match=r"a.png: found no face of at least 64 pixels\n  fix:   use a lower"):
        prepare_faces(photos, tmp_path / "store", Boxes())


def test_several_at_a_time_do_the_work_once(photos: Path, tmp_path: Path, monkeypatch) -> None:
    cut, done = crops.cut, []
    monkeypatch.setattr(
        crops, "cut", lambda position, *rest, **more: done.append(position) or cut(position, *rest, **more)
    )
    finder, path = Boxes((10, 20, 80, 90)), tmp_path / "store"
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(prepare_faces, photos, path, finder, resolution=32, workers=1) for _ in range(3)]
        assert len({call.result().hash for call in calls}) == 1
    assert sorted(done) == [0, 1]
    assert not list(tmp_path.glob("store.*"))


def test_work_with_other_settings_is_left_to_who_holds_it(photos: Path, tmp_path: Path) -> None:
    with Scratch(tmp_path / "store", "0123", None) as other:
        prepare_faces(photos, tmp_path / "store", Boxes((10, 20, 80, 90)), resolution=32)
        other.add(Picture(0, "a.png", problem="none"), np.empty(0))
    said = []
    with Scratch(tmp_path / "store", "0123", None, say=said.append) as again:
        assert again.pictures == other.pictures
        again.finish()
    assert said == []
    assert not list(tmp_path.glob("store.*"))


def test_what_is_transparent_stands_before_white() -> None:
    file = io.BytesIO()
    Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(file, "PNG")
    seen = []

    def locate(image: np.ndarray, _: object) -> tuple[np.ndarray, list]:
        seen.append(image)
        raise DataError("no face")

    crops.cut(0, Record("a.png", file.getvalue(), None), None, locate=locate, resolution=32)
    assert seen[0].min() == 255
