"""Fused optimizers against torch's own of the same name, steps that are skipped, and rates that move."""

import pytest
import torch
from torch import Tensor, nn

from progan.gans.base import Optimizer, Ramp
from progan.training.config import RunConfig
from progan.training.optimizers import Stepper
from progan.training.precision import Precision

CPU = torch.device("cpu")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def steps(network: nn.Module, step, *, count: int = 5, bad: int | None = None) -> list[Tensor]:
    """Weights after steps by gradients that are the same for every network; those of step ``bad`` are not finite."""
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        for p in network.parameters():
            p.grad = torch.randn(p.shape, generator=generator) * (torch.inf if number == bad else 1)
        step(number)
    return [p.detach().clone() for p in network.parameters()]


def ours(how: Optimizer, *, bad: int | None = None) -> list[Tensor]:
    some, precision = network(), Precision("fp32", CPU)
    stepper = Stepper(some, how, RunConfig(beta1=0.5, beta2=0.9, adam_eps=1e-6))

    def step(number: int) -> None:
        stepper.set(0.01, 100 * number)
        precision.step(stepper.torch)

    return steps(some, step, bad=bad)


def theirs(kind: type[torch.optim.Optimizer], *, leave_out: int | None = None, **settings: float) -> list[Tensor]:
    some = network()
    optimizer = kind(some.parameters(), lr=0.01, **settings)  # type: ignore[call-arg]
    return steps(some, lambda number: optimizer.step() if number != leave_out else None)


RMS = {"alpha": 0.99, "eps": 1e-5}
CASES = {
    "adam": (Optimizer(), torch.optim.Adam, {"betas": (0.5, 0.9), "eps": 1e-6}),
    "adam_l2": (
        Optimizer(beta1=0.2, beta2=0.99, eps=1e-4, weight_decay=0.3),
        torch.optim.Adam,
        {"betas": (0.2, 0.99), "eps": 1e-4, "weight_decay": 0.3},
    ),
    "rmsprop": (Optimizer(kind="rmsprop", beta2=0.99, eps=1e-5), torch.optim.RMSprop, RMS),
    "rmsprop_l2": (
        Optimizer(kind="rmsprop", beta2=0.99, eps=1e-5, weight_decay=0.3),
        torch.optim.RMSprop,
        {**RMS, "weight_decay": 0.3},
    ),
    "sgd": (Optimizer(kind="sgd", beta1=0.0), torch.optim.SGD, {}),
    "momentum": (
        Optimizer(kind="sgd", beta1=0.9, weight_decay=0.3),
        torch.optim.SGD,
        {"momentum": 0.9, "weight_decay": 0.3},
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("bad", [None, 0, 2])
def test_steps_are_torchs_and_a_bad_one_is_left_out(name: str, bad: int | None) -> None:
    """Tolerance 1e-6: the kernels differ in the order of operations."""
    how, kind, settings = CASES[name]
    for a, b in zip(ours(how, bad=bad), theirs(kind, leave_out=bad, **settings), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_momentum_and_rate_are_those_of_the_images_seen() -> None:
    stepper = Stepper(network(), Optimizer(kind="sgd", beta1=Ramp(0.5, 0.7, kimg=1), lr=0.1), RunConfig())
    found = []
    for images in (0, 500, 5000):
        stepper.set(0.2, images)
        found.append(stepper.torch.param_groups[0]["momentum"])
    assert found == pytest.approx([0.5, 0.6, 0.7])
    assert stepper.torch.param_groups[0]["lr"] == pytest.approx(0.02)
    adam = Stepper(network(), Optimizer(beta1=Ramp(0.0, 0.5, kimg=1)), RunConfig(beta2=0.9))
    adam.set(1.0, 500)
    assert adam.torch.param_groups[0]["betas"] == (0.25, 0.9)
