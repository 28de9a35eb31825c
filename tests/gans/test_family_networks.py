"""Networks of the classic family against plain functions of torch, with the options that no golden number has."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from progan.gans import DCGANConfig, OriginalGANConfig, WGANConfig, WGANGPConfig
from progan.gans.base import ImageSpec

COLOR = ImageSpec(3, 32, 32)


def varied(network: nn.Module) -> list[Tensor]:
    """Its parameters in order, float64 and all different from their initial values."""
    network.double()
    draw = torch.Generator().manual_seed(1)
    for p in network.parameters():
        p.data += 0.1 * torch.randn(p.shape, dtype=torch.float64, generator=draw)
    return [p.detach() for p in network.parameters()]


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def normed(x: Tensor, gain: Tensor, shift: Tensor, eps: float = 1e-5) -> Tensor:
    """Batch norm by its formula."""
    axes = (0, *range(2, x.ndim))
    shape = (1, -1, *[1] * (x.ndim - 2))
    y = (x - x.mean(axes, keepdim=True)) / (x.var(axes, correction=0, keepdim=True) + eps).sqrt()
    return y * gain.view(shape) + shift.view(shape)


def equal(got: Tensor, want: Tensor) -> None:
    """To 1e-10 in float64."""
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("normed_networks", ["both", "none"])
def test_wgan_networks_with_extra_layers_are_those_of_the_authors(normed_networks: Any) -> None:
    """Each extra layer is a 3x3 convolution without bias, batch norm and activation, next to the images."""
    gan = WGANConfig(maps=2, latent_size=3, extra=2, norm=normed_networks).make(COLOR)
    has, z = normed_networks == "both", normal(4, 3)
    g, d = iter(varied(gan.generator)), iter(varied(gan.discriminator))

    def layer(x: Tensor, parameters: Any) -> Tensor:
        return normed(x, next(parameters), next(parameters)) if has else x

    x = F.relu(layer((z @ next(g).T).view(4, 8, 4, 4), g))
    for _ in range(2):
        x = F.relu(layer(F.conv_transpose2d(x, next(g), stride=2, padding=1), g))
    for _ in range(2):
        x = F.relu(layer(F.conv2d(x, next(g), padding=1), g))
    x = torch.tanh(F.conv_transpose2d(x, next(g), stride=2, padding=1))
    equal(gan.generator(z), x)
    y = F.leaky_relu(F.conv2d(x, next(d), stride=2, padding=1), 0.2)
    for _ in range(2):
        y = F.leaky_relu(layer(F.conv2d(y, next(d), padding=1), d), 0.2)
    for _ in range(2):
        y = F.leaky_relu(layer(F.conv2d(y, next(d), stride=2, padding=1), d), 0.2)
    equal(gan.discriminator(x), (y.flatten(1) @ next(d).T)[:, 0])
    assert not [*g, *d]


def test_wgan_dense_networks_are_those_of_the_authors() -> None:
    """Four layers with ReLU between them and nothing behind the last one."""
    gan = WGANConfig(generator="mlp", critic="mlp", hidden=5, latent_size=3).make(ImageSpec(1, 4, 4))
    x = z = normal(4, 3)
    g, d = varied(gan.generator), varied(gan.discriminator)
    for n in range(0, 8, 2):
        x = F.linear(x if n == 0 else F.relu(x), g[n], g[n + 1])
    equal(gan.generator(z).flatten(1), x)
    y = x
    for n in range(0, 8, 2):
        y = F.linear(y if n == 0 else F.relu(y), d[n], d[n + 1])
    equal(gan.discriminator(x.view(4, 1, 4, 4)), y[:, 0])


def test_dcgan_networks_of_the_authors_version() -> None:
    """5x5 kernels, batch norm of each feature behind the dense layer, and an epsilon that shows."""
    gan = DCGANConfig(maps=2, latent_size=3, kernel=5, bn_eps=0.3).make(COLOR)
    g, d, z = varied(gan.generator), varied(gan.discriminator), normal(4, 3)
    x = F.relu(normed(z @ g[0].T, g[1], g[2], 0.3)).view(4, 8, 4, 4)
    for n in (3, 6):
        x = F.conv_transpose2d(x, g[n], stride=2, padding=2, output_padding=1)
        x = F.relu(normed(x, g[n + 1], g[n + 2], 0.3))
    x = torch.tanh(F.conv_transpose2d(x, g[9], stride=2, padding=2, output_padding=1))
    equal(gan.generator(z), x)
    y = F.leaky_relu(F.conv2d(x, d[0], stride=2, padding=2), 0.2)
    for n in (1, 4):
        y = F.leaky_relu(normed(F.conv2d(y, d[n], stride=2, padding=2), d[n + 1], d[n + 2], 0.3), 0.2)
    equal(gan.discriminator(x), (y.flatten(1) @ d[7].T)[:, 0])


def test_wgan_gp_networks_with_5x5_kernels_are_those_of_the_authors() -> None:
    """Batch norm before each ReLU of G; layer norm in the critic behind all convolutions but the first."""
    gan = WGANGPConfig(body="dcgan", maps=2, latent_size=3).make(COLOR)
    g, d = (dict(net.named_parameters()) for net in (gan.generator, gan.discriminator))
    for network in (gan.generator, gan.discriminator):
        varied(network)
    z = normal(4, 3)
    x = F.linear(z, g["dense.weight"], g["dense.bias"]).view(4, 8, 4, 4)
    for n in range(3):
        x = F.relu(normed(x, g[f"norms.{n}.weight"], g[f"norms.{n}.bias"]))
        full, side = F.conv_transpose2d(x, g[f"convs.{n}.weight"], g[f"convs.{n}.bias"], stride=2), 2 * x.shape[-1]
        x = full[:, :, 1 : side + 1, 1 : side + 1]
    equal(gan.generator(z), torch.tanh(x))
    y = x = torch.tanh(x)
    for n in range(3):
        y = F.conv2d(F.pad(y, (1, 2, 1, 2)), d[f"convs.{n}.weight"], d[f"convs.{n}.bias"], stride=2)
        if n:
            y = F.layer_norm(y, y.shape[1:], eps=1e-5)
            y = y * d[f"norms.{n}.weight"][:, None, None] + d[f"norms.{n}.bias"][:, None, None]
        y = F.leaky_relu(y, 0.2)
    equal(gan.discriminator(x), F.linear(y.flatten(1), d["score.weight"], d["score.bias"]))


class Noted:
    """A dropout that keeps everything and notes what it is given."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, float]] = []

    def __call__(self, x: Tensor, keep: float) -> Tensor:
        self.calls.append((x.shape[1], keep))
        return x


