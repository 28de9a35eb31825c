"""Snapshots: what is saved is what is loaded, what is wrong is said, and nothing in a file is executed."""

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from progan.data.loader import Loader
from progan.data.store import Store
from progan.errors import CheckpointError, ConfigError
from progan.gans import ProGANConfig
from progan.gans.base import ImageSpec
from progan.images import to_uint8
from progan.snapshot import FORMAT, Snapshot, find
from progan.training.loop import Trainer
from small import small_run

SPEC = ImageSpec(3, 16, 16, 2)


def make(*, level: int = 2, alpha: float = 1.0, spec: ImageSpec = SPEC, conditional: bool = False) -> Snapshot:
    torch.manual_seed(0)
    config = ProGANConfig(fmap_base=64, fmap_max=8, latent_size=6, conditional=conditional)
    generator = config.make_sampler(spec).requires_grad_(False).eval()
    classes = ("cat", "dog") if spec.classes else ()
    return Snapshot(generator, "progan", config, spec, level, alpha, 1.5, classes)


@pytest.mark.parametrize("alpha", [1.0, 0.25])
@pytest.mark.parametrize("conditional", [False, True])
def test_loaded_equals_saved_bit_for_bit(alpha: float, conditional: bool, tmp_path: Path) -> None:
    snapshot = make(alpha=alpha, conditional=conditional)
    snapshot.save(tmp_path / "deep/er/a.safetensors")
    loaded = Snapshot.load(tmp_path / "deep/er/a.safetensors")
    weights = snapshot.sampler.state_dict()
    assert loaded.sampler.state_dict().keys() == weights.keys()
    assert all(torch.equal(weights[k], v) for k, v in loaded.sampler.state_dict().items())
    for name in ("gan", "config", "spec", "level", "alpha", "kimg", "classes"):
        assert getattr(loaded, name) == getattr(snapshot, name), name
    assert torch.equal(loaded.generate(seeds=range(5)), snapshot.generate(seeds=range(5)))
    assert not list(tmp_path.rglob("*.partial"))


def test_header_is_json_that_safetensors_alone_reads(tmp_path: Path) -> None:
    make(alpha=0.5).save(tmp_path / "a.safetensors")
    code = (
        "import json, sys; from safetensors import safe_open; "
        "print(safe_open(sys.argv[1], 'np').metadata()['progan']); assert 'progan' not in sys.modules"
    )
    said = subprocess.run([sys.executable, "-c", code, tmp_path / "a.safetensors"], capture_output=True, check=True)
    header = json.loads(said.stdout)
    assert header["format"] == FORMAT
    assert (header["gan"], header["level"], header["alpha"], header["kimg"]) == ("progan", 2, 0.5, 1.5)
    assert header["spec"] == {"channels": 3, "height": 16, "width": 16, "classes": 2}
    assert header["classes"] == ["cat", "dog"]
    assert ProGANConfig(**header["config"]) == make().config


def test_pretrained_folder(tmp_path: Path) -> None:
    snapshot = make()
    snapshot.save_pretrained(tmp_path / "shared")
    assert sorted(p.name for p in (tmp_path / "shared").iterdir()) == ["config.json", "model.safetensors"]
    with safe_open(tmp_path / "shared/model.safetensors", "np") as file:
        assert json.loads((tmp_path / "shared/config.json").read_text()) == json.loads(file.metadata()["progan"])
    for loaded in (Snapshot.from_pretrained(tmp_path / "shared"), Snapshot.load(tmp_path / "shared")):
        assert torch.equal(loaded.generate(seeds=[3]), snapshot.generate(seeds=[3]))
    with pytest.raises(CheckpointError, match=r"nowhere/model\.safetensors: does not exist"):
        Snapshot.from_pretrained(tmp_path / "nowhere")


