import csv
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from progan.cli import main
from progan.curation import crops
from progan.curation.alignment import align, crop_square
from progan.curation.celebahq import prepare_celebahq
from progan.data.store import Store
from progan.errors import DataError
from references import celebahq as reference

FACE = np.array([[60.0, 70], [100, 66], [82, 90], [66, 112], [98, 110]])


def turned(points: np.ndarray, degrees: float) -> np.ndarray:
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return (points - points.mean(0)) @ turn.T + points.mean(0)


def photo(seed: int = 0, side: int = 200) -> np.ndarray:
    """Smooth random colors with a little texture."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (side // 8, side // 8, 3), np.uint8))
    grain = rng.normal(0, 6, (side, side, 3))
    return np.clip(np.asarray(small.resize((side, side), Image.Resampling.BICUBIC)) + grain, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("degrees", [0, 30, 90, 135, 180, -77])
@pytest.mark.parametrize("mouth", [0, 25, -10])
def test_corners_follow_the_formula(degrees: float, mouth: float) -> None:
    points = turned(FACE + np.outer([0, 0, 0, 1, 1], [mouth, 0]), degrees)
    np.testing.assert_allclose(crop_square(points).corners, reference.corners(points), atol=1e-9)


def test_upright_face_has_level_eyes_above_its_mouth_and_the_scale_of_the_paper() -> None:
    points = turned(np.array([[80.0, 80], [120, 80], [100, 95], [85, 115], [115, 115]]), 33)
    placed = crop_square(points).from_image(points)
    assert placed[0, 1] == pytest.approx(placed[1, 1])
    assert placed[0, 0] < placed[1, 0]
    assert placed[3, 1] > placed[0, 1]
    assert placed[1, 0] - placed[0, 0] == pytest.approx(1 / 4)  # the eyes decide: s = 4 |x'|
    assert placed[:2].mean(0) == pytest.approx([0.5, 0.5 - 0.1 * 35 / 160])


@pytest.mark.parametrize("degrees", [0, 20, -100])
def test_pixels_equal_the_slow_reference(degrees: float) -> None:
    points = turned(FACE / 2 + 60, degrees)
    image = photo()
    wanted = reference.warp(image, reference.corners(points), 32)
    assert np.abs(align(image, crop_square(points), 32) - wanted).max() <= 0.5 + 1e-3  # rounding


def test_blocks_do_not_change_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    image, square = photo(), crop_square(FACE / 2 + 60)
    whole = align(image, square, 32)
    monkeypatch.setattr("progan.curation.alignment._BLOCK_SAMPLES", 1 << 11)
    np.testing.assert_array_equal(align(image, square, 32), whole)


def test_large_squares_are_averaged_and_not_skipped_over() -> None:
    lines = np.zeros((1200, 1200, 3), np.uint8)
    lines[:, ::6] = 255  # 4 samples for a pixel would lie 6.25 pixels apart: on the lines here, between them there
    square = crop_square(np.array([[500.0, 550], [700, 550], [600, 600], [530, 700], [670, 700]]))
    out = align(lines, square, 32).astype(float)  # 25 pixels of the image for each
    assert abs(out.mean() - 255 / 6) < 1
    assert out.std() < 8


def test_outside_is_mirrored_and_blurred_and_the_image_itself_kept() -> None:
    image = photo()
    points = FACE + np.array([-20, -40])
    square = crop_square(points)
    assert (square.corners < 0).any()
    padded = np.pad(image, ((150, 150), (150, 150), (0, 0)), mode="reflect")
    mirrored = align(padded, crop_square(points + 150), 64).astype(float)
    out = align(image, square, 64).astype(float)
    places = square.to_image(np.stack(np.meshgrid(*[(np.arange(64) + 0.5) / 64] * 2), -1))
    inside = np.all((places > 3) & (places < 196), axis=-1)
    far: np.ndarray = np.any(places < -30, axis=-1)
    np.testing.assert_array_equal(out[inside], mirrored[inside])
    assert far.any()
    detail = [np.abs(np.diff(picture, axis=1))[far[:, 1:]].mean() for picture in (out, mirrored)]
    assert detail[0] < 0.5 * detail[1]
    edge = np.abs(np.diff(out, axis=0))
    assert edge.max() <= np.abs(np.diff(mirrored, axis=0)).max() + 2  # no seam


def test_landmarks_that_are_no_face_are_refused() -> None:
    with pytest.raises(DataError, match="are not a face"):
        crop_square(np.ones((5, 2)))
    with pytest.raises(DataError, match="do not match this image of 200x200"):
        align(photo(), crop_square(FACE + 500), 32)


@pytest.fixture
def folder(tmp_path):
    """Nine photographs, every third blurred more, one broken and one without landmarks; and their CSV."""
    source = tmp_path / "photos"
    source.mkdir()
    names = [f"{i}.png" for i in range(9)]
    for i, name in enumerate(names):
        image = Image.fromarray(photo(i))
        if i >= 6:
            image = image.resize((25, 25)).resize((200, 200), Image.Resampling.BICUBIC)
        image.save(source / name)
    (source / "8.png").write_bytes(b"no picture")
    header = "file," + ",".join(
        f"{p}_{a}" for p in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth") for a in "xy"
    )
    rows = [f"{name}," + ",".join(map(str, (FACE + 10).ravel())) for name in names[1:]]
    (tmp_path / "landmarks.csv").write_text("\n".join([header, *rows]) + "\n")
    return tmp_path


def pixels(path) -> np.ndarray:
    return Store.open(path).level(64)


def ranking(path) -> list[dict]:
    with (path / "ranking.csv").open() as file:
        return list(csv.DictReader(file))


def test_store_holds_the_best_in_order_and_ranking_names_all(folder) -> None:
    args = ["prepare", "celebahq", f"{folder}/photos", f"{folder}/store", "--landmarks", f"{folder}/landmarks.csv"]
    assert main([*args, "--resolution", "64", "--keep", "5"]) == 0
    store, rows = Store.open(folder / "store"), ranking(folder / "store")
    assert (store.count, store.height, store.channels) == (5, 64, 3)
    scores = [float(row["score"]) for row in rows if row["rank"]]
    assert len(scores) == 7
    assert scores == sorted(scores, reverse=True)
    assert {row["file"] for row in rows[5:7]} == {"6.png", "7.png"}  # the enlarged ones
    assert {row["file"]: row["problem"][:5] for row in rows[7:]} == {"8.png": "not a", "0.png": "no la"}
    first = np.asarray(Image.open(folder / "photos" / rows[0]["file"]))
    np.testing.assert_array_equal(store.level(64)[0], align(first, crop_square(FACE + 10), 64))
    assert not list(folder.glob("store.*"))


def test_goes_on_after_a_kill_without_doing_finished_faces_again(folder, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [folder / "photos", folder / "store", folder / "landmarks.csv"]
    whole = prepare_celebahq(paths[0], folder / "whole", paths[2], resolution=64, workers=2)
    cut, done = crops.cut, []

    def stop_at_5(position: int, *args, **kwargs):
        if position == 5 and len(done) < 8:
            raise KeyboardInterrupt
        done.append(position)
        return cut(position, *args, **kwargs)

    monkeypatch.setattr(crops, "cut", stop_at_5)
    with pytest.raises(KeyboardInterrupt):
        prepare_celebahq(*paths, resolution=64, workers=1)
    (log,) = folder.glob("store.*.partial/progress.jsonl")
    finished = [json.loads(line)["position"] for line in log.read_text().splitlines()]
    assert finished
    with log.open("a") as file:
        file.write('{"position": 7, "fi')  # the kill cut a line off
    done[:] = [0] * 8
    assert prepare_celebahq(*paths, resolution=64, workers=1).hash == whole.hash
    assert sorted(done[8:]) == [i for i in range(1, 9) if i not in finished]
    done.clear()
    assert prepare_celebahq(*paths, resolution=64).hash == whole.hash  # nothing to do
    assert done == []


def test_restoring_changes_pixels_and_landmarks_together(folder) -> None:
    def double(image, points):
        return image.repeat(2, 0).repeat(2, 1), points * 2 + 0.5

    args = (folder / "landmarks.csv",)
    plain = prepare_celebahq(folder / "photos", folder / "a", *args, resolution=64)
    large = prepare_celebahq(folder / "photos", folder / "b", *args, resolution=64, restore=double, restore_name="2x")
    assert plain.count == large.count
    sides = [{row["file"]: float(row["side"] or 0) for row in ranking(folder / name)} for name in "ab"]
    assert all(sides[1][name] == pytest.approx(2 * side, abs=0.2) for name, side in sides[0].items())


def test_command_restores_with_the_networks_that_are_named(folder, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_restore(artefacts, super_resolution, *, device):
        asked.append((artefacts, super_resolution, device))
        return lambda image, points: (255 - image, points), "negative"

    monkeypatch.setitem(sys.modules, "progan.curation.restoring", SimpleNamespace(load_restore=load_restore))
    args = ["prepare", "celebahq", f"{folder}/photos", f"{folder}/store", "--landmarks", f"{folder}/landmarks.csv"]
    args += ["--resolution", "64"]
    assert main(args) == 0
    plain = {
        row["file"]: image for row, image in zip(ranking(folder / "store"), pixels(folder / "store"), strict=False)
    }
    assert main([*args, "--super-resolution", "sr.safetensors"]) == 0
    assert asked == [(None, Path("sr.safetensors"), "cpu")]
    first = ranking(folder / "store")[0]["file"]
    assert np.abs(255.0 - pixels(folder / "store")[0] - plain[first]).max() <= 1


def test_pictures_without_any_face_are_one_line(folder, capsys) -> None:
    (folder / "landmarks.csv").write_text((folder / "landmarks.csv").read_text().replace(".png", ".jpg"))
    args = ["prepare", "celebahq", f"{folder}/photos", f"{folder}/store", "--landmarks", f"{folder}/landmarks.csv"]
    assert main(args) == 2
    assert "no face could be cropped; found: 0.png: no landmarks" in capsys.readouterr().err
