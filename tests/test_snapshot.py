"""Snapshots: what is saved is what is loaded, what is wrong is said, and nothing in a file is executed."""

import json
import math
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from family import FAMILY
from progan.data.loader import Loader
from progan.data.store import Store
from progan.errors import CheckpointError, ConfigError
from progan.gans import ProGANConfig
from progan.gans.base import ImageSpec
from progan.images import to_uint8
from progan.snapshot import FORMAT, Snapshot, find
from progan.snapshot.discriminators import beside, load_discriminators, save_discriminators
from progan.snapshot.registry import ENCODERS, GANS, name_of
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
def test_loaded_equals_saved_bit_for_bit(alpha: float, conditional: bool, device: torch.device, tmp_path: Path) -> None:
    """Images of a GPU may differ by 1 of 255, as its sums are rounded otherwise."""
    snapshot = make(alpha=alpha, conditional=conditional)
    snapshot.save(tmp_path / "deep/er/a.safetensors")
    loaded = Snapshot.load(tmp_path / "deep/er/a.safetensors", device=device)
    assert loaded.device.type == device.type
    weights = snapshot.sampler.state_dict()
    assert loaded.sampler.state_dict().keys() == weights.keys()
    assert all(torch.equal(weights[k], v.cpu()) for k, v in loaded.sampler.state_dict().items())
    for name in ("gan", "config", "spec", "level", "alpha", "kimg", "classes"):
        assert getattr(loaded, name) == getattr(snapshot, name), name
    images, wanted = loaded.generate(seeds=range(5)).cpu().int(), snapshot.generate(seeds=range(5)).int()
    assert (images - wanted).abs().max() <= (0 if device.type == "cpu" else 1)
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
    monkeypatch.setattr("progan.snapshot.MOST_PIXELS", 600)
    snapshot = make()  # 16x16 has 256 pixels, 8x8 has 64
    assert [len(some) for some in snapshot.batches(seeds=range(5))] == [2, 2, 1]
    assert [len(some) for some in snapshot.batches(seeds=range(5), level=1, batch=4)] == [4, 1]
    monkeypatch.setattr("progan.snapshot.MOST_PIXELS", 1)
    assert [len(some) for some in snapshot.batches(seeds=range(2))] == [1, 1]


