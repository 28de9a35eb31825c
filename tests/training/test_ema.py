"""The moving average against a plain loop, and that a half-life does not depend on the steps it is cut into."""

import numpy as np
import pytest
import torch
from torch import nn

from progan.training.ema import WeightAverage
from references.training import moving_average


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2, bias=False))


def values(net: nn.Module) -> np.ndarray:
    return torch.cat([p.detach().flatten() for p in net.parameters()]).double().numpy()


def run(average: WeightAverage, images: list[int]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Random weights in front of every update; returns the first average and all the weights."""
    start, rng, weights = values(average.network), np.random.default_rng(0), []
    for count in images:
        with torch.no_grad():
            for p in average.source.parameters():
                p.copy_(torch.from_numpy(rng.standard_normal(p.shape)))
        average.update(count)
        weights.append(values(average.source))
    return start, weights


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.999])
def test_decay_is_per_step_whatever_the_batch(decay: float) -> None:
    average, images = WeightAverage(network(), decay=decay), [1, 16, 3, 16, 512, 64] * 5
    start, weights = run(average, images)
    np.testing.assert_allclose(values(average.network), moving_average(start, weights, [decay] * 30), atol=3e-6)


def test_default_is_the_papers() -> None:
    average = WeightAverage(network())
    assert average.kept(16) == average.kept(512) == 0.999


def test_half_life_is_by_images() -> None:
    average, images = WeightAverage(network(), half_life_kimg=0.05), [1, 16, 3, 16, 50, 64] * 5
    start, weights = run(average, images)
    want = moving_average(start, weights, [2 ** (-n / 50) for n in images])
    np.testing.assert_allclose(values(average.network), want, atol=3e-6)
    assert average.kept(50) == pytest.approx(0.5)
    assert WeightAverage(network(), half_life_kimg=10).kept(10_000) == pytest.approx(0.5)


@pytest.mark.parametrize("split", [[200], [100, 100], [1] * 200, [150, 50]])
def test_half_life_is_the_same_for_any_split_into_steps(split: list[int]) -> None:
    """While the weights stand still: 200 images at a half-life of 100 leave a quarter."""
    average = WeightAverage(network(), half_life_kimg=0.1)
    start = values(average.network)
    with torch.no_grad():
        for p in average.source.parameters():
            p.fill_(3)
    for images in split:
        average.update(images)
    np.testing.assert_allclose(values(average.network), 0.25 * start + 0.75 * 3, rtol=0, atol=2e-5)


def test_average_starts_as_a_frozen_copy_and_leaves_its_source_alone() -> None:
    net = network()
    average = WeightAverage(net)
    np.testing.assert_array_equal(values(average.network), values(net))
    assert not any(p.requires_grad for p in average.network.parameters())
    assert all(p.requires_grad for p in net.parameters())
    assert net.training
    assert not average.network.training
    before = values(net)
    average.update(16)
    np.testing.assert_array_equal(values(net), before)
    with torch.no_grad():
        net[0].weight.add_(1)
    assert not torch.equal(average.network[0].weight, net[0].weight)


def test_statistics_of_batch_norm_are_averaged_too() -> None:
    net = nn.Sequential(nn.BatchNorm1d(3))
    average = WeightAverage(net, decay=0.75)
    for value in (4.0, 8.0):
        net[0].running_mean.fill_(value)
        average.update(1)
    assert average.network[0].running_mean.tolist() == [0.75 * 1 + 0.25 * 8] * 3


class Counter(nn.Module):
    """A weight, a float buffer that is copied, one that is averaged, and one of whole numbers."""

    copied_buffers = ("center",)

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.register_buffer("center", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))


def test_buffers_that_a_module_names_and_whole_numbers_are_copied() -> None:
    net = nn.Sequential(Counter())
    average = WeightAverage(net, decay=0.75)
    for tensor in net.state_dict().values():
        tensor.fill_(8)
    average.update(1)
    wanted = {"0.weight": 2.0, "0.center": 8.0, "0.mean": 2.0, "0.steps": 8}
    assert {name: value.item() for name, value in average.network.state_dict().items()} == wanted


def test_no_decay_keeps_the_current_weights_and_a_reset_begins_again() -> None:
    net = network()
    current, average = WeightAverage(net, decay=0.0), WeightAverage(net, decay=0.999)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(1.2345).add_(0.1)
    current.update(1)
    np.testing.assert_array_equal(values(current.network), values(net))
    average.reset()
    np.testing.assert_array_equal(values(average.network), values(net))
