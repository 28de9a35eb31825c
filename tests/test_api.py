"""Training and runs from Python, with GANs that are not ProGAN, from folders of any size."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import progan
from progan.cli import main
from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.data.store import Store
from progan.errors import CheckpointError, ConfigError, DataError
from progan.evaluation.sets import open_images
from progan.schedule import ScheduleConfig
from progan.snapshot import Snapshot, snapshots_in
from progan.snapshot.discriminators import beside, load_discriminators
from progan.snapshot.registry import GANS
from progan.training.session import Progress
from small import small_run, write_images
from toys import AutoencoderConfig, ClippedConfig, PointsConfig, TranslationConfig


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Toys have names in snapshots, too."""
    for kind in (AutoencoderConfig, ClippedConfig, PointsConfig, TranslationConfig):
        monkeypatch.setitem(GANS, kind.__name__, kind)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Store]:
    """40 and 24 images of 12x12, in RGB and grey."""
    folder = tmp_path_factory.mktemp("pair")
    found = []
    for name, count, channels in (("a", 40, 3), ("b", 24, 1)):
        images = write_images(folder / name, count=count, size=(12, 12), classes=1)
        options = PrepareOptions(resolution="12", channels=channels)
        found.append(prepare(images, folder / f"{name}_store", options, workers=0))
    return found[0], found[1]


def fixed(gan: object, **more: object) -> progan.RunConfig:
    """A run of 160 images of 12x12."""
    schedule = ScheduleConfig(resolution=12, start_resolution=12, batch=8, lr=0.01, total_kimg=0.16)
    intervals = {"log_kimg": 0.04, "sample_kimg": 0.08, "snapshot_kimg": 0.08}
    return progan.RunConfig(**{"gan": gan, "schedule": schedule, **intervals, **more})  # type: ignore[arg-type]


def test_a_run_has_statistics_samples_and_snapshots(store: Store, tmp_path: Path) -> None:
    run = progan.train(small_run(), store, out=tmp_path, name="run", device="cpu")
    assert run.path == tmp_path / "run"
    assert run.ended_by is None
    again = progan.Run.open(tmp_path / "run")
    assert again.finished
    assert again.kimg == pytest.approx(0.16)
    assert again.stats["kimg"].tolist() == [row["kimg"] for row in map(json.loads, (run.path / "stats.jsonl").open())]
    assert again.stats["generator/fake"].dtype == np.float64
    assert again.config["schedule"]["batch"] == 8
    assert [path.suffix for path in again.samples] == [".png"] * len(again.samples)
    assert len(again.samples) == len(again.snapshots) == 8
    assert again.snapshot().kimg == pytest.approx(0.16)
    assert again.snapshot(0).level == 0
    with pytest.raises(CheckpointError, match="has 8 snapshots, but no number 8"):
        again.snapshot(8)
    assert again.metrics == {}


def test_nothing_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config.json: is missing or damaged"):
        progan.Run.open(tmp_path)


@pytest.mark.usefixtures("no_probe")
def test_the_same_call_resumes_and_a_callback_stops_as_ctrl_c_does(store: Store, tmp_path: Path) -> None:
    seen: list[Progress] = []

    def until_100(progress: Progress) -> bool | None:
        seen.append(progress)
        return False if progress.kimg > 0.1 else None

    run = progan.train(small_run(), store, out=tmp_path, name="run", device="cpu", callbacks=[until_100])
    assert run.ended_by
    assert not run.finished
    assert run.kimg == pytest.approx(0.104)
    assert {path for p in seen if (path := p.snapshot)} == set(run.snapshots)
    assert {path for p in seen if (path := p.sheet)} == set(run.samples)
    assert [p.stats["kimg"] for p in seen if p.stats] == run.stats["kimg"].tolist()
    assert {p.total_kimg for p in seen} == {0.16}
    run = progan.train(small_run(), store, out=tmp_path, name="run", device="cpu")
    whole = progan.train(small_run(), store, out=tmp_path, name="whole", device="cpu")
    assert run.finished
    assert run.snapshots[-1].read_bytes() == whole.snapshots[-1].read_bytes()


