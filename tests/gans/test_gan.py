"""GAN (2014) against numbers of its definition, the formulas of the authors' program, and a step written out."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golden_family import Fixed, Given, golden, weights
from progan.errors import ConfigError
from progan.gans import OriginalGANConfig
from progan.gans.base import GAN, ImageSpec
from progan.gans.gan import OriginalGAN
from progan.gans.maxout import Maxout, MaxoutConv2d
from progan.gans.two_player import TwoPlayer, keep_all
from progan.presets import PRESETS
from progan.schedule import stage_at
from progan.training.loop import Trainer

GOLDEN = golden("gan")
SIZE = GOLDEN["config"]
EXACT = {"rtol": 1e-9, "atol": 0}
NAMES = {
    "G.h0.W": "hidden.0.weight",
    "G.h0.b": "hidden.0.bias",
    "G.h1.W": "hidden.1.weight",
    "G.h1.b": "hidden.1.bias",
    "G.y.W": "image.weight",
    "G.y.b": "bias",
    "D.h0.W": "dense.0.linear.weight",
    "D.h0.b": "dense.0.linear.bias",
    "D.h1.W": "dense.1.linear.weight",
    "D.h1.b": "dense.1.linear.bias",
    "D.y.W": "score.weight",
    "D.y.b": "score.bias",
}


def fill_by_name(gan: TwoPlayer, numbers: dict[str, Any], names: dict[str, str]) -> dict[str, nn.Parameter]:
    """Set all weights, of dense layers stored (in, out); return the parameters by their names in the file."""
    gan.networks.double()
    networks = {"G": dict(gan.generator.named_parameters()), "D": dict(gan.discriminator.named_parameters())}
    found = {name: networks[name[0]][own] for name, own in names.items()}
    assert sorted(map(id, found.values())) == sorted(map(id, gan.networks.parameters()))
    for fact, value in zip(numbers["parameters"], weights(numbers["parameters"], numbers["config"]["s"]), strict=True):
        p = found[fact["name"]]
        p.data = torch.from_numpy(value.T.copy() if value.ndim == 2 else value).reshape(p.shape)
    return found


def tiny(**more: Any) -> tuple[OriginalGAN, dict[str, nn.Parameter]]:
    """The golden networks: 12 pixels as 3x4."""
    config = OriginalGANConfig(
        latent_size=SIZE["nz"],
        g_hidden=(SIZE["nh"], SIZE["nh"]),
        d_units=(SIZE["units"], SIZE["units"]),
        d_pieces=SIZE["pieces"],
        **more,
    )
    gan = config.make(ImageSpec(1, 3, 4))
    return gan, fill_by_name(gan, GOLDEN, NAMES)


def golden_batch(gan: OriginalGAN) -> Any:
    """The real images, and the latents of the golden numbers."""
    rs = np.random.RandomState(SIZE["s"] + 1)
    z = rs.uniform(-math.sqrt(3), math.sqrt(3), (SIZE["N"], SIZE["nz"]))
    x = rs.rand(SIZE["N"], SIZE["nx"])
    gan.latent = Given(torch.from_numpy(z))  # type: ignore[assignment]
    images = torch.from_numpy(2 * x - 1).view(-1, 1, 3, 4)
    return SimpleNamespace(images=images, normal=None, uniform=None, level=0, labels=None)


def with_masks(gan: OriginalGAN, masks: dict[str, list[Tensor]]) -> None:
    """Let the discriminator drop what the masks say; without masks, nothing."""

    def score(batch: Any, images: Tensor, stream: str) -> Tensor:
        left = iter(masks.get(stream, ()))

        def drop(x: Tensor, keep: float) -> Tensor:
            assert keep == (0.8 if x.ndim == 4 else 0.5)
            return x * next(left).view(x.shape) / keep

        scores = gan.discriminator(images, drop=drop if masks else keep_all)
        assert next(left, None) is None
        return scores

    gan.score = score  # type: ignore[method-assign]


def test_networks_losses_and_gradients_are_those_of_the_definition() -> None:
    """To 1e-9, relative, in float64: both gradients come from one simultaneous step, without dropout here."""
    gan, parameters = tiny()
    batch = golden_batch(gan)
    with_masks(gan, {})
    fake = gan.generator(gan.latent.batches[0])  # type: ignore[attr-defined]
    np.testing.assert_allclose((fake.detach().flatten(1) + 1) / 2, GOLDEN["G_out"], **EXACT)
    np.testing.assert_allclose(gan.discriminator(batch.images).detach(), GOLDEN["D_real_logit"], **EXACT)
    np.testing.assert_allclose(gan.discriminator(fake).detach(), GOLDEN["D_fake_logit"], **EXACT)
    terms = {name: term.mean() for name, term in gan.joint_loss(batch).items()}
    d_loss = terms["discriminator_real"] + terms["discriminator_fake"]
    assert d_loss.item() == pytest.approx(GOLDEN["D_loss_half_sum"], rel=1e-9)
    assert terms["generator_fake"].item() == pytest.approx(GOLDEN["G_loss_nonsaturating"], rel=1e-9)
    sum(terms.values()).backward()  # type: ignore[union-attr]
    for name, norm in (GOLDEN["D_grad_norms"] | GOLDEN["G_grad_norms"]).items():
        assert float(parameters[name].grad.norm()) == pytest.approx(norm, rel=1e-9), name  # type: ignore[union-attr]


def test_losses_with_dropout_are_those_of_the_definition() -> None:
    """To 1e-9, relative: 0.8 of the input and 0.5 of hidden features are kept, and divided by that."""
    gan, _ = tiny()
    batch, want = golden_batch(gan), GOLDEN["with_dropout_masks"]
    rm, count = np.random.RandomState(SIZE["s"] + 2), SIZE["N"]
    kept = ((SIZE["nx"], 0.8), (SIZE["units"], 0.5), (SIZE["units"], 0.5))
    masks = {
        stream: [torch.from_numpy((rm.rand(count, width) < keep) * 1.0) for width, keep in kept]
        for stream in ("real", "fake")
    }
    with_masks(gan, masks)
    fake = gan.generator(gan.latent.batches[0])  # type: ignore[attr-defined]
    np.testing.assert_allclose(gan.score(batch, batch.images, "real").detach(), want["D_real_logit"], **EXACT)
    np.testing.assert_allclose(gan.score(batch, fake, "fake").detach(), want["D_fake_logit"], **EXACT)
    terms = {name: term.mean().item() for name, term in gan.joint_loss(batch).items()}
    d_loss = terms["discriminator_real"] + terms["discriminator_fake"]
    assert d_loss == pytest.approx(want["D_loss_half_sum"], rel=1e-9)
    assert terms["generator_fake"] == pytest.approx(want["G_loss"], rel=1e-9)


def test_saturating_loss_is_that_of_the_min_max_game() -> None:
    gan, _ = tiny(loss="saturating")
    with_masks(gan, {})
    terms = gan.joint_loss(golden_batch(gan))
    want = GOLDEN["G_loss_saturating_mean_log_1mD"]
    assert terms["generator_fake"].mean().item() == pytest.approx(want, rel=1e-9)


def test_parameter_counts_of_the_authors_networks() -> None:
    with torch.device("meta"):
        gan = PRESETS["gan_mnist"]().gan.make(ImageSpec(1, 28, 28))
    assert [sum(p.numel() for p in network.parameters()) for network in gan.networks.values()] == [2_503_984, 1_231_441]


@pytest.mark.parametrize(("preset", "lr", "factor"), [("gan_mnist", 0.1, 1.000004), ("cgan_mnist", 0.1, 1.00004)])
def test_learning_rate_is_divided_after_each_step(preset: str, lr: float, factor: float) -> None:
    """To 1e-9, relative; the last of these steps is at the floor of 1e-6."""
    schedule = PRESETS[preset]().schedule
    assert schedule.batch == 100
    for step in (0, 1, 1000, 123_456, 5_000_000):
        want = max(lr / factor**step, 1e-6)
        assert stage_at(schedule, 100 * step).lr == pytest.approx(want, rel=1e-9)


def test_momentum_rises_as_in_the_authors_program() -> None:
    """Which sets it when an epoch of 50,000 images ends, and counts epochs from 1."""
    with torch.device("meta"):
        gan = PRESETS["gan_mnist"]().gan.make(ImageSpec(1, 28, 28))
    for count in (1, 2, 100, 249, 250, 400):
        alpha = min(max((count - 1) / (250 - 1), 0), 1)
        for optimizer in gan.optimizers.values():
            assert optimizer.kind == "sgd"
            got = optimizer.beta1.at((count - 1) * 50_000)  # type: ignore[union-attr]
            assert got == pytest.approx(0.5 * (1 - alpha) + 0.7 * alpha, rel=1e-12)


def maxout(x: Tensor, weight: Tensor, bias: Tensor, pieces: int) -> Tensor:
    """Written out, unit by unit; weight is (in, out)."""
    columns = (x @ weight + bias).unbind(1)
    units = [columns[i : i + pieces] for i in range(0, len(columns), pieces)]
    return torch.stack([torch.stack(unit, 1).max(1).values for unit in units], 1)


class Reference:
    """Two networks and their simultaneous SGD steps, of plain tensors in float64."""

    def __init__(self, parameters: dict[str, nn.Parameter], pixels: Tensor) -> None:
        turned = {name: p.detach().clone() for name, p in parameters.items()}
        self.p = {name: (p.T if name.endswith("W") else p.flatten()).contiguous() for name, p in turned.items()}
        share = ((pixels + 1) / 2).mean(0).flatten().clamp(1e-7, 1 - 1e-7)
        self.p["G.y.b"] = torch.log(share / (1 - share))
        self.velocity = {name: torch.zeros_like(p) for name, p in self.p.items()}

    def step(self, x: Tensor, z: Tensor, lr: float, momentum: float) -> None:
        p = {name: value.requires_grad_(True) for name, value in self.p.items()}
        hidden = torch.relu(torch.relu(z @ p["G.h0.W"] + p["G.h0.b"]) @ p["G.h1.W"] + p["G.h1.b"])
        fake = torch.sigmoid(hidden @ p["G.y.W"] + p["G.y.b"])

        def score(pixels: Tensor) -> Tensor:
            first = maxout(pixels, p["D.h0.W"], p["D.h0.b"], SIZE["pieces"])
            second = maxout(first, p["D.h1.W"], p["D.h1.b"], SIZE["pieces"])
            return torch.sigmoid(second @ p["D.y.W"] + p["D.y.b"])[:, 0]

        real = ((x + 1) / 2).flatten(1)
        losses = {
            "D": -0.5 * (torch.log(score(real)).mean() + torch.log(1 - score(fake)).mean()),
            "G": -torch.log(score(fake)).mean(),
        }
        for network, loss in losses.items():
            names = [name for name in p if name.startswith(network)]
            slopes = torch.autograd.grad(loss, [p[name] for name in names], retain_graph=True)
            for name, slope in zip(names, slopes, strict=True):
                self.velocity[name] = momentum * self.velocity[name] + slope
        self.p = {name: (value - lr * self.velocity[name]).detach() for name, value in p.items()}


def test_both_networks_step_from_the_same_point() -> None:
    """Four iterations of the loop against a reference, to 1e-10: no dropout, constant rate, rising momentum."""
    config = replace(PRESETS["gan_mnist"](), gan=OriginalGANConfig(), beta1=0.9)
    more = {"d_keep_input": 1.0, "d_keep_hidden": 1.0, "momentum_kimg": 0.024}
    gan, _ = tiny(**more)
    config = replace(config, gan=gan.config)
    schedule = replace(config.schedule.resized(3), batch=6, decay=replace(config.schedule.decay, kind="constant"))
    pixels = torch.rand(24, 1, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pixels[:, 0, 0, 0] = -1  # black in every image
    trainer = Trainer(replace(config, schedule=schedule), ImageSpec(1, 3, 4), Fixed(pixels), device=torch.device("cpu"))
    trainer.ema.network.double()
    parameters = fill_by_name(trainer.gan, GOLDEN, NAMES)  # type: ignore[arg-type]
    reference = Reference(parameters, pixels)
    latents = torch.randn(4, 6, SIZE["nz"], dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    trainer.gan.latent = Given(*latents)  # type: ignore[attr-defined]
    for step, z in enumerate(latents):
        trainer.iterate()
        reference.step(pixels[6 * step : 6 * step + 6], z, lr=0.1, momentum=0.5 + 0.2 * min(step * 6 / 24, 1))
    for name, want in reference.p.items():
        got = parameters[name].detach()
        got = got.T if name.endswith("W") else got.flatten()
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-14, msg=lambda text, name=name: f"{name}: {text}")


def test_output_bias_of_generator_gives_the_pixel_means() -> None:
    """Before the first step and for every latent, to float32; a pixel that is always black gets the authors' limit."""
    gan = OriginalGANConfig(g_range=0.0, g_output_range=0.0, g_hidden=(3,), d_units=(2,)).make(ImageSpec(1, 2, 3))
    pixels = torch.rand(10, 1, 2, 3) * 2 - 1
    pixels[:, 0, 0, 0] = -1

    def batches() -> Iterator[Any]:
        for some in pixels.split(4):
            yield SimpleNamespace(images=some)

    gan.look(batches())
    assert gan.generator.bias[0, 0, 0].item() == pytest.approx(math.log(1e-7 / (1 - 1e-7)), rel=1e-5)
    torch.testing.assert_close(gan.generator(torch.randn(2, 100))[1], pixels.mean(0), rtol=1e-5, atol=1e-6)
    linear = replace(gan.config, g_output="linear").make(ImageSpec(1, 2, 3))
    linear.look(batches())
    torch.testing.assert_close(linear.generator(torch.randn(2, 100))[1], pixels.mean(0), rtol=1e-5, atol=1e-6)
    without = replace(gan.config, pixel_bias=False).make(ImageSpec(1, 2, 3))
    without.look(batches())
    assert without.generator.bias.abs().max() == 0


