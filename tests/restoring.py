"""Batches and trainers for restoration networks, which several tests share."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from progan import draws
from progan.data.loader import Loader
from progan.data.store import Store
from progan.gans.base import Batch, GANConfig, ImageSpec
from progan.images import to_float
from progan.schedule import ScheduleConfig
from progan.training import checkpoint
from progan.training.config import RunConfig
from progan.training.loop import Trainer
from small import batch_with


def batch_of(images: np.ndarray, *, offset: int = 0, stride: int = 1, phase: str = "restore") -> Batch:
    """Images uint8 [N, H, W, C] at positions 0 ... N - 1 as the training loop deals them out."""
    count = len(images)

    def drawn(make):
        return lambda stream, width: torch.from_numpy(
            make(0, f"{phase}/{stream}", 0, count, width)[offset::stride].astype(np.float32)
        )

    mine = to_float(torch.from_numpy(images[offset::stride]).permute(0, 3, 1, 2))
    return batch_with(mine, normal=drawn(draws.normal), uniform=drawn(draws.uniform))


def photographs(count: int, side: int = 16) -> np.ndarray:
    """Smooth pictures with some noise, uint8 [count, side, side, 3]."""
    rng = np.random.default_rng(0)
    rough = rng.uniform(0, 255, (count, side // 4, side // 4, 3)).repeat(4, 1).repeat(4, 2)
    return np.clip(rough + rng.normal(0, 10, rough.shape), 0, 255).astype(np.uint8)


def randomize(network: nn.Module, scale: float = 0.1) -> nn.Module:
    """Every parameter and statistic something else, so that none of them can be forgotten; in eval mode."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in [*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())]:
            noise = torch.rand(tensor.shape, generator=generator) - 0.5
            tensor.copy_((tensor + scale * noise).abs() if tensor.ndim == 1 else tensor + scale * noise)
    return network.eval()


def trainer(gan: GANConfig, store: Store, *, batch: int = 8, lr: float = 1e-3) -> Trainer:
    """A trainer on the store's images at one size."""
    side = min(store.height, store.width)
    schedule = ScheduleConfig(resolution=side, start_resolution=side, batch=batch, lr=lr, total_kimg=1)
    config = RunConfig(gan=gan, schedule=schedule, beta1=0.9, beta2=0.999, ema_decay=0.5)
    spec = ImageSpec(store.channels, store.height, store.width)
    return Trainer(config, spec, Loader(store, seed=0, mirror=True), device=torch.device("cpu"))


def assert_resumes_bit_for_bit(gan: GANConfig, store: Store, path: Path, *, stop: int, end: int) -> Trainer:
    """A trainer that took over from another after ``stop`` iterations equals one that was not interrupted."""
    whole, first, second = (trainer(gan, store) for _ in range(3))
    for _ in range(end):
        whole.iterate()
    for _ in range(stop):
        first.iterate()
    checkpoint.save(path, first.state_dict())
    second.load_state_dict(checkpoint.load(path)[0] or {})
    for _ in range(end - stop):
        second.iterate()
    a, b = (flat(some.state_dict()) for some in (whole, second))
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(torch.as_tensor(a[name]), torch.as_tensor(b[name]))] == []
    return whole


def flat(state: object, path: str = "") -> dict[str, Any]:
    """Every tensor and number of a nested state by its path."""
    if not isinstance(state, dict):
        return {path: state}
    return {k: v for key, value in state.items() for k, v in flat(value, f"{path}/{key}").items()}
