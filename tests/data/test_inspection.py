import io
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from progan.data.inspection import NEAR_BITS, difference_hash, groups_of, inspect, near_groups
from progan.data.inspection.contact import contact_sheet
from progan.data.inspection.overview import store_duplicates, store_values
from progan.data.inspection.report import histogram, report
from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.data.sources import open_source
from references.image_files import encoded, make_zip, noise, save


def smooth(seed: int, side: int = 64) -> np.ndarray:
    """A picture with large shapes, as noise has no likeness."""
    coarse = Image.fromarray(noise(6, 6, seed=seed))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """40 pictures of two classes; an equal one as BMP, one as bad JPEG, one brighter, two broken files."""
    folder = tmp_path / "album"
    for i in range(40):
        save(folder / "ab"[i % 2] / f"{i:02d}.png", smooth(i))
    save(folder / "a" / "equal.bmp", smooth(3))
    (folder / "a" / "near.jpg").write_bytes(encoded(smooth(5), "JPEG", quality=40))
    save(folder / "b" / "near.png", (smooth(8) * 0.9 + 25).astype(np.uint8))
    save(folder / "b" / "grey.png", smooth(99)[..., 0])
    (folder / "b" / "cut.png").write_bytes(encoded(smooth(50))[:500])
    (folder / "b" / "empty.jpg").write_bytes(b"")
    return folder


@pytest.mark.parametrize("workers", [1, 3])
def test_finds_what_was_planted(album: Path, workers: int) -> None:
    found = inspect(open_source(album), PrepareOptions(), workers=workers)
    assert [sorted(group) for group in found.exact] == [["a/equal.bmp", "b/03.png"]]
    assert sorted(sorted(group) for group in found.near) == [["a/08.png", "b/near.png"], ["a/near.jpg", "b/05.png"]]
    assert [line.split(":")[0] for line in found.findings.broken] == ["b/cut.png", "b/empty.jpg"]
    assert found.class_counts() == {"a": 22, "b": 22}
    assert found.plan.height == 64
    assert found.store_bytes == 44 * 3 * (64**2 + 32**2 + 16**2 + 8**2 + 4**2)


def test_report_says_it_with_the_commands(album: Path) -> None:
    text = report(inspect(open_source(album), PrepareOptions()), str(album))
    for part in (
        "images       44 of 46 can be read",
        "channels     RGB 43, L 1",
        "64x64 ######################################## 44",
        "broken       2\n  b/cut.png: broken image",
        "identical    1 group with the same decoded pixels\n  a/equal.bmp = b/03.png",
        "similar      2 groups",
        "classes      2\n  a ######################################## 22",
        f"progan prepare {album} album_64 --resolution 64 --on-error skip",
        "progan train auto album_64",
    ):
        assert part in text


@pytest.mark.parametrize("name", ["my $HOME's", "n" * 255, "-x"])
def test_suggested_commands_can_be_typed(tmp_path: Path, name: str, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / name / "1.png", smooth(1))
    text = report(inspect(open_source(Path(name)), PrepareOptions()), name)
    (line,) = (line for line in text.splitlines() if line.startswith("run "))
    words = shlex.split(line)
    assert Path(words[3]).samefile(name)
    assert len(words[4]) <= 255
    assert words[5:] == ["--resolution", "64"]
    prepare(words[3], words[4], workers=0)
    assert shlex.split(text.splitlines()[-1])[:4] == ["progan", "train", "auto", words[4]]


def test_a_store_of_the_same_has_the_same_duplicates(album: Path, tmp_path: Path) -> None:
    store = prepare(album, tmp_path / "store", PrepareOptions(on_error="skip"), workers=0)
    found = store_duplicates(store)
    assert [sorted(store.names[i] for i in group) for group in found.equal] == [["a/equal.bmp", "b/03.png"]]
    near = sorted(sorted(store.names[i] for i in group) for group in found.near)
    assert near == [["a/08.png", "b/near.png"], ["a/near.jpg", "b/05.png"]]


def test_reports_a_source_of_nothing_but_broken_files(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"1.png": b"", "2.png": b"no"})
    found = inspect(open_source(path), PrepareOptions())
    assert found.plan is None
    assert "0 of 2 can be read" in report(found, str(path))