def test_generator_is_trained_through_the_dropout_of_discriminator() -> None:
    """Both terms come from the same score, that is, from the same masks; masks of real images are others."""
    config = PRESETS["gan_mnist"]()
    gan = OriginalGANConfig(g_hidden=(8,), d_units=(8,), d_range=0.5)
    schedule = replace(config.schedule.resized(4), batch=8)
    pixels = torch.rand(8, 1, 4, 4) * 2 - 1
    spec = ImageSpec(1, 4, 4)
    trainer = Trainer(replace(config, gan=gan, schedule=schedule), spec, Fixed(pixels), device=torch.device("cpu"))
    batch = trainer._batch("both", trainer.stage, 0, 8, 0, 1)
    assert isinstance(trainer.gan, OriginalGAN)
    terms = trainer.gan.joint_loss(batch)
    score = torch.log(torch.expm1(2 * terms["discriminator_fake"]))  # half of softplus(score)
    torch.testing.assert_close(terms["generator_fake"], F.softplus(-score), rtol=1e-4, atol=1e-5)
    fake = trainer.gan.fakes(batch)
    assert not torch.allclose(trainer.gan.discriminator(fake), score)  # without dropout
    assert not torch.allclose(trainer.gan.score(batch, fake, "real"), score)


def test_paper_alternates_with_k_steps_of_the_discriminator() -> None:
    gan = OriginalGANConfig(g_hidden=(3,), d_units=(2,), update="alternating", d_steps=3)
    phases = gan.make(ImageSpec(1, 4, 4)).phases(stage_at(PRESETS["gan_mnist"]().schedule, 0))
    assert [(phase.trains, phase.repeats, phase.shows_images) for phase in phases] == [
        (("discriminator",), 3, True),
        (("generator",), 1, False),
    ]
    assert gan.batches_shown == 3
    with pytest.raises(ConfigError, match=r"^gan.d_steps 3 requires --gan.update alternating$"):
        OriginalGANConfig(d_steps=3)