def test_classes_are_what_was_asked_for() -> None:
    snapshot = make(conditional=True)
    z = snapshot.latents([1, 2, 3])
    in_turn = snapshot.generate(z)
    assert torch.equal(in_turn, snapshot.generate(z, label=[0, 1, 0]))
    assert torch.equal(snapshot.generate(seeds=[1, 2, 3]), snapshot.generate(z, label=[1, 0, 1]))  # seed modulo classes
    assert torch.equal(snapshot.generate(z, label=1), snapshot.generate(z, label=[1, 1, 1]))
    assert not torch.equal(snapshot.generate(z, label=1), snapshot.generate(z, label=0))
    named = replace(snapshot, classes=("1", "0"))
    assert torch.equal(named.generate(z, label=["0", 0, "1"]), snapshot.generate(z, label=[1, 0, 0]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "pass either latents or seeds"),
        ({"z": np.zeros((2, 6)), "seeds": [1]}, "pass either latents or seeds"),
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
        with pytest.raises(ConfigError, match="a progan network generates images from other images, not from latents"):
            ask()


def test_label_for_an_unconditional_generator() -> None:
    with pytest.raises(ConfigError, match="was trained without labels; omit the label"):
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
    with pytest.raises(CheckpointError, match=r"(was not written by progan|is of format .other-2.); expected format"):
        Snapshot.load(tmp_path / "other.safetensors")


def rewrite(file: Path, change: dict, **more: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Change the values of a file's header, and its tensors by functions of them; {} removes a value."""
    with safe_open(file, "pt") as opened:
        header = json.loads(opened.metadata()["progan"])
        weights = {k: opened.get_tensor(k).clone() for k in opened.keys()}  # noqa: SIM118  # not a dict
    for name, value in change.items():
        *parts, last = name.split("/")
        inner = header
        for part in parts:
            inner = inner[part]
        if value == {}:
            del inner[last]
        else:
            inner[last] = value
    save_file({k: more["each"](v) if more else v for k, v in weights.items()}, file, {"progan": json.dumps(header)})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"gan": "stylegan9"}, "gan must be one of progan, .*, got 'stylegan9'"),
        ({"gan": ["progan"]}, r"gan must be one of .*, got \['progan'\]"),
        ({"config": None}, "config must be an object of settings, got None"),
        ({"config/novelty": 1}, "unknown setting 'novelty'"),
        ({"config/fmap_base": 0}, "fmap_base must be at least 1, got 0"),
        ({"config/fmap_base": "64"}, "config.fmap_base cannot be '64'"),
        ({"config/fmap_max": True}, "config.fmap_max cannot be True"),
        ({"config/fmap_max": 2**40}, "config.fmap_max cannot be 1099511627776"),
        ({"config/fmap_decay": math.nan}, "config.fmap_decay cannot be nan"),
        ({"config/fmap_decay": -1e6}, "float division by zero"),
        ({"config/generator_norm": "none at all"}, "config.generator_norm cannot be 'none at all'"),
        ({"config/conditional": True, "spec/classes": 0, "classes": []}, "needs classes or attributes"),
        ({"spec": {"channels": 3}}, r"height must be 1 \.\.\. 65536, got None"),
        ({"spec/height": 0, "spec/width": 0}, r"height must be 1 \.\.\. 65536, got 0"),
        ({"spec/height": 2**40}, r"height must be 1 \.\.\. 65536, got 1099511627776"),
        ({"spec/width": 17}, "both sides must be multiples of 4"),
        ({"spec/classes": -1}, r"classes must be 0 \.\.\. "),
        ({"spec/others": 5}, "others must be a list, got 5"),
        ({"spec/novelty": 5}, "novelty"),
        ({"level": 7}, r"level must be 0 \.\.\. 2, got 7"),
        ({"level": -1}, r"level must be 0 \.\.\. 2, got -1"),
        ({"level": 1.5}, r"level must be 0 \.\.\. 2, got 1.5"),
        ({"level": {}}, r"level must be 0 \.\.\. 2, got None"),
        ({"alpha": "x"}, r"alpha must be 0 \.\.\. 1, got 'x'"),
        ({"alpha": math.nan}, r"alpha must be 0 \.\.\. 1, got nan"),
        ({"alpha": 2}, r"alpha must be 0 \.\.\. 1, got 2"),
        ({"kimg": -1.0}, r"kimg must be 0 \.\.\. .*, got -1.0"),
        ({"kimg": math.inf}, r"kimg must be 0 \.\.\. .*, got inf"),
        ({"classes": None}, "classes must be a list of names, got None"),
        ({"classes": "ab"}, "classes must be a list of names, got 'ab'"),
        ({"classes": ["cat", 3]}, "classes must be a list of names"),
        ({"classes": ["cat"]}, "classes must be 2 names or none, got 1"),
    ],
)
def test_header_of_another_version_or_with_a_value_that_none_has(change: dict, reason: str, file: Path) -> None:
    rewrite(file, change)
    with pytest.raises(
        CheckpointError, match=rf"a\.safetensors: its header does not fit this version of progan \(.*{reason}.*\)$"
    ):
        Snapshot.load(file)


@pytest.mark.parametrize(
    "change",
    [
        {"config/fmap_base": 2**24, "config/fmap_max": 2**24},  # a petabyte and more
        {"config/latent_size": 2**31 - 1},
        {"spec/height": 2**16, "spec/width": 2**16},
        {"spec/channels": 1},
        {"config/conditional": True},
        {"gan": "artefacts", "config": {"depth": 100, "maps": 2**20}},
    ],
)
def test_what_the_header_describes_is_compared_with_the_tensors_before_it_is_made(change: dict, file: Path) -> None:
    rewrite(file, change)
    with pytest.raises(
        CheckpointError, match=r"its weights do not fit its settings \(.* (missing|unknown|the shape .*)\)"
    ):
        Snapshot.load(file)


@pytest.mark.parametrize(("gan", "setting"), [("artefacts", "depth"), ("super_resolution", "blocks")])
def test_networks_of_a_billion_layers_are_not_begun(gan: str, setting: str, file: Path) -> None:
    rewrite(file, {"gan": gan, "config": {setting: 10**9}})
    with pytest.raises(CheckpointError, match=f"{setting} must be at most 1000, got 1000000000"):
        Snapshot.load(file)


def test_a_header_nested_without_end(file: Path) -> None:
    for text in ("[" * 100_000, '{"format": "progan-snapshot-1", "spec": ' + '{"others": [' * 50_000):
        save_file({"x": torch.zeros(1)}, file, {"progan": text})
        with pytest.raises(CheckpointError, match="was not written by progan"):
            Snapshot.load(file)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 70)
    | st.integers(-(2**80), 2**80)
    | st.floats()
    | st.sampled_from(["", "progan", "mnist_1k", "batch", "cat"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["height", "x"]), inner, max_size=2),
    max_leaves=3,
)


