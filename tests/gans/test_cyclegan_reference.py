"""CycleGAN's updates against a plain program of the paper's formulas, for kinds of runs that the golden one is not."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from golden_family import Fixed, fill, images
from progan.gans.base import ImageSpec
from progan.gans.cyclegan import CycleGANConfig
from progan.presets.family import constant
from progan.training.loop import Trainer

STEPS = 2


def norm(x: Tensor) -> Tensor:
    return (x - x.mean((2, 3), keepdim=True)) / torch.sqrt(x.var((2, 3), correction=0, keepdim=True) + 1e-5)


def reflect(x: Tensor, by: int) -> Tensor:
    return F.pad(x, (by,) * 4, mode="reflect")


def resnet(p: Iterator[Tensor], x: Tensor, blocks: int) -> Tensor:
    x = F.relu(norm(F.conv2d(reflect(x, 3), next(p), next(p))))
    for _ in range(2):
        x = F.relu(norm(F.conv2d(x, next(p), next(p), 2, 1)))
    for _ in range(blocks):
        inner = F.relu(norm(F.conv2d(reflect(x, 1), next(p), next(p))))
        x = x + norm(F.conv2d(reflect(inner, 1), next(p), next(p)))
    for _ in range(2):
        x = F.relu(norm(F.conv_transpose2d(x, next(p), next(p), 2, 1, 1)))
    return torch.tanh(F.conv2d(reflect(x, 3), next(p), next(p)))


def patches(p: Iterator[Tensor], x: Tensor, layers: int) -> Tensor:
    x = F.leaky_relu(F.conv2d(x, next(p), next(p), 2, 1), 0.2)
    for stride in (*[2] * (layers - 1), 1):
        x = F.leaky_relu(norm(F.conv2d(x, next(p), next(p), stride, 1)), 0.2)
    return F.conv2d(x, next(p), next(p), 1, 1)


def pixels(p: Iterator[Tensor], x: Tensor, layers: int) -> Tensor:
    x = F.leaky_relu(F.conv2d(x, next(p), next(p)), 0.2)
    x = F.leaky_relu(norm(F.conv2d(x, next(p), next(p))), 0.2)
    return F.conv2d(x, next(p), next(p))


def squares(scores: Tensor, label: float) -> Tensor:
    return (scores - label).square().mean()


def entropy(scores: Tensor, label: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, label))


def updates(config: CycleGANConfig, a: Tensor, b: Tensor, weights: dict[str, list[Tensor]]) -> list[dict[str, float]]:
    """The terms of each update, which changes the weights; imports nothing from progan that computes."""
    judge: Callable = pixels if config.discriminator == "pixel" else patches
    loss: Callable = entropy if config.loss == "vanilla" else squares
    pairs = [["generator_ab", "generator_ba"], ["discriminator_a", "discriminator_b"]]
    adams = [torch.optim.Adam([p for name in names for p in weights[name]], 2e-4, (0.5, 0.999)) for names in pairs]

    def ab(x: Tensor) -> Tensor:
        return resnet(iter(weights["generator_ab"]), x, config.blocks)

    def ba(x: Tensor) -> Tensor:
        return resnet(iter(weights["generator_ba"]), x, config.blocks)

    def against(domain: str, x: Tensor, label: float) -> Tensor:
        return loss(judge(iter(weights[f"discriminator_{domain}"]), x, config.n_layers), label)

    found = []
    for _ in range(STEPS):
        fake_a, fake_b = ba(b), ab(a)
        of_g = {"fool_a": against("a", fake_a, 1), "fool_b": against("b", fake_b, 1)}
        of_g["cycle_a"] = config.lambda_a * (ba(fake_b) - a).abs().mean()
        of_g["cycle_b"] = config.lambda_b * (ab(fake_a) - b).abs().mean()
        if config.identity:
            of_g["identity_a"] = config.lambda_a * config.identity * (ba(a) - a).abs().mean()
            of_g["identity_b"] = config.lambda_b * config.identity * (ab(b) - b).abs().mean()
        sum(of_g.values()).backward()  # type: ignore[union-attr]
        adams[0].step()
        for adam in adams:
            adam.zero_grad()
        of_d = {"real_a": against("a", a, 1) / 2, "fake_a": against("a", fake_a.detach(), 0) / 2}
        of_d |= {"real_b": against("b", b, 1) / 2, "fake_b": against("b", fake_b.detach(), 0) / 2}
        sum(of_d.values()).backward()  # type: ignore[union-attr]
        adams[1].step()
        found.append({name: float(term.detach()) for name, term in (of_g | of_d).items()})
    return found


CASES: dict[str, tuple[dict[str, Any], tuple[int, int, int], tuple[int, int]]] = {  # settings, N, H, W, channels
    "six blocks, batch 2": ({"blocks": 6, "n_layers": 2, "lambda_a": 7, "lambda_b": 3}, (2, 32, 24), (3, 3)),
    "no identity": ({"blocks": 9, "identity": 0}, (1, 24, 40), (3, 3)),
    "cross-entropy": ({"blocks": 2, "n_layers": 1, "loss": "vanilla", "identity": 0.1}, (3, 24, 24), (3, 3)),
    "gray to RGBA": ({"blocks": 1, "n_layers": 1, "identity": 0, "lambda_b": 5}, (2, 16, 20), (1, 4)),
    "pixels": ({"blocks": 1, "discriminator": "pixel", "loss": "vanilla"}, (1, 16, 20), (3, 3)),
}


@pytest.mark.parametrize("case", CASES)
def test_updates_are_those_of_a_plain_program(case: str) -> None:
    """Terms of two updates to 1e-11 and the weights after them to 1e-11, in float64."""
    settings, (count, height, width), channels = CASES[case]
    config = CycleGANConfig(ngf=4, ndf=4, **settings)
    a, b = (images(seed, count, c, height, width) for seed, c in zip((5, 6), channels, strict=True))
    one, other = (ImageSpec(c, height, width) for c in channels)
    run = constant(config, min(height, width), batch=count, lr=2e-4, total_kimg=1, beta1=0.5, beta2=0.999)
    trainer = Trainer(run, replace(one, others=(other,)), Fixed(a), Fixed(b), device=torch.device("cpu"))
    trainer.ema.network.double()
    rs, weights = np.random.RandomState(1), {}
    for name, network in trainer.gan.networks.items():
        values = [rs.randn(*p.shape) * (0.05 if p.ndim > 1 else 0.1) for p in network.parameters()]
        fill(network, values)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        weights[name] = [torch.tensor(value, requires_grad=True) for value in values]
    gan, found = trainer.gan, [{}]
    for kind in ("generators_loss", "discriminators_loss"):
        loss = getattr(gan, kind)

        def noting(batch: Any, loss: Callable = loss) -> dict[str, Tensor]:
            terms = loss(batch)
            found[-1] |= {name: float(term.detach().mean()) for name, term in terms.items()}
            return terms

        setattr(gan, kind, noting)
    for _ in range(STEPS):
        trainer.iterate()
        found.append({})
    for got, wanted in zip(found[:-1], updates(config, a, b, weights), strict=True):
        assert got == pytest.approx(wanted, rel=1e-11)
    for name, values in weights.items():
        for got, wanted in zip(gan.networks[name].parameters(), values, strict=True):
            if wanted.ndim > 1:  # biases before an instance norm have rounding errors for gradients
                torch.testing.assert_close(got, wanted, rtol=0, atol=1e-11)
