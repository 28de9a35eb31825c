"""Frames of walks and of training, image by image."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from progan.errors import CheckpointError, ConfigError
from progan.gans import ProGANConfig
from progan.gans.base import ImageSpec
from progan.latent.films import Screen, interpolation, snapshots_of, training
from progan.latent.walks import Walk
from progan.snapshot import Snapshot

SCREEN = Screen(columns=2, rows=1, size=(16, 32))
WALK = Walk(frames=40, cells=2, components=6, sigma=2.0)


def make(*, level: int = 1, alpha: float = 1.0, kimg: float = 3.0, classes: int = 0, seed: int = 0) -> Snapshot:
    torch.manual_seed(seed)
    spec = ImageSpec(3, 8, 16, classes)
    config = ProGANConfig(fmap_base=64, fmap_max=8, latent_size=6, conditional=classes > 0)
    generator = config.make_sampler(spec).requires_grad_(False)
    return Snapshot(generator, "progan", config, spec, level=level, alpha=alpha, kimg=kimg)


def repeated(image: Tensor, factor: int) -> np.ndarray:
    return image.repeat_interleave(factor, 1).repeat_interleave(factor, 2).permute(1, 2, 0).numpy()


def cells(frame: np.ndarray) -> list[np.ndarray]:
    """The two tiles of a frame of SCREEN."""
    assert frame.shape == (16, 32 + 2 + 32, 3)
    assert (frame[:, 32:34] == 255).all()
    return [frame[:, :32], frame[:, 34:]]


@pytest.mark.parametrize("classes", [0, 3])
def test_every_cell_walks_its_own_way_and_keeps_its_class(classes: int) -> None:
    snapshot = make(classes=classes)
    frames = list(interpolation(snapshot, WALK, SCREEN, batch=3))
    assert len(frames) == 40
    z = WALK.latents(0, 40)
    for t in (0, 1, 17, 39):
        made = snapshot.generate(z[t], label=[0, 1] if classes else None)
        for cell, image in zip(cells(frames[t]), made, strict=True):
            assert np.abs(cell.astype(int) - repeated(image, 2)).max() <= 1  # batches round differently


def test_one_class_for_all_cells_and_a_smaller_level() -> None:
    snapshot = make(classes=3)
    frame = next(interpolation(snapshot, WALK, SCREEN, label=2, level=0))
    made = snapshot.generate(WALK.latents(0, 1)[0], label=2, level=0)
    for cell, image in zip(cells(frame), made, strict=True):
        assert np.abs(cell.astype(int) - repeated(image, 4)).max() <= 1


def test_labels_for_a_generator_without() -> None:
    with pytest.raises(ConfigError, match="trained without labels"):
        next(interpolation(make(), WALK, SCREEN, label=1))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_frames_are_rgb_whatever_the_channels(channels: int) -> None:
    images = torch.randint(0, 256, (2, channels, 8, 16), dtype=torch.uint8)
    screen = Screen(columns=1, rows=2, size=(8, 16))
    frame = screen.frame(images)
    assert frame.shape[:2] == screen.frame_size
    assert (frame.dtype, frame.shape) == (np.uint8, (18, 16, 3))
    color = images[0, :3].expand(3, -1, -1).permute(1, 2, 0).double()
    opacity = images[0, 3, :, :, None].double() / 255 if channels == 4 else 1.0
    assert np.abs(frame[:8] - np.asarray(color * opacity + 255 * (1 - opacity))).max() < 1


def test_smooth_is_lanczos() -> None:
    image = torch.randint(0, 256, (1, 3, 8, 16), dtype=torch.uint8)
    frame = Screen(columns=1, rows=1, size=(16, 32), smooth=True).frame(image)
    wanted = Image.fromarray(image[0].permute(1, 2, 0).numpy()).resize((32, 16), Image.Resampling.LANCZOS)
    assert np.array_equal(frame, np.asarray(wanted))


def run(folder: Path) -> list[Snapshot]:
    snapshots = [make(level=0, kimg=9.0), make(level=1, alpha=0.5, kimg=10.0, seed=1), make(kimg=20.0, seed=2)]
    for snapshot in snapshots:
        snapshot.save(folder / f"snapshots/{snapshot.kimg:011.3f}.safetensors")
    return snapshots


def test_training_shows_the_same_latents_in_every_snapshot_with_its_fade(tmp_path: Path) -> None:
    snapshots = run(tmp_path)
    files = snapshots_of(tmp_path)
    assert [file.stem for file in files] == ["0000009.000", "0000010.000", "0000020.000"]
    frames = list(training(files, SCREEN, frames=7, seed=5, caption=False))
    for t, (i, factor) in enumerate([(0, 4)] * 2 + [(1, 2)] * 2 + [(2, 2)] * 3):
        made = snapshots[i].generate(seeds=[5, 6])
        for cell, image in zip(cells(frames[t]), made, strict=True):
            assert np.array_equal(cell, repeated(image, factor))


def test_a_caption_stands_below_and_changes_nothing_above(tmp_path: Path) -> None:
    run(tmp_path)
    plain, written = (list(training(snapshots_of(tmp_path), SCREEN, frames=3, caption=c)) for c in (False, True))
    for one, other in zip(plain, written, strict=True):
        assert other.shape == (16 + 16, 66, 3)
        assert np.array_equal(other[:16], one)
        assert other[16:].min() < 100
    assert not np.array_equal(written[0][16:], written[1][16:])


def test_runs_without_snapshots(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, words in [
        (tmp_path, "has no snapshots"),
        (tmp_path / "no", "does not exist"),
        (tmp_path / "file", "is a file"),
    ]:
        with pytest.raises(CheckpointError, match=f"{words}; a video of training requires a run directory"):
            snapshots_of(path)
