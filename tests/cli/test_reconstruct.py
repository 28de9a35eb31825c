"""The command 'progan reconstruct', and PSNR by 'progan metric'."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from progan.cli import main
from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.data.store import Store
from progan.evaluation.sets import open_images
from progan.gans import DCGANConfig
from progan.gans.base import ImageSpec
from progan.images import pairs_sheet, sheet
from progan.snapshot import Snapshot
from progan.snapshot.registry import GANS
from small import write_images
from toys import AutoencoderConfig


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(GANS, "AutoencoderConfig", AutoencoderConfig)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("reconstruct")
    images = write_images(folder / "images", count=20, size=(6, 8))
    return prepare(images, folder / "store", PrepareOptions(resolution="6x8"), workers=0)


def snapshot(path: Path, channels: int = 3) -> Snapshot:
    torch.manual_seed(0)
    config, spec = AutoencoderConfig(), ImageSpec(channels, 6, 8)
    network = config.make_sampler(spec).requires_grad_(False).eval()
    made = Snapshot(network, "AutoencoderConfig", config, spec, level=0)
    made.save(path)
    return made


def run(*args: object) -> int:
    return main(["reconstruct", *map(str, args), "--device", "cpu"])


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture)


def decibels(images: Tensor, originals: Tensor) -> np.ndarray:
    errors = ((images.double() - originals.double()) ** 2).flatten(1).mean(1).numpy()
    return 10 * np.log10(255**2 / errors)


def test_a_grid_has_the_originals_above(store: Store, tmp_path: Path, capsys) -> None:
    coder, out = snapshot(tmp_path / "g.safetensors"), tmp_path / "deep/r.PNG"
    assert run(tmp_path / "g.safetensors", store.path, out, "--count", 10, "--seed", 2, "--batch", 3) == 0
    originals = open_images(store.path, seed=2).read(0, 10)
    rebuilt = coder.reconstruct(originals)
    np.testing.assert_array_equal(pixels(Image.open(out)), pixels(pairs_sheet(originals, rebuilt)))
    found = decibels(rebuilt, originals)
    said = f"PSNR {found.mean():.2f} dB, standard deviation {found.std(ddof=1):.2f} dB, of 10 images"
    assert capsys.readouterr().out == f"{out}: {said}\n"


def test_a_folder_has_one_file_for_each_image(store: Store, tmp_path: Path, capsys) -> None:
    coder, out = snapshot(tmp_path / "g.safetensors"), tmp_path / "out"
    assert run(tmp_path / "g.safetensors", store.path, out, "--count", 100) == 0
    files = sorted(out.iterdir())
    assert [path.name for path in files] == [f"image{i:06d}.png" for i in range(20)]  # all there are, by their numbers
    rebuilt = coder.reconstruct(torch.tensor(store.level(6)).permute(0, 3, 1, 2))
    found = torch.tensor(np.stack([pixels(Image.open(path)) for path in files])).permute(0, 3, 1, 2)
    assert torch.equal(found, rebuilt)
    assert "of 20 images" in capsys.readouterr().out


def test_rows_of_pairs_are_apart() -> None:
    images = torch.arange(20, dtype=torch.uint8)[:, None, None, None].expand(20, 1, 6, 8)
    picture = pixels(pairs_sheet(images[:10], images[10:], columns=6))
    first, second = (
        sheet(images[rows], columns)
        for rows, columns in (([0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15], 6), ([6, 7, 8, 9, 16, 17, 18, 19], 4))
    )
    np.testing.assert_array_equal(picture[: first.height], pixels(first))
    np.testing.assert_array_equal(picture[-second.height :, : second.width], pixels(second))
    assert (picture[first.height : -second.height] == 255).all()
    assert len(picture) == first.height + second.height + first.height // 8


def test_equal_images_are_said(store: Store, tmp_path: Path, capsys, monkeypatch) -> None:
    snapshot(tmp_path / "g.safetensors")
    for equal, wanted in ((3, "of 5 images; 3 of 8 images equal their originals"), (8, "8 of 8 images equal their")):

        def some(_self: Snapshot, images: Tensor, equal: int = equal, **_: object) -> Tensor:
            return torch.cat([images[:equal], images[equal:] ^ 1])

        monkeypatch.setattr(Snapshot, "reconstruct", some)
        assert run(tmp_path / "g.safetensors", store.path, tmp_path / "r.png", "--count", 8) == 0
        said = capsys.readouterr().out
        assert wanted in said
        assert ("48.13 dB, standard deviation 0.00 dB" in said) == (equal < 8)


def test_what_cannot_be_reconstructed_is_one_line(store: Store, tmp_path: Path, capsys) -> None:
    snapshot(tmp_path / "g.safetensors")
    snapshot(tmp_path / "grey.safetensors", channels=1)
    config, spec = DCGANConfig(maps=2, latent_size=4), ImageSpec(3, 16, 16)
    Snapshot(config.make_sampler(spec), "dcgan", config, spec, level=2).save(tmp_path / "d.safetensors")
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    for message, name, out, *more in (
        ("a dcgan network has no encoder; networks with one: aae, bigan", "d", "r.png"),
        ("has images of 3 channels, but the network encodes images of 1; use 'progan prepare SOURCE", "grey", "r.png"),
        ("count must be at least 1, got 0", "g", "r.png", "--count", 0),
        ("batch must be at least 1, got 0", "g", "r.png", "--batch", 0),
        ("r.jpg: images are written as PNG; name a .png file or a folder", "g", "r.jpg"),
        ("file is a file and not a folder; choose another name", "g", "file/r.png"),
        ("file is a file and not a folder; choose another name", "g", "file"),
        ("file is a file and not a folder; choose another name", "g", "file/deep/folder"),
        ("folder.png: is a folder; name a file", "g", "folder.png"),
    ):
        assert run(tmp_path / f"{name}.safetensors", store.path, tmp_path / str(out), *more) == 2
        captured = capsys.readouterr()
        assert (captured.out, captured.err.count("\n")) == ("", 1)
        assert message in captured.err


def test_psnr_of_a_set_by_the_command_for_metrics(store: Store, tmp_path: Path, capsys) -> None:
    coder = snapshot(tmp_path / "g.safetensors")
    args = [
        "metric",
        str(tmp_path / "g.safetensors"),
        str(store.path),
        "--metrics",
        "psnr",
        "--json",
        "--device",
        "cpu",
    ]
    assert main([*args, "--inputs", str(store.path)]) == 0
    values = json.loads(capsys.readouterr().out)["results"][0]["values"]
    originals = torch.tensor(store.level(6)).permute(0, 3, 1, 2)
    found = decibels(coder.reconstruct(originals), originals)
    assert values == pytest.approx({"psnr": found.mean(), "psnr_std": found.std(ddof=1), "psnr_equal": 0})
    assert main(args) == 2
    assert (
        f"as in 'progan metric SNAPSHOT {store.path} --inputs {store.path} --metrics psnr'" in capsys.readouterr().err
    )


def test_alpha_is_encoded_by_networks_that_have_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (6, 8, 4), dtype=np.uint8)).save(tmp_path / f"in/{i}.png")
    store = prepare(tmp_path / "in", tmp_path / "store", PrepareOptions(resolution="6x8", channels=4), workers=0)
    coder = snapshot(tmp_path / "g.safetensors", channels=4)
    assert run(tmp_path / "g.safetensors", store.path, tmp_path / "out") == 0
    rebuilt = coder.reconstruct(torch.tensor(store.level(6)).permute(0, 3, 1, 2))
    for i, image in enumerate(rebuilt.permute(0, 2, 3, 1).numpy()):
        np.testing.assert_array_equal(pixels(Image.open(tmp_path / f"out/image{i:06d}.png")), image)
