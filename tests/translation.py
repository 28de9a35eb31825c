"""Small CycleGANs on random images of two sources, which several tests share."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from golden_family import Fixed
from progan.gans.base import ImageSpec
from progan.gans.cyclegan import CycleGANConfig
from progan.presets.family import constant
from progan.training.distributed import Ranks, process_group
from progan.training.loop import Trainer

TINY = CycleGANConfig(ngf=2, ndf=2, blocks=1, n_layers=1, pool_size=3)
COLOR = ImageSpec(3, 16, 24, others=(ImageSpec(3, 16, 24),))
COLOR_16 = ImageSpec(3, 16, 16)
MIXED = ImageSpec(1, 16, 24, others=(ImageSpec(3, 20, 16),))


def data(spec: ImageSpec) -> list[Fixed]:
    """Random images of both sources, of which there are different numbers."""
    draw = torch.Generator().manual_seed(1)
    shapes = [(count, one.channels, one.height, one.width) for count, one in zip((7, 5), spec.every, strict=True)]
    return [Fixed(torch.randint(0, 256, shape, generator=draw, dtype=torch.uint8)) for shape in shapes]


def trained(
    config: CycleGANConfig,
    steps: int,
    *,
    spec: ImageSpec = COLOR,
    batch: int = 2,
    state: dict | None = None,
    ranks: Ranks = Ranks(),  # noqa: B008, frozen
    **settings: Any,
) -> Trainer:
    """A trainer after some iterations, from ``state`` on if that is given. Adam's epsilon is above rounding errors."""
    run = constant(config, spec.shorter, batch=batch, lr=1e-3, total_kimg=1, beta1=0.5, adam_eps=1e-2, **settings)
    trainer = Trainer(run, spec, *data(spec), device=torch.device("cpu"), ranks=ranks)
    if state is not None:
        trainer.load_state_dict(state)
    for _ in range(steps):
        trainer.iterate()
    return trainer


OPTIONS: dict[str, tuple[dict[str, Any], ImageSpec]] = {
    "resnet": ({}, COLOR),
    "unet": ({"generator": "unet", "downs": 2, "upsampling": "resize", "discriminator": "pixel"}, MIXED),
    "batch": ({"norm": "batch", "loss": "vanilla", "pool_size": 0}, COLOR),
    "penalty": ({"loss": "wgan_gp", "upsampling": "resize"}, COLOR),
}
SHARED = ("resnet", "batch")
"""Options that are trained on two ranks: one with pools, and one with batch norm."""


def option(name: str) -> tuple[CycleGANConfig, ImageSpec]:
    settings, spec = OPTIONS[name]
    return replace(TINY, **{"identity": 0 if spec is MIXED else 0.5, **settings}), spec


def two_ranks(folder: Path) -> None:
    """Train some options on two ranks, and save their weights and pools."""
    with process_group("cpu") as ranks:
        for name in SHARED:
            config, spec = option(name)
            gan = trained(config, 3, spec=spec, batch=4, ranks=ranks).gan
            torch.save([gan.networks.state_dict(), gan.memory.state_dict()], folder / f"{name}{ranks.rank}.pt")