@pytest.fixture(scope="module")
def conditional_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fuzz") / "a.safetensors"
    make(conditional=True).save(path)
    return path


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_header_gives_a_snapshot_that_works_or_one_line(data: st.DataObject, conditional_file: Path) -> None:
    header = make(conditional=True).header()
    names = [*header, *(f"config/{name}" for name in header["config"]), *(f"spec/{name}" for name in header["spec"])]
    change = data.draw(st.dictionaries(st.sampled_from(names), VALUES, min_size=1, max_size=2))
    if {"config", "spec"} & change.keys():  # what is inside cannot be changed as well
        change = {name: value for name, value in change.items() if "/" not in name}
    file = conditional_file.with_name("mutated.safetensors")
    shutil.copyfile(conditional_file, file)
    rewrite(file, change)
    try:
        snapshot = Snapshot.load(file)
    except CheckpointError as error:
        lines = str(error).splitlines()
    else:
        lines = [""]
        assert snapshot.generate(seeds=[0, 1]).shape[2:] == snapshot.spec.size(snapshot.level)
    assert len(lines) == 1


SMALL: dict[str, tuple[dict[str, Any], tuple]] = {
    **{
        name_of(member.gan): (
            vars(member.gan),
            (member.spec.channels, member.spec.height, member.spec.width, member.spec.classes, member.spec.attributes),
        )
        for member in FAMILY.values()
    },
    "progan": ({"fmap_base": 64, "fmap_max": 8, "conditional": True, "generator_norm": "batch"}, (3, 16, 16, 2)),
    "mnist_1k": ({}, (1, 16, 16)),
    "points": ({"width": 8, "minibatch": "discrimination"}, (2, 1, 1)),
    "cyclegan": ({"ngf": 2, "ndf": 2, "n_layers": 1}, (3, 16, 16, 0, 0, (ImageSpec(3, 16, 16),))),
    "artefacts": ({"maps": 4, "depth": 3}, (3, 16, 16)),
    "super_resolution": ({"maps": 4, "blocks": 2, "critic_maps": 2, "crop": 16, "feature_weight": 0.0}, (3, 16, 16)),
}


@pytest.mark.parametrize("gan", GANS)
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.float64])
def test_every_network_of_the_library_is_loaded_as_load_state_dict_does(
    gan: str, kind: torch.dtype, tmp_path: Path
) -> None:
    """The independent reference is a network with memory, into which torch copies the tensors of the file."""
    options, size = SMALL[gan]
    config, spec, file = GANS[gan](**options), ImageSpec(*size), tmp_path / "a.safetensors"
    networks = config.make(spec)
    snapshot = Snapshot(networks.sampler, gan, config, spec, spec.levels - 1, 1.0, 2.0)
    snapshot.save(file)
    save_discriminators(snapshot, file, networks)
    assert beside(file).exists() == (gan != "artefacts")
    wanted = {"": config.make_sampler(spec)} | dict(config.make(spec).networks.items())
    loaded = {}
    for path in filter(Path.exists, (file, beside(file))):
        rewrite(path, {}, each=lambda v: v.to(kind) if v.is_floating_point() else v)
    loaded[""] = Snapshot.load(file).sampler
    wanted[""].load_state_dict(load_file(file))
    if beside(file).exists():
        loaded |= load_discriminators(file)
        tensors = load_file(beside(file))
        for name in filter(None, loaded):
            own = {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}
            wanted[name].load_state_dict(own)
    for name, network in loaded.items():
        reference = wanted[name].to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        assert not network.training
        assert not any(p.requires_grad for p in network.parameters())
        ours, theirs = network.state_dict(), reference.state_dict()
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            assert (ours[key].dtype, ours[key].stride()) == (value.dtype, value.stride()), key
            assert torch.equal(ours[key], value), key


def test_a_tensor_that_no_file_can_have_is_a_mistake_in_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = make()
    snapshot.save(tmp_path / "a.safetensors")
    build = ProGANConfig.make_sampler

    def with_buffer(config: ProGANConfig, spec: ImageSpec) -> torch.nn.Module:
        network = build(config, spec)
        network.register_buffer("filter", torch.ones(3), persistent=False)
        return network

    monkeypatch.setattr(ProGANConfig, "make_sampler", with_buffer)
    with pytest.raises(TypeError, match=r"Generator\.filter is not in the state dict; make it a persistent buffer"):
        Snapshot.load(tmp_path / "a.safetensors")