def test_mid_fade_snapshot_makes_the_images_of_the_averaged_training_generator(store: Store, tmp_path: Path) -> None:
    from progan.training.session import Session

    config = small_run()
    trainer = Trainer(config, replace(SPEC), Loader(store, seed=0, mirror=True), device=torch.device("cpu"))
    run = Session(tmp_path / "run", trainer, store, about={})
    while trainer.images_seen < 104:  # 8 of the 32 images of the fade to 16x16
        trainer.iterate()
    run.snapshot(trainer.stage).save(tmp_path / "a.safetensors")
    run.log.close()
    loaded = Snapshot.load(tmp_path / "a.safetensors")
    assert (loaded.level, loaded.alpha) == (2, 0.25)
    z = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = to_uint8(trainer.ema.network(z, 2, torch.tensor(0.25)))
        whole = to_uint8(trainer.ema.network(z, 2))
        raw = to_uint8(trainer.gan.networks["generator"](z, 2, torch.tensor(0.25)))
    assert torch.equal(loaded.generate(z), wanted)
    assert torch.equal(loaded.generate(z, level=2), wanted)
    assert not torch.equal(wanted, whole)
    assert not torch.equal(wanted, raw)


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_a_seed_gives_one_image_in_any_company(batch: int) -> None:
    snapshot = make(conditional=True)
    together = snapshot.generate(seeds=range(7), batch=batch)
    alone = torch.cat([snapshot.generate(seeds=[seed]) for seed in range(7)])
    assert (together.int() - alone.int()).abs().max() <= 1  # sums of other lengths may be rounded otherwise


def test_levels_give_their_sizes_and_non_square_ones_too() -> None:
    snapshot = make(spec=ImageSpec(4, 16, 32))
    sizes = [tuple(snapshot.generate(seeds=[0], level=level).shape) for level in range(3)]
    assert sizes == [(1, 4, 4, 8), (1, 4, 8, 16), (1, 4, 16, 32)]
    assert snapshot.generate(seeds=[0]).dtype == torch.uint8


def test_a_fade_is_shown_at_its_own_level_and_not_below() -> None:
    fading, done = make(alpha=0.1), make(alpha=1.0)
    now, full = (snapshot.generate(seeds=range(3)) for snapshot in (fading, done))
    assert not torch.equal(now, full)
    assert torch.equal(fading.generate(seeds=range(3), level=2), now)
    assert torch.equal(fading.generate(seeds=range(3), level=1), done.generate(seeds=range(3), level=1))


def test_large_images_are_made_fewer_at_once(monkeypatch) -> None:
    monkeypatch.setattr("progan.snapshot._MOST_PIXELS", 600)
    snapshot = make()  # 16x16 has 256 pixels, 8x8 has 64
    assert [len(some) for some in snapshot.batches(seeds=range(5))] == [2, 2, 1]
    assert [len(some) for some in snapshot.batches(seeds=range(5), level=1, batch=4)] == [4, 1]
    monkeypatch.setattr("progan.snapshot._MOST_PIXELS", 1)
    assert [len(some) for some in snapshot.batches(seeds=range(2))] == [1, 1]