def test_gan_networks_for_cifar10_with_dense_layers() -> None:
    """A sigmoid in the last hidden layer only, a linear output, and a D that sees pixels in -1 ... 1."""
    config = OriginalGANConfig(g_hidden=(4, 5), g_last_hidden="sigmoid", g_output="linear", d_units=(3, 2), d_pieces=2)
    gan, drop = config.make(ImageSpec(3, 2, 2)), Noted()
    d, z = varied(gan.discriminator), normal(4, 100)
    varied(gan.generator)
    g = {name: p.detach() for name, p in gan.generator.named_parameters()}
    x = F.relu(F.linear(z, g["hidden.0.weight"], g["hidden.0.bias"]))
    x = torch.sigmoid(F.linear(x, g["hidden.1.weight"], g["hidden.1.bias"]))
    x = (x @ g["image.weight"].T).view(4, 3, 2, 2) + g["bias"]
    equal(gan.generator(z), x)
    y = x.flatten(1)
    for n in (0, 2):
        y = F.linear(y, d[n], d[n + 1]).unflatten(1, (-1, 2)).max(2).values
    equal(gan.discriminator(x, drop), F.linear(y, d[4], d[5])[:, 0])
    assert drop.calls == [(3, 0.8), (3, 0.5), (2, 0.5)]


def test_gan_networks_for_cifar10_with_convolutions() -> None:
    """Two pieces of each map; pools reach over the edge; dropout before each layer; a bias for each pixel in G."""
    config = OriginalGANConfig(
        generator="conv", g_hidden=(4,), g_maps=2, discriminator="conv", d_maps=(2, 3, 4), d_units=(2,), d_pieces=3
    )
    gan, drop = config.make(ImageSpec(3, 20, 20)), Noted()
    d, z = varied(gan.discriminator), normal(4, 100)
    varied(gan.generator)
    g = {name: p.detach() for name, p in gan.generator.named_parameters()}
    x = F.relu(F.linear(z, g["hidden.0.weight"], g["hidden.0.bias"]))
    x = F.relu(F.linear(x, g["hidden.1.weight"], g["hidden.1.bias"])).view(4, 2, 6, 6)
    x = torch.sigmoid(F.conv_transpose2d(x, g["image.weight"], stride=3) + g["bias"])
    equal(gan.generator(z), 2 * x - 1)
    y = x
    for n, (padding, pool) in enumerate(((4, 4), (3, 4), (3, 2))):
        y = F.conv2d(y, d[2 * n], d[2 * n + 1], padding=padding).unflatten(1, (-1, 2)).max(2).values
        y = F.max_pool2d(y, pool, 2, ceil_mode=True)
    y = F.linear(y.flatten(1), d[6], d[7]).unflatten(1, (-1, 3)).max(2).values
    equal(gan.discriminator(2 * x - 1, drop), F.linear(y, d[8], d[9])[:, 0])
    assert drop.calls == [(3, 0.8), (2, 0.5), (3, 0.5), (4, 0.5), (2, 0.5)]