def test_what_was_loaded_does_not_change_with_the_file(file: Path) -> None:
    snapshot = Snapshot.load(file)
    before = snapshot.generate(seeds=[0])
    with file.open("r+b") as opened:  # in place, as a copy onto it would be
        opened.seek(-4000, 2)
        opened.write(bytes(4000))
    assert torch.equal(snapshot.generate(seeds=[0]), before)


def test_weights_that_do_not_fit(file: Path) -> None:
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
        weights = {k: opened.get_tensor(k)[:1].clone() for k in opened.keys()}  # noqa: SIM118  # not a dict
    save_file(weights, file, metadata)
    with pytest.raises(CheckpointError, match="its weights do not fit its settings"):
        Snapshot.load(file)


def test_find_takes_the_newest_of_a_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"run: does not exist; expected a \.safetensors file"):
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
    with pytest.raises(CheckpointError, match=r"the generator at 1.5 kimg generates images that are not finite"):
        snapshot.generate(seeds=[0])


class Counting(torch.nn.Module):
    """An encoder of 3 categories and a style, whose codes are known: shares of the brightness of rows, and the mean."""

    latent, categories = None, 3

    def __init__(self, *, features: bool = True) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        if features:
            self.features = lambda images, level: images.flatten(1)

    def encode(self, images: torch.Tensor, level: int) -> torch.Tensor:
        rows = (images + 1).mean((1, 3))[:, :3]  # [N, 3]
        return torch.cat([rows / rows.sum(1, keepdim=True), images.mean((1, 2, 3))[:, None]], 1)


def test_codes_and_features_are_those_of_the_encoder_in_any_batches() -> None:
    snapshot = replace(make(), sampler=Counting())
    images = torch.randint(0, 256, (7, 3, 16, 16), dtype=torch.uint8)
    pixels = images.double().numpy() / 127.5 - 1
    rows = (pixels + 1).mean((1, 3))[:, :3]
    wanted = np.concatenate([rows / rows.sum(1, keepdims=True), pixels.mean((1, 2, 3))[:, None]], 1)
    for batch in (1, 3, 32):
        codes = snapshot.encode(images, batch=batch)
        np.testing.assert_allclose(codes, wanted, atol=1e-6)
        np.testing.assert_allclose(snapshot.features(images.numpy(), batch=batch), pixels.reshape(7, -1), atol=1e-6)
        assert (codes.dtype, snapshot.categories) == (torch.float32, 3)
    assert make().categories == 0


@pytest.mark.parametrize("ask", [Snapshot.encode, Snapshot.features, Snapshot.reconstruct])
def test_images_that_an_encoder_is_not_trained_on_are_refused(ask: Callable[..., Any]) -> None:
    snapshot = replace(make(spec=ImageSpec(3, 16, 32)), sampler=Counting())
    object.__setattr__(snapshot.sampler, "latent", make().latent)
    fix = "'progan prepare SOURCE STORE --resolution 16x32 --channels 3' prepares them"
    for shape in ((2, 1, 16, 32), (2, 3, 32, 16), (2, 3, 8, 16)):
        with pytest.raises(ConfigError) as refused:
            ask(snapshot, np.zeros(shape, np.uint8))
        asked = "images must be [N, 3, 16, 32] for this progan network"
        assert str(refused.value) == f"{asked}, got {list(shape)}; {fix}"
    with pytest.raises(ConfigError, match=r"images must be uint8 \[N, C, H, W\], got torch.float32"):
        ask(snapshot, np.zeros((2, 3, 16, 32), np.float32))
    with pytest.raises(ConfigError, match="a progan network has no encoder; networks with one: aae, bigan"):
        ask(make(), np.zeros((2, 3, 16, 16), np.uint8))


def test_features_that_an_encoder_lacks_and_codes_that_are_not_finite() -> None:
    images = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    with pytest.raises(ConfigError, match="progan networks have no features besides their codes"):
        replace(make(), sampler=Counting(features=False)).features(images)
    with pytest.raises(CheckpointError, match=r"the encoder at 1.5 kimg computes codes that are not finite"):
        replace(make(), sampler=Counting()).encode(images)  # black: 0 / 0


def test_networks_with_an_encoder_are_those_that_messages_name() -> None:
    found = {
        name_of(member.gan) for member in FAMILY.values() if hasattr(member.gan.make_sampler(member.spec), "encode")
    }
    assert found <= set(ENCODERS) <= set(GANS)
