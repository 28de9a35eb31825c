"""What every GAN of the family must do: resume, run on two ranks, take gray and color images, serve the commands."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import children
from family import FAMILY, LIKE_OTHERS, STEPS, data, settings, trained, two_ranks
from progan import api
from progan.cli import main
from progan.gans.base import ImageSpec
from progan.snapshot import Snapshot
from progan.training import checkpoint
from progan.training.loop import Trainer
from restoring import flat

TOLERANCE = 1e-5
"""Largest difference of a weight between one and two ranks: only the order of sums differs."""


@pytest.mark.parametrize("name", FAMILY)
def test_resumed_run_equals_uninterrupted_run(name: str, tmp_path: Path) -> None:
    whole, first = trained(name, STEPS), trained(name, 3)
    checkpoint.save(tmp_path, first.state_dict())
    second = trained(name, STEPS - 3, state=checkpoint.load(tmp_path)[0])
    a, b = flat(whole.state_dict()), flat(second.state_dict())
    assert a.keys() == b.keys()
    assert [key for key in a if not torch.equal(torch.as_tensor(a[key]), torch.as_tensor(b[key]))] == []
    begun = trained(name, 0).gan.networks.state_dict()
    moved = {k.split(".")[0] for k, v in whole.gan.networks.state_dict().items() if not torch.equal(v, begun[k])}
    assert moved == set(whole.gan.networks)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of every member on each of two ranks."""
    folder = tmp_path_factory.mktemp("two")
    children.run_ranks(2, two_ranks, folder, folder=folder)
    return folder


@pytest.mark.parametrize("name", FAMILY)
def test_two_ranks_give_the_weights_of_one(name: str, two: Path) -> None:
    one = trained(name, STEPS).gan.networks.state_dict()
    ranks = [torch.load(two / f"{name}{rank}.pt", weights_only=True) for rank in range(2)]
    assert max(float((one[k].double() - ranks[0][k].double()).abs().max()) for k in one) < TOLERANCE
    assert all(torch.equal(ranks[0][k], ranks[1][k]) for k in one)


@pytest.mark.parametrize("name", FAMILY)
def test_images_may_be_gray_or_in_color(name: str) -> None:
    member = FAMILY[name]
    other = replace(member.spec, channels=4 - member.spec.channels)
    trainer = Trainer(settings(name), other, data(other), device=torch.device("cpu"))
    stage = trainer.iterate()
    images = trainer.samples(stage, 2)
    assert images.shape == (2, other.channels, other.height, other.width)
    assert float(images.abs().max()) < 10
    assert not torch.equal(images[0], images[1])
    assert trainer.all_finite()


def folder_of(spec: ImageSpec, folder: Path) -> Path:
    """The images of ``data`` as files, in a folder for each class if there are classes."""
    images = data(spec)
    for number, pixels in enumerate(images.pixels.permute(0, 2, 3, 1).numpy()):
        kind = "" if images.known is None or spec.attributes else f"class{int(images.known[number])}"
        path = folder / kind / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[..., 0] if spec.channels == 1 else pixels).save(path)
    if spec.attributes:
        rows = [f"{n}.png,{','.join(map(str, row.tolist()))}" for n, row in enumerate(images.known)]  # type: ignore[arg-type]
        head = "file_name," + ",".join(f"a{i}" for i in range(spec.attributes))
        (folder / "metadata.csv").write_text("\n".join([head, *rows]))
    return folder


@pytest.mark.usefixtures("no_probe")
@pytest.mark.parametrize("name", [name for name in FAMILY if name not in LIKE_OTHERS])
def test_a_folder_becomes_a_run_that_every_command_takes(name: str, tmp_path: Path) -> None:
    spec = FAMILY[name].spec
    source, run, config = folder_of(spec, tmp_path / "images"), tmp_path / "runs" / "a", settings(name)
    if spec.attributes:
        config = replace(config, label_columns=tuple(f"a{i}" for i in range(spec.attributes)))
    shown = max(config.gan.batches_shown, 1) * config.schedule.batch / 1000
    config = replace(config, schedule=replace(config.schedule, total_kimg=2 * shown), snapshot_kimg=shown)
    api.train(config, source, out=run.parent, name="a", workers=1, device="cpu")
    snapshot = Snapshot.load(run)
    more = ["--attributes", *["0.5"] * spec.attributes] if spec.attributes else []
    assert main(["generate", str(run), str(tmp_path / "images_out"), "--count", "3", *more]) == 0
    made = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "images_out").glob("*.png"))]
    label = [0.5] * spec.attributes if spec.attributes else None
    again = next(iter(snapshot.batches(None, seeds=[0, 1, 2], label=label)))
    assert all((np.moveaxis(a.numpy(), 0, 2).squeeze() == b).all() for a, b in zip(again, made, strict=True))
    assert made[0].shape[:2] == (spec.height, spec.width)
    assert main(["video", str(run), str(tmp_path / "walk.mp4"), "--seconds", "0.5", "--fps", "10", *more]) == 0
    assert (tmp_path / "walk.mp4").stat().st_size > 0
    if spec.attributes:  # 'progan metric' refuses them, because only the training data has such attributes
        return
    size = ["--resolution", f"{spec.height}x{spec.width}"]
    assert main(["metric", str(run), str(source), "--metrics", "swd", "--count", "16", "--device", "cpu", *size]) == 0
