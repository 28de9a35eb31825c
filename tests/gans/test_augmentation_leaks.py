"""Generated images do not show the augmentations that D was shown: a small classifier looks for turned images."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor, nn

from golden_family import Fixed
from progan.gans import DCGANConfig
from progan.gans.base import ImageSpec
from progan.gans.tricks import NetworkTricks
from progan.presets.family import constant
from progan.training.loop import Trainer

SPEC, COUNT = ImageSpec(1, 16, 16), 512


def letters() -> Tensor:
    """Upright letters F of various sizes and places, uint8 [COUNT, 1, 16, 16]."""
    rng, images = np.random.default_rng(0), []
    for _ in range(COUNT):
        image = Image.new("L", (64, 64))
        left, top, high = rng.integers(12, 20), rng.integers(8, 14), rng.integers(36, 44)
        draw, width = ImageDraw.Draw(image), int(rng.integers(7, 11))
        draw.rectangle((left, top, left + width, top + high), 255)
        draw.rectangle((left, top, left + 0.7 * high, top + width), 255)
        draw.rectangle((left, top + 0.45 * high, left + 0.5 * high, top + 0.45 * high + width), 255)
        images.append(np.asarray(image.resize((16, 16), Image.Resampling.BOX)))
    return torch.from_numpy(np.stack(images)).unsqueeze(1)


def turned(images: Tensor) -> Tensor:
    """Images in their four orientations, [4 * N, C, H, W]."""
    return torch.cat([images.rot90(quarter, (2, 3)) for quarter in range(4)])


def classifier(images: Tensor) -> nn.Module:
    """A network that tells the orientation of letters."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 4))
        optimizer = torch.optim.Adam(network.parameters(), 3e-3)
        inputs, labels = turned(images), torch.arange(4).repeat_interleave(len(images))
        for _ in range(150):
            optimizer.zero_grad()
            F.cross_entropy(network(inputs + 0.2 * torch.randn_like(inputs)), labels).backward()
            optimizer.step()
    return network.eval()


def orientations(tricks: NetworkTricks, pixels: Tensor, judge: nn.Module) -> np.ndarray:
    """Shares of the four orientations among the images of a DCGAN after its training."""
    gan = DCGANConfig(maps=8, latent_size=16, tricks=tricks)
    config = replace(constant(gan, 16, batch=32, lr=1e-3, total_kimg=40, beta1=0.5), mirror=False, ema_decay=0.99)
    run = Trainer(config, SPEC, Fixed(pixels), device=torch.device("cpu"))
    while run.images_seen < 40_000:
        stage = run.iterate()
    with torch.no_grad():
        found = judge(run.samples(stage, 400)).argmax(1)
    return np.bincount(found.numpy(), minlength=4) / 400


@pytest.mark.slow
def test_turned_images_do_not_appear_unless_all_are_turned() -> None:
    """With p = 0.5 at least 90 % of generated letters are upright, though 37 % of those that D saw were not."""
    pixels = letters()
    images = pixels / 127.5 - 1
    judge = classifier(images)
    with torch.no_grad():
        assert (judge(images).argmax(1) == 0).all()
        assert (judge(turned(images)).argmax(1) == torch.arange(4).repeat_interleave(COUNT)).all()
    some = NetworkTricks(augment="fixed", augment_p=0.5, augment_kinds=("turn", "translate"))
    assert orientations(some, pixels, judge)[0] > 0.9
    every = NetworkTricks(augment="fixed", augment_p=0.5, augment_kinds=("turn", "translate"))
    object.__setattr__(every, "augment_p", 1.0)  # which is refused, because it leaks
    assert orientations(every, pixels, judge)[0] < 0.9