@pytest.mark.usefixtures("no_probe")
def test_equal_runs_write_equal_snapshots_wherever_they_are(store: Store, tmp_path: Path) -> None:
    short = small_run(total_kimg=0.032)
    runs = [progan.train(short, store, out=tmp_path / place, name="run", device="cpu") for place in ("a", "b")]
    files = [[*run.snapshots, beside(run.snapshots[-1])] for run in runs]
    assert [file.name for file in files[0]] == [file.name for file in files[1]]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*files, strict=True))


@pytest.mark.usefixtures("no_probe")
def test_training_works_outside_the_main_thread(store: Store, tmp_path: Path) -> None:
    """As in some notebooks and servers, where no signal can be taken."""
    done: list[progan.Run] = []
    short = small_run(total_kimg=0.016)
    thread = threading.Thread(target=lambda: done.append(progan.train(short, store, out=tmp_path, device="cpu")))
    thread.start()
    thread.join()
    assert done[0].finished


@pytest.mark.usefixtures("no_probe")
def test_presets_by_name_and_changed(store: Store, tmp_path: Path) -> None:
    gan = progan.preset("demo").gan

    def change(config: progan.RunConfig) -> progan.RunConfig:
        schedule = replace(config.schedule, hold_kimg=0.008, fade_kimg=0.008, total_kimg=0.032, batch=8)
        return replace(config, gan=replace(gan, fmap_max=4), schedule=schedule)

    run = progan.train("demo", store, change=change, out=tmp_path, device="cpu")
    assert run.path.name == f"demo-{store.path.name}"
    assert (run.config["gan"]["fmap_max"], run.config["gan"]["latent_size"]) == (4, 64)
    with pytest.raises(ConfigError, match="unknown preset 'nothing'; choose from auto, demo"):
        progan.preset("nothing")
    with pytest.raises(ConfigError, match="training requires DATA"):
        progan.train("demo")


def test_epochs_are_turned_into_images(stores: tuple[Store, Store], tmp_path: Path) -> None:
    run = progan.train(fixed(ClippedConfig()), stores[0], epochs=1.2, out=tmp_path, device="cpu", dry_run=True)
    assert not run.path.exists()
    decay = replace(fixed(None).schedule.decay, kind="linear", start_kimg=0.08)
    schedule = replace(fixed(None).schedule, decay=decay).for_epochs(10, 40)
    assert (schedule.total_kimg, schedule.decay.start_kimg) == (0.4, 0.2)
    two = progan.train(fixed(TranslationConfig()), *stores, epochs=2, out=tmp_path, name="two", device="cpu")
    assert two.config["schedule"]["total_kimg"] == pytest.approx(0.08)  # of the larger one
    assert two.finished


@pytest.fixture(scope="module")
def translation(stores: tuple[Store, Store], tmp_path_factory: pytest.TempPathFactory) -> Iterator[progan.Run]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(GANS, "TranslationConfig", TranslationConfig)
        config = fixed(TranslationConfig())
        yield progan.train(config, *stores, out=tmp_path_factory.mktemp("runs"), device="cpu")


def test_two_sources_train_and_translate(translation: progan.Run, stores: tuple[Store, Store]) -> None:
    names = sorted(path.name for path in (translation.path / "samples").iterdir())
    assert {"reals.png", "reals-1.png"} < set(names)
    facts = json.loads((translation.path / "config.json").read_text())["data"]
    assert facts["spec"]["others"] == [{"channels": 1, "height": 12, "width": 12, "classes": 0}]
    assert facts["others"] == [{"hash": stores[1].hash, "count": 24}]
    snapshot = translation.snapshot()
    assert snapshot.directions == ("there", "back")
    images = torch.tensor(stores[0].level(12)[:5]).permute(0, 3, 1, 2)
    assert snapshot.translate(images).shape == (5, 1, 12, 12)
    back = snapshot.translate(snapshot.translate(images, batch=2), direction="back")
    assert back.shape == (5, 3, 12, 12)
    wanted = torch.tanh(snapshot.sampler.there(images.float() / 127.5 - 1))
    assert (snapshot.translate(images).float() / 127.5 - 1 - wanted).abs().max() < 1 / 127
    assert not (translation.path / "growth.png").exists()


