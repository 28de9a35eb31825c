"""WGAN-GP against the authors' numbers, its residual networks against plain torch, and its conditional batches."""

import itertools
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golden_family import golden, images, weights
from progan.errors import ConfigError
from progan.gans import WGANGPConfig
from progan.gans.base import Batch, ImageSpec
from progan.gans.wgan_gp import WGANGP
from progan.gans.wgan_gp_layers import ClassBatchNorm, convolve, rectified, slopes_only
from progan.gans.wgan_gp_networks import Block
from progan.losses import gradient_penalty
from progan.presets import PRESETS
from progan.schedule import stage_at
from small import batch_with

MNIST, RESNET = golden("wgan_gp_mnist"), golden("wgan_gp_resnet64")


def ours(name: str) -> str:
    """The name of a parameter of the authors' programs here."""
    _, *path, kind = name.split(".")
    kind = {"W": "weight", "b": "bias", "Filters": "weight", "Biases": "bias", "offset": "bias", "scale": "weight"}[
        kind
    ]
    where, generator = ".".join(path), name.startswith("Generator")
    if where.isdecimal():
        number = [*(2, 3, 5)].index(int(where)) if generator else int(where) - 1
        return f"convs.{number}.{kind}"
    if where.startswith("Res"):
        block, part = path
        return f"blocks.{int(block[3:]) - 1}.{part.lower().replace('bn', 'norm')}.{kind}"
    resnet = {"Input": "dense", "OutputN": "norm", "Output": "image"} if generator else {"Output": "score"}
    return f"{resnet.get(where, 'image')}.{kind}"


def filled(gan: WGANGP, values: dict[str, Any]) -> WGANGP:
    """Both networks in float64 with the weights of the golden numbers."""
    for network, letter in ((gan.generator, "G"), (gan.discriminator, "D")):
        network.double()
        parameters, entries = dict(network.named_parameters()), values[f"{letter}_parameters"]
        assert {ours(entry["name"]) for entry in entries} == parameters.keys()
        for entry, value in zip(entries, weights(entries, values["config"][f"s{letter}"]), strict=True):
            parameters[ours(entry["name"])].data = torch.from_numpy(value).view(entry["shape"])
    return gan


def normal(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).randn(*shape))


def golden_batch(values: dict[str, Any], real: Tensor) -> Batch:
    """Images, latents and positions between the images, as in the golden numbers."""
    size = values["config"]
    mix = torch.from_numpy(np.random.RandomState(size["sa"]).rand(size["N"], 1))
    return batch_with(real, normal=lambda *_: normal(size["sz"], size["N"], 128), uniform=lambda *_: mix)


def golden_mnist() -> tuple[WGANGP, Batch]:
    """The authors' images are in [0, 1]."""
    size = MNIST["config"]
    gan = WGANGPConfig(body="mnist", maps=size["DIM"], penalty_weight=size["LAMBDA"]).make(ImageSpec(1, 28, 28))
    real = torch.sigmoid(2 * normal(size["sx"], size["N"], 1, 28, 28)) * 2 - 1
    return filled(gan, MNIST), golden_batch(MNIST, real)


def golden_resnet() -> tuple[WGANGP, Batch]:
    size = RESNET["config"]
    gan = WGANGPConfig(maps=size["dim"]).make(ImageSpec(3, 64, 64))
    return filled(gan, RESNET), golden_batch(RESNET, images(size["sx"], size["N"], 3, 64, 64))


def norms(network: nn.Module, values: dict[str, float]) -> tuple[list[float], list[float]]:
    """Norms of the gradients here and in the golden numbers."""
    parameters = dict(network.named_parameters())
    return [float(parameters[ours(name)].grad.norm()) for name in values], list(values.values())  # type: ignore[union-attr]


