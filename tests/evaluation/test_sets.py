from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from progan import draws
from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.data.store import Store
from progan.errors import CheckpointError, ConfigError, DataError
from progan.evaluation.measure import Measurement
from progan.evaluation.monitor import MetricMonitor
from progan.evaluation.sets import (
    ENDLESS,
    ImageSet,
    check_sizes,
    of_array,
    of_snapshot,
    of_store,
    open_images,
    open_pair,
)
from progan.gans import ProGANConfig
from progan.gans.base import ImageSpec, Latent
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
    with pytest.raises(DataError, match=r"cannot be measured at their own size.*\n.*20x24\n.*--resolution 16"):
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


def test_snapshot_is_endless_and_what_it_generates_is_a_function_of_seed_and_position(
    snapshot: Snapshot, tmp_path: Path
) -> None:
    snapshot.save(tmp_path / "g.safetensors")
    images = open_images(tmp_path / "g.safetensors", seed=5)
    assert (images.kind, images.count, images.height) == ("snapshot", ENDLESS, 16)
    z = draws.normal(5, "metric/latent", 2, 3, 6)
    assert torch.equal(images.read(2, 3), snapshot.generate(z))
    assert images.hash == open_images(tmp_path / "g.safetensors").hash != ""
    assert open_images(tmp_path / "g.safetensors", resolution="8").read(0, 1).shape == (1, 3, 8, 8)
    with pytest.raises(ConfigError, match="cannot generate images of 32; supported: 4x4, 8x8, 16x16"):
        open_images(tmp_path / "g.safetensors", resolution="32")


def test_measurements_with_different_seeds_share_no_latents(snapshot: Snapshot) -> None:
    seeds = [0, 1, 2, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1]  # a shift by 32 bits fails from 2^31 on
    rows = torch.cat([snapshot.latents_at(seed, "metric/latent", 0, 40) for seed in seeds])
    assert len(rows.unique(dim=0)) == len(seeds) * 40
    images = torch.cat([of_snapshot(snapshot, name="g", seed=seed).read(0, 4) for seed in seeds])
    assert len(images.unique(dim=0)) == len(seeds) * 4


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seeds_that_are_none_are_refused(seed: int, snapshot: Snapshot) -> None:
    for make in (
        lambda: of_snapshot(snapshot, name="g", seed=seed),
        lambda: of_array(np.zeros((4, 8, 8, 3), np.uint8), name="a", seed=seed),
        lambda: Measurement(None, ["ms_ssim"], seed=seed),
    ):
        with pytest.raises(ConfigError, match=r"seed must be 0 \.\.\. 2\^63 - 1"):
            make()


def test_snapshot_in_a_fade_is_measured_as_it_is(snapshot: Snapshot) -> None:
    fading = replace(snapshot, alpha=0.25)
    wanted = fading.generate(snapshot.latents_at(0, "metric/latent", 0, 2))
    assert torch.equal(of_snapshot(fading, name="g").read(0, 2), wanted)
    at_16 = of_snapshot(fading, name="g", resolution="16")
    assert torch.equal(at_16.read(0, 2), wanted)


# --- classes


class Collapsed(torch.nn.Module):
    """A generator that has collapsed: one image for each class, whatever the latent."""

    latent = Latent(4)

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.images = torch.nn.Parameter(torch.rand(classes, 3, 8, 8) * 2 - 1)

    def forward(
        self, z: torch.Tensor, level: int, alpha: torch.Tensor | None, labels: torch.Tensor | None
    ) -> torch.Tensor:
        return self.images[labels]


def collapsed(classes: tuple[str, ...]) -> Snapshot:
    torch.manual_seed(0)
    config, spec = ProGANConfig(conditional=True), ImageSpec(3, 8, 8, len(classes))
    return Snapshot(Collapsed(len(classes)), "progan", config, spec, 1, classes=classes)


def labels_of(images: ImageSet, snapshot: Snapshot, count: int) -> np.ndarray:
    """The class of each image of a collapsed generator."""
    known = snapshot.generate(torch.zeros(snapshot.spec.classes, 4), label=list(range(snapshot.spec.classes)))
    return (images.read(0, count)[:, None] == known).flatten(2).all(2).int().argmax(1).numpy()


DIGITS = tuple("0123456789")


def test_pairs_of_ms_ssim_see_a_collapse_inside_classes() -> None:
    """Of 1000 pairs of 10 equally frequent classes 100 are of one class, to 4 standard deviations of 9.5."""
    report = Measurement(None, ["ms_ssim"], count=2000)(of_snapshot(collapsed(DIGITS), name="g"))
    images = of_snapshot(collapsed(DIGITS), name="g").read(0, 2000)
    equal = (images[0::2] == images[1::2]).flatten(1).all(1).sum()
    assert 62 < equal < 138
    assert report.fake["labels"] == "uniform"


