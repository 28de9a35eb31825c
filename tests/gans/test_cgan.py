"""CGAN (2014) against numbers of its definition, and conditions of every kind."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gans.test_gan import fill_by_name
from golden_family import Fixed, Given, golden
from progan.cli import main
from progan.errors import ConfigError
from progan.gans import CGANConfig
from progan.gans.base import ImageSpec
from progan.gans.cgan import CGAN
from progan.gans.two_player import keep_all
from progan.presets import PRESETS
from progan.snapshot import Snapshot
from progan.training.loop import Trainer
from references.image_files import noise, save

GOLDEN = golden("cgan")
SIZE = GOLDEN["config"]
EXACT = {"rtol": 1e-9, "atol": 0}
NAMES = {
    "G.z": "of_latent",
    "G.y": "of_condition",
    "G.j": "joint",
    "G.o": "image",
    "D.x": "of_image.linear",
    "D.y": "of_condition.linear",
    "D.j": "joint.linear",
    "D.o": "score",
}
NARROW: dict[str, Any] = {
    "latent_size": SIZE["nz"],
    "g_latent_features": SIZE["gz"],
    "g_condition_features": SIZE["gy"],
    "g_joint_features": SIZE["nj"],
    "d_image_units": SIZE["dxu"],
    "d_image_pieces": SIZE["dxp"],
    "d_condition_units": SIZE["dyu"],
    "d_condition_pieces": SIZE["dyp"],
    "d_joint_units": SIZE["dju"],
    "d_joint_pieces": SIZE["djp"],
}


def tiny(spec: ImageSpec) -> tuple[CGAN, dict[str, nn.Parameter]]:
    """The golden networks: 9 pixels as 3x3, and conditions of 3 numbers."""
    gan = CGANConfig(**NARROW).make(spec)
    kinds = (("W", "weight"), ("b", "bias"))
    names = {f"{theirs}.{short}": f"{ours}.{long}" for theirs, ours in NAMES.items() for short, long in kinds}
    return gan, fill_by_name(gan, GOLDEN, names)


@pytest.mark.parametrize("kind", ["classes", "vectors"])
def test_networks_losses_and_gradients_are_those_of_the_definition(kind: str) -> None:
    """To 1e-9, relative, in float64, without dropout; vectors with a single 1 give the same as classes."""
    gan, parameters = tiny(ImageSpec(1, 3, 3, **({"classes": 3} if kind == "classes" else {"attributes": 3})))
    rs = np.random.RandomState(SIZE["s"] + 1)
    z = torch.from_numpy(rs.rand(SIZE["N"], SIZE["nz"]))
    numbers = rs.randint(0, 3, SIZE["N"])
    x = torch.from_numpy(2 * rs.rand(SIZE["N"], SIZE["nx"]) - 1).view(-1, 1, 3, 3)
    fake_numbers = rs.randint(0, 3, SIZE["N"])
    assert [numbers.tolist(), fake_numbers.tolist()] == [GOLDEN["y"], GOLDEN["yf"]]
    y, fake_y = (torch.from_numpy(n if kind == "classes" else np.eye(3)[n]) for n in (numbers, fake_numbers))
    fake = gan.generator(z, labels=fake_y)
    np.testing.assert_allclose((fake.detach().flatten(1) + 1) / 2, GOLDEN["G_out"], **EXACT)
    gan.fakes = lambda _: fake  # type: ignore[method-assign]

    def score(batch: Any, images: Tensor, stream: str) -> Tensor:  # the golden real and fake labels differ
        return gan.discriminator(images, y if stream == "real" else fake_y)

    gan.score = score  # type: ignore[method-assign]
    batch: Any = SimpleNamespace(images=x)
    for images, name in ((x, "real"), (fake, "fake")):
        np.testing.assert_allclose(gan.score(batch, images, name).detach(), GOLDEN[f"D_{name}_logit"], **EXACT)
    terms = {name: term.mean() for name, term in gan.joint_loss(batch).items()}
    d_loss = terms["discriminator_real"] + terms["discriminator_fake"]
    assert d_loss.item() == pytest.approx(GOLDEN["D_loss_sum"], rel=1e-9)
    assert terms["generator_fake"].item() == pytest.approx(GOLDEN["G_loss_nonsaturating"], rel=1e-9)
    sum(terms.values()).backward()  # type: ignore[union-attr]
    for name, norm in (GOLDEN["D_grad_norms"] | GOLDEN["G_grad_norms"]).items():
        assert float(parameters[name].grad.norm()) == pytest.approx(norm, rel=1e-9), name  # type: ignore[union-attr]


def test_parameter_counts_of_the_papers_networks() -> None:
    with torch.device("meta"):
        gan = PRESETS["cgan_mnist"]().gan.make(ImageSpec(1, 28, 28, classes=10))
    assert [sum(p.numel() for p in network.parameters()) for network in gan.networks.values()] == [2_413_984, 1_224_351]


def test_latents_fill_the_unit_hypercube() -> None:
    latent = CGANConfig().make_sampler(ImageSpec(1, 4, 4, classes=2)).latent
    z = latent.draw(torch.randn, lambda _, size: torch.rand(500, size))  # type: ignore[arg-type]
    assert z.shape == (500, 100)
    assert (float(z.min()), float(z.max())) == pytest.approx((0, 1), abs=0.001)


@pytest.mark.parametrize("spec", [ImageSpec(1, 4, 4, classes=3), ImageSpec(1, 4, 4, attributes=3)])
def test_both_networks_are_given_the_labels_of_the_images(spec: ImageSpec) -> None:
    """A whole simultaneous step: scores are those of the discriminator with the labels of the batch."""
    row = PRESETS["cgan_mnist"]()
    gan = replace(row.gan, g_keep_hidden=1.0, d_keep_hidden=1.0, d_range=0.5, g_range=0.5)
    run = replace(row, gan=gan, schedule=replace(row.schedule.resized(4), batch=6))
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(6) % 3 if spec.classes else torch.randn(6, 3, generator=draw)
    pixels = torch.rand(6, 1, 4, 4, generator=draw) * 2 - 1
    trainer = Trainer(run, spec, Fixed(pixels, labels), device=torch.device("cpu"))
    assert isinstance(trainer.gan, CGAN)
    generator, discriminator = trainer.gan.generator, trainer.gan.discriminator
    z = torch.rand(6, 100, generator=draw)
    trainer.gan.latent = Given(z)  # type: ignore[assignment]
    terms = trainer.gan.joint_loss(trainer._batch("both", trainer.stage, 0, 6, 0, 1))
    fake = generator(z, labels=labels)
    for name, images in (("discriminator_real", pixels), ("generator_fake", fake)):
        want = torch.nn.functional.softplus(-discriminator(images, labels))
        torch.testing.assert_close(terms[name], want, rtol=1e-5, atol=1e-6)
    others = labels.flip(0)
    assert (generator(z, labels=others) - fake).abs().max().item() > 0.01
    assert (discriminator(pixels, others) - discriminator(pixels, labels)).abs().max().item() > 0.01


def test_the_condition_is_scaled_in_both_networks() -> None:
    """Vectors that are larger with scale 1 give the same images and scores."""
    spec = ImageSpec(1, 4, 4, attributes=3)
    config = replace(PRESETS["cgan_mnist"]().gan, g_range=0.5, d_range=0.5)
    plain, scaled = (replace(config, g_condition_scale=g, d_condition_scale=d).make(spec) for g, d in ((1, 1), (2, 3)))
    scaled.networks.load_state_dict(plain.networks.state_dict())
    z, y, x = torch.rand(5, 100), torch.randn(5, 3), torch.rand(5, 1, 4, 4)
    torch.testing.assert_close(scaled.generator(z, labels=y), plain.generator(z, labels=2 * y))
    torch.testing.assert_close(scaled.discriminator(x, y), plain.discriminator(x, 3 * y))
    assert not torch.allclose(plain.discriminator(x, 3 * y), plain.discriminator(x, y), atol=1e-3)


def test_dropout_is_in_both_networks_but_not_in_samples() -> None:
    row = PRESETS["cgan_mnist"]()
    spec = ImageSpec(1, 4, 4, classes=3)
    run = replace(row, gan=replace(row.gan, d_range=0.5), schedule=replace(row.schedule.resized(4), batch=6))
    pixels, labels = torch.rand(6, 1, 4, 4) * 2 - 1, torch.arange(6) % 3
    trainer = Trainer(run, spec, Fixed(pixels, labels), device=torch.device("cpu"))
    gan, batch = trainer.gan, trainer._batch("both", trainer.stage, 0, 6, 0, 1)
    assert isinstance(gan, CGAN)
    z = gan.latents(batch)
    plain = gan.generator(z, labels=labels)
    assert not torch.allclose(gan.fakes(batch), plain, atol=1e-3)
    torch.testing.assert_close(gan.samples(gan.generator, batch), plain)
    assert not torch.allclose(gan.score(batch, pixels, "real"), gan.discriminator(pixels, labels), atol=1e-4)
    kept: list[tuple[int, float]] = []

    def drop(x: Tensor, keep: float) -> Tensor:
        kept.append((x.shape[1], keep))
        return keep_all(x, keep)

    gan.generator(z, labels=labels, drop=drop)
    gan.discriminator(pixels, labels, drop=drop)
    assert kept == [(1200, 0.5), (1200, 0.5), (290, 0.5), (240, 0.5)]


def test_pixel_means_become_the_output_bias() -> None:
    gan = CGANConfig(g_range=0.0).make(ImageSpec(1, 2, 3, classes=2))
    pixels = torch.rand(10, 1, 2, 3) * 2 - 1
    gan.look(iter([SimpleNamespace(images=some) for some in pixels.split(4)]))  # type: ignore[arg-type]
    image = gan.generator(torch.rand(1, 100), labels=torch.tensor([1]))[0]
    torch.testing.assert_close(image, pixels.mean(0), rtol=1e-5, atol=1e-6)


def test_data_without_labels_is_refused_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"^this GAN is conditional, but the data has no labels; .*--label-columns$"):
        CGANConfig().make(ImageSpec(1, 4, 4))
    with pytest.raises(ConfigError, match=r"^gan.d_joint_pieces must be at least 1, got 0$"):
        CGANConfig(d_joint_pieces=0)


@pytest.mark.usefixtures("no_probe")
def test_vectors_of_an_array_condition_a_run_and_its_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a folder and an .npy of embeddings to images, by the commands; without labels, nothing is begun."""
    for i in range(6):
        save(tmp_path / "pictures" / f"{i}.png", noise(8, 8, seed=i))
    vectors = np.random.default_rng(0).standard_normal((6, 512)).astype(np.float32)
    np.save(tmp_path / "y.npy", vectors)
    source, store, runs = (str(tmp_path / name) for name in ("pictures", "store", "runs"))
    assert main(["prepare", source, store, "--labels", str(tmp_path / "y.npy"), "--workers", "0"]) == 0
    assert "label (float32, 512 values)" in capsys.readouterr().out
    size = ["--resolution", "8", "--schedule.total-kimg", "0.01", "--schedule.batch", "3"]
    args = ["train", "cgan_mnist_small", store, "--out", runs, "--name", "a", "--device", "cpu", *size]
    assert main(args) == 2
    assert capsys.readouterr().err.startswith("error: this GAN is conditional, but the data has no labels; ")
    assert not (tmp_path / "runs/a").exists()
    assert main([*args, "--label-columns", "label"]) == 0
    snapshot = Snapshot.load(tmp_path / "runs/a")
    assert snapshot.spec.attributes == 512
    assert main(["generate", f"{runs}/a", f"{runs}/b", "--attributes-file", str(tmp_path / "y.npy")]) == 0
    made = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "runs/b").iterdir())]
    want = snapshot.generate(seeds=range(6), label=vectors)
    assert all((np.moveaxis(w.numpy(), 0, 2) == image).all() for image, w in zip(made, want, strict=True))