def test_classes_are_what_was_asked_for() -> None:
    snapshot = make(conditional=True)
    z = snapshot.latents([1, 2, 3])
    in_turn = snapshot.generate(z)
    assert torch.equal(in_turn, snapshot.generate(z, label=[0, 1, 0]))
    assert torch.equal(snapshot.generate(seeds=[1, 2, 3]), snapshot.generate(z, label=[1, 0, 1]))  # seed modulo classes
    assert torch.equal(snapshot.generate(z, label=1), snapshot.generate(z, label=[1, 1, 1]))
    assert not torch.equal(snapshot.generate(z, label=1), snapshot.generate(z, label=0))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give either latents or seeds"),
        ({"z": np.zeros((2, 6)), "seeds": [1]}, "give either latents or seeds"),
        ({"z": np.zeros((2, 5))}, r"latents must be \[N, 6\] with N at least 1, got \[2, 5\]"),
        ({"z": np.zeros(6)}, r"got \[6\]"),
        ({"z": np.zeros((0, 6))}, r"got \[0, 6\]"),
        ({"seeds": []}, "seeds must be at least one number"),
        ({"seeds": [-1]}, "seeds must be at least one number from 0"),
        ({"seeds": [2**63]}, "seeds must be at least one number from 0"),
        ({"seeds": [1], "level": 3}, r"level must be 0 \.\.\. 2 \(4 \.\.\. 16 pixels\), got 3"),
        ({"seeds": [1], "label": 2}, r"label must be 0 \.\.\. 1, .* got 2"),
        ({"seeds": [1], "label": -1}, r"label must be 0 \.\.\. 1"),
        ({"seeds": [1, 2], "label": [0]}, "one for each of 2 images; got 1 of them"),
        ({"seeds": [1], "batch": 0}, "batch must be at least 1"),
    ],
)
def test_wrong_inputs(given: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(conditional=True).generate(**given)


def test_batches_are_the_same_images_one_batch_after_another() -> None:
    snapshot = make(conditional=True)
    batches = list(snapshot.batches(snapshot.latents(range(7)), batch=3))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert torch.equal(torch.cat(batches), snapshot.generate(snapshot.latents(range(7)), batch=3))
    assert not any(batch.requires_grad for batch in batches)


def test_a_network_without_latents_says_so() -> None:
    network = torch.nn.Linear(2, 2)
    network.latent = None
    snapshot = replace(make(), sampler=network)
    for ask in (lambda: snapshot.latent_size, lambda: snapshot.generate(seeds=[0])):
        with pytest.raises(ConfigError, match="a progan network makes images of other images, not of latents"):
            ask()


def test_label_for_an_unconditional_generator() -> None:
    with pytest.raises(ConfigError, match="was trained without labels; leave the label away"):
        make().generate(seeds=[0], label=0)


# --- files that are not what they should be


@pytest.fixture
def file(tmp_path: Path) -> Path:
    make().save(tmp_path / "a.safetensors")
    return tmp_path / "a.safetensors"


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_file(keep: int, file: Path) -> None:
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="is not a whole safetensors file"):
        Snapshot.load(file)


def test_pickle_is_refused_and_not_executed(file: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "executed",))

    file.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError, match="is not a whole safetensors file"):
        Snapshot.load(file)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("metadata", [None, {}, {"progan": "{"}, {"progan": "[]"}, {"progan": '{"format": "other-2"}'}])
def test_file_of_another_program(metadata: dict | None, tmp_path: Path) -> None:
    save_file({"x": torch.zeros(2)}, tmp_path / "other.safetensors", metadata)
    with pytest.raises(CheckpointError, match=r"was not written by progan \(progan-snapshot-1 wanted"):
        Snapshot.load(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        {"gan": "stylegan9"},
        {"config": {"fmap_base": 64, "novelty": 1}},
        {"config": {"fmap_base": 0}},
        {"spec": {"channels": 3}},
        {"classes": None},
    ],
)
def test_header_of_another_version(change: dict, file: Path) -> None:
    with safe_open(file, "pt") as opened:
        header = json.loads(opened.metadata()["progan"])
        weights = {k: opened.get_tensor(k) for k in opened.keys()}  # noqa: SIM118  # not a dict
    save_file(weights, file, {"progan": json.dumps(header | change)})
    with pytest.raises(CheckpointError, match="its header has settings that this version does not know"):
        Snapshot.load(file)


def test_weights_that_do_not_fit(file: Path) -> None:
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
        weights = {k: opened.get_tensor(k)[:1].clone() for k in opened.keys()}  # noqa: SIM118  # not a dict
    save_file(weights, file, metadata)
    with pytest.raises(CheckpointError, match="its weights do not fit its settings"):
        Snapshot.load(file)


def test_find_takes_the_newest_of_a_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"run: does not exist; wanted a \.safetensors file"):
        find(tmp_path / "run")
    (tmp_path / "run/snapshots").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="run: is a folder without snapshots"):
        find(tmp_path / "run")
    for kimg in (9.5, 10.25, 1000):
        (tmp_path / f"run/snapshots/{kimg:011.3f}.safetensors").touch()
    assert find(tmp_path / "run").name == "0001000.000.safetensors"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_full_disk_keeps_the_older_file(file: Path) -> None:
    before = file.read_bytes()
    file.with_name("a.safetensors.partial").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"cannot write the snapshot \(No space left on device\)"):
        make().save(file)
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == ["a.safetensors"]


def test_images_that_are_not_finite_are_refused() -> None:
    snapshot = make()
    next(snapshot.sampler.parameters()).data.fill_(torch.nan)
    with pytest.raises(CheckpointError, match=r"the generator at 1.5 kimg makes images that are not finite"):
        snapshot.generate(seeds=[0])