@pytest.mark.parametrize(("preset", "wide"), [("gan_cifar10", 1600 * 5), ("gan_cifar10_conv", 500 * 5)])
def test_networks_for_cifar10_have_the_widths_of_the_authors(preset: str, wide: int) -> None:
    with torch.device("meta"):
        gan = PRESETS[preset]().gan.make(ImageSpec(3, 32, 32))
    widths = [layer.out_features for layer in gan.generator.hidden]
    assert widths == [8000, 8000]
    assert gan.discriminator.dense[0].linear.out_features == wide
    if preset == "gan_cifar10_conv":
        assert gan.generator.image.weight.shape == (80, 3, 5, 5)
        assert gan.generator.start == (10, 10)
        maps = [layer.convolution.weight.shape for layer in gan.discriminator.convolutions]
        assert maps == [(64, 3, 8, 8), (64, 32, 8, 8), (384, 32, 5, 5)]
        assert gan.discriminator.dense[0].linear.in_features == 192 * 5 * 5  # 32 -> 33, 16 -> 15, 7 -> 9, 5


@pytest.mark.parametrize("kind", ["dense", "conv"])
@pytest.mark.parametrize(("channels", "height", "width"), [(1, 28, 28), (3, 32, 32), (4, 10, 23)])
def test_networks_fit_any_size(kind: Any, channels: int, height: int, width: int) -> None:
    gan = OriginalGANConfig(generator=kind, discriminator=kind, g_hidden=(4,), g_maps=2, d_maps=(2, 3, 4), d_units=(3,))
    networks = gan.make(ImageSpec(channels, height, width))
    fake = networks.generator(torch.randn(2, 100))
    assert fake.shape == (2, channels, height, width)
    assert networks.discriminator(fake).shape == (2,)


