"""Steps that are undone where the kernels cannot skip them, against the kernels that can."""

import math

import pytest
import torch
from torch import nn

from progan.data.loader import Loader
from progan.data.store import Store
from progan.gans.base import ImageSpec, Optimizer
from progan.training.config import RunConfig
from progan.training.loop import Trainer
from progan.training.optimizers import Stepper
from progan.training.precision import Precision
from small import small_run

CPU = torch.device("cpu")


def steps(kind: str, optimizer: str, skip: bool, bad_at: int) -> list[torch.Tensor]:
    """Weights and the optimizer's state after six steps, of which one has a bad gradient."""
    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    stepper = Stepper(network, Optimizer(kind=optimizer), RunConfig(beta1=0.5))  # type: ignore[arg-type]
    some = Precision(kind, CPU)
    some.kernels_skip = skip
    for step in range(6):
        stepper.set(0.1, 0)
        some.scaled(network(torch.randn(4, 3)).square().sum()).backward()
        if step == bad_at:
            network.weight.grad[1, 2] = math.nan  # type: ignore[index]
        some.step(stepper.torch)
        stepper.torch.zero_grad()
    state = stepper.torch.state
    return [t for p in network.parameters() for t in (p.detach(), *state[p].values())] + [some.scale, some.skipped]


@pytest.mark.parametrize("bad_at", [-1, 0, 3])
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
@pytest.mark.parametrize("kind", ["fp32", "fp16"])
def test_undone_steps_equal_skipped_ones(kind: str, optimizer: str, bad_at: int) -> None:
    """Weights, state, loss scale and count, to 1e-6; without a bad gradient they differ from those with one."""
    skipped, undone = (steps(kind, optimizer, skip, bad_at) for skip in (True, False))
    for one, other in zip(skipped, undone, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
    assert skipped[-1] == (bad_at >= 0)


@pytest.mark.parametrize("heeds", [True, False])
def test_it_is_tried_out_whether_kernels_skip(heeds: bool, monkeypatch) -> None:
    real = torch.optim.Adam.step

    def deaf(self: torch.optim.Adam, *args: object) -> object:
        vars(self).pop("found_inf", None)
        return real(self, *args)

    if not heeds:
        monkeypatch.setattr(torch.optim.Adam, "step", deaf)
    assert Precision("fp32", CPU).kernels_skip == heeds


def test_numbers_are_not_copied_behind_the_hosts_back(store: Store, monkeypatch) -> None:
    """Except to CUDA: a temporary tensor may be gone by then, as on MPS."""
    config, to, asked = small_run(), torch.Tensor.to, []
    spec = ImageSpec(store.channels, store.height, store.width)
    trainer = Trainer(config, spec, Loader(store, seed=0, mirror=False), device=CPU)

    def noting(self: torch.Tensor, *args: object, **more: object) -> torch.Tensor:
        asked.append(more.get("non_blocking", False))
        return to(self, *args, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(torch.Tensor, "to", noting)
    trainer.latents(4)
    assert asked
    assert not any(asked)
