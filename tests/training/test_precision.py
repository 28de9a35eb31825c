"""Optimizer steps against Adam in numpy; steps that are skipped; the loss scale of fp16."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from progan.training.precision import Precision
from references.training import adam

CPU = torch.device("cpu")
TOLERANCE = {"cpu": 2e-6}
"""Of weights, relative and absolute; 1e-5 on GPUs, whose Adam and sums are rounded otherwise."""
BAD = [math.nan, math.inf, -math.inf]


class Setup:
    """Two parameters, fused Adam as the trainer makes it, and gradients as a backward pass would leave them."""

    def __init__(self, kind: str = "fp32", beta1: float = 0.0, device: torch.device = CPU) -> None:
        rng = np.random.default_rng(0)
        starts = [torch.from_numpy(rng.standard_normal(s)).float() for s in [(3, 4), (5,)]]
        self.parameters = [torch.nn.Parameter(start.to(device)) for start in starts]
        self.optimizer = torch.optim.Adam(self.parameters, betas=(beta1, 0.99), eps=1e-8, fused=True)
        self.precision = Precision(kind, device)
        self.tolerance = TOLERANCE.get(device.type, 1e-5)

    def step(self, gradients: list[np.ndarray], rate: float = 0.1) -> float:
        """One step; the gradients are those of the loss, before any scaling."""
        for p, g in zip(self.parameters, gradients, strict=True):
            loss = self.precision.scaled((p * torch.from_numpy(g).float().to(p.device)).sum())
            (p.grad,) = torch.autograd.grad(loss, p)
        self.optimizer.param_groups[0]["lr"] = rate
        return self.precision.step(self.optimizer)[0][0].item()

    def weights(self) -> list[np.ndarray]:
        return [p.detach().cpu().numpy().copy() for p in self.parameters]

    def state(self) -> list[torch.Tensor]:
        return [t.clone() for p in self.parameters for t in (p.detach(), *self.optimizer.state[p].values())]


def gradients(steps: int, seed: int = 1) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [[10.0 ** rng.integers(-3, 3) * rng.standard_normal(s) for s in [(3, 4), (5,)]] for _ in range(steps)]


RATES = [0.1, 0.1, 0.2, 0.01, 0.3, 0.1, 0.05, 0.1]


@pytest.mark.parametrize("beta1", [0.0, 0.9])
@pytest.mark.parametrize("kind", ["fp32", "bf16", "fp16"])
def test_steps_are_adams(kind: str, beta1: float, device: torch.device) -> None:
    """Several steps with the learning rate changing in between; the norm is that of the unscaled gradients."""
    setup, all_gradients = Setup(kind, beta1, device), gradients(len(RATES))
    paths = [
        adam(w, [g[i] for g in all_gradients], RATES, beta1=beta1, beta2=0.99, eps=1e-8)
        for i, w in enumerate(setup.weights())
    ]
    for t, (gradient, rate) in enumerate(zip(all_gradients, RATES, strict=True)):
        norm = setup.step(gradient, rate)
        assert norm == pytest.approx(math.sqrt(sum((g**2).sum() for g in gradient)), rel=setup.tolerance)
        for got, path in zip(setup.weights(), paths, strict=True):
            np.testing.assert_allclose(got, path[t], rtol=setup.tolerance, atol=setup.tolerance)
    assert setup.precision.skipped == 0


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("kind", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("when", [0, 3])
def test_step_with_one_bad_number_leaves_everything_and_is_counted(
    kind: str, bad: float, when: int, device: torch.device
) -> None:
    """Skipped whole, at the first step too; the steps behind it are those of a run that never had it."""
    setup, all_gradients = Setup(kind, device=device), gradients(6)
    paths = [
        adam(w, [g[i] for g in all_gradients], [0.1] * 6, beta1=0.0, beta2=0.99, eps=1e-8)
        for i, w in enumerate(setup.weights())
    ]
    for t, gradient in enumerate(all_gradients):
        if t == when:
            broken = [gradient[0], gradient[1].copy()]
            broken[1][2] = bad
            before = setup.weights()
            state = setup.state() if t else None
            assert not math.isfinite(setup.step(broken))
            assert all(np.array_equal(a, b) for a, b in zip(before, setup.weights(), strict=True))
            assert state is None or all(torch.equal(a, b) for a, b in zip(state, setup.state(), strict=True))
            assert setup.precision.skipped == 1
        setup.step(gradient)
        assert setup.optimizer.state[setup.parameters[0]]["step"] == t + 1
        for got, path in zip(setup.weights(), paths, strict=True):
            np.testing.assert_allclose(got, path[t], rtol=setup.tolerance, atol=setup.tolerance)
    assert setup.precision.skipped == 1


def test_parameters_without_gradient_stay() -> None:
    """Blocks of later stages have none."""
    setup = Setup()
    setup.parameters[0].grad = torch.ones(3, 4)
    before = setup.weights()
    assert setup.precision.step(setup.optimizer)[0][0].item() == pytest.approx(math.sqrt(12))
    assert np.array_equal(setup.weights()[1], before[1])
    assert not np.array_equal(setup.weights()[0], before[0])


def test_fp16_scale_halves_at_overflow_and_doubles_after_2000_good_steps(device: torch.device) -> None:
    setup, (good,) = Setup("fp16", device=device), gradients(1)
    bad = [good[0] * math.nan, good[1]]
    assert setup.precision.scale == 2**16
    setup.step(bad)
    setup.step(bad)
    assert (setup.precision.scale, setup.precision.finite_steps) == (2**14, 0)
    setup.precision.finite_steps.fill_(1997)
    for want in (2**14, 2**14, 2**15, 2**15):
        setup.step(good)
        assert setup.precision.scale == want
    assert setup.precision.finite_steps == 1
    setup.precision.finite_steps.fill_(1999)
    setup.step(bad)
    assert (setup.precision.scale, setup.precision.finite_steps) == (2**14, 0)
    assert setup.precision.skipped == 3


@pytest.mark.parametrize("kind", ["fp32", "bf16"])
def test_other_kinds_have_no_scale(kind: str) -> None:
    setup, loss = Setup(kind), torch.ones(())
    assert setup.precision.scaled(loss) is loss
    setup.step([g * math.nan for g in gradients(1)[0]])
    assert setup.precision.scale == 1


@pytest.mark.parametrize("kind", ["fp32", "bf16", "fp16"])
def test_autocast_gives_the_named_arithmetic(kind: str, device: torch.device) -> None:
    ones = torch.ones(2, 2, device=device)
    with Precision(kind, device).autocast():
        dtype = (ones @ ones).dtype
    assert dtype == {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[kind]


def test_state_goes_on_in_another() -> None:
    one, other, (good,) = Setup("fp16"), Precision("fp16", CPU), gradients(1)
    one.step([good[0] * math.inf, good[1]])
    one.step(good)
    state = {k: v.clone() for k, v in one.precision.state_dict().items()}
    other.load_state_dict(state)
    assert (other.scale, other.finite_steps, other.skipped) == (2**15, 1, 1)


def test_one_bad_network_skips_the_whole_joint_step_with_one_loss_scale() -> None:
    """Two optimizers after one backward pass, as in simultaneous updates."""
    precision = Precision("fp16", torch.device("cpu"))
    precision.scale = torch.tensor(8.0)
    weights = [nn.Parameter(torch.ones(3)) for _ in range(2)]
    optimizers = [torch.optim.Adam([w], lr=0.1, betas=(0.0, 0.99), fused=True) for w in weights]
    weights[0].grad, weights[1].grad = torch.full((3,), math.inf), torch.full((3,), 8.0)
    norms, _ = precision.step(*optimizers)
    assert norms[1].item() == pytest.approx(math.sqrt(3))  # with the scale that the backward pass had
    assert all(torch.equal(w, torch.ones(3)) for w in weights)
    assert precision.skipped.item() == 1
    assert precision.scale.item() == 4
