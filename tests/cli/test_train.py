"""The command 'progan train' as its user meets it: what it prints, what it refuses, and where it goes on."""

import contextlib
import importlib.util
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from progan.cli import main
from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.data.store import Store
from progan.presets import PRESETS
from progan.snapshot import Snapshot
from progan.training import checkpoint
from progan.training.log import read_stats
from small import quick_plan, write_images

NETWORKS = ["--gan.fmap-base", "64", "--gan.fmap-max", "8", "--gan.latent-size", "8", "--schedule.batch", "8"]
TIMES = ["--schedule.hold-kimg", "0.1", "--schedule.fade-kimg", "0.1", "--schedule.total-kimg", "0.5"]
SHORT = ["--schedule.hold-kimg", "0.016", "--schedule.fade-kimg", "0.016", "--schedule.total-kimg", "0.08"]
OFTEN = ["--log-kimg", "0.05", "--sample-kimg", "0.1", "--snapshot-kimg", "0.1"]
TINY = [*NETWORKS, *TIMES, *OFTEN]


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_probe: None) -> None:
    monkeypatch.setenv("PROGAN_CACHE", str(tmp_path / "cache"))


def call(*args: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of ``progan train`` on the CPU, or on what ``args`` say."""
    device = [] if not args or "--device" in args else ["--device", "cpu"]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(["train", *map(str, args), *device])
        except SystemExit as stopped:  # tyro's
            code = stopped.code
    return int(code or 0), out.getvalue(), err.getvalue()


def one_line(*args: object) -> str:
    """The one line that a mistake gives."""
    code, _, err = call(*args)
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err.removeprefix("error: ").rstrip("\n")


@pytest.fixture(scope="module")
def trained(store: Store, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A whole run's directory, and what it said; its plan is a real one."""
    out = tmp_path_factory.mktemp("trained")
    code, said, log = call("demo", store.path, "--out", out, "--name", "run", *TINY)
    assert code == 0
    return out / "run", said, log


@pytest.fixture
def run(trained: tuple[Path, str, str], tmp_path: Path) -> Path:
    """A copy of it, to be spoiled."""
    return Path(shutil.copytree(trained[0], tmp_path / "runs/run"))


def test_a_run_leaves_what_it_promises(trained: tuple[Path, str, str], store: Store) -> None:
    path, _, log = trained
    text = (path / "log.txt").read_text()
    lines = text[text.index("16x16x3") :].splitlines()
    assert lines[0] == "16x16x3, 40 images, on cpu, fp32"
    assert lines[0] in log
    assert [line.split()[:4] for line in lines[2:5]] == [
        ["4", "8", "0.008", "0.1"],
        ["8", "8", "0.008", "0.2"],
        ["16", "8", "0.008", "0.2"],
    ]
    assert "done: " in log
    assert "0.5/0.5 kimg | 16 |" in log
    config = json.loads((path / "config.json").read_text())
    assert config["config"]["schedule"]["batch"] == 8
    assert config["data"]["hash"] == store.hash
    assert config["preset"] == "demo"
    snapshots, beside = "snapshots/*[0-9].safetensors", "snapshots/*.discriminator.safetensors"
    events = int(importlib.util.find_spec("tensorboard") is not None)
    for pattern, count in [("samples/0*.png", 5), (snapshots, 5), (beside, 1), ("events.out.tfevents.*", events)]:
        assert len(list(path.glob(pattern))) == count, pattern
    assert {p.name for p in path.iterdir() if p.is_file()} >= {"checkpoint.pt", "growth.png", "log.txt", "stats.jsonl"}
    assert not list(path.rglob("*.partial"))


def test_pictures_have_the_expected_sizes(trained: tuple[Path, str, str]) -> None:
    path = trained[0]
    tile = 64  # whatever the resolution, pixels are repeated up to this
    assert Image.open(path / "growth.png").size == (12 * (tile + 2) - 2, 3 * (tile + 2) - 2)
    assert {Image.open(p).size for p in path.glob("samples/0*.png")} == {(8 * (tile + 2) - 2,) * 2}


def test_reals_come_from_all_classes(trained: tuple[Path, str, str], store: Store) -> None:
    sheet = np.asarray(Image.open(trained[0] / "samples/reals.png"))
    tiles = {sheet[y : y + 64 : 4, x : x + 64 : 4].tobytes() for y in range(0, 460, 66) for x in range(0, 460, 66)}
    assert tiles >= {image.tobytes() for image in store.level(16)}  # 40 images fit in one sheet


def test_the_same_command_on_a_finished_run_changes_no_weights(run: Path, store: Store) -> None:
    before, rows = checkpoint.load(run)[0], read_stats(run)
    code, _, log = call("demo", store.path, "--out", run.parent, "--name", "run", *TINY)
    assert code == 0
    assert "resuming at 0.5 kimg, 16" in log
    after = checkpoint.load(run)[0]
    assert before is not None
    assert after is not None
    for name, tensor in before["trainer"]["networks"].items():
        assert torch.equal(tensor, after["trainer"]["networks"][name])
    assert read_stats(run) == rows


def test_dry_run_writes_nothing(store: Store, tmp_path: Path) -> None:
    code, said, _ = call("demo", store.path, "--out", tmp_path / "runs", "--dry-run", *TINY)
    assert code == 0
    assert "whole run about" in said
    assert not (tmp_path / "runs").exists()


def test_run_is_named_after_preset_and_data(store: Store, tmp_path: Path) -> None:
    code, _, _ = call("demo", store.path, "--out", tmp_path / "runs", *NETWORKS, *SHORT)
    assert code == 0
    assert [p.name for p in (tmp_path / "runs").iterdir()] == [f"demo-{store.path.name}"]


@pytest.mark.parametrize(("table", "batches"), [(["8"], [8, 8, 8]), (["4", "16", "16", "8"], [16, 16, 8])])
def test_batch_is_a_number_or_a_table(table: list[str], batches: list[int], store: Store) -> None:
    code, said, _ = call("demo", store.path, "--dry-run", *NETWORKS[:-2], "--schedule.batch", *table, *TIMES)
    assert code == 0
    assert [int(line.split()[1]) for line in said.splitlines()[2:5]] == batches


# --- what is refused, in one line that says what to type


def test_without_a_preset_all_are_listed() -> None:
    code, said, _ = call()
    assert code == 2
    assert all(f"  {name} " in said for name in PRESETS)
    code, said, _ = call("--help")
    assert code == 0
    assert all(f"  {name} " in said for name in PRESETS)


@pytest.mark.parametrize(
    ("word", "hint"),
    [("dmeo", "did you mean demo?"), ("cifar", "mean cifar10 or "), ("celebahq", "celebahq_1024")],
)
def test_unknown_preset_names_the_nearest(word: str, hint: str) -> None:
    line = one_line(word, "x")
    assert f"unknown preset {word!r}" in line
    assert hint in line


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--schedule.batchh", "8"], ["--schedule.batchh", "Perhaps you meant", "--schedule.batch "]),
        (["--schedule.batch", "fast"], ["--schedule.batch", "'fast'"]),
        (["--gan.loss", "wgann"], ["--gan.loss", "wgann", "least_squares"]),
        ([], ["DATA"]),
    ],
    ids=["unknown field", "wrong type", "wrong choice", "no data"],
)
def test_what_the_parser_refuses(args: list[str], words: list[str], store: Store) -> None:
    code, _, err = call("demo", *([store.path, *args] if args else []))
    assert code == 2
    assert all(word in err for word in words)
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (
            ["--schedule.batch", "6"],
            "schedule.batch 6 is not a multiple of gan.stddev_group 4; try --schedule.batch 4 or --gan.stddev-group 3",
        ),
        (
            ["--schedule.batch", "4", "8", "16", "6"],  # only at 16x16, hours later
            "schedule.batch 6 is not a multiple of gan.stddev_group 4; try --schedule.batch 4 or --gan.stddev-group 3",
        ),
        (["--micro-batch", "2"], "micro_batch 2 is smaller than gan.stddev_group 4; try --micro-batch 4"),
        (["--micro-batch", "0"], "micro_batch must be at least 1, got 0"),
        (
            ["--resolution", "24"],
            "schedule.resolution must be a power of two, at least 4, if networks grow; got 24; "
            "to train without growing, use --schedule.resolution 24 --schedule.start-resolution 24",
        ),
        (["--resolution", "big"], "resolution must look like 64 or 64x128 (height x width), got 'big'"),
        (["--schedule.resolution", "24"], "schedule.resolution must "),
        (
            ["--schedule.start-resolution", "32"],
            "schedule.start_resolution 32 is above schedule.resolution 16",
        ),
        (["--schedule.total-kimg", "-1"], "schedule.total_kimg must "),
        (["--device", "cuda"], "device 'cuda' is not available here; try --device cpu or auto"),
        (["--device", "tpu"], "device 'tpu' is not available here; try --device cpu or auto"),
        (["--seed", "-1"], "seed must be 0 ... 2^63 - 1, got -1"),
        (["--log-kimg", "0"], "log_kimg must be positive, got 0.0"),
        (["--ema-kimg", "nan"], "ema_kimg must be a number, got nan"),
        (["--gan.drift-weight", "nan"], "gan.drift_weight must be a number, got nan"),
        (["--beta1", "-0.5"], "beta1 must be at least 0 and below 1, got -0.5"),
        (["--beta2", "1"], "beta2 must be at least 0 and below 1, got 1.0"),
        (["--adam-eps", "-1"], "adam_eps must be at least 0, got -1.0"),
    ],
)
def test_settings_that_cannot_be_used(args: list[str], line: str, store: Store, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    said = one_line("demo", store.path, "--out", tmp_path / "runs", *args)
    assert said.startswith(line) if line.endswith(" ") else said == line
    assert not (tmp_path / "runs").exists()


def test_labels_are_needed_for_a_conditional_gan(images: Path, tmp_path: Path) -> None:
    flat = prepare(images, tmp_path / "flat", PrepareOptions(resolution="16", labels="none"), workers=0)
    line = one_line("demo", flat.path, "--out", tmp_path / "runs", "--gan.conditional", *TINY)
    assert line == "gan.conditional requires labels of at least 2 classes, but the data has 0"


def test_data_that_cannot_be_used(images: Path, store: Store, tmp_path: Path) -> None:
    assert "no such file or folder" in one_line("demo", tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in one_line("demo", tmp_path / "empty")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").write_text("no image")
    assert "no images" in one_line("demo", tmp_path / "texts")
    line = one_line("cifar10", images, "--workers", "0")
    assert "smaller than the requested 32x32" in line
    assert "(use these options with 'progan prepare" in line
    assert "no images with a shorter side of 32" in one_line("cifar10", store.path)
    assert "no 32x32 images" in one_line("demo", store.path, "--resolution", "32")
    assert "no 16x32 images" in one_line("demo", store.path, "--resolution", "16x32")


def test_truncated_jpeg_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    for i, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f"{i}.jpg")
    (folder / "1.jpg").write_bytes((folder / "1.jpg").read_bytes()[:2000])
    line = one_line("demo", folder, "--workers", "0")
    assert "1.jpg" in line
    assert "--on-error skip" in line
    assert not list((tmp_path / "cache").rglob("manifest.json"))


def test_truncated_store_is_named(store: Store, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(store.path, tmp_path / "broken"))
    file = broken / "16x16.npy"
    file.write_bytes(file.read_bytes()[:-1])
    assert "16x16.npy: truncated or damaged" in one_line("demo", broken)


def other_store(images: Path, path: Path, **options: object) -> Path:
    return prepare(images, path, PrepareOptions(**{"resolution": "16", **options}), workers=0).path  # type: ignore[arg-type]


def test_run_of_other_settings_is_refused_and_kept(run: Path, store: Store) -> None:
    before = (run / "checkpoint.pt").read_bytes(), (run / "config.json").read_bytes()
    line = one_line("demo", store.path, "--out", run.parent, "--name", "run", *TINY, "--seed", "1", "--mirror")
    changed = "mirror False -> True; seed 0 -> 1"
    assert line == f"{run} holds a run with different settings: {changed}; choose another folder (--name or --out)"
    assert before == ((run / "checkpoint.pt").read_bytes(), (run / "config.json").read_bytes())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"channels": 1}, "it had 40 images of 16x16x3 in 2 classes, now there are 40 images of 16x16x1 in 2 classes"),
        ({"labels": "none"}, "now there are 40 images of 16x16x3;"),
        ({"crop": "0,0,16,15", "fit": "stretch", "upscale": True}, "now there are as many, but different ones"),
    ],
    ids=["channels", "labels", "content"],
)
def test_run_on_other_data_is_refused(options: dict, words: str, run: Path, images: Path, tmp_path: Path) -> None:
    other = other_store(images, tmp_path / "other", **options)
    line = one_line("demo", other, "--out", run.parent, "--name", "run", *TINY)
    assert f"{run} holds a run on different data" in line
    assert words in line