def test_mnist_networks_give_the_numbers_of_the_authors_program() -> None:
    """Maps, scores, penalty and losses to 1e-5; norms of gradients to 1e-4, relative: float32 there, float64 here."""
    gan, batch = golden_mnist()
    fake = gan.fakes(batch)
    np.testing.assert_allclose((fake.detach()[:2, :, ::3, ::3] + 1) / 2, MNIST["fake_part"], atol=1e-5)
    assert float((fake.detach() + 1).mean() / 2) == pytest.approx(MNIST["fake_abs_mean"], rel=1e-5)
    np.testing.assert_allclose(gan.score(batch, batch.images, "").detach(), MNIST["critic_real"], atol=1e-5)
    np.testing.assert_allclose(gan.score(batch, fake, "").detach(), MNIST["critic_fake"], atol=1e-5)

    terms = {name: term.mean() for name, term in gan.discriminator_loss(batch).items()}
    penalty = 10 * MNIST["gradient_penalty_unweighted"]
    assert float(terms["penalty"].detach()) == pytest.approx(penalty, rel=1e-5)
    assert float(-terms["distance"]) == pytest.approx(MNIST["critic_loss_without_gp"], rel=1e-5)
    loss = terms["real"] + terms["fake"] + terms["penalty"]
    assert float(loss.detach()) == pytest.approx(MNIST["critic_loss"], rel=1e-5)
    loss.backward()
    np.testing.assert_allclose(*norms(gan.discriminator, MNIST["critic_grad_norms"]), rtol=1e-4, atol=1e-12)

    loss = gan.generator_loss(batch)["fake"].mean()
    assert float(loss.detach()) == pytest.approx(MNIST["generator_loss"], rel=1e-4)
    loss.backward()
    np.testing.assert_allclose(*norms(gan.generator, MNIST["generator_grad_norms"]), rtol=1e-4)


def test_mnist_penalty_alone_has_the_gradients_of_the_authors_program() -> None:
    """To 1e-4, relative."""
    gan, batch = golden_mnist()
    (10 * gan.penalty(batch, batch.images, gan.fakes(batch).detach()).mean()).backward()
    np.testing.assert_allclose(*norms(gan.discriminator, MNIST["gp_only_grad_norms"]), rtol=1e-4)


@pytest.mark.parametrize(("make", "values", "enlarged"), [(golden_mnist, MNIST, 0.5), (golden_resnet, RESNET, 1.0)])
def test_slopes_are_norms_over_all_pixels_of_a_sample(make: Any, values: dict[str, Any], enlarged: float) -> None:
    """The norm of each sample to 5e-5, relative, found from penalties with two different targets."""
    gan, batch = make()
    fake, mix = gan.fakes(batch).detach(), batch.uniform("mix", 1).view(-1, 1, 1, 1)

    def penalty(target: float) -> Tensor:
        score = lambda x: gan.score(batch, x, "")  # noqa: E731
        return gradient_penalty(score, batch.images, fake, mix, target=target, enlarged=enlarged).detach() * target**2

    slopes = (penalty(1.0) - penalty(2.0) + 3) / 2  # (s - 1)^2 - (s - 2)^2 = 2 s - 3
    np.testing.assert_allclose(slopes, values["gradient_norms_per_sample"], rtol=5e-5)
    want = values["gradient_penalty_unweighted"]
    assert float(gan.penalty(batch, batch.images, fake).mean().detach()) == pytest.approx(want, rel=5e-5)


def test_resnet_gives_the_numbers_of_the_authors_program() -> None:
    """To 5e-5: layer and batch norm, shortcuts and resampling in float32 there, float64 here."""
    gan, batch = golden_resnet()
    fake = gan.fakes(batch).detach()
    np.testing.assert_allclose(fake[:2, :, ::8, ::8], RESNET["fake_part"], atol=5e-5)
    assert float(fake.mean()) == pytest.approx(RESNET["summary"]["mean"], abs=5e-5)
    np.testing.assert_allclose(gan.score(batch, batch.images, "").detach(), RESNET["critic_real"], atol=5e-5)
    np.testing.assert_allclose(gan.score(batch, fake, "").detach(), RESNET["critic_fake"], atol=5e-5)


COUNTS = {
    "wgan_gp_lsun_64": (8_540_483, 7_491_841),
    "wgan_gp_dcgan_lsun_64": (5_364_739, 4_316_545),
    "wgan_gp_mnist": (1_554_177, 1_030_145),
    "wgan_gp_cifar10": (1_204_483, 1_053_825),
    "wgan_gp_cifar10_conditional": (1_218_307, 1_055_115),
}


@pytest.mark.parametrize("preset", COUNTS)
def test_parameter_counts_of_the_published_networks(preset: str) -> None:
    config = PRESETS[preset]()
    side = config.schedule.resolution
    networks = config.gan.make(ImageSpec(1 if side == 28 else 3, side, side, 10)).networks
    counts = [sum(p.numel() for p in networks[name].parameters()) for name in ("generator", "discriminator")]
    assert tuple(counts) == COUNTS[preset]


def randomized(module: nn.Module) -> nn.Module:
    """The module in float64, with biases and gains that are not 0 and 1."""
    for p in module.double().parameters():
        p.data += 0.1 * torch.randn_like(p)
    return module