def test_hash_equals_imagehash_on_equal_thumbnails() -> None:
    imagehash = pytest.importorskip("imagehash")
    pictures = [Image.fromarray(smooth(i)).convert("L") for i in range(30)]
    thumbs = np.stack([np.asarray(p.resize((9, 8), Image.Resampling.LANCZOS)) for p in pictures])
    wanted = [int(str(imagehash.dhash(picture)), 16) for picture in pictures]
    assert difference_hash(thumbs).tolist() == wanted


def test_every_pair_within_the_distance_is_found() -> None:
    """Against all pairs: thumbnails with at most three bits flipped, wherever these lie."""
    rng = np.random.default_rng(0)
    base = (128 + np.cumsum(rng.choice([-1, 1], (300, 8, 9)), 2)).astype(np.uint8)
    copies = base.copy()
    for i, thumb in enumerate(copies):  # a step up becomes one down in i % 6 places
        for k in rng.permutation(64)[: i % 6]:
            row, column = divmod(k, 8)
            thumb[row, column + 1 :] += np.uint8(2 if thumb[row, column + 1] < thumb[row, column] else 254)
    thumbs = np.concatenate([base, copies])
    distance = (difference_hash(base) ^ difference_hash(copies)).tolist()
    assert {i % 6 for i, d in enumerate(distance) if d.bit_count() <= NEAR_BITS} == {0, 1, 2, 3}
    together = near_groups(thumbs)
    for i, d in enumerate(distance):
        assert (together[i] == together[300 + i]) == (d.bit_count() <= NEAR_BITS)
    assert len(groups_of(together.tolist())) == sum(d.bit_count() <= NEAR_BITS for d in distance)


def test_groups_grow_through_members_and_flat_images_do_not_take_long() -> None:
    assert near_groups(np.full((3000, 8, 9), 7, np.uint8)).tolist() == [0] * 3000
    assert near_groups(np.zeros((1, 8, 9), np.uint8)).tolist() == [0]


def test_equal_hashes_of_unlike_pictures_are_told_apart() -> None:
    faint = np.tile(np.arange(9, dtype=np.uint8), (1, 8, 1))
    assert near_groups(np.concatenate([faint, faint * 20, faint + 100])).tolist() == [0, 1, 0]


def test_histogram_shows_sizes_or_ranges() -> None:
    assert histogram([(8, 9), (8, 9), (7, 9)]) == [f"7x9 {'#' * 20} 1", f"8x9 {'#' * 40} 2"]
    lines = histogram([(i, i) for i in range(60, 72)])
    assert lines == [f"32 ... 63 (shorter side)  {'#' * 20} 4", f"64 ... 127 (shorter side) {'#' * 40} 8"]


@pytest.mark.parametrize("size", [(200, 300), (10, 40), (1, 1)])
def test_stores_of_any_size_are_looked_at(tmp_path: Path, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, *size, 4), np.uint8)
    pixels[1, :, :, 3] = 0
    for name, i in (("1", 0), ("2", 0), ("3", 1), ("4", 2)):
        save(tmp_path / "source" / f"{name}.png", pixels[i])
    options = PrepareOptions(resolution=f"{size[0]}x{size[1]}", channels=4)
    store = prepare(tmp_path / "source", tmp_path / "store", options)
    assert len(store_duplicates(store).equal) == 1
    values, _ = store_values(store)
    assert (values.images, values.white) == (4, 1)  # what is transparent is white
    picture, _ = contact_sheet(store)
    assert picture.mode == "RGB"


def test_a_picture_as_png_and_as_lossless_webp_is_equal(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(smooth(1)).save(file, "WEBP", lossless=True)
    path = make_zip(tmp_path / "a.zip", {"1.png": encoded(smooth(1)), "2.webp": file.getvalue()})
    assert inspect(open_source(path), PrepareOptions()).exact == [["1.png", "2.webp"]]


def test_the_brightness_of_a_large_store_is_that_of_a_sample(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5000, 64, 64), np.uint8)
    np.save(tmp_path / "a.npy", pixels)
    store = prepare(tmp_path / "a.npy", tmp_path / "store", PrepareOptions(resolution="64"), workers=0)
    values, of = store_values(store)
    assert (values.images, of) == (2000, "2,000 of 5,000 images at 32x32")
    assert values.histogram.sum() == 2000 * 32 * 32
    rows = np.linspace(0, 4999, 2000).round().astype(int)
    assert np.array_equal(values.histogram, np.bincount(store.level(32)[rows].reshape(-1), minlength=256))