def test_run_of_another_resolution_is_refused(run: Path, store: Store) -> None:
    line = one_line("demo", store.path, "--out", run.parent, "--name", "run", *TINY, "--resolution", "8")
    assert "now there are 40 images of 8x8x3 in 2 classes" in line


def test_run_without_checkpoint_is_not_mixed_with_another(run: Path, store: Store) -> None:
    for file in run.glob("checkpoint*"):
        file.unlink()
    line = one_line("demo", store.path, "--out", run.parent, "--name", "run", *TINY, "--seed", "1")
    assert "seed 0 -> 1" in line


@pytest.mark.parametrize("text", [None, "{", "[]", "{}"])
def test_checkpoint_without_its_settings_is_refused(text: str | None, run: Path, store: Store) -> None:
    (run / "config.json").unlink()
    if text is not None:
        (run / "config.json").write_text(text)
    line = one_line("demo", store.path, "--out", run.parent, "--name", "run", *TINY)
    assert "config.json: is missing or damaged" in line


def damage(file: Path, how: str) -> None:
    """Flip one bit in the middle of a weight, or cut the file off."""
    data = bytearray(file.read_bytes())
    if how == "truncated":
        file.write_bytes(data[: len(data) // 2])
        return
    state = checkpoint.load(file.parent)[0]
    assert state is not None
    weight = state["trainer"]["networks"]["generator.dense.weight"].numpy().tobytes()
    place = data.find(weight[:64])
    assert place > 0
    data[place + 17] ^= 1
    file.write_bytes(data)


BEGUN = [*NETWORKS, *OFTEN, "--checkpoint-minutes", "0", *SHORT[:-1]]


@pytest.fixture(scope="module")
def begun(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with two checkpoints, of 0.024 and of 0.032 kimg."""
    out = tmp_path_factory.mktemp("begun")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("progan.training.preflight.probe", quick_plan)
        assert call("demo", store.path, "--out", out, "--name", "run", *BEGUN, "0.032")[0] == 0
    return out / "run"


@pytest.mark.parametrize("how", ["flipped", "truncated", "empty"])
def test_damaged_checkpoint_is_replaced_by_the_one_before(how: str, begun: Path, store: Store, tmp_path: Path) -> None:
    run = Path(shutil.copytree(begun, tmp_path / "run"))
    good = checkpoint._read(run / checkpoint.SPARE)
    damage(run / checkpoint.NAME, how) if how != "empty" else (run / checkpoint.NAME).write_bytes(b"")
    code, _, log = call("demo", store.path, "--out", tmp_path, "--name", "run", *BEGUN, "0.048")
    assert code == 0
    assert "warning:" in log
    assert "using checkpoint.previous.pt" in log
    assert f"resuming at {good['trainer']['images_seen'] / 1000:.1f} kimg" in log
    assert "using checkpoint.previous.pt" in (run / "log.txt").read_text()
    assert (run / checkpoint.DAMAGED).exists()  # rather than the new spare
    for name in (checkpoint.NAME, checkpoint.SPARE):
        checkpoint._read(run / name)


def test_two_damaged_checkpoints_are_one_line(run: Path, store: Store) -> None:
    for name in (checkpoint.NAME, checkpoint.SPARE):
        (run / name).write_bytes(b"PK\3\4nothing")
    line = one_line("demo", store.path, "--out", run.parent, "--name", "run", *TINY)
    assert line.count("is not a complete checkpoint") == 2
    assert f"remove {run} to start again" in line


# --- a full disk; /dev/full takes the place of a file


FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")


@needs_full
@pytest.mark.parametrize(
    "name",
    [
        "checkpoint.pt.partial",
        "stats.jsonl",
        "log.txt",
        "samples/0000000.048.png.partial",
        "snapshots/0000000.048.safetensors.partial",
        "growth.png.partial",
        "config.json.partial",
    ],
)
def test_full_disk_is_one_line_and_keeps_the_last_checkpoint(
    name: str, begun: Path, store: Store, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("progan.training.leftovers.set_aside", lambda *at: 0)  # it would move the link away
    run = Path(shutil.copytree(begun, tmp_path / "run"))
    args = ["demo", store.path, "--out", tmp_path, "--name", "run", *BEGUN, "0.048"]
    assert checkpoint.load(run)[0] is not None
    if name == "stats.jsonl":  # written anew at the start, then line by line
        name = "stats.jsonl.partial"
    if name == "log.txt":
        (run / name).unlink()
    (run / name).symlink_to(FULL)
    line = one_line_after_progress(*args)
    assert "No space left on device" in line
    assert "kept" in line
    assert "run the same command again" in line
    (run / name).unlink(missing_ok=True)
    state, warnings = checkpoint.load(run)
    assert state is not None
    assert not warnings
    assert state["trainer"]["images_seen"] >= 32
    code, _, log = call(*args)  # the disk has space again
    assert code == 0
    assert "resuming at" in log


@needs_full
def test_disk_that_fills_while_statistics_are_written(store: Store, tmp_path: Path, monkeypatch) -> None:
    from progan.training.log import RunLog

    row = RunLog.row

    def fill(self: RunLog, values: dict) -> None:
        row(self, values, *([str(FULL)] if values["kimg"] > 0.02 else []))

    args = ["demo", store.path, "--out", tmp_path, "--name", "run", *NETWORKS, *SHORT, "--checkpoint-minutes", "0"]
    with monkeypatch.context() as patch:
        patch.setattr(RunLog, "row", fill)
        line = one_line_after_progress(*args)
    assert "No space left on device" in line
    assert "the last checkpoint is kept" in line
    assert call(*args)[0] == 0
    assert read_stats(tmp_path / "run")[-1]["kimg"] == 0.08


def one_line_after_progress(*args: object) -> str:
    """The error line; the progress bar was on the terminal before, and has its own line."""
    code, _, err = call(*args)
    assert code == 2
    assert "Traceback" not in err
    lines = err.rstrip("\n").split("\n")
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    return lines[-1]


def test_out_that_cannot_be_written(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    line = one_line("demo", store.path, "--out", tmp_path / "file", "--name", "run", *TINY)
    assert "cannot be written" in line


# --- the preset that looks first


def test_auto_says_what_it_chose_and_what_is_typed_wins(store: Store) -> None:
    code, said, _ = call("auto", store.path, "--dry-run", "--schedule.batch", "8", *NETWORKS[:6])
    assert code == 0
    reasons = [line for line in said.splitlines() if line.startswith("auto: ")]
    assert any("resolution 16, from the data" in line for line in reasons)
    assert any("only 40 images" in line for line in reasons)
    table = [line.split() for line in said.splitlines() if line.split()[0] in ("4", "8", "16")]
    assert [row[1] for row in table] == ["8", "8", "8"]


# --- images of any shape, end to end


@pytest.mark.parametrize(("size", "channels"), [("16x32", 1), ("32x16", 4)])
def test_non_square_images_from_preparation_to_generation(size: str, channels: int, tmp_path: Path) -> None:
    height, width = map(int, size.split("x"))
    mode, shape = ("L", (height, width)) if channels == 1 else ("RGBA", (height, width, 4))
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i in range(6):
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8), mode).save(tmp_path / f"images/{i}.png")
    data = tmp_path / "store"
    options = ["--resolution", size, "--channels", str(channels), "--workers", "0"]
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["prepare", str(tmp_path / "images"), str(data), *options]) == 0
    args = ["demo", data, "--out", tmp_path, "--name", "run", *NETWORKS, *OFTEN]
    assert call(*args, *SHORT[:-1], "0.04")[0] == 0
    code, _, log = call(*args, *SHORT)
    assert code == 0
    assert "resuming at 0.0 kimg, 8" in log
    assert f"{size}x{channels}, 6 images" in log
    assert Snapshot.load(tmp_path / "run").generate(seeds=[0, 1]).shape == (2, channels, height, width)
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["generate", str(tmp_path / "run"), str(tmp_path / "made"), "--count", "2"]) == 0
    picture = Image.open(tmp_path / "made/seed000001.png")
    assert (picture.size, picture.mode) == ((width, height), mode)
    factor = 64 // min(height, width)
    assert Image.open(tmp_path / "run/growth.png").size == (
        12 * (width * factor + 2) - 2,
        3 * (height * factor + 2) - 2,
    )


def test_metrics_are_measured_while_training(store: Store, tmp_path: Path) -> None:
    metrics = ["--metrics", "swd", "ms_ssim", "--metric-kimg", "0.02", "--metric-count", "20"]
    code, _, said = call("demo", store.path, "--out", tmp_path, "--name", "run", *NETWORKS, *SHORT, *metrics)
    assert code == 0
    rows = read_stats(tmp_path / "run", "metrics.jsonl")
    assert {row["resolution"] for row in rows} == {4, 8, 16}
    assert rows[-1].keys() >= {"kimg", "alpha", "swd", "swd_16", "ms_ssim", "real/swd"}
    assert "best swd at 16 pixels so far" in said
    assert (tmp_path / "run/best.safetensors").exists()


def test_metric_that_lacks_its_weights_is_refused_before_training(store: Store, tmp_path: Path) -> None:
    large = prepare(write_images(tmp_path / "images", size=(32, 32)), tmp_path / "store", workers=0).path
    sized = ["--resolution", "32", "--metrics", "modes"]
    assert "progan metric digits" in one_line("demo", large, "--out", tmp_path, *TINY, *sized)
    assert "unknown metric 'fidd'" in one_line("demo", store.path, "--out", tmp_path, *TINY, "--metrics", "fidd")
    assert "metric_kimg must be positive" in one_line(
        "demo", store.path, "--out", tmp_path, *TINY, "--metrics", "swd", "--metric-kimg", "0"
    )


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            ["--resolution", "8", "--metrics", "ms_ssim", "swd"],
            "swd is not defined below 16 pixels: the final stage of",
        ),
        (["--metrics", "modes"], "mode count reads three digits from RGB images of 28x28 or 32x32, got 3 x 16 x 16"),
        (["--metrics", "ms_ssim", "--metric-count", "3"], "ms_ssim requires at least 4 images of each set, got 3"),
    ],
)
def test_metric_that_cannot_be_measured_is_refused_before_training(
    asked: list[str], message: str, store: Store, tmp_path: Path
) -> None:
    assert message in one_line("demo", store.path, "--out", tmp_path / "runs", *TINY, *asked)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("preset", "start"), [("table1_a", 64), ("table1_b", 4)])
def test_another_resolution_neither_begins_nor_ends_growing(preset: str, start: int, store: Store) -> None:
    code, said, _ = call(preset, store.path, "--resolution", "16", "--dry-run", *NETWORKS[:6], "--schedule.batch", "8")
    assert code == 0
    sides = [line.split()[0] for line in said.splitlines()[2:] if line.split()[0].isdecimal()]
    assert sides == (["16"] if start == 64 else ["4", "8", "16"])


def test_every_preset_is_listed_with_what_it_is(capsys) -> None:
    assert main(["train", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()[3:-2]
    assert [line.split()[0] for line in lines] == list(PRESETS)
    assert len({len(line) - len(line.split(maxsplit=1)[1]) for line in lines}) == 1  # in one column
    assert "with progressive growing, 15,000 kimg." in lines[list(PRESETS).index("mnist_1k_k2_growing")]
