"""Films written and decoded again."""

import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from progan.errors import ConfigError, DataError
from progan.latent.video import check_film, save_film

av = pytest.importorskip("av")


def film(count: int, size: tuple[int, int] = (33, 47)) -> list[np.ndarray]:
    """A smooth picture that moves, in strong colors."""
    y, x = np.mgrid[: size[0], : size[1]]
    waves = [np.stack([np.sin(x / 20 + i / 2), np.cos(y / 20), np.sin((x + y) / 30 - i / 2)], 2) for i in range(count)]
    return [(127.5 + 120 * wave).round().astype(np.uint8) for wave in waves]


def decoded(path: Path) -> np.ndarray:
    with av.open(path) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_an_mp4_holds_all_frames_at_their_rate_size_and_colors(tmp_path: Path) -> None:
    frames = film(50)
    save_film(iter(frames), tmp_path / "film.mp4", fps=30)
    with av.open(tmp_path / "film.mp4") as container:
        stream = container.streams.video[0]
        assert (stream.average_rate, stream.frames, stream.codec_context.name) == (30, 50, "h264")
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert float(stream.duration * stream.time_base) == pytest.approx(50 / 30, abs=0.002)  # type: ignore[operator]
    seen = decoded(tmp_path / "film.mp4")
    assert seen.shape == (50, 34, 48, 3)  # 33x47 made even
    assert np.abs(seen[:, :33, :47].astype(int) - np.stack(frames)).mean((1, 2, 3)).max() < 5
    assert np.abs(seen[:, 33].astype(int) - seen[:, 32]).mean() < 5


def test_an_mp4_has_the_colors_it_was_given(tmp_path: Path) -> None:
    """Flat patches, as broken by a matrix, range or order of channels that writer and reader do not agree on."""
    patches = np.array(
        [[250, 20, 20], [20, 250, 20], [20, 20, 250], [200, 40, 90], [240, 240, 240], [8, 8, 8]], np.uint8
    )
    frame = patches.repeat(32, 0)[None].repeat(32, 0)  # [32, 192, 3]
    save_film([frame] * 3, tmp_path / "film.mp4", fps=30)
    seen = decoded(tmp_path / "film.mp4")[1, 16, 16::32]
    assert np.abs(seen.astype(int) - patches).max() <= 4
    with av.open(tmp_path / "film.mp4") as container:
        codec = container.streams.video[0].codec_context
        assert (codec.colorspace, codec.color_primaries, codec.color_trc, codec.color_range) == (1, 1, 1, 1)


def test_quality_is_in_the_size(tmp_path: Path) -> None:
    for crf in (5, 40):
        save_film(film(10), tmp_path / f"{crf}.mp4", fps=30, crf=crf)
    assert (tmp_path / "5.mp4").stat().st_size > 2 * (tmp_path / "40.mp4").stat().st_size


def test_a_gif_holds_all_frames_and_loops(tmp_path: Path) -> None:
    frames = film(12)
    save_film(iter(frames), tmp_path / "film.GIF", fps=25)
    with Image.open(tmp_path / "film.GIF") as image:
        assert (image.n_frames, image.size, image.info["loop"], image.info["duration"]) == (12, (47, 33), 0, 40)
        for i, frame in enumerate(frames):
            image.seek(i)
            assert np.abs(np.asarray(image.convert("RGB")).astype(int) - frame).mean() < 10


def test_a_folder_holds_all_frames_exactly(tmp_path: Path) -> None:
    frames = film(3)
    save_film(iter(frames), tmp_path / "film", fps=25)
    files = sorted((tmp_path / "film").iterdir())
    assert [file.name for file in files] == ["000000.png", "000001.png", "000002.png"]
    assert all(np.array_equal(np.asarray(Image.open(file)), frame) for file, frame in zip(files, frames, strict=True))


@pytest.mark.parametrize("name", ["film.mp4", "film.gif", "film"])
def test_few_frames_are_in_memory(name: str, tmp_path: Path) -> None:
    alive: list[weakref.ref] = []
    most = 0

    def frames() -> Iterator[np.ndarray]:
        nonlocal most
        for frame in range(150):
            array = np.full((16, 16, 3), frame, np.uint8)
            alive.append(weakref.ref(array))
            most = max(most, sum(ref() is not None for ref in alive))
            yield array

    save_film(frames(), tmp_path / name, fps=25)
    assert most <= 4


@pytest.mark.parametrize(
    ("name", "fps", "message"),
    [
        ("film.avi", 25, "a video ends in .mp4 or .gif; a name without an extension becomes a folder of PNG files"),
        ("film.gif", 60, "a GIF shows at most 50 frames per second, got 60; try --fps 25"),
        ("film.mp4", 0, "fps must be 1 ... 1000, got 0"),
    ],
)
def test_what_cannot_be_written_is_said_before(name: str, fps: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        check_film(tmp_path / name, fps)


def test_a_missing_encoder_is_named_with_its_remedy(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    for name in ("film.mp4", "film.gif"):
        with pytest.raises(ConfigError, match=r"fix:   pip install 'progan\[video\]', or pass a folder for PNG files"):
            check_film(tmp_path / name, 25)
    save_film(film(2), tmp_path / "film", fps=25)
    assert len(list((tmp_path / "film").iterdir())) == 2


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "note").touch()
    with pytest.raises(DataError, match="already exists, and frames require a new folder"):
        save_film(film(1), tmp_path, fps=25)
    assert [path.name for path in tmp_path.iterdir()] == ["note"]


@pytest.mark.parametrize("name", ["film.mp4", "film.gif"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line_and_leaves_the_film_before(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("before")
    path.with_name(name + ".partial").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device\)"):
        save_film(film(12, (100, 150)), path, fps=25)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(name, "before")]


def test_an_error_in_the_frames_is_not_swallowed_and_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from film(3)
        raise DataError("a snapshot is damaged")

    with pytest.raises(DataError, match=r"^a snapshot is damaged$"):
        save_film(broken(), tmp_path / "film.mp4", fps=25)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["walk-2026-11-28T08:39.mp4", "film:walk.gif", "file:film.mp4", "a%d.mp4", "n" * 251 + ".gif"]
)
def test_every_name_is_a_name(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_film(film(3), Path(name), fps=25)
    assert [path.name for path in Path().iterdir()] == [name]
    assert len(decoded(Path(name).rename("film"))) == 3


@pytest.mark.parametrize("fps", [25, 30, 7])
def test_a_gif_takes_as_long_as_its_frames(fps: int, tmp_path: Path) -> None:
    save_film(film(fps), tmp_path / "film.gif", fps=fps)
    with Image.open(tmp_path / "film.gif") as image:
        assert sum(frame.info["duration"] for frame in ImageSequence.Iterator(image)) == 1000
