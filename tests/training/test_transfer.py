"""Runs that begin with the weights of another one: what is taken, what is not, and what is said."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from progan.api import preset, train
from progan.errors import CheckpointError, ConfigError
from progan.gans import DCGANConfig
from progan.presets.family import constant
from progan.snapshot import Snapshot
from progan.snapshot.discriminators import beside, load_discriminators
from progan.training import checkpoint
from progan.training.config import RunConfig
from small import small_run, write_images


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a ProGAN of 16x16 pixels, on its images in a folder next to it."""
    folder = tmp_path_factory.mktemp("source")
    write_images(folder / "images", count=20)
    return train(small_run(), folder / "images", out=folder, name="run").path


def begun(source: Path, out: Path, config: RunConfig | None = None, *, init: Path | None = None) -> Path:
    """A run that begins with the weights of another one and makes one step."""
    config = config or small_run()
    config = replace(config, schedule=replace(config.schedule, start_resolution=16, total_kimg=0.008))
    images = source.parent / "images"
    return train(config, images, out=out, name="new", init=init or source).path


def untrained(config: RunConfig) -> RunConfig:
    """The same run with a learning rate that changes nothing."""
    return replace(config, schedule=replace(config.schedule, lr=1e-30), adam_eps=1.0)


def test_all_weights_of_a_run_are_taken(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = begun(source, tmp_path, untrained(small_run()))
    old, new = (checkpoint.load(path)[0]["trainer"] for path in (source, run))  # type: ignore[index]
    for name, tensor in old["networks"].items():
        assert torch.equal(new["networks"][name], tensor), name
    for name, tensor in old["ema"].items():
        torch.testing.assert_close(new["ema"][name], torch.lerp(old["networks"][f"generator.{name}"], tensor, 0.999))
    assert new["images_seen"] == 8
    said = capsys.readouterr().err
    assert f"init: took all {len(old['ema'])} tensors of the generator\n" in said
    assert "tensors of the discriminator\n" in said


def test_a_snapshot_brings_its_discriminator_if_that_is_beside_it(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "g.safetensors"
    last = sorted((source / "snapshots").glob("*[0-9].safetensors"))[-1]
    file.write_bytes(last.read_bytes())
    run = begun(source, tmp_path / "alone", untrained(small_run()), init=file)
    assert "g.safetensors has no discriminator, which starts with new weights" in capsys.readouterr().err
    want = Snapshot.load(file).sampler.state_dict()
    for name, tensor in Snapshot.load(run).sampler.state_dict().items():
        assert torch.equal(tensor, want[name])
    beside(file).write_bytes(beside(last).read_bytes())
    run = begun(source, tmp_path / "both", untrained(small_run()), init=file)
    old, new = load_discriminators(file)["discriminator"], load_discriminators(run)["discriminator"]
    assert all(torch.equal(tensor, old.state_dict()[name]) for name, tensor in new.state_dict().items())


def test_what_does_not_fit_is_named(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = small_run()
    wider = replace(config, gan=replace(config.gan, latent_size=12))
    begun(source, tmp_path, wider)
    said = capsys.readouterr().err
    assert "tensors of the generator; new are: dense.weight is 128x12 here and 128x8 there\n" in said
    assert "init: took all" in said  # of the discriminator


def test_networks_that_have_nothing_in_common_are_refused(source: Path, tmp_path: Path) -> None:
    dcgan = constant(DCGANConfig(maps=2), 16, batch=8, lr=1e-3, total_kimg=0.008)
    with pytest.raises(ConfigError, match="none of its weights fits these networks; use the preset"):
        begun(source, tmp_path, dcgan)


def test_weights_that_do_not_exist_are_missed_before_anything_begins(source: Path, tmp_path: Path) -> None:
    for dry_run in (True, False):
        with pytest.raises(CheckpointError, match="nowhere: does not exist"):
            train(small_run(), source.parent / "images", out=tmp_path, init=tmp_path / "nowhere", dry_run=dry_run)
    assert not list(tmp_path.glob("*/samples"))


def test_a_resumed_run_keeps_its_own_weights(source: Path, tmp_path: Path) -> None:
    run = begun(source, tmp_path)
    before = checkpoint.load(run)[0]["trainer"]["networks"]  # type: ignore[index]
    begun(source, tmp_path)
    after = checkpoint.load(run)[0]["trainer"]["networks"]  # type: ignore[index]
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    with pytest.raises(ConfigError, match=r"holds a run that began with .*run, not with .*other"):
        begun(source, tmp_path, init=tmp_path / "other")


def test_auto_takes_the_networks_and_does_not_grow(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train("auto", source.parent / "images", out=tmp_path, init=source, dry_run=True)
    said = capsys.readouterr().out
    assert "the settings of the networks that it begins with, and no growing" in said
    assert "only 20 images, which D is shown augmented" in said
    gan = constant(DCGANConfig(maps=2), 16, batch=8, lr=1e-3, total_kimg=0.008)
    other = train(gan, source.parent / "images", out=tmp_path, name="dcgan").path
    with pytest.raises(ConfigError, match="auto trains a ProGAN"):
        train("auto", source.parent / "images", out=tmp_path, init=other, dry_run=True)


def test_frozen_layers_of_d_stay_as_they_were(source: Path, tmp_path: Path) -> None:
    """FreezeD: the block of 16x16 pixels and what images enter by, but not the others."""
    config = small_run()
    frozen = replace(config, gan=replace(config.gan, tricks=replace(config.gan.tricks, freeze_d=1)))
    run = begun(source, tmp_path, frozen)
    old, new = (checkpoint.load(path)[0]["trainer"]["networks"] for path in (source, run))  # type: ignore[index]
    same = {name for name, tensor in old.items() if torch.equal(new[name], tensor) and name.startswith("discriminator")}
    assert {name.split(".")[1] for name in same} == {"from_rgb", "blocks"}
    assert {name.split(".")[2] for name in same if ".blocks." in name} == {"1"}
    with pytest.raises(ConfigError, match="freeze_d must be at most 2"):
        begun(
            source,
            tmp_path / "2",
            replace(config, gan=replace(config.gan, tricks=replace(frozen.gan.tricks, freeze_d=3))),
        )


def test_auto_augments_few_images_only() -> None:
    assert preset("auto").gan.tricks.augment == "none"
