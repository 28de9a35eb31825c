"""The command 'progan generate'."""

import doctest
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from progan.cli import generate, main, parse_seeds
from progan.data.store import Store
from progan.gans import CGANConfig, ProGANConfig
from progan.gans.base import ImageSpec
from progan.snapshot import Snapshot


def make(path: Path, channels: int = 3, *, conditional: bool = False) -> Snapshot:
    torch.manual_seed(0)
    spec = ImageSpec(channels, 8, 16, 3 if conditional else 0)
    config = ProGANConfig(fmap_base=64, fmap_max=8, latent_size=6, conditional=conditional)
    snapshot = Snapshot(config.make_sampler(spec).requires_grad_(False), "progan", config, spec, level=1)
    snapshot.save(path)
    return snapshot


@pytest.fixture
def file(tmp_path: Path) -> Path:
    make(tmp_path / "g.safetensors")
    return tmp_path / "g.safetensors"


def run(*args: object) -> int:
    return main(["generate", *map(str, args), *([] if "--device" in args else ["--device", "cpu"])])


def pixels(path: Path) -> torch.Tensor:
    image = np.array(Image.open(path))
    return torch.from_numpy(image[..., None] if image.ndim == 2 else image).permute(2, 0, 1)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_one_png_for_each_seed(channels: int, mode: str, tmp_path: Path, capsys) -> None:
    snapshot = make(tmp_path / "g.safetensors", channels)
    assert run(tmp_path / "g.safetensors", tmp_path / "out", "--count", 3) == 0
    assert capsys.readouterr().out == f"3 images in {tmp_path / 'out'}\n"
    files = sorted((tmp_path / "out").iterdir())
    assert [p.name for p in files] == ["seed000000.png", "seed000001.png", "seed000002.png"]
    for file, wanted in zip(files, snapshot.generate(seeds=range(3)), strict=True):
        assert (Image.open(file).mode, Image.open(file).size) == (mode, (16, 8))
        assert torch.equal(pixels(file), wanted)


def test_seeds_are_a_list_with_ranges(file: Path, tmp_path: Path) -> None:
    assert run(file, tmp_path / "out", "--seeds", "3,7,20-21") == 0
    assert sorted(p.stem for p in (tmp_path / "out").iterdir()) == [f"seed{s:06}" for s in (3, 7, 20, 21)]
    assert parse_seeds(" 1 - 2".replace(" - ", "-") + ", 5") == [1, 2, 5]
    assert not doctest.testmod(generate).failed


@pytest.mark.parametrize("conditional", [False, True])
def test_a_seed_is_one_image_whatever_the_batch(conditional: bool, tmp_path: Path) -> None:
    make(tmp_path / "g.safetensors", conditional=conditional)
    for batch in (1, 2, 32):
        assert run(tmp_path / "g.safetensors", tmp_path / str(batch), "--seeds", "0-4", "--batch", batch) == 0
    assert run(tmp_path / "g.safetensors", tmp_path / "alone", "--seeds", "4") == 0
    for seed in range(5):
        some = [pixels(tmp_path / str(b) / f"seed{seed:06}.png").int() for b in (1, 2, 32)]
        some += [pixels(tmp_path / "alone/seed000004.png").int()] * (seed == 4)
        assert max(int((one - some[0]).abs().max()) for one in some) <= 1


def test_sheet(file: Path, tmp_path: Path, capsys) -> None:
    assert run(file, tmp_path / "out", "--grid", "--count", 5) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out/grid.png'}\n"
    assert Image.open(tmp_path / "out/grid.png").size == (3 * 130 - 2, 2 * 66 - 2)  # 8x16, enlarged eightfold
    assert run(file, tmp_path / "row.PNG", "--count", 5, "--columns", 5, "--batch", 2) == 0
    sheet = pixels(tmp_path / "row.PNG")
    assert sheet.shape == (3, 64, 5 * 130 - 2)
    made = Snapshot.load(file).generate(seeds=range(5), batch=2)
    assert all(
        torch.equal(sheet[:, :, 130 * i : 130 * i + 128], made[i].repeat_interleave(8, 1).repeat_interleave(8, 2))
        for i in range(5)
    )
    assert (sheet[:, :, 128:130] == 255).all()