def real_images(counts: dict[str, int]) -> ImageSet:
    plain = of_array(np.zeros((10, 8, 8, 3), np.uint8), name="real", hash="f" * 64)
    return replace(plain, class_counts=lambda names: tuple(counts[name] for name in names) if counts else ())


def test_classes_are_as_frequent_as_in_the_real_images_and_a_function_of_the_position() -> None:
    snapshot, real = collapsed(("a", "b", "c")), real_images({"a": 900, "b": 0, "c": 100})
    images = of_snapshot(snapshot, name="g", like=real)
    labels = labels_of(images, snapshot, 2000)
    assert np.bincount(labels, minlength=3).tolist()[1] == 0
    assert 0.1 - 4 * 0.0067 < (labels == 2).mean() < 0.1 + 4 * 0.0067  # sqrt(.1 * .9 / 2000)
    assert torch.equal(images.read(70, 30), images.read(0, 100)[70:])
    assert not np.array_equal(labels, labels_of(of_snapshot(snapshot, name="g", like=real, seed=1), snapshot, 2000))
    share = draws.uniform(0, "metric/class", 0, 2000, 1)[:, 0]
    assert np.array_equal(labels, np.where(share < 0.9, 0, 2))
    assert images.about()["labels"] == "as in ffffffffffffffff"


def test_every_way_to_measure_takes_the_classes_of_the_real_images(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PROGAN_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    config = ProGANConfig(fmap_base=64, fmap_max=8, latent_size=6, conditional=True)
    spec = ImageSpec(3, 16, 16, 2)
    snapshot = Snapshot(config.make_sampler(spec), "progan", config, spec, 2, classes=("class1", "class0"))
    snapshot.save(tmp_path / "g.safetensors")
    folder = write_images(tmp_path / "images", count=8)
    for path in sorted((folder / "class1").iterdir())[1:]:  # 4 of one class, 1 of the other
        path.unlink()
    store = prepare(folder, tmp_path / "store", PrepareOptions(resolution="16"), workers=0)
    assert of_store(store).class_counts(("class1", "class0")) == (1, 4)
    assert of_store(store).class_counts(("class1", "class2")) == ()
    wanted = of_snapshot(snapshot, name="g", like=of_store(store))
    assert wanted.labels == f"as in {store.hash[:16]}"
    fakes, reals = open_pair(tmp_path / "g.safetensors", store.path)
    assert torch.equal(fakes.read(0, 20), wanted.read(0, 20))
    assert fakes.labels == wanted.labels
    measured, alone, unknown = (
        Measurement(real, ["ms_ssim"], count=40)(images)
        for real, images in (
            (reals, wanted),
            (reals, of_snapshot(snapshot, name="g")),
            (None, of_snapshot(snapshot, name="g")),
        )
    )
    assert alone.fake == measured.fake
    assert alone.results[0].values == measured.results[0].values != unknown.results[0].values
    row = MetricMonitor(store, ["ms_ssim"], kimg=1, seed=0, count=40)(snapshot)
    assert row["ms_ssim"] == measured.results[0].value
    assert unknown.fake["labels"] == "uniform"


@pytest.mark.parametrize("counts", [{}, {"a": 0, "b": 0, "c": 0}])
def test_classes_are_equally_frequent_where_nothing_is_known(counts: dict[str, int]) -> None:
    snapshot = collapsed(("a", "b", "c"))
    images = of_snapshot(snapshot, name="g", like=real_images(counts))
    assert np.bincount(labels_of(images, snapshot, 300), minlength=3).min() > 70
    assert images.labels == "uniform"
    assert of_snapshot(snapshot, name="g", labels=lambda first, count: torch.ones(count).long()).labels == "given"


# --- order


def test_file_order_is_that_of_the_store_or_the_files(store: Store, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PROGAN_CACHE", str(tmp_path / "cache"))
    wanted = torch.from_numpy(np.array(store.level(16)[3:7])).permute(0, 3, 1, 2)
    for images in (
        of_store(store, order="file"),
        open_images(store.path, order="file", seed=3),
        open_pair(store.path, store.path, order="file")[1],
        of_array(np.array(store.level(16)), name="a", order="file"),
    ):
        assert images is not None
        assert torch.equal(images.read(3, 4), wanted)
        assert images.about()["order"] == "file"
    assert of_store(store).about()["order"] == "seed"


def test_order_decides_what_ms_ssim_pairs() -> None:
    """Images 2i and 2i + 1 are nearly equal: neighbors are alike in file order, and only there."""
    rng = np.random.default_rng(0)
    once = rng.integers(0, 250, (100, 8, 8, 3), np.uint8)
    images = np.repeat(once, 2, 0) + rng.integers(0, 5, (200, 8, 8, 3), np.uint8)
    values = {}
    for order in ("file", "seed"):
        real = of_array(images, name="a", order=order)  # type: ignore[arg-type]
        values[order] = Measurement(None, ["ms_ssim"], count=200)(real).results[0].value
    assert values["file"] > 0.9
    assert values["seed"] < 0.2


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
