"""Virtual batch norm against numpy, sample by sample, and images that do not depend on the rest of their batch."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from family import FAMILY
from golden_family import images
from progan.batchnorm import BatchNorm1d, BatchNorm2d, whole_batch_norm
from progan.gans.virtual_batch_norm import VirtualBatch, VirtualBatchNorm1d, VirtualBatchNorm2d, virtual_batch
from progan.training.ema import WeightAverage
from references import network_tricks as reference

NORMED = ["dcgan", "dcgan_authors", "dcgan_keras", "dcgan_torch", "wgan", "wgan_gp_dcgan", "wgan_gp_resnet", "lsgan"]
NORMED += ["lsgan_scenes"]
REFERENCE = 4


def randn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def plain(name: str) -> nn.Module:
    """A generator with batch norm, whose gains and biases are not 1 and 0."""
    torch.manual_seed(0)
    generator = FAMILY[name].gan.make_sampler(FAMILY[name].spec)
    for p in generator.parameters():
        p.data += 0.1 * torch.randn(p.shape)
    return generator


def made(name: str) -> tuple[VirtualBatch, Tensor]:
    """A generator with virtual batch norm, and latents."""
    generator = plain(name)
    size = generator.latent.size  # type: ignore[union-attr]
    return virtual_batch(generator, randn(REFERENCE, size, seed=2)), randn(6, size, seed=3)  # type: ignore[arg-type]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)], ids=str)
@pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])
@pytest.mark.parametrize("shape", [(8, 3), (8, 3, 5), (8, 3, 2, 4)], ids=str)
def test_layer_is_that_of_the_reference(
    shape: tuple[int, ...], affine: bool, dtype: torch.dtype, tolerance: float
) -> None:
    """To 1e-5 in float32 and 1e-10 in float64, of features, series and maps."""
    kind, virtual = (BatchNorm2d, VirtualBatchNorm2d) if len(shape) == 4 else (BatchNorm1d, VirtualBatchNorm1d)
    norm = kind(3, affine=affine, eps=1e-3).to(dtype)
    if affine:
        norm.weight.data, norm.bias.data = randn(3, seed=4).to(dtype), randn(3, seed=5).to(dtype)
    x = (3 * randn(*shape) + 2).to(dtype)
    got = virtual(norm, REFERENCE)(x)
    gain, bias = (None if p is None else p.detach().double().numpy() for p in (norm.weight, norm.bias))
    want = reference.virtual_batch_norm(x.double().numpy(), REFERENCE, gain, bias, 1e-3)
    assert got.dtype == dtype
    np.testing.assert_allclose(got.detach(), want, rtol=0, atol=tolerance)


def test_the_reference_alone_is_normalized_as_by_batch_norm() -> None:
    """To 1e-6: with its own statistics, whatever follows it."""
    norm, x = BatchNorm2d(3), 3 * randn(8, 3, 2, 4) + 2
    got = VirtualBatchNorm2d(norm, REFERENCE)(x)[:REFERENCE]
    torch.testing.assert_close(got, norm(x[:REFERENCE]), rtol=0, atol=1e-6)


def test_large_means_do_not_cancel() -> None:
    """To 1e-3 at a mean of 1000 deviations, where a mean of squares in float32 would have lost the variance."""
    x = randn(8, 3, 2, 4) + 1000
    got = VirtualBatchNorm2d(BatchNorm2d(3), REFERENCE)(x)
    want = reference.virtual_batch_norm(x.double().numpy(), REFERENCE, None, None, 1e-5)
    np.testing.assert_allclose(got.detach(), want, rtol=0, atol=1e-3)


def test_layer_passes_gradcheck_twice() -> None:
    layer = VirtualBatchNorm2d(BatchNorm2d(2).double(), 2)
    x = randn(4, 2, 1, 2).double().requires_grad_(True)
    assert torch.autograd.gradcheck(layer, x)
    assert torch.autograd.gradgradcheck(layer, x)


@pytest.mark.parametrize("name", NORMED)
def test_an_image_depends_on_its_latent_and_the_reference_only(name: str) -> None:
    """To 1e-6 for any split of a batch, in training and evaluation alike."""
    sampler, z = made(name)
    want = sampler(z)
    spec = FAMILY[name].spec
    assert want.shape == (6, spec.channels, spec.height, spec.width)
    for split in ([1] * 6, [2, 4], [5, 1]):
        torch.testing.assert_close(torch.cat([sampler(part) for part in z.split(split)]), want, rtol=0, atol=1e-6)
    torch.testing.assert_close(sampler(z.flip(0)).flip(0), want, rtol=0, atol=1e-6)
    assert torch.equal(sampler.eval()(z), want)
    assert torch.equal(copy.deepcopy(sampler)(z), want)
    other = copy.deepcopy(sampler)
    other.reference.copy_(sampler.reference.flip(1))
    assert (other(z) - want).abs().max() > 1e-4


@pytest.mark.parametrize("name", NORMED)
def test_images_of_the_reference_are_those_of_batch_norm(name: str) -> None:
    """To 1e-5: the network in between is the same, and so are its parameters."""
    before = plain(name)
    parameters = dict(before.named_parameters())
    norms = sum(isinstance(m, BatchNorm1d | BatchNorm2d) for m in before.modules())
    want = copy.deepcopy(before)(latents := randn(REFERENCE, before.latent.size, seed=2))  # type: ignore[arg-type, union-attr]
    sampler = virtual_batch(before, latents)
    assert sum(isinstance(m, VirtualBatchNorm1d | VirtualBatchNorm2d) for m in sampler.modules()) == norms > 0
    assert {k.removeprefix("generator."): p for k, p in sampler.named_parameters()} == parameters
    assert sampler.latent is before.latent
    seen: list[Any] = []
    sampler.generator.register_forward_hook(lambda module, args, output: seen.append(output))
    sampler(latents[:2])
    torch.testing.assert_close(seen[0][:REFERENCE], want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NORMED)
def test_gradients_flow_to_every_parameter_and_latent(name: str) -> None:
    sampler, z = made(name)
    spec = FAMILY[name].spec
    z.requires_grad_(True)
    weight = images(1, 6, spec.channels, spec.height, spec.width).float()
    (sampler(z) * weight).sum().backward()
    assert all(x.grad is not None and torch.isfinite(x.grad).all() for x in (z, *sampler.parameters()))
    assert all(row.abs().sum() > 0 for row in z.grad)  # type: ignore[union-attr]
    assert not any(module.track_running_stats for module in sampler.modules() if isinstance(module, BatchNorm2d))


def test_state_has_the_reference_which_the_average_copies() -> None:
    sampler, z = made("dcgan")
    other = virtual_batch(plain("dcgan"), torch.zeros_like(sampler.reference))
    other.load_state_dict(sampler.state_dict())
    assert torch.equal(other(z), sampler(z))
    average = WeightAverage(sampler, decay=0.9)
    average.network.reference.zero_()  # type: ignore[operator, union-attr]
    average.update(8)
    assert torch.equal(average.network.reference, sampler.reference)  # type: ignore[arg-type]
    assert not whole_batch_norm(sampler)
    with torch.device("meta"):
        outline = virtual_batch(plain("dcgan"), torch.zeros_like(sampler.reference, device="meta"))
        assert outline(z.to("meta")).shape == sampler(z).shape
    assert outline.state_dict().keys() == sampler.state_dict().keys()


def test_labels_are_refused() -> None:
    sampler, z = made("dcgan")
    with pytest.raises(ValueError, match="virtual batch norm has no labels of the reference batch"):
        sampler(z, labels=torch.zeros(6, dtype=torch.int64))
