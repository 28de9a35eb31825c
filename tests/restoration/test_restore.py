"""Pictures restored part by part against the whole, points, names, and snapshots that do not fit."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from progan.curation.restoring import load_restore
from progan.errors import CheckpointError, ConfigError
from progan.gans import ProGANConfig
from progan.gans.base import ImageSpec
from progan.images import to_float, to_uint8
from progan.restoration.artefacts import ArtefactsConfig
from progan.restoration.restore import in_tiles
from progan.restoration.super_resolution import SuperResolutionConfig
from progan.snapshot import Snapshot
from restoring import photographs, randomize

ARTEFACTS = ArtefactsConfig(maps=4, depth=2)
LARGER = SuperResolutionConfig(maps=4, blocks=1, feature_weight=0)


def kept(path: Path, gan: str, config: ArtefactsConfig | SuperResolutionConfig, channels: int = 3) -> Path:
    """A snapshot file of a network with random weights."""
    spec = ImageSpec(channels, 64, 64)
    network = randomize(config.make_sampler(spec))
    Snapshot(network, gan, config, spec, level=4).save(path)
    return path


@pytest.fixture
def snapshots(tmp_path: Path) -> tuple[Path, Path]:
    return (
        kept(tmp_path / "a.safetensors", "artefacts", ARTEFACTS),
        kept(tmp_path / "b.safetensors", "super_resolution", LARGER),
    )


class Shift(nn.Module):
    """Every pixel becomes the one three rows above and three columns to the left of it: the reach is all used."""

    scale, reach = 1, 3

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, 1, 7, 7))
        with torch.no_grad():
            self.weight[:, :, 0, 0] = 1

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x + 1, self.weight, padding=3, groups=3) - 1


@pytest.mark.parametrize("tile", [1, 4, 7, 100])
def test_parts_see_just_as_far_as_they_need(tile: int) -> None:
    image = photographs(1, 16)[0][:13]
    wanted = np.zeros_like(image)
    wanted[3:, 3:] = image[:-3, :-3]
    assert np.array_equal(in_tiles(Shift(), image, tile=tile), wanted)


@pytest.mark.parametrize("tile", [5, 16])
@pytest.mark.parametrize("config", [ARTEFACTS, LARGER], ids=["artefacts", "super_resolution"])
def test_parts_equal_the_whole(config: ArtefactsConfig | SuperResolutionConfig, tile: int) -> None:
    network = randomize(config.make_sampler(ImageSpec(3, 64, 64)), 0.5)
    image = photographs(1, 40)[0][:29]
    with torch.no_grad():
        whole = to_uint8(network(to_float(torch.from_numpy(image).permute(2, 0, 1)[None])))[0]
    whole = whole.permute(1, 2, 0).numpy().astype(int)
    assert whole.std() > 5
    difference = np.abs(in_tiles(network, image, tile=tile) - whole)
    assert difference.max() <= 1  # where rounding errors meet a half
    assert (difference > 0).mean() < 1e-3


def test_both_networks_are_applied_in_the_papers_order(snapshots: tuple[Path, Path]) -> None:
    restore, _ = load_restore(*snapshots)
    image, points = photographs(1, 12)[0], np.array([[0, 0], [11.0, 4.5]])
    better, moved = restore(image, points)
    first, second = (Snapshot.load(path).sampler for path in snapshots)
    assert np.array_equal(better, in_tiles(second, in_tiles(first, image)))
    assert better.shape == (48, 48, 3)
    assert moved.tolist() == [[1.5, 1.5], [45.5, 19.5]]  # the middle of the 4x4 pixels that one has become
    assert points.tolist() == [[0, 0], [11.0, 4.5]]


def test_each_network_is_optional(snapshots: tuple[Path, Path]) -> None:
    image, points = photographs(1, 12)[0], np.zeros((5, 2))
    assert load_restore(snapshots[0], None)[0](image, points)[0].shape == (12, 12, 3)
    assert load_restore(None, snapshots[1])[0](image, points)[0].shape == (48, 48, 3)
    with pytest.raises(ConfigError, match="requires the snapshot"):
        load_restore()


def test_points_stay_on_what_they_mark() -> None:
    class Twice(nn.Upsample):
        scale, reach = 2, 0

        def __init__(self) -> None:
            super().__init__(scale_factor=2)
            self.weight = nn.Parameter(torch.zeros(1))

    from progan.restoration.restore import Restoration

    image = np.zeros((9, 9, 3), np.uint8)
    image[2, 6] = 255
    better, moved = Restoration((Twice(),))(image, np.array([[6.0, 2.0]]))
    rows, columns = np.nonzero(better[..., 0])
    assert moved[0].tolist() == [columns.mean(), rows.mean()]


def test_name_changes_with_the_weights_and_with_nothing_else(snapshots: tuple[Path, Path], tmp_path: Path) -> None:
    name = load_restore(*snapshots)[1]
    assert name == load_restore(*snapshots)[1]
    assert len({name, load_restore(snapshots[0], None)[1], load_restore(None, snapshots[1])[1]}) == 3
    network = Snapshot.load(snapshots[0])
    with torch.no_grad():
        next(network.sampler.parameters())[0, 0, 0, 0] += 1e-3
    network.save(tmp_path / "other.safetensors")
    assert load_restore(tmp_path / "other.safetensors", snapshots[1])[1] != name


def test_read_only_pictures_are_taken(snapshots: tuple[Path, Path]) -> None:
    image, restore = photographs(1, 12)[0], load_restore(snapshots[0], None)[0]
    wanted, _ = restore(image.copy(), np.zeros((5, 2)))
    image.flags.writeable = False
    assert np.array_equal(restore(image, np.zeros((5, 2)))[0], wanted)


def test_other_networks_are_refused_by_name(snapshots: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"a\.safetensors: expected a network of kind super_resolution .* found artefacts"
    ):
        load_restore(None, snapshots[0])
    with pytest.raises(ConfigError, match="with 1 channels"):
        load_restore(kept(tmp_path / "grey.safetensors", "artefacts", ARTEFACTS, channels=1), None)
    config, spec = ProGANConfig(fmap_base=16, fmap_max=4, latent_size=4), ImageSpec(3, 8, 8)
    Snapshot(config.make_sampler(spec), "progan", config, spec, level=1).save(tmp_path / "progan.safetensors")
    with pytest.raises(ConfigError, match="found progan"):
        load_restore(tmp_path / "progan.safetensors", None)


def test_broken_weights_are_said(tmp_path: Path) -> None:
    network = ARTEFACTS.make_sampler(ImageSpec(3, 64, 64))
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pytest.raises(CheckpointError, match="not finite"):
        in_tiles(network, photographs(1, 8)[0])
