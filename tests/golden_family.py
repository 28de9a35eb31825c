"""Weights and images of the golden numbers of the classic GANs, by the rules that the files were made with."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from progan.gans.base import ImageSpec
from progan.training.config import RunConfig
from progan.training.loop import Trainer


def golden(name: str) -> dict[str, Any]:
    """The numbers of a file of tests/golden."""
    return json.loads((Path(__file__).parent / f"golden/family_{name}.json").read_text())


def weights(parameters: Sequence[Mapping[str, Any]], seed: int) -> list[np.ndarray]:
    """Weights of a list of parameters, in its order and layout, float64."""
    rs = np.random.RandomState(seed)
    return [rs.randn(*p["shape"]) * p["scale"] + p["offset"] for p in parameters]


def images(seed: int, *shape: int) -> Tensor:
    """Images in (-1, 1), float64."""
    return torch.from_numpy(np.tanh(np.random.RandomState(seed).randn(*shape)))


def fill(network: nn.Module, values: Sequence[np.ndarray]) -> None:
    """Set the parameters in their order, as float64; a convolution that is a dense layer here is flattened."""
    network.double()
    parameters = list(network.parameters())
    assert len(parameters) == len(values)
    for p, value in zip(parameters, values, strict=True):
        new = torch.from_numpy(np.asarray(value))
        if p.ndim == 2 and new.ndim == 4:  # from or to 1x1 pixels
            new = new.flatten(1).T if new.shape[0] == p.shape[1] else new.flatten(1)
        assert new.shape == p.shape, (new.shape, p.shape)
        p.data = new.clone()


def gradient_norms(network: nn.Module) -> list[float]:
    """The norm of each parameter's gradient, in their order."""
    return [float(p.grad.norm()) for p in network.parameters()]  # type: ignore[union-attr]


class Fixed:
    """Real images [P, C, H, W] and labels given by hand, by position; they begin again at the end."""

    def __init__(self, pixels: Tensor, labels: Tensor | None = None) -> None:
        self.pixels, self.known = pixels, labels

    def __len__(self) -> int:
        return len(self.pixels)

    def images(self, position: int, count: int, resolution: int, *, offset: int = 0, stride: int = 1) -> Tensor:
        return self.pixels[np.arange(position + offset, position + count, stride) % len(self.pixels)]

    def labels(self, position: int, count: int, *, offset: int = 0, stride: int = 1) -> Tensor | None:
        rows = np.arange(position + offset, position + count, stride) % len(self.pixels)
        return None if self.known is None else self.known[rows]


class Given:
    """Latents given by hand, instead of a prior: one batch after the other."""

    def __init__(self, *batches: Tensor) -> None:
        self.batches, self.size = list(batches), batches[0].shape[1]

    def draw(self, *_: Any) -> Tensor:
        return self.batches.pop(0)


def trainer_of(config: RunConfig, spec: ImageSpec, pixels: Tensor) -> Trainer:
    """A trainer in float64 on images given by hand; set weights and latents before its first iteration."""
    trainer = Trainer(config, spec, Fixed(pixels), device=torch.device("cpu"))
    trainer.gan.networks.double()
    trainer.ema.network.double()
    return trainer