def test_too_small_images_for_convolutions_are_refused() -> None:
    config = OriginalGANConfig(discriminator="conv")
    with pytest.raises(
        ConfigError, match=r"requires images of at least 10x10, the data has 9x12; use .*resolution 10'"
    ):
        config.make(ImageSpec(1, 9, 12))
    with pytest.raises(ConfigError, match=r"transposed convolution .* at least 5x5, the data has 4x4"):
        replace(config, generator="conv").make(ImageSpec(1, 4, 4))


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("d_steps", 0, "gan.d_steps must be at least 1, got 0"),
        ("momentum", 1.0, "gan.momentum must be at least 0 and below 1, got 1.0"),
        ("d_range", math.inf, "gan.d_range must be a number of at least 0, got inf"),
        ("d_keep_input", 0.0, "gan.d_keep_input must be above 0 and at most 1, got 0.0"),
        ("g_hidden", (4, 0), r"gan.g_hidden must be at least 1, got \(4, 0\)"),
    ],
)
def test_impossible_settings_are_refused(setting: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        OriginalGANConfig(**{setting: value})


def test_settings_survive_a_file_of_plain_values() -> None:
    config = OriginalGANConfig(g_hidden=(3,), d_units=(2, 5))
    assert OriginalGANConfig(**json.loads(json.dumps(asdict(config)))) == config


def test_maxout_takes_consecutive_columns() -> None:
    """Trap 20 of the family: unit u is the largest of columns u * pieces ... u * pieces + pieces - 1."""
    x = torch.arange(6.0).flip(0)[None]
    layer: Callable[[Tensor], Tensor] = Maxout(6, 2, 3)
    nn.init.eye_(layer.linear.weight)  # type: ignore[attr-defined]
    nn.init.zeros_(layer.linear.bias)  # type: ignore[attr-defined]
    assert layer(x).tolist() == [[5, 2]]
    convolution = MaxoutConv2d(6, 2, 3, kernel=1, padding=0, pool=2)
    convolution.convolution.weight.data = torch.eye(6)[:, :, None, None]
    nn.init.zeros_(convolution.convolution.bias)  # type: ignore[arg-type]
    assert convolution(x[:, :, None, None].expand(1, 6, 3, 3)).tolist() == [[[[5, 5], [5, 5]], [[2, 2], [2, 2]]]]
    assert GAN.look is not OriginalGAN.look