def conv(layer: Any, x: Tensor) -> Tensor:
    return F.conv2d(x, layer.weight, layer.bias, padding=layer.weight.shape[-1] // 2)


def block(net: Block, x: Tensor, labels: Tensor | None = None) -> Tensor:
    """A residual block as in the authors' CIFAR-10 program: all convolutions at the larger size."""

    def norm(layer: Any, x: Tensor) -> Tensor:
        if layer is None:
            return x
        x = F.batch_norm(x, None, None, training=True, eps=1e-5)
        rows = [x[n] * layer.gain[k, :, None, None] + layer.bias[k, :, None, None] for n, k in enumerate(labels)]  # type: ignore[arg-type]
        return torch.stack(rows)

    def double(x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3) if net.resample == "up" else x

    def halve(x: Tensor) -> Tensor:
        return sum(x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4 if net.resample == "down" else x  # type: ignore[return-value]

    y = conv(net.conv1, double(x if net.first else norm(net.norm1, x).clamp(min=0)))
    y = halve(conv(net.conv2, norm(net.norm2, y).clamp(min=0)))
    return y + (x if net.shortcut is None else halve(conv(net.shortcut, double(x))))


def test_cifar_networks_equal_plain_torch() -> None:
    """To 1e-10 in float64."""
    gan = WGANGPConfig(body="cifar", maps=4, conditional=True).make(ImageSpec(3, 32, 32, 3))
    generator, critic, z, labels = gan.generator, gan.discriminator, normal(0, 5, 128), torch.tensor([0, 2, 1, 0, 2])
    for network in (generator, critic):
        randomized(network)
    x: Any = generator.dense(z).view(5, 4, 4, 4)
    for net in generator.blocks:
        x = block(net, x, labels)
    x = F.batch_norm(x, None, None, generator.norm.weight, generator.norm.bias, training=True)
    want = torch.tanh(conv(generator.image, x.clamp(min=0)))
    fake = generator(z, labels=labels)
    torch.testing.assert_close(fake, want, atol=1e-10, rtol=0)

    x = fake
    for net in critic.blocks:
        x = block(net, x)
    x = x.clamp(min=0).mean((2, 3))
    scores = torch.cat([F.linear(x, head.weight, head.bias) for head in (critic.score, critic.logits)], 1)
    torch.testing.assert_close(critic(fake), scores, atol=1e-10, rtol=0)


def test_class_batch_norm_normalizes_all_classes_together() -> None:
    norm, x = ClassBatchNorm(2, 3), torch.randn(6, 2, 4, 4)
    y = norm(x, torch.tensor([0, 0, 1, 1, 2, 2]))
    torch.testing.assert_close(y, F.batch_norm(x, None, None, training=True))


@pytest.mark.parametrize("leak", [0.0, 0.2])
def test_rectifier_has_the_derivatives_of_torch(leak: float) -> None:
    """A gradient penalty through it equals that through torch's own, exactly, and sends nothing back to the input."""
    weight, x = normal(1, 8, 8).requires_grad_(True), normal(2, 4, 8).requires_grad_(True)
    found = []
    for act in (lambda h: rectified(h, leak), lambda h: F.leaky_relu(h, leak)):
        (slope,) = torch.autograd.grad((act(x @ weight) ** 2).sum(), x, create_graph=True)
        found.append([slope.detach(), *torch.autograd.grad(slope.norm(dim=1).sum(), [weight, x])])
    torch.testing.assert_close(*found, atol=1e-12, rtol=1e-12)
    through = []
    hidden = x @ weight
    hidden.register_hook(through.append)
    (slope,) = torch.autograd.grad(rectified(hidden, leak).sum(), x, create_graph=True)
    through.clear()
    slope.norm().backward()
    assert not through


def test_convolution_has_the_derivatives_of_torch() -> None:
    """Those of the output and those of its slopes, which have none by the input, to 1e-12."""
    x, weight, bias = (
        normal(n, *shape).requires_grad_(True) for n, shape in enumerate([(2, 3, 7, 7), (4, 3, 5, 5), (4,)])
    )
    found = []
    for layer in (convolve, F.conv2d):
        y = layer(x, weight, bias, stride=2, padding=1)
        first = torch.autograd.grad((y**2).sum(), [x, weight, bias], create_graph=True)
        with slopes_only():
            (slope,) = torch.autograd.grad(
                (layer(x, weight, bias, stride=2, padding=1) ** 2).sum(), x, create_graph=True
            )
        found.append([y.detach(), *first, *torch.autograd.grad(slope.norm(), [x, weight, bias])])
    torch.testing.assert_close(*[[t.detach() for t in some] for some in found], atol=1e-12, rtol=1e-12)
    y = convolve(x, weight, bias)
    with slopes_only():
        y.sum().backward()
    assert weight.grad is None
    assert bias.grad is None


SPEC = ImageSpec(3, 16, 16, 3)
SMALL = WGANGPConfig(body="cifar", maps=4, latent_size=8, conditional=True)


def small_batch(labels: Tensor, spec: ImageSpec = SPEC) -> Batch:
    generator = torch.Generator().manual_seed(0)
    n = len(labels)
    streams: dict[tuple[Any, ...], Tensor] = {}

    def draw(stream: str, *shape: int) -> Tensor:
        return streams.setdefault((stream, *shape), torch.rand(n, *shape, generator=generator))

    real = torch.rand(n, spec.channels, spec.height, spec.width, generator=generator) * 2 - 1
    return batch_with(real, labels, normal=draw, uniform=draw)


@pytest.mark.parametrize("config", [SMALL, *(WGANGPConfig(body=b, maps=2) for b in ("resnet", "dcgan", "mnist"))])  # type: ignore[arg-type]
def test_one_pass_over_all_images_equals_separate_passes(config: WGANGPConfig) -> None:
    gan, batch = config.make(SPEC), small_batch(torch.tensor([0, 2, 1, 2]))
    fake = torch.rand(4, 3, 16, 16)
    terms = gan.discriminator_terms(batch, fake)
    on_real, on_fake = (gan.score(batch, x, "") for x in (batch.images, fake))
    torch.testing.assert_close(terms["real"], -on_real, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(terms["fake"], on_fake, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(terms["distance"], on_real - on_fake, atol=1e-5, rtol=1e-5)
    assert not terms["distance"].requires_grad


@pytest.mark.parametrize("body", ["cifar", "resnet", "dcgan", "mnist"])
def test_networks_run_in_half_precision(body: Any) -> None:
    gan, batch = WGANGPConfig(body=body, maps=2).make(SPEC), small_batch(torch.tensor([0, 2, 1, 2]))
    with torch.autocast("cpu", torch.bfloat16):
        terms = [*gan.discriminator_loss(batch).values(), *gan.generator_loss(batch).values()]
    sum(term.mean() for term in terms).backward()  # type: ignore[union-attr]
    assert {term.dtype for term in terms} == {torch.float32}
    assert all(p.grad.isfinite().all() for p in gan.networks.parameters())  # type: ignore[union-attr]


def test_fakes_have_the_classes_of_the_real_batch_for_the_critic_and_random_ones_for_g() -> None:
    gan, labels = SMALL.make(SPEC), torch.tensor([0, 2, 1, 2, 0])
    batch, seen = small_batch(labels), []
    gan.generator.register_forward_pre_hook(lambda net, args: seen.append(args[3]))
    terms = gan.discriminator_loss(batch)
    logits = gan.discriminator(batch.images)[:, 1:]
    want = F.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(terms["class_real"], want)  # weight 1, and no term of generated images
    assert terms.keys() == {"real", "fake", "penalty", "class_real", "distance"}

    terms = gan.generator_loss(batch)
    drawn = (batch.uniform("classes", 1)[:, 0] * 3).long()
    assert [s.tolist() for s in seen] == [labels.tolist(), drawn.tolist()]
    assert drawn.tolist() != labels.tolist()
    fake = gan.generator(gan.latents(batch), 0, None, drawn)
    want = 0.1 * F.cross_entropy(gan.discriminator(fake)[:, 1:], drawn, reduction="none")
    torch.testing.assert_close(terms["class_fake"], want)


def test_cifar_run_has_five_critic_steps_and_twice_the_batch_for_g() -> None:
    config = PRESETS["wgan_gp_cifar10"]()
    critic, generator = replace(config.gan, maps=2).make(SPEC).phases(stage_at(config.schedule, 0))
    assert (critic.repeats, critic.batch, generator.repeats, generator.batch) == (5, 1, 1, 2)
    rates = [stage_at(config.schedule, images).lr for images in (0, 16_000_000, 32_000_000)]
    assert rates == pytest.approx([2e-4, 1e-4, 0])


def test_dequantized_images_are_uniform_within_their_gray_level() -> None:
    gan = replace(SMALL, dequantize=True).make(SPEC)
    levels = torch.arange(256).repeat(3).view(1, 3, 16, 16).repeat(4, 1, 1, 1)
    batch = replace(small_batch(torch.zeros(4, dtype=torch.int64)), load=lambda source: levels / 127.5 - 1)
    noise = (gan.reals(batch) + 1) * 128 - levels
    assert -1e-4 < float(noise.min()) < 0.01
    assert 0.99 < float(noise.max()) < 1 + 1e-4
    assert float(noise.mean()) == pytest.approx(0.5, abs=0.03)
    assert torch.equal(gan.reals(batch), gan.reals(batch))
    assert SMALL.make(SPEC).reals(batch) is batch.images


STDEV = {  # of the authors' programs: sqrt(4 / (fan_in + fan_out)) for convolutions, sqrt(2 / ...) for the others
    ("resnet", "discriminator", "image.weight"): (2 / (27 + 64 * 9)) ** 0.5,
    ("resnet", "discriminator", "blocks.0.conv2.weight"): (4 / (64 * 9 + 128 * 9)) ** 0.5,
    ("resnet", "discriminator", "blocks.0.shortcut.weight"): (2 / (64 + 128)) ** 0.5,
    ("resnet", "generator", "dense.weight"): (2 / (128 + 512 * 16)) ** 0.5,
    ("mnist", "discriminator", "convs.1.weight"): (4 / (64 * 25 + 128 * 25 / 4)) ** 0.5,
    ("mnist", "generator", "convs.0.weight"): (4 / (128 * 25 / 4 + 64 * 25)) ** 0.5,
    ("dcgan", "generator", "convs.0.weight"): 0.02,
}


@pytest.mark.parametrize(("body", "network", "name"), STDEV)
def test_weights_are_initialized_as_by_the_authors(body: Any, network: str, name: str) -> None:
    torch.manual_seed(0)
    gan = WGANGPConfig(body=body).make(ImageSpec(3, 16, 16) if body != "resnet" else ImageSpec(3, 32, 32))
    weight, stdev = gan.networks[network].get_parameter(name), STDEV[body, network, name]
    assert float(weight.std().detach()) == pytest.approx(stdev, rel=0.05)
    assert float(weight.abs().max().detach()) <= 3**0.5 * stdev * (1 + 1e-6)  # uniform


@pytest.mark.parametrize(("height", "width"), [(28, 28), (32, 32), (17, 30), (16, 32)])
@pytest.mark.parametrize("body", ["mnist", "dcgan"])
def test_convolutional_networks_take_any_size(body: Any, height: int, width: int) -> None:
    gan = WGANGPConfig(body=body, maps=2).make(ImageSpec(4, height, width))
    fake = gan.generator(torch.randn(3, 128))
    assert fake.shape == (3, 4, height, width)
    assert gan.discriminator(fake).shape == (3, 1)


@pytest.mark.parametrize(
    ("body", "side", "message"),
    [
        *((body, 8, "require images of at least 16x16; the data has 8x8") for body in ("resnet", "cifar", "mnist")),
        *((body, 30, "must be multiples of 4; the data has 30x30") for body in ("resnet", "cifar")),
    ],
)
def test_sizes_that_networks_cannot_take(body: Any, side: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WGANGPConfig(body=body).make(ImageSpec(3, side, side))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"conditional": True}, "gan.conditional requires gan.body cifar, got resnet"),
        ({"penalty_weight": -1.0}, "gan.penalty_weight must be at least 0, got -1"),
        ({"generator_batch": 0}, "gan.generator_batch must be at least 1, got 0"),
    ],
)
def test_settings_that_make_no_sense(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WGANGPConfig(**bad)


def test_conditional_networks_require_labels() -> None:
    with pytest.raises(ConfigError, match="requires labels of at least 2 classes, but the data has 0"):
        SMALL.make(replace(SPEC, classes=0))


def test_only_networks_with_batch_norm_share_statistics() -> None:
    bodies = {"resnet": True, "dcgan": True, "cifar": True, "mnist": False}
    for body, normed in bodies.items():
        config = WGANGPConfig(body=body, maps=2)  # type: ignore[arg-type]
        networks = config.make(SPEC).networks
        found = [any("BatchNorm" in type(m).__name__ for m in networks[n].modules()) for n in networks]
        assert found == [normed, False]
        assert (config.whole_share, replace(config, bn_group=4).group) == (normed, 4 if normed else 1)


def test_every_preset_says_its_width() -> None:
    for name in (n for n in PRESETS if re.match(r"wgan.*small", n)):
        config, doc = PRESETS[name](), PRESETS[name].__doc__ or ""
        assert f"{config.gan.maps} feature maps" in doc
        assert f"{config.schedule.total_kimg:g} kimg" in doc
    assert list(itertools.chain(n for n in PRESETS if re.match(r"wgan.*small", n)))
