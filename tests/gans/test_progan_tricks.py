"""Tricks in ProGAN, whose networks grow: what D is shown, and runs that resume with all of them on."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from golden_family import Fixed
from progan.errors import ConfigError
from progan.gans import ProGANConfig
from progan.gans.augmentation import NUMBERS, augment
from progan.gans.base import ImageSpec
from progan.gans.tricks import NetworkTricks, Tricks
from progan.presets.progressive import auto
from progan.training.config import RunConfig
from progan.training.loop import Trainer
from small import small_run

SPEC = ImageSpec(3, 16, 16)
EVERYTHING = Tricks(
    **{"label_flips": 0.2, "relativistic": True, "instance_noise": 0.1, "instance_noise_kimg": 0.1, "r1": 1.0},
    **{"r2": 1.0, "d_lr": 2.0, "g_lr": 0.5, "history": 0.01, "freeze_d": 1},
    **{"augment": "adaptive", "augment_p": 0.5, "augment_kimg": 0.1},
)


def config(tricks: Tricks, **gan: Any) -> RunConfig:
    run = small_run()
    return replace(run, gan=replace(run.gan, tricks=tricks, **gan))


class Levels(Fixed):
    """Random images, averaged down to the resolution that is asked for."""

    def images(self, position: int, count: int, resolution: int, *, offset: int = 0, stride: int = 1) -> Tensor:
        images = super().images(position, count, resolution, offset=offset, stride=stride)
        return torch.nn.functional.avg_pool2d(images, images.shape[-1] // resolution)


def trainer(tricks: Tricks, **gan: Any) -> Trainer:
    draw = torch.Generator().manual_seed(0)
    pixels = torch.rand(48, 3, 16, 16, generator=draw) * 2 - 1
    return Trainer(
        config(tricks, **gan), SPEC, Levels(pixels[:40]), held_out=Levels(pixels[40:]), device=torch.device("cpu")
    )


def test_resumed_run_equals_uninterrupted_run_with_everything_on() -> None:
    """Bit for bit, from the middle of a fade into the next stage."""
    whole, first = trainer(EVERYTHING), trainer(EVERYTHING)
    for _ in range(14):
        whole.iterate()
    for _ in range(6):
        first.iterate()
    assert first.stage.fading
    second = trainer(EVERYTHING)
    second.load_state_dict(first.state_dict())
    for _ in range(8):
        second.iterate()
    for name, tensor in whole.state_dict()["networks"].items():
        assert torch.equal(second.state_dict()["networks"][name], tensor), name
    for name, tensor in whole.state_dict()["memory"].items():
        assert torch.equal(second.state_dict()["memory"][name], tensor), name
    assert whole.gan.memory.augment.p != 0.5


def test_d_is_shown_augmented_images_in_all_of_its_passes() -> None:
    """Real and generated ones, and those between them for the penalty, are made of augmented images."""
    run = trainer(Tricks(augment="fixed", augment_p=0.7), stddev_group=0)
    gan, batch, seen = run.gan, run._batch("discriminator", run.stage, 0, 8, 0, 1), []
    gan.discriminator.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))  # type: ignore[attr-defined, union-attr]
    gan.discriminator_loss(batch)  # type: ignore[attr-defined]
    draws = batch.uniform("augment", NUMBERS)
    with torch.no_grad():
        fake = gan.generator(gan.generator.latent.draw(batch.normal, batch.uniform), 0)  # type: ignore[attr-defined, union-attr]
    want = [augment(images, draws, 0.7) for images in (batch.images, fake)]
    both, between = seen
    torch.testing.assert_close(both, torch.cat(want))
    mix = batch.uniform("mix", 1).view(-1, 1, 1, 1)
    torch.testing.assert_close(between, torch.lerp(*want, mix))
    assert not torch.equal(want[0], batch.images)


def test_g_is_trained_through_the_augmentation() -> None:
    run = trainer(Tricks(augment="fixed", augment_p=0.7))
    seen: list[Tensor] = []
    gan, batch = run.gan, run._batch("generator", run.stage, 0, 8, 0, 1)
    gan.discriminator.register_forward_pre_hook(lambda module, args: seen.append(args[0]))  # type: ignore[attr-defined, union-attr]
    gan.generator_loss(batch)  # type: ignore[attr-defined]
    assert seen[0].grad_fn is not None
    plain = gan.generator(gan.generator.latent.draw(batch.normal, batch.uniform), 0)  # type: ignore[attr-defined, union-attr]
    torch.testing.assert_close(seen[0], augment(plain, batch.uniform("augment", NUMBERS), 0.7))


def test_few_images_are_augmented_by_auto() -> None:
    few, reasons = auto(64, 200)
    assert few.gan.tricks.augment == "adaptive"
    assert few.gan.held_out == 0.05
    assert any(line.startswith("only 200 images, which D is shown augmented") for line in reasons)
    for config, reasons in (auto(64, 2000), auto(64, 200, augments=False)):
        assert config.gan.tricks == Tricks()
        assert not any("augmented" in line for line in reasons)


def test_tricks_of_layers_are_not_options_of_progan() -> None:
    assert not isinstance(ProGANConfig().tricks, NetworkTricks)
    with pytest.raises(ConfigError, match="label_smoothing requires a loss with labels"):
        config(Tricks(label_smoothing=0.1)).gan.make(SPEC)
    config(Tricks(label_smoothing=0.1), loss="least_squares").gan.make(SPEC)