def test_reals_stand_beside_the_sheet(store: Store, tmp_path: Path, capsys) -> None:
    torch.manual_seed(0)
    spec, config = ImageSpec(3, 16, 16), ProGANConfig(fmap_base=64, fmap_max=8, latent_size=6)
    Snapshot(config.make_sampler(spec), "progan", config, spec, level=1).save(tmp_path / "g.safetensors")
    args = (tmp_path / "g.safetensors", tmp_path / "s.png", "--count", 4)
    assert run(*args) == 0
    alone = pixels(tmp_path / "s.png")
    assert run(*args, "--beside", store.path) == 0
    both = pixels(tmp_path / "s.png")
    assert both.shape == (3, 130, 130 + 16 + 130)
    assert torch.equal(both[:, :, :130], alone)
    assert (both[:, :, 130:146] == 255).all()
    level = torch.from_numpy(np.array(store.level(8))).permute(0, 3, 1, 2)
    tiles = [both[:, y : y + 64 : 8, x : x + 64 : 8] for y in (0, 66) for x in (146, 212)]
    places = [(level == tile).flatten(1).all(1).nonzero()[0].item() for tile in tiles]
    assert len(set(places)) == 4
    capsys.readouterr()
    assert "--beside requires a grid of images" in line(capsys, args[0], tmp_path / "out", "--beside", store.path)
    assert "--columns requires a grid of images" in line(capsys, args[0], tmp_path / "out", "--columns", 3)


def test_label_and_resolution(tmp_path: Path) -> None:
    snapshot = make(tmp_path / "g.safetensors", conditional=True)
    args = (tmp_path / "g.safetensors", tmp_path / "out", "--seeds", "5")
    for label in range(3):
        assert run(*args, "--label", label) == 0
        assert torch.equal(pixels(tmp_path / "out/seed000005.png"), snapshot.generate(seeds=[5], label=label)[0])
    assert run(*args, "--resolution", 4) == 0
    assert Image.open(tmp_path / "out/seed000005.png").size == (8, 4)


@pytest.mark.parametrize("batch", [2, 32])
def test_latents_of_a_file(batch: int, tmp_path: Path) -> None:
    snapshot = make(tmp_path / "g.safetensors", conditional=True)
    z = np.random.default_rng(0).standard_normal((5, 6))
    np.save(tmp_path / "z.npy", z)
    assert run(tmp_path / "g.safetensors", tmp_path / "out", "--latents", tmp_path / "z.npy", "--batch", batch) == 0
    files = sorted((tmp_path / "out").iterdir())
    assert [p.name for p in files] == [f"latent{i:06}.png" for i in range(5)]
    made = snapshot.generate(z, label=[0, 1, 2, 0, 1])  # all classes in turn, over all batches
    assert max(int((pixels(f).int() - w.int()).abs().max()) for f, w in zip(files, made, strict=True)) <= 1
    np.save(tmp_path / "z.npy", z[0])
    assert run(tmp_path / "g.safetensors", tmp_path / "one", "--latents", tmp_path / "z.npy") == 0
    assert len(list((tmp_path / "one").iterdir())) == 1


def make_cgan(path: Path, **labels: int) -> Snapshot:
    torch.manual_seed(0)
    spec = ImageSpec(1, 4, 4, **labels)
    config = CGANConfig(latent_size=6, g_joint_features=8, g_range=0.5)
    snapshot = Snapshot(config.make_sampler(spec).requires_grad_(False), "cgan", config, spec, level=0)
    snapshot.save(path)
    return snapshot


