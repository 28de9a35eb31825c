"""The conditional DCGAN against plain functions, and what its labels and its steps do."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from golden_family import Fixed
from progan.errors import ConfigError
from progan.gans import ConditionalDCGANConfig
from progan.gans.base import ImageSpec
from progan.presets import PRESETS
from progan.schedule import stage_at
from progan.training.loop import Trainer

SPEC = ImageSpec(1, 28, 28, classes=10)


def normed(x: Tensor) -> Tensor:
    """Batch norm without gain and shift, by its formula."""
    axes = tuple(a for a in range(x.ndim) if a != 1)
    return (x - x.mean(axes, keepdim=True)) / (x.var(axes, correction=0, keepdim=True) + 1e-8).sqrt()


def joined(x: Tensor, y: Tensor) -> Tensor:
    return torch.cat([x, y[:, :, None, None].repeat(1, 1, *x.shape[2:])], 1)


def test_parameter_counts_are_those_of_the_authors() -> None:
    with torch.device("meta"):
        networks = PRESETS["dcgan_mnist_conditional"]().gan.make(SPEC).networks
    counts = [sum(p.numel() for p in networks[n].parameters()) for n in ("generator", "discriminator")]
    assert counts == [6_820_538, 6_688_202]


def test_networks_are_those_of_the_authors() -> None:
    """In float64 to 1e-9; images are in [0, 1] within the networks."""
    torch.manual_seed(0)
    gan = ConditionalDCGANConfig(maps=2, dense=6, latent_size=3).make(SPEC)
    gan.networks.double()
    for p in gan.networks.parameters():
        p.data += 0.2 * torch.randn_like(p)
    g, d = (list(net.parameters()) for net in (gan.generator, gan.discriminator))
    z, classes = torch.randn(5, 3, dtype=torch.float64), torch.tensor([1, 9, 0, 9, 3])
    y = torch.eye(10, dtype=torch.float64)[classes]
    x = F.relu(normed(torch.cat([z, y], 1) @ g[0].T))
    x = F.relu(normed(torch.cat([x, y], 1) @ g[1].T)).view(5, 4, 7, 7)
    x = F.relu(normed(F.conv_transpose2d(joined(x, y), g[2], stride=2, padding=2, output_padding=1)))
    x = torch.sigmoid(F.conv_transpose2d(joined(x, y), g[3], stride=2, padding=2, output_padding=1))
    assert x.shape == (5, 1, 28, 28)
    torch.testing.assert_close(gan.generator(z, labels=classes), 2 * x - 1, rtol=0, atol=1e-9)
    h = F.leaky_relu(F.conv2d(joined(x, y), d[0], stride=2, padding=2), 0.2)
    h = F.leaky_relu(normed(F.conv2d(joined(h, y), d[1], stride=2, padding=2)), 0.2).flatten(1)
    h = F.leaky_relu(normed(torch.cat([h, y], 1) @ d[2].T), 0.2)
    want = (torch.cat([h, y], 1) @ d[3].T)[:, 0]
    torch.testing.assert_close(gan.discriminator(2 * x - 1, classes), want, rtol=1e-9, atol=1e-9)


def test_both_networks_are_given_the_labels_of_the_real_images() -> None:
    """Real and generated images of a position have the same label."""
    config = PRESETS["dcgan_mnist_conditional_small"]()
    gan = replace(config.gan, maps=1, dense=4)
    config = replace(config, gan=gan, schedule=replace(config.schedule, batch=10))
    data = Fixed(torch.rand(30, 1, 28, 28), torch.arange(30) % 7)
    trainer = Trainer(config, SPEC, data, device=torch.device("cpu"))
    seen: dict[str, list[Tensor]] = {"generator": [], "discriminator": []}
    for name in seen:
        trainer.gan.networks[name].register_forward_pre_hook(lambda _, inputs, n=name: seen[n].append(inputs[-1]))
    trainer.iterate()
    trainer.iterate()
    first, second = data.labels(0, 10), data.labels(10, 10)
    assert [torch.equal(labels, first) for labels in seen["generator"]] == [True, False]
    wanted = [first] * 3 + [second] * 3
    assert all(torch.equal(a, b) for a, b in zip(seen["discriminator"], wanted, strict=True))  # type: ignore[arg-type]


def test_attributes_are_conditions_as_they_are() -> None:
    spec = ImageSpec(3, 16, 16, attributes=4)
    gan = ConditionalDCGANConfig(maps=1, dense=4).make(spec)
    z = torch.randn(1, 100).expand(3, -1)
    labels = torch.tensor([[0.0, 0, 0, 0], [0, 0.5, 0, 0], [0, 0, 0, 0]])
    one, other, same = gan.generator.eval()(z, labels=labels)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_each_batch_trains_one_network_and_the_rate_falls_after_a_hundred_epochs() -> None:
    config = PRESETS["dcgan_mnist_conditional"]()
    gan = ConditionalDCGANConfig(maps=1, dense=4).make(SPEC)
    trained = [gan.phases(stage_at(config.schedule, n * 128))[0].trains for n in range(4)]
    assert trained == [("generator",), ("discriminator",)] * 2
    rates = [stage_at(config.schedule, epoch * 60_000).lr for epoch in (0, 100, 150, 200)]
    assert rates == pytest.approx([2e-4, 2e-4, 1e-4, 0])
    assert {gan.optimizers[name].weight_decay for name in gan.networks} == {2.5e-5}


def test_data_that_does_not_fit_is_refused() -> None:
    config = ConditionalDCGANConfig(maps=1, dense=4)
    with pytest.raises(ConfigError, match="the data has no labels; give each class a subfolder"):
        config.make(ImageSpec(1, 28, 28))
    with pytest.raises(ConfigError, match=r"multiples of 4, such as 28x28; the data has 27x27; .*--resolution 24'$"):
        config.make(ImageSpec(1, 27, 27, classes=10))
    with pytest.raises(ConfigError, match=r"gan\.dense must be at least 1, got 0"):
        ConditionalDCGANConfig(dense=0)
    with pytest.raises(ValueError, match="requires labels"):
        config.make(SPEC).generator(torch.randn(2, 100))