def test_wrong_uses_are_refused_in_one_line(translation: progan.Run, tmp_path: Path) -> None:
    snapshot, images = translation.snapshot(), torch.zeros(1, 3, 12, 12, dtype=torch.uint8)
    for ask, message in (
        (lambda: snapshot.generate(seeds=[0]), "generates images from other images, not from latents"),
        (
            lambda: snapshot.translate(images, direction="up"),
            "direction 'up' is not supported .*; choose from there, back",
        ),
        (lambda: snapshot.translate(images.float()), r"images must be uint8 \[N, C, H, W\], got torch.float32"),
        (lambda: snapshot.encode(images), "a TranslationConfig network has no encoder"),
    ):
        with pytest.raises(ConfigError, match=message):
            ask()
    plain = Snapshot.load(translation.snapshots[0])
    assert plain.levels == range(1, 2)  # nothing but 12 pixels
    with pytest.raises(ConfigError, match="this GAN requires 2 data sets, got 1"):
        progan.train(fixed(TranslationConfig()), write_images(tmp_path / "x", size=(12, 12)), out=tmp_path)


def test_an_autoencoder_encodes_and_reconstructs(stores: tuple[Store, Store], tmp_path: Path) -> None:
    run = progan.train(fixed(AutoencoderConfig()), stores[1], out=tmp_path, device="cpu")
    snapshot = run.snapshot()
    images = torch.tensor(stores[1].level(12)[:6]).permute(0, 3, 1, 2)
    codes = snapshot.encode(images, batch=4)
    assert codes.shape == (6, 2)
    assert torch.equal(snapshot.reconstruct(images), snapshot.generate(codes))
    assert snapshot.latents(range(2000)).std() == pytest.approx(5, rel=0.05)
    assert (run.path / "growth.png").exists()


def test_what_a_snapshot_lacks_lies_beside_the_last_one(stores: tuple[Store, Store], tmp_path: Path) -> None:
    run = progan.train(fixed(AutoencoderConfig()), stores[1], out=tmp_path, device="cpu")
    last = run.snapshots[-1]
    assert beside(last).name == f"{last.stem}.discriminator.safetensors"
    assert [path.name for path in sorted((run.path / "snapshots").glob("*.discriminator.*"))] == [beside(last).name]
    assert beside(last) not in snapshots_in(run.path)
    networks = load_discriminators(run.path)
    state = torch.load(run.path / "checkpoint.pt", weights_only=True)["trainer"]["networks"]
    assert list(networks) == ["critic"]
    for name, value in networks["critic"].state_dict().items():
        assert torch.equal(value, state[f"critic.{name}"])
    with pytest.raises(CheckpointError, match=r"does not exist; a run writes it at its end, next to its last snapshot"):
        load_discriminators(run.snapshots[0])
    with pytest.raises(CheckpointError, match="is of format 'progan-networks-1'; expected format 'progan-snapshot-1'"):
        Snapshot.load(beside(last))


