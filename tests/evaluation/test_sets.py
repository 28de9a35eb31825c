from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from progan.data.options import PrepareOptions
from progan.data.store import Store, prepare
from progan.errors import CheckpointError, ConfigError, DataError
from progan.evaluation.sets import ENDLESS, check_sizes, of_array, of_snapshot, open_images, open_pair
from progan.gans import ProGANConfig
from progan.gans.base import ImageSpec
from progan.snapshot import Snapshot
from small import write_images


@pytest.fixture
def snapshot() -> Snapshot:
    torch.manual_seed(0)
    config = ProGANConfig(fmap_base=64, fmap_max=8, latent_size=6)
    spec = ImageSpec(3, 16, 16)
    return Snapshot(config.make_sampler(spec).requires_grad_(False), "progan", config, spec, level=2)


def test_array_is_read_in_an_order_that_the_seed_decides() -> None:
    images = np.arange(10, dtype=np.uint8)[:, None, None, None].repeat(4, 1).repeat(4, 2)
    sets = [of_array(images, name="a", seed=seed) for seed in (0, 0, 1)]
    orders = [s.read(0, 10)[:, 0, 0, 0].tolist() for s in sets]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == list(range(10))
    assert sets[0].read(3, 4)[:, 0, 0, 0].tolist() == orders[0][3:7]
    assert sets[0].read(0, 2).shape == (2, 1, 4, 4)


def test_store_has_a_set_for_each_level_and_one_hash_for_equal_content(store: Store, tmp_path: Path) -> None:
    full, half = open_images(store.path), open_images(store.path, resolution="8")
    assert (full.kind, full.height, half.height, full.count) == ("store", 16, 8, store.count)
    assert full.hash == half.hash == store.hash
    assert (full.resize, half.resize) == ("", "16x16 halved to 8x8")
    assert sorted(full.read(0, 40).flatten(1).sum(1).tolist()) == sorted(
        store.level(16).reshape(40, -1).sum(1).tolist()
    )


def test_source_is_measured_at_its_own_size_only(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PROGAN_CACHE", str(tmp_path / "cache"))
    fits = open_images(write_images(tmp_path / "fits", size=(16, 16)))
    assert (fits.kind, fits.height, fits.resize) == ("source", 16, "")
    odd = write_images(tmp_path / "odd", size=(20, 24))
    with pytest.raises(DataError, match=r"cannot be measured as they are.*\n.*20x24\n.*--resolution 16"):
        open_images(odd)
    scaled = open_images(odd, resolution="16")
    assert (scaled.height, scaled.resize) == (16, "20x24 to 16x16 (crop, lanczos)".replace("crop", "auto"))


def test_padded_digits_count_as_they_are(tmp_path: Path) -> None:
    write_images(tmp_path / "digits", size=(12, 12))
    options = PrepareOptions(resolution="16", fit="pad")
    assert open_images(prepare(tmp_path / "digits", tmp_path / "store", options, workers=0).path).resize == ""


def test_broken_source_names_the_command_that_has_the_remedy(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PROGAN_CACHE", str(tmp_path / "cache"))
    folder = write_images(tmp_path / "images")
    (folder / "class0" / "000.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"--on-error skip\n.*progan prepare .* STORE'; then measure STORE"):
        open_images(folder)


def test_snapshot_is_endless_and_seeds_of_measurements_do_not_meet(snapshot: Snapshot, tmp_path: Path) -> None:
    snapshot.save(tmp_path / "g.safetensors")
    images = open_images(tmp_path / "g.safetensors")
    assert (images.kind, images.count, images.height) == ("snapshot", ENDLESS, 16)
    assert torch.equal(images.read(2, 3), snapshot.generate(seeds=range(2, 5)))
    other = open_images(tmp_path / "g.safetensors", seed=1)
    assert torch.equal(other.read(0, 1), snapshot.generate(seeds=[1 << 32]))
    assert images.hash == open_images(tmp_path / "g.safetensors").hash != ""
    assert open_images(tmp_path / "g.safetensors", resolution="8").read(0, 1).shape == (1, 3, 8, 8)
    with pytest.raises(ConfigError, match="makes no images of 32; it makes 4x4, 8x8, 16x16"):
        open_images(tmp_path / "g.safetensors", resolution="32")


def test_snapshot_in_a_fade_is_measured_as_it_is(snapshot: Snapshot) -> None:
    fading = replace(snapshot, alpha=0.25)
    assert torch.equal(of_snapshot(fading, name="g").read(0, 2), fading.generate(seeds=range(2)))
    at_16 = of_snapshot(fading, name="g", resolution="16")
    assert torch.equal(at_16.read(0, 2), fading.generate(seeds=range(2)))


def test_conditional_snapshot_takes_the_classes_in_turn() -> None:
    torch.manual_seed(0)
    config, spec = ProGANConfig(fmap_base=64, fmap_max=8, latent_size=6, conditional=True), ImageSpec(3, 8, 8, 3)
    snapshot = Snapshot(config.make_sampler(spec).requires_grad_(False), "progan", config, spec, level=1)
    images = of_snapshot(snapshot, name="g")
    assert torch.equal(images.read(2, 2), snapshot.generate(seeds=[2, 3], label=[2, 0]))


def test_alpha_is_composited_over_white(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PROGAN_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    (tmp_path / "a").mkdir()
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (8, 8, 4), np.uint8)).save(tmp_path / f"a/{i}.png")
    rgb = prepare(tmp_path / "a", tmp_path / "rgb", PrepareOptions(channels=3), workers=0)
    rgba = prepare(tmp_path / "a", tmp_path / "rgba", PrepareOptions(channels=4), workers=0)
    one, other = (open_images(s.path).read(0, 3).int() for s in (rgb, rgba))
    assert (one - other).abs().max() <= 1  # Pillow rounds its own way


def test_mirroring_flips_about_half_and_depends_on_the_position_alone() -> None:
    images = np.random.default_rng(0).integers(0, 256, (200, 4, 4, 3), np.uint8)
    plain = of_array(images, name="a")
    mirrored = plain.mirrored(0)
    flipped = (mirrored.read(0, 200) != plain.read(0, 200)).flatten(1).any(1)
    assert 70 < flipped.sum() < 130
    assert torch.equal(mirrored.read(0, 200)[flipped], plain.read(0, 200).flip(3)[flipped])
    assert torch.equal(mirrored.read(50, 7), mirrored.read(0, 200)[50:57])


def test_pair_takes_the_level_of_a_real_store_that_fits(snapshot: Snapshot, store: Store, tmp_path: Path) -> None:
    replace(snapshot, level=1).save(tmp_path / "g.safetensors")
    fake, real = open_pair(tmp_path / "g.safetensors", store.path)
    assert (fake.height, real.height) == (8, 8)  # type: ignore[union-attr]
    assert open_pair(tmp_path / "g.safetensors", None)[1] is None


def test_sets_of_different_sizes_or_colors_are_refused() -> None:
    small, large = (of_array(np.zeros((4, s, s, 3), np.uint8), name=f"s{s}") for s in (8, 16))
    with pytest.raises(ConfigError, match=r"s8 has 8x8 with 3 channels, s16 16x16 with 3 channels.*--resolution 8"):
        check_sizes(small, large)
    with pytest.raises(ConfigError, match="grey has 8x8 with 1 channel, s8 8x8 with 3 channels"):
        check_sizes(of_array(np.zeros((4, 8, 8, 1), np.uint8), name="grey"), small)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not exist|no such"):
        open_images(tmp_path / "nothing")
    (tmp_path / "x.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="is not a whole safetensors file"):
        open_images(tmp_path / "x.safetensors")