def test_attributes_of_a_file(tmp_path: Path, capsys) -> None:
    """One row for all images, or one for each, of which there are then as many."""
    snapshot = make_cgan(tmp_path / "g.safetensors", attributes=512)
    rows = np.random.default_rng(0).standard_normal((3, 512))
    args = (tmp_path / "g.safetensors", tmp_path / "out", "--attributes-file", tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", rows)
    assert run(*args) == 0
    files = sorted((tmp_path / "out").iterdir())
    assert [p.name for p in files] == ["seed000000.png", "seed000001.png", "seed000002.png"]
    made = snapshot.generate(seeds=range(3), label=rows)
    assert all(torch.equal(pixels(f), w) for f, w in zip(files, made, strict=True))
    assert run(*args, "--seeds", "7-9") == 0
    made = snapshot.generate(seeds=[7, 8, 9], label=rows)
    assert all(torch.equal(pixels(tmp_path / f"out/seed00000{i}.png"), made[i - 7]) for i in (7, 8, 9))
    for one in (rows[0], rows[:1]):
        np.save(tmp_path / "a.npy", one)
        assert run(*args, "--seeds", "5,6") == 0
        assert torch.equal(pixels(tmp_path / "out/seed000006.png"), snapshot.generate(seeds=[6], label=rows[0])[0])
    capsys.readouterr()
    np.save(tmp_path / "a.npy", rows)
    wanted = "this generator requires 512 attributes, for all images [K] or for each [N, K]; got [3, 512] for 5 images"
    assert line(capsys, *args, "--count", 5) == wanted
    np.save(tmp_path / "a.npy", rows[:, :5])
    assert line(capsys, *args).endswith("a.npy: attributes must be real numbers [N, 512], got float64 [3, 5]")
    np.save(tmp_path / "a.npy", np.full((1, 512), np.nan))
    assert line(capsys, *args).endswith("a.npy: some attributes are not finite")


def test_attributes_that_do_not_fit_are_refused(tmp_path: Path, capsys) -> None:
    make_cgan(tmp_path / "g.safetensors", attributes=3)
    args = (tmp_path / "g.safetensors", tmp_path / "out")
    for more in (["0", "1", "0", "1"], ["0", "1"]):
        wanted = f"this generator requires 3 attributes, for all images [K] or for each [N, K]; got [{len(more)}]"
        assert line(capsys, *args, "--attributes", *more).startswith(wanted)
    assert line(capsys, *args, "--label", 1).endswith("got '1', which is no number")
    assert line(capsys, *args).endswith("[N, K]; got none")
    make_cgan(tmp_path / "g.safetensors", classes=3)
    np.save(tmp_path / "a.npy", np.eye(3))
    for option, value in (("--attributes-file", tmp_path / "a.npy"), ("--attributes", 1)):
        wanted = f"{option} has no effect: this generator was trained with 3 classes; use --label"
        assert line(capsys, *args, option, value) == wanted


def line(capsys, *args: object) -> str:
    assert run(*args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err.removeprefix("error: ").rstrip("\n")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--seeds", "x"], "seeds must look like 0-15 or 3,7,20-29; got 'x'"),
        (["--seeds", ""], "seeds must look like 0-15 or 3,7,20-29; got ''"),
        (["--seeds=-1"], "seeds must look like 0-15 or 3,7,20-29; got '-1'"),
        (["--seeds", "3-1"], "seeds '3-1': the range is empty; write the smaller number first"),
        (["--seeds", "99999999999999999999"], "seeds must be at least one number from 0 to 2^63 - 1"),
        (["--count", "0"], "count must be at least 1, got 0"),
        (["--batch", "0"], "batch must be at least 1, got 0"),
        (["--columns", "-1"], "columns must be at least 1, got -1"),
        (["--label", "0"], "this generator was trained without labels; omit the label"),
        (["--resolution", "16"], "resolution 16 is not supported by this generator; choose from 4, 8"),
        (["--device", "tpu"], "device 'tpu' is not available here; try --device cpu"),
        (["--seeds", "1", "--latents", "z.npy"], "pass either --seeds or --latents, not both"),
        (["--label", "1", "--attributes", "1"], "pass either --label or --attributes, not both"),
        (
            ["--attributes", "1", "--attributes-file", "a.npy"],
            "pass either --attributes or --attributes-file, not both",
        ),
        (["--attributes-file", "a.npy"], "--attributes-file has no effect: this generator was trained without labels"),
        (["--attributes", "1", "2"], "--attributes has no effect: this generator was trained without labels"),
    ],
)
def test_wrong_options_are_one_line(
    args: list[str], message: str, file: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert message in line(capsys, file, tmp_path / "out", *args)
    assert not (tmp_path / "out").exists()


def test_cuda_where_there_is_none(file: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert "device 'cuda' is not available here" in line(capsys, file, tmp_path / "out", "--device", "cuda")


def test_label_out_of_range(tmp_path: Path, capsys) -> None:
    make(tmp_path / "g.safetensors", conditional=True)
    for label in (3, -1):
        text = line(capsys, tmp_path / "g.safetensors", tmp_path / "out", f"--label={label}")
        assert text.startswith("label must be 0 ... 2, or the name of a class; got ")
    assert "no class is named 'cat'; the names of its classes are unknown, use a number 0 ... 2" in line(
        capsys, tmp_path / "g.safetensors", tmp_path / "out", "--label", "cat"
    )


@pytest.mark.parametrize(
    ("classes", "label", "number"),
    [
        (("cat", "dog", "emu"), "dog", 1),
        (("cat", "dog", "emu"), "2", 2),  # no class is named by a number
        (("0", "1", "2"), "2", 2),
        (("1", "2", "3"), "3", 2),  # the name wins
        (("10", "2", "x"), "2", 1),
        (("001", "002", "007"), "7", 2),
        (("a", "\u732b", "caf\u00e9"), "cafe\u0301", 2),  # composed and decomposed
        (("a", "\u732b", "b"), "\udce7\udc8c\udcab", 1),  # as a process in the C locale is given it
        (("\udc94L", "b", "c"), "\udc94L", 0),  # Shift-JIS
    ],
)
def test_a_class_by_its_name(classes: tuple[str, ...], label: str, number: int, tmp_path: Path, capsys) -> None:
    snapshot = replace(make(tmp_path / "g.safetensors", conditional=True), classes=classes)
    snapshot.save(tmp_path / "g.safetensors")
    assert run(tmp_path / "g.safetensors", tmp_path / "out", "--seeds", "5", "--label", label) == 0
    assert torch.equal(pixels(tmp_path / "out/seed000005.png"), snapshot.generate(seeds=[5], label=number)[0])


@pytest.mark.parametrize(
    ("classes", "label", "message"),
    [
        (("cat", "dog", "emu"), "Dgo", "no class is named 'Dgo'; did you mean dog?"),
        (("cat", "dog", "emu"), "zebra", "no class is named 'zebra'; choose from cat, dog, emu"),
        (("cat", "dog", "emu"), "3", "label must be 0 ... 2, or the name of a class; got 3"),
        (("1", "2", "3"), "0", "no class is named '0'; choose from 1, 2, 3"),  # not the first one, which is 1
        (("\udc94L", "b", "c"), "zebra", "choose from \\udc94L, b, c"),
    ],
)
def test_classes_that_are_none(classes: tuple[str, ...], label: str, message: str, tmp_path: Path, capsys) -> None:
    replace(make(tmp_path / "g.safetensors", conditional=True), classes=classes).save(tmp_path / "g.safetensors")
    assert message in line(capsys, tmp_path / "g.safetensors", tmp_path / "out", "--label", label)


class Evil:
    """Makes a file named 'executed' when unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.folder / "executed",))


def test_latents_that_are_none(file: Path, tmp_path: Path, capsys) -> None:
    z = tmp_path / "z.npy"
    args = (file, tmp_path / "out", "--latents", z)
    assert "z.npy: cannot be read (No such file or directory)" in line(capsys, *args)
    for array, words in [
        (np.zeros((2, 5)), "latents must be real numbers [N, 6], got float64 [2, 5]"),
        (np.zeros((0, 6)), "got float64 [0, 6]"),
        (np.zeros((2, 3, 6)), "got float64 [2, 3, 6]"),
        (np.zeros((2, 6), complex), "got complex128"),
        (np.array([["a"] * 6]), "got <U1"),
        (np.full((2, 6), np.nan), "some latents are not finite"),
    ]:
        np.save(z, array)
        assert words in line(capsys, *args)
    np.save(z, np.zeros((100, 6)))
    z.write_bytes(z.read_bytes()[:-8])
    assert "is not a whole .npy file of numbers" in line(capsys, *args)
    z.write_bytes(b"")
    assert "is not a whole .npy file of numbers" in line(capsys, *args)
    np.savez(z.with_suffix(".npz"), z=np.zeros((2, 6)))
    z.with_suffix(".npz").replace(z)
    assert "is not a whole .npy file of numbers" in line(capsys, *args)


def test_latents_in_a_pickle_are_refused_and_not_executed(file: Path, tmp_path: Path, capsys) -> None:
    np.save(tmp_path / "array.npy", np.array([Evil(tmp_path)], dtype=object), allow_pickle=True)
    (tmp_path / "plain.npy").write_bytes(pickle.dumps(Evil(tmp_path)))
    for name in ("array.npy", "plain.npy"):
        text = line(capsys, file, tmp_path / "out", "--latents", tmp_path / name)
        assert "is not a whole .npy file of numbers" in text
    assert not (tmp_path / "executed").exists()


def test_snapshots_that_are_none(file: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    assert "does not exist" in line(capsys, tmp_path / "nothing", out)
    (tmp_path / "run/snapshots").mkdir(parents=True)
    assert "is a folder without snapshots" in line(capsys, tmp_path / "run", out)
    file.write_bytes(file.read_bytes()[:-10])
    assert "is not a whole safetensors file" in line(capsys, file, out)


def test_places_that_cannot_be_written(file: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "a").write_text("")
    assert "cannot be written" in line(capsys, file, tmp_path / "a/b")
    assert "images are written as PNG; name a .png file or a folder" in line(capsys, file, tmp_path / "a.jpg")
    if Path("/dev/full").exists():
        (tmp_path / "full.png.partial").symlink_to("/dev/full")
        assert "No space left on device" in line(capsys, file, tmp_path / "full.png")
        assert not (tmp_path / "full.png").exists()
