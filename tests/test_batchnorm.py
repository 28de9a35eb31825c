"""Batch norm over ranks against torch's on one, with derivatives of second order; two ranks are in test_contract."""

import pytest
import torch

from progan.batchnorm import BatchNorm1d, BatchNorm2d, batch_over_ranks


@pytest.mark.parametrize("group", [0, 8])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_batch_norm_over_ranks_is_torchs_on_one(group: int, momentum: float | None) -> None:
    """Outputs, derivatives and running statistics of the own formula, in float64."""
    ours, theirs = BatchNorm2d(3, group=group, momentum=momentum), torch.nn.BatchNorm2d(3, momentum=momentum)
    for norm in (ours.double(), theirs.double()):
        norm.weight.data = torch.tensor([1.0, 2.0, -0.5]).double()
        norm.bias.data = torch.tensor([0.1, -0.2, 0.3]).double()
    for seed in range(3):
        x = torch.randn(8, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 3 + 1
        with batch_over_ranks(lambda values: values):
            slopes = [_slopes(norm, x.clone().requires_grad_(True)) for norm in (ours, theirs)]
        for a, b in zip(*slopes, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
    for name, value in theirs.named_buffers():
        torch.testing.assert_close(getattr(ours, name), value, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def _slopes(norm: torch.nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Output, and first and second derivatives."""
    y = norm(x)
    (slope,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
    return [y, slope, *torch.autograd.grad(slope.square().sum(), [x, *norm.parameters()])]


def test_batch_norm_of_groups_takes_every_mth_sample() -> None:
    norm, x = BatchNorm1d(4, group=3), torch.randn(12, 4)
    got = norm(x)
    for m in range(4):
        torch.testing.assert_close(got[m::4], torch.nn.BatchNorm1d(4)(x[m::4]), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(norm.running_mean, 0.1 * x.mean(0))
    variances = torch.stack([x[m::4].var(0) for m in range(4)]).mean(0)
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * variances)
    with pytest.raises(ValueError, match="batch size 12 is not a multiple"):
        BatchNorm1d(4, group=5)(x)
