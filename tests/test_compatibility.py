"""What commit cf98fb5 wrote is opened and gone on with; tests/fixtures/README.md says what there is and who made it."""

import hashlib
import json
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from progan import Snapshot, draws
from progan.cli import main
from progan.data.store import Store

FIXTURES = Path(__file__).parent / "fixtures/cf98fb5"
RUNS = ["fade", "conditional", "grey", "mnist_1k", "super_resolution_pretraining", "super_resolution", "artefacts"]
OF_LATENTS = ["fade", "conditional", "grey", "mnist_1k"]
OF_IMAGES = ["super_resolution_pretraining", "super_resolution", "artefacts"]
SEEDS = [0, 1, 2]


@dataclass(frozen=True)
class Stopped:
    """A copy of a run directory, stopped in the middle, beside one of its data."""

    path: Path
    store: Path
    command: list[str]
    """What was typed to begin it."""
    kimg: float
    expected_rows: list[dict[str, float]]
    """Lines of stats.jsonl until its end, without what is measured in seconds."""
    expected_final: Path
    """The generator at its end."""


def stopped(name: str, folder: Path) -> Stopped:
    """The run of that name, below ``folder``."""
    facts = json.loads((FIXTURES / f"stopped/{name}.json").read_text())
    with tarfile.open(FIXTURES / f"stopped/{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    store = Path(shutil.copytree(FIXTURES / "stores" / facts["store"], folder / "store"))
    where = [str(store), "--out", str(folder), "--name", "run", "--device", "cpu"]
    command = ["train", facts["preset"], *where, *facts["options"]]
    final = folder / "expected_final.safetensors"
    return Stopped(folder / "run", store, command, facts["kimg"], facts["expected_rows"], final)


def rows(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]


# --- runs


@pytest.mark.parametrize("name", RUNS)
def test_a_stopped_run_goes_on_and_ends_as_it_would_have(name: str, tmp_path: Path) -> None:
    run = stopped(name, tmp_path)
    before = rows(run.path)
    assert main(run.command) == 0
    after = rows(run.path)
    assert after[: len(before)] == before  # times, too: it did not begin anew, which would end the same
    assert before[-1]["kimg"] <= run.kimg
    for row, expected in zip(after[len(before) :], run.expected_rows, strict=True):
        assert {key: row[key] for key in expected} == pytest.approx(expected, rel=1e-3, abs=1e-5)
    final = max((run.path / "snapshots").glob("[0-9]*[0-9].safetensors"))
    torch.testing.assert_close(floats(final), floats(run.expected_final), rtol=0, atol=1e-5)
    a, b = Snapshot.load(final), Snapshot.load(run.expected_final)
    for field in ("gan", "config", "spec", "level", "alpha", "kimg", "classes"):
        assert getattr(a, field) == getattr(b, field), field


def floats(snapshot: Path) -> dict[str, torch.Tensor]:
    """All but the numbers of batches that batch norm saw: nothing reads them, and averages of then had them at 0."""
    return {name: tensor for name, tensor in load_file(snapshot).items() if tensor.is_floating_point()}


def test_a_run_with_other_settings_is_still_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = stopped("fade", tmp_path)
    assert main([*run.command, "--gan.drift-weight", "0.01"]) == 2
    assert "drift_weight 0.001 -> 0.01" in capsys.readouterr().err


def test_a_run_on_other_data_is_still_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = stopped("fade", tmp_path)
    pixels = np.load(run.store / "16x16.npy")
    manifest = json.loads((run.store / "manifest.json").read_text())
    manifest["hash"] = hashlib.sha256(255 - pixels).hexdigest()
    (run.store / "manifest.json").write_text(json.dumps(manifest))
    assert main(run.command) == 2
    assert "different data" in capsys.readouterr().err


# --- stores


@pytest.mark.parametrize("name", ["rgb16", "grey8", "rgba16", "wide8"])
def test_a_store_of_format_1_opens_as_it_is(name: str, tmp_path: Path) -> None:
    path = Path(shutil.copytree(FIXTURES / "stores" / name, tmp_path / name))
    levels = {min(level.shape[1:3]): level for level in map(np.load, path.glob("*x*.npy"))}
    top = levels[max(levels)]
    labels = np.load(path / "labels.npy") if (path / "labels.npy").exists() else None
    store = Store.open(path)
    assert (store.count, store.height, store.width, store.channels) == top.shape
    assert store.classes == (("class0", "class1") if name == "rgb16" else ())
    content = top.tobytes() + (b"" if labels is None else labels.tobytes()) + repr(top.shape).encode()
    assert store.hash == hashlib.sha256(content).hexdigest()
    assert store.resolutions == tuple(sorted(levels))
    for side, level in levels.items():
        np.testing.assert_array_equal(store.level(side), level)
    np.testing.assert_array_equal(store.labels(), labels)  # type: ignore[arg-type]  # None is None


# --- snapshots


def assert_same_images(images: torch.Tensor | np.ndarray, name: str) -> None:
    """Equal to those of then, up to rounding to 8 bits."""
    expected = np.load(FIXTURES / "images.npz")[name]
    assert images.shape == expected.shape
    assert expected.std() > 5  # there is something to see
    assert np.abs(np.asarray(images).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("name", OF_LATENTS)
def test_the_newest_snapshot_of_a_run_makes_the_same_images(name: str, tmp_path: Path) -> None:
    snapshot = Snapshot.load(stopped(name, tmp_path).path)
    assert (snapshot.alpha < 1) == (name == "fade")
    assert snapshot.conditional == (name == "conditional")
    assert_same_images(snapshot.generate(seeds=SEEDS), name)


@pytest.mark.parametrize("name", OF_IMAGES)
def test_the_newest_snapshot_of_a_run_restores_in_the_same_way(name: str, tmp_path: Path) -> None:
    run = stopped(name, tmp_path)
    pixels = torch.from_numpy(np.load(run.store / "8x8.npy")[: len(SEEDS)]).permute(0, 3, 1, 2)
    assert_same_images(restored(Snapshot.load(run.path), pixels), name)


def restored(snapshot: Any, pixels: torch.Tensor) -> torch.Tensor:
    """What a network of images makes of images, uint8 [N, C, H, W]."""
    if hasattr(snapshot, "translate"):
        return snapshot.translate(pixels)
    images = snapshot.generator(pixels.float() / 127.5 - 1)  # cf98fb5, by which this file was tried, has no more
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def test_a_shared_folder_makes_the_same_images() -> None:
    snapshot = Snapshot.from_pretrained(FIXTURES / "pretrained/wide")
    assert snapshot.spec.size(snapshot.level) == (8, 16)
    assert_same_images(snapshot.generate(seeds=SEEDS), "wide")


@pytest.mark.parametrize("name", OF_LATENTS)
def test_the_command_generate_makes_the_same_images(name: str, tmp_path: Path) -> None:
    run, out = stopped(name, tmp_path).path, tmp_path / "images"
    assert main(["generate", str(run), str(out), "--seeds", "0-2", "--device", "cpu"]) == 0
    images = np.stack([np.atleast_3d(np.asarray(Image.open(file))) for file in sorted(out.iterdir())])
    assert_same_images(images.transpose(0, 3, 1, 2), name)


def test_a_run_is_measured_as_then(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measurements draw different latents now; with those of then, which were those of seeds, the values are equal."""
    run, old, new = stopped("fade", tmp_path), FIXTURES / "metric.json", tmp_path / "metric.json"
    monkeypatch.setattr(Snapshot, "latents_at", latents_of_then)
    options = ["--metrics", "ms_ssim", "swd", "--count", "8", "--json", "--device", "cpu"]
    assert main(["metric", str(run.path), str(run.store), *options]) == 0
    new.write_text(capsys.readouterr().out)
    values, wanted = (measured(file) for file in (new, old))
    assert values == pytest.approx(wanted, rel=0.02)
    assert main(["metric", "compare", str(old), str(new)]) == 0


def latents_of_then(snapshot: Snapshot, seed: int, _stream: str, first: int, count: int) -> torch.Tensor:
    """Latents as of ``generate``: one for each seed."""
    seeds = range((seed << 32) + first, (seed << 32) + first + count)
    rows = [draws.normal(one, "generate", 0, 1, snapshot.latent_size) for one in seeds]
    return torch.from_numpy(np.concatenate(rows))


def measured(file: Path) -> dict[str, float]:
    """All values of a measurement."""
    results: list[dict[str, Any]] = json.loads(file.read_text())["results"]
    return {key: value for result in results for key, value in result["values"].items()}
