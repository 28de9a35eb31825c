"""CycleGAN's networks against the authors' numbers, counts and sizes."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golden_family import fill, golden, images, weights
from progan.errors import ConfigError
from progan.gans.base import ImageSpec
from progan.gans.cyclegan_networks import CycleGANNetworksConfig, InstanceNorm, UNet

GOLDEN = golden("cyclegan")
SIZE = GOLDEN["config"]
STORED = 1e-7  # outputs are stored as float32; the README allows 2e-6


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_unet_gives_the_authors_images(norm: str) -> None:
    """Stored images to 1e-7, mean and deviation to 1e-9 of their values."""
    wanted = GOLDEN["unet"][norm]
    network = CycleGANNetworksConfig(generator="unet", downs=SIZE["unet_downs"], ngf=4, norm=norm).make_generator(3, 2)  # type: ignore[arg-type]
    assert sum(p.numel() for p in network.parameters()) == wanted["params"]
    fill(network, weights(wanted["parameters"], SIZE["seedU"]))
    with torch.no_grad():
        made = network(images(SIZE["seedUx"], 2, 3, SIZE["UH"], SIZE["UW"])).numpy()
    np.testing.assert_allclose(made[..., ::8, ::8].ravel(), wanted["every_8th_row_and_column"], atol=STORED)
    np.testing.assert_allclose((made.mean(), made.std(ddof=1)), (wanted["mean"], wanted["std"]), rtol=1e-9)


def test_skips_of_the_authors_in_place_activation_change_nothing_behind_a_relu() -> None:
    x = torch.randn(1000)
    assert torch.equal(F.relu(F.leaky_relu(x, 0.2)), F.relu(x))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_instance_norm_and_both_derivatives_are_those_of_the_formula(count: int, layout: torch.memory_format) -> None:
    """In float64 to 1e-10. The gradient that torch's own one has for a single image in channels last is wrong."""

    def formula(x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
        return (x - mean) / (variance + 1e-5).sqrt()

    draw = torch.Generator().manual_seed(0)
    x, towards, along = (torch.randn(count, 5, 6, 7, dtype=torch.float64, generator=draw) for _ in range(3))
    towards, found = towards.contiguous(memory_format=layout), []
    for norm in (InstanceNorm(), formula):
        at = x.contiguous(memory_format=layout).requires_grad_()
        y = norm(at)
        (first,) = torch.autograd.grad(y, at, towards, create_graph=True)
        (second,) = torch.autograd.grad(first, at, along)
        found.append((y.detach(), first.detach(), second))
    for ours, wanted in zip(*found, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-10)


COUNTS: list[tuple[str, dict[str, Any], int, int]] = [  # network, settings, channels, parameters (FAMILY.md section 1)
    ("generator", {}, 3, 11_378_179),
    ("generator", {"blocks": 6}, 3, 7_837_699),
    ("generator", {"norm": "batch"}, 3, 11_383_427),
    ("generator", {"generator": "unet", "norm": "batch"}, 3, 54_413_955),
    ("generator", {"generator": "unet"}, 3, 54_409_603),
    ("generator", {"generator": "unet", "downs": 7, "norm": "batch"}, 3, 41_828_995),
    ("discriminator", {}, 3, 2_764_737),
    ("discriminator", {"norm": "batch"}, 6, 2_768_705),
    ("discriminator", {"discriminator": "pixel"}, 3, 8_705),
]


@pytest.mark.parametrize(("kind", "settings", "channels", "count"), COUNTS)
def test_parameters_are_as_many_as_the_authors(kind: str, settings: dict, channels: int, count: int) -> None:
    config = CycleGANNetworksConfig(**settings)
    with torch.device("meta"):
        network = config.make_generator(3, channels) if kind == "generator" else config.make_discriminator(channels)
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize(("layers", "patch"), [(1, 16), (2, 34), (3, 70), (4, 142), (5, 286)])
def test_patches_have_the_published_sizes(layers: int, patch: int) -> None:
    """The pixels that one score depends on, by its gradient; two images differ in nothing else."""
    config = CycleGANNetworksConfig(n_layers=layers, ndf=1)
    network = config.make_discriminator(1).double()
    for module in network.modules():  # instance norm would make a score depend on every pixel
        if isinstance(module, nn.Sequential):
            for name, part in list(module.named_children()):
                if not isinstance(part, nn.Conv2d | nn.LeakyReLU):
                    setattr(module, name, nn.Identity())
    with torch.no_grad():
        for p in network.parameters():
            p.fill_(0.1)
    side = 2 * (patch + 2**layers)
    x = torch.ones(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    scores = network(x)
    scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2].backward()
    assert x.grad is not None
    assert [int((x.grad[0, 0] != 0).any(axis).sum()) for axis in (0, 1)] == [patch, patch]
    assert scores.shape[2:] == (side // 2**layers - 2,) * 2


@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize(
    "more", [{"blocks": 1}, {"generator": "unet", "downs": 4}, {"generator": "unet", "downs": 2}], ids=str
)
@pytest.mark.parametrize(("into", "out", "size"), [(1, 3, (16, 48)), (4, 1, (32, 16))])
def test_generators_keep_any_size_and_change_channels(
    upsampling: Any, norm: Any, more: dict, into: int, out: int, size: tuple[int, int]
) -> None:
    config = CycleGANNetworksConfig(ngf=2, upsampling=upsampling, norm=norm, **more)
    images = config.make_generator(into, out)(torch.randn(2, into, *size))
    assert images.shape == (2, out, *size)
    assert float(images.detach().abs().max()) <= 1
    if config.discriminator == "patch" and min(size) >= 24:
        assert config.make_discriminator(out)(images).shape == (2, 1, size[0] // 8 - 2, size[1] // 8 - 2)


def test_resized_convolutions_leave_no_checkerboard() -> None:
    """Of constant features, the layer makes a constant image; a transposed convolution makes a pattern."""
    spread = {}
    for upsampling in ("transposed", "resize"):
        torch.manual_seed(0)
        config = CycleGANNetworksConfig(ngf=4, blocks=0, upsampling=upsampling)
        network: Any = config.make_generator(3, 3)
        made = network.body[9](torch.ones(1, 16, 8, 8))[0, :, 2:-2, 2:-2]
        spread[upsampling] = float(made.detach().std((1, 2)).max())
    assert spread["resize"] < 1e-6
    assert spread["transposed"] > 1e-3


def test_weights_begin_as_in_the_authors_code() -> None:
    """N(0, 0.02), without biases, batch norm around 1: standard deviations within 2 % of 36,864 weights."""
    for settings in ({}, {"generator": "unet", "downs": 5}, {"upsampling": "resize"}, {"norm": "batch"}):
        torch.manual_seed(0)
        network = CycleGANNetworksConfig(ngf=32, blocks=1, **settings).make_generator(3, 3)  # type: ignore[arg-type]
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                if module.weight.numel() > 30_000:
                    assert float(module.weight.detach().std()) == pytest.approx(0.02, rel=0.02)
                assert module.bias is None or not module.bias.any()
            elif isinstance(module, nn.BatchNorm2d):
                assert 0 < float((module.weight.detach() - 1).abs().max()) < 0.1
                assert not module.bias.any()


def test_only_layers_before_a_batch_norm_lack_a_bias() -> None:
    for settings in ({}, {"generator": "unet", "downs": 3}):
        for norm in ("instance", "batch"):
            network = CycleGANNetworksConfig(ngf=2, norm=norm, **settings).make_generator(3, 3)  # type: ignore[arg-type]
            layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
            biased = [layer.bias is not None for layer in layers]
            assert biased[-1]
            assert set(biased[:-1]) == {norm == "instance"}
    assert isinstance(network, UNet)
    for norm, wanted in (("instance", [True] * 3), ("batch", [True, False, False])):
        pixel = CycleGANNetworksConfig(discriminator="pixel", ndf=2, norm=norm).make_discriminator(3)  # type: ignore[arg-type]
        assert [m.bias is not None for m in pixel.modules() if isinstance(m, nn.Conv2d)] == wanted


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_layers": 6}, "gan.n_layers must be 1 to 5, got 6"),
        ({"n_layers": 0}, "gan.n_layers must be 1 to 5, got 0"),
        ({"downs": 1}, "gan.downs must be at least 2, got 1"),
        ({"blocks": -1}, "gan.blocks must be at least 0, got -1"),
        ({"ngf": 0}, "gan.ngf must be at least 1, got 0"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        CycleGANNetworksConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "size", "message"),
    [
        (
            {},
            (50, 64),
            "the resnet generators require sides that are multiples of 4, but the images of domain B have 50x64; use "
            "'progan prepare SOURCE STORE --resolution 48x64'",
        ),
        (
            {"generator": "unet"},
            (256, 300),
            "the unet generators with --gan.downs 8 require sides that are multiples of 256, but the images of domain "
            "B have 256x300; use 'progan prepare SOURCE STORE --resolution 256x256'",
        ),
        (
            {},
            (20, 64),
            "discriminators with --gan.n-layers 3 require at least 24x24 pixels, but the images of domain B have "
            "20x64; use 'progan prepare SOURCE STORE --resolution 24', or fewer --gan.n-layers",
        ),
        (
            {"generator": "unet", "downs": 6},
            (48, 64),
            "the unet generators with --gan.downs 6 require at least 64x64 pixels, but the images of domain B have "
            "48x64; use 'progan prepare SOURCE STORE --resolution 64', or fewer --gan.downs",
        ),
        (
            {"discriminator": "pixel"},
            (4, 64),
            "the resnet generators require at least 8x8 pixels, but the images of domain B have 4x64; use 'progan "
            "prepare SOURCE STORE --resolution 8'",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_one_line_with_what_to_type(settings: dict, size: tuple, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        CycleGANNetworksConfig(**settings).check_size(ImageSpec(3, *size), "B")
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("settings", "side"), [({}, 24), ({"n_layers": 1}, 8), ({"discriminator": "pixel"}, 8), ({"n_layers": 5}, 96)]
)
def test_smallest_sizes_fit(settings: dict, side: int) -> None:
    config = CycleGANNetworksConfig(ngf=1, ndf=1, blocks=1, **settings)
    config.check_size(ImageSpec(3, side, side), "A")
    image = config.make_generator(3, 3)(torch.randn(1, 3, side, side))
    assert config.make_discriminator(3)(image).numel() == (
        side * side if config.discriminator == "pixel" else 1 + 3 * (side == 8)
    )