def test_labels_can_be_columns_of_numbers(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", count=12, size=(6, 9))
    lines = [f"{path.relative_to(folder)},{i},{i / 4}" for i, path in enumerate(sorted(folder.rglob("*.png")))]
    (tmp_path / "facts.csv").write_text("\n".join(["file,age,light", *lines]))
    options = PrepareOptions(resolution="6x9", labels=str(tmp_path / "facts.csv"))
    store = prepare(folder, tmp_path / "store", options, workers=0)
    assert {"age", "light"} <= set(store.columns)
    schedule = ScheduleConfig(resolution=6, start_resolution=6, batch=4, total_kimg=0.024)
    config = fixed(PointsConfig(), schedule=schedule, label_columns=("light", "age"))
    run = progan.train(config, store, out=tmp_path, device="cpu")
    snapshot = run.snapshot()
    assert (snapshot.spec.attributes, snapshot.spec.classes, snapshot.classes) == (2, 0, ())
    assert (run.path / "growth.png").exists()
    one, other = (snapshot.generate(seeds=[1, 2], label=label) for label in ([0.5, 3.0], [[0.5, 3.0], [0.0, 20.0]]))
    assert one.shape == (2, 3, 6, 9)
    assert torch.equal(one[0], other[0])
    assert not torch.equal(one[1], other[1])
    for label in (None, [1.0], [[1.0, 2.0]] * 3):
        with pytest.raises(ConfigError, match="requires 2 attributes, for all images"):
            snapshot.generate(seeds=[1, 2], label=label)


def test_random_parts_of_larger_images_are_trained_on(stores: tuple[Store, Store], tmp_path: Path) -> None:
    schedule = ScheduleConfig(resolution=8, start_resolution=8, batch=8, total_kimg=0.04)
    config = fixed(ClippedConfig(), schedule=schedule, load_size=12)
    run = progan.train(config, stores[0], out=tmp_path, device="cpu")
    assert run.snapshot().generate(seeds=[0]).shape == (1, 3, 8, 8)
    with pytest.raises(ConfigError, match=r"load_size 4 is below schedule.resolution 8"):
        replace(config, load_size=4)


def test_progan_trains_at_any_size_without_growing(tmp_path: Path) -> None:
    """MNIST's 28 pixels, unpadded: blocks of 7, 14 and 28."""
    folder = write_images(tmp_path / "images", count=8, size=(28, 28), classes=1)
    gan = progan.ProGANConfig(fmap_base=16, fmap_max=4)
    schedule = ScheduleConfig(resolution=28, start_resolution=28, batch=4, total_kimg=0.008)
    run = progan.train(fixed(gan, schedule=schedule), folder, out=tmp_path, device="cpu")
    snapshot = run.snapshot()
    assert [snapshot.spec.size(level) for level in snapshot.levels] == [(7, 7), (14, 14), (28, 28)]
    assert snapshot.generate(seeds=[0, 1]).shape == (2, 3, 28, 28)
    assert snapshot.level_of(14) == 1


def test_translations_and_reconstructions_are_measured(tmp_path: Path) -> None:
    """While a run trains, and by command; the fakes are those that the sampler makes of images."""
    folders = [write_images(tmp_path / name, count=20, size=(16, 16), classes=1) for name in "ab"]
    schedule = ScheduleConfig(resolution=16, start_resolution=16, batch=4, total_kimg=0.016)
    config = fixed(TranslationConfig(), schedule=schedule)
    more = {"metrics": ["swd"], "metric_count": 20, "device": "cpu", "out": tmp_path}
    run = progan.train(config, *folders, **more)  # type: ignore[arg-type]
    assert len(run.metrics["swd"]) == 1
    store = prepare(folders[0], tmp_path / "store", PrepareOptions(resolution="16"), workers=0)
    fakes = open_images(run.path, inputs=store.path, direction="back", seed=3)
    reals = open_images(store.path, seed=3)
    assert (fakes.count, fakes.channels, fakes.height) == (20, 3, 16)
    wanted = run.snapshot().translate(reals.read(4, 6), direction="back")
    assert torch.equal(fakes.read(4, 6), wanted)
    with pytest.raises(ConfigError, match="generates images from other images, not from latents"):
        open_images(run.path)
    with pytest.raises(ConfigError, match="is not a snapshot"):
        open_images(store.path, inputs=store.path)
    coder = progan.train(fixed(AutoencoderConfig(), schedule=schedule), folders[0], name="coder", **more)  # type: ignore[arg-type]
    rebuilt = coder.snapshot().reconstruct(open_images(store.path).read(0, 5))
    assert torch.equal(open_images(coder.path, inputs=store.path).read(0, 5), rebuilt)
    with pytest.raises(ConfigError, match="psnr compares reconstructions, which are not measured during training"):
        progan.train(config, *folders, **{**more, "metrics": ["psnr"]})  # type: ignore[arg-type]


@pytest.mark.parametrize(("size", "fits"), [("28x30", "28x28"), ("60x90", "56x88")])
def test_sizes_that_blocks_cannot_reach_are_refused_with_one_that_they_can(
    size: str, fits: str, tmp_path: Path
) -> None:
    folder = write_images(tmp_path / "images", count=8, size=(60, 90), classes=1)
    store = prepare(folder, tmp_path / "store", PrepareOptions(resolution=size), workers=0)
    with pytest.raises(ConfigError, match=rf"must be multiples of \d; the data has {size}; .*--resolution {fits}'"):
        progan.train("auto", store, out=tmp_path, device="cpu", dry_run=True)


def test_auto_takes_any_size_that_blocks_can_reach(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_images(tmp_path / "images", count=8, size=(12, 20), classes=1)
    store = prepare(folder, tmp_path / "store", PrepareOptions(resolution="12x20"), workers=0)
    progan.train("auto", store, out=tmp_path, device="cpu", dry_run=True)
    assert "auto: no growing, which requires a power of two as the shorter side" in capsys.readouterr().out


def test_a_run_notices_other_values_in_its_columns(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", count=8, size=(6, 9), classes=1)
    names = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*.png"))]
    schedule = ScheduleConfig(resolution=6, start_resolution=6, batch=4, total_kimg=0.008)
    config = fixed(PointsConfig(), schedule=schedule, label_columns=("light",))
    for shift in (0.0, 0.5):
        lines = [f"{name},{i / 4 + shift},{i}" for i, name in enumerate(names)]
        (tmp_path / "facts.csv").write_text("\n".join(["file,light,age", *lines]))
        options = PrepareOptions(resolution="6x9", labels=str(tmp_path / "facts.csv"))
        store = prepare(folder, tmp_path / "store", options, workers=0)
        if not shift:
            progan.train(config, store, out=tmp_path, name="run", device="cpu")
    with pytest.raises(ConfigError, match=r"holds a run on different data: .* as many, but different ones"):
        progan.train(config, store, out=tmp_path, name="run", device="cpu")


def test_attributes_are_measured_filmed_and_generated_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_images(tmp_path / "images", count=20, size=(16, 16), classes=1)
    lines = [f"{path.relative_to(folder)},{i / 4},{i}" for i, path in enumerate(sorted(folder.rglob("*.png")))]
    (tmp_path / "facts.csv").write_text("\n".join(["file,light,age", *lines]))
    options = PrepareOptions(resolution="16", labels=str(tmp_path / "facts.csv"))
    store = prepare(folder, tmp_path / "store", options, workers=0)
    schedule = ScheduleConfig(resolution=16, start_resolution=16, batch=4, total_kimg=0.016)
    columns = {"schedule": schedule, "label_columns": ("light", "age")}
    more = {"out": tmp_path, "device": "cpu", "metric_count": 20}
    run = progan.train(fixed(PointsConfig(), **columns), store, name="run", metrics="swd", **more)  # type: ignore[arg-type]
    assert np.isfinite(run.metrics["swd"]).all()
    with pytest.raises(ConfigError, match="generates images of 2 attributes, which only its training data has"):
        open_images(run.path)
    assert main(["generate", str(run.path), str(tmp_path / "x.png"), "--count", "2", "--attributes", "0.5", "3"]) == 0
    assert main(["generate", str(run.path), str(tmp_path / "y.png"), "--count", "2"]) == 2
    assert main(["video", str(run.path), str(tmp_path / "z.gif"), "--kind", "training"]) == 2
    assert capsys.readouterr().err.count("this generator requires 2 attributes") == 2
    plain = progan.train(fixed(ClippedConfig(), **columns), store, name="plain", **more)  # type: ignore[arg-type]
    assert (plain.path / "growth.png").exists()  # whose generator takes no labels


@pytest.mark.usefixtures("no_probe")
def test_a_callback_that_fails_ends_the_run_saved_and_with_its_own_error(store: Store, tmp_path: Path) -> None:
    def fail(progress: Progress) -> None:
        raise ConnectionRefusedError("no such host")

    with pytest.raises(ConnectionRefusedError, match="no such host"):
        progan.train(small_run(), store, out=tmp_path, name="run", device="cpu", callbacks=[fail])
    assert (tmp_path / "run/checkpoint.pt").exists()


def test_another_gan_in_the_same_folder_is_noticed(stores: tuple[Store, Store], tmp_path: Path) -> None:
    schedule = ScheduleConfig(resolution=12, start_resolution=12, batch=8, total_kimg=0.008)
    progan.train(fixed(AutoencoderConfig(), schedule=schedule), stores[0], out=tmp_path, name="run", device="cpu")
    with pytest.raises(ConfigError, match="run of another GAN: it was AutoencoderConfig, now it is ClippedConfig"):
        progan.train(fixed(ClippedConfig(), schedule=schedule), stores[0], out=tmp_path, name="run", device="cpu")
    GANS.pop("ClippedConfig")
    with pytest.raises(ConfigError, match="ClippedConfig has no name in files yet; add it to GANS"):
        progan.train(fixed(ClippedConfig(), schedule=schedule), stores[0], out=tmp_path, name="new", device="cpu")


def test_epochs_can_be_extended_and_leave_what_the_user_says(stores: tuple[Store, Store], tmp_path: Path) -> None:
    for epochs in (1, 2):
        run = progan.train(fixed(ClippedConfig()), stores[0], epochs=epochs, out=tmp_path, name="run", device="cpu")
    assert run.config["schedule"]["total_kimg"] == pytest.approx(0.08)
    assert run.finished
    with pytest.raises(ConfigError, match="epochs must be above 0, got -1"):
        progan.train(fixed(ClippedConfig()), stores[0], epochs=-1, out=tmp_path, device="cpu")

    def change(config: progan.RunConfig) -> progan.RunConfig:
        decay = replace(config.schedule.decay, kind="linear", start_kimg=0.03)
        return replace(config, schedule=replace(config.schedule, decay=decay))

    config = fixed(ClippedConfig())
    run = progan.train(config, stores[0], change=change, epochs=1, out=tmp_path, name="two", device="cpu")
    assert run.config["schedule"]["decay"]["start_kimg"] == 0.03


@pytest.mark.parametrize("row", [b"\xff\xfe\x00", b"[1]", b"{}"])
def test_a_damaged_line_ends_the_statistics(row: bytes, tmp_path: Path) -> None:
    (tmp_path / "stats.jsonl").write_bytes(b'{"kimg": 1, "x": 2}\n' + row + b'\n{"kimg": 3}\n')
    assert progan.Run(tmp_path).stats["kimg"].tolist() == [1]


def test_settings_of_another_kind_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="settings must be the name of a preset or a RunConfig, got NoneType"):
        progan.train(None, tmp_path)  # type: ignore[arg-type]


@pytest.mark.usefixtures("no_probe")
def test_images_of_mixed_sizes_train_at_once(tmp_path: Path, capsys) -> None:
    """A chosen resolution enlarges the smaller ones and says so; one that was asked for does not."""
    rng = np.random.default_rng(0)
    for side in (9, 12, 16, 17, 20, 30, 40):
        pixels = rng.integers(0, 256, (side, side + 3, 3), dtype=np.uint8)
        (tmp_path / "mixed").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / f"mixed/{side}.png")
    arguments = {"out": tmp_path, "device": "cpu", "workers": 0, "dry_run": True}
    progan.train("auto", tmp_path / "mixed", **arguments)
    said = capsys.readouterr().out
    assert "auto: images smaller than 16x16 are enlarged, the smallest from 9x12; --resolution sets another" in said
    assert "16x16x3, 7 images" in said
    with pytest.raises(DataError, match="smaller than the requested 16x16"):
        progan.train("auto", tmp_path / "mixed", resolution=16, **arguments)


@pytest.mark.usefixtures("no_probe")
def test_what_was_decided_about_the_data_is_said(tmp_path: Path, capsys) -> None:
    for part in ("train", "test"):
        for i in range(4):
            (tmp_path / "set" / part).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), (40 * i, 9, 9)).save(tmp_path / "set" / part / f"{i}.png")
    progan.train("auto", tmp_path / "set", out=tmp_path, device="cpu", workers=0, dry_run=True)
    said = capsys.readouterr().out
    assert (
        "data: split 'train' is used; 'test' is left out (--split test or all); use this option with 'progan prepare "
        in said
    )
    assert "16x16x3, 4 images" in said


def test_crops_of_a_store_are_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"crop is for images that are not prepared yet, but .* is a store"):
        progan.train(small_run(), store.path, crop="center", out=tmp_path, device="cpu", dry_run=True)


def test_data_of_long_names_has_a_run_directory(tmp_path: Path) -> None:
    name = "\u732b" * 83  # 249 bytes
    write_images(tmp_path / name)
    run = progan.train(small_run(), tmp_path / name, out=tmp_path / "runs", device="cpu", dry_run=True)
    assert run.path.name.startswith("run-\u732b")
    assert len(run.path.name.encode()) <= 255
    assert progan.api._name("auto", [tmp_path / name]) != progan.api._name("auto", [tmp_path / (name + "x")])
    assert progan.api._name("auto", [tmp_path / "photos.zip"]) == "auto-photos"
