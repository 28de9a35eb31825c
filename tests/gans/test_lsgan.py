"""LSGAN: its losses on fixed scores, its networks against plain functions, and the order of its steps."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from golden_family import Fixed, golden
from progan.errors import ConfigError
from progan.gans import LSGANConfig
from progan.gans.base import ImageSpec
from progan.gans.lsgan import LSGAN
from progan.presets import PRESETS
from progan.presets.family import constant
from progan.schedule import stage_at
from progan.training.loop import Trainer

SPEC = ImageSpec(1, 16, 16)
LABELS = ImageSpec(1, 28, 28, classes=7)


def trainer_of(gan: LSGANConfig, *, batch: int = 8, micro_batch: int | None = None) -> Trainer:
    config = constant(gan, 16, batch=batch, lr=1e-3, total_kimg=1, beta1=0.5, micro_batch=micro_batch)
    pixels = torch.rand(16, 1, 16, 16, generator=torch.Generator().manual_seed(3))
    return Trainer(config, SPEC, Fixed(pixels), device=torch.device("cpu"))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("lsgan_mean_half", {}),
        ("lsgan_l2loss_sum_over_batch_code", {"reduction": "sum"}),
        ("lsgan_pearson_a_m1_b_1_c_0", {"a": -1.0, "b": 1.0, "c": 0.0}),
        ("lsgan_mean_cyclegan_code", {"reduction": "mean"}),
    ],
)
def test_reductions_on_the_golden_scores(name: str, settings: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """To 1e-9, relative; CycleGAN's code halves the loss of D, but not that of G."""
    rs = np.random.RandomState(501)
    scores = {"real": torch.from_numpy(rs.randn(8) * 1.5 + 0.3), "fake": torch.from_numpy(rs.randn(8) * 1.5 - 0.4)}
    trainer = trainer_of(LSGANConfig(maps=1, latent_size=2, **settings))
    monkeypatch.setattr(trainer.gan, "score", lambda batch, images, stream: scores[stream])
    batch = trainer._batch("both", trainer.stage, 0, 8, 0, 1)
    d, g = (sum(t.mean() for t in phase.loss(batch).values()) for phase in trainer.gan.phases(trainer.stage))
    want = golden("losses")[name]
    assert float(d) == pytest.approx(want["D"] * (2 if name.endswith("cyclegan_code") else 1), rel=1e-9)
    assert float(g) == pytest.approx(want["G"], rel=1e-9)


@pytest.mark.parametrize(("micro_batch", "reduction", "factor"), [(None, "sum", 8), (2, "sum", 8), (2, "mean", 2)])
def test_the_sum_is_n_times_the_mean_however_a_batch_is_split(
    micro_batch: int | None, reduction: str, factor: float
) -> None:
    """Gradients of D, and of G where D has not stepped, to 1e-5."""
    settings = LSGANConfig(maps=2, latent_size=4, norm="none")
    norms = []
    for gan, size in ((settings, None), (replace(settings, reduction=reduction), micro_batch)):  # type: ignore[arg-type]
        trainer = trainer_of(gan, micro_batch=size)
        config = trainer.config
        trainer.config = replace(config, schedule=replace(config.schedule, lr=0.0))
        trainer.iterate()
        statistics = trainer.take_statistics()
        norms.append([statistics[f"{name}/gradient_norm"] for name in ("discriminator", "generator")])
    assert norms[1] == pytest.approx([factor * norm for norm in norms[0]], rel=1e-5)


def test_both_steps_use_the_same_latents_and_g_sees_the_stepped_discriminator() -> None:
    trainer = trainer_of(LSGANConfig(maps=2, latent_size=4))
    seen: list[Tensor] = []
    latents: list[Tensor] = []
    weights: list[Tensor] = []
    gan = trainer.gan
    assert isinstance(gan, LSGAN)

    def note(_: object, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].detach().clone())
        weights.append(gan.discriminator.score.weight.detach().clone())

    gan.discriminator.register_forward_pre_hook(note)
    gan.generator.register_forward_pre_hook(lambda _, inputs: latents.append(inputs[0]))
    trainer.iterate()
    trainer.iterate()
    assert [torch.equal(a, b) for a, b in ((seen[1], seen[2]), (seen[4], seen[5]), (seen[1], seen[4]))] == [
        True,
        True,
        False,
    ]
    assert [torch.equal(weights[0], w) for w in weights[:3]] == [True, True, False]
    assert len(latents) == 2
    assert float(torch.cat(latents).min()) < -0.5
    assert not gan._fakes


@pytest.mark.parametrize(
    ("preset", "spec", "g", "d"),
    [
        ("lsgan_lsun_112", ImageSpec(3, 112, 112), 15_591_427, 4_333_441),
        ("lsgan_hwdb", ImageSpec(1, 28, 28, classes=3740), 9_405_569, 21_392_155),
        ("lsgan_64", ImageSpec(3, 64, 64), 3_576_704 + 924 * 8192, 2_765_568),
    ],
)
def test_parameter_counts(preset: str, spec: ImageSpec, g: int, d: int) -> None:
    with torch.device("meta"):
        networks = PRESETS[preset]().gan.make(spec).networks
    assert [sum(p.numel() for p in networks[n].parameters()) for n in ("generator", "discriminator")] == [g, d]


def test_hwdb_parameters_by_hand() -> None:
    """The counts of the test above, layer by layer."""
    y = 3740 * 256 + 256
    g = (1024 + 256) * 6272 + 6272 + 2 * 128 + 25 * 128 * 128 + 128 + 2 * 128 + 25 * 128 + 1
    assert y + g == 9_405_569
    first, second = 25 * 257 + 257, 25 * (257 + 256) * 320 + 320 + 2 * 320
    third, last = (320 * 49 + 256) * 1024 + 1024 + 2 * 1024, 1024 + 256 + 1
    assert y + first + second + third + last == 21_392_155


def normed(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    """Batch norm by its formula."""
    axes = tuple(a for a in range(x.ndim) if a != 1)
    shape = (1, -1) + (1,) * (x.ndim - 2)
    mean, variance = x.mean(axes, keepdim=True), x.var(axes, correction=0, keepdim=True)
    gain, shift = (state[f"{name}.{kind}"].view(shape) for kind in ("weight", "bias"))
    return (x - mean) / (variance + 1e-5).sqrt() * gain + shift


def up(x: Tensor, state: dict[str, Tensor], name: str, stride: int) -> Tensor:
    """Transposed convolution without padding, cropped as TensorFlow's SAME."""
    kernel = state[f"{name}.weight"].shape[-1]
    full = F.conv_transpose2d(x, state[f"{name}.weight"], stride=stride)
    before, (height, width) = (kernel - stride) // 2, (side * stride for side in x.shape[2:])
    cut = full[:, :, before : before + height, before : before + width]
    return cut + state[f"{name}.bias"].view(1, -1, 1, 1)


def down(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    """Convolution of 5x5 pixels with stride 2 of an even size: one pixel before, two after."""
    return F.conv2d(F.pad(x, (1, 2, 1, 2)), state[f"{name}.weight"], state[f"{name}.bias"], 2)


def varied(network: torch.nn.Module) -> dict[str, Tensor]:
    """Parameters that are all different from their initial values, float64."""
    network.double()
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return dict(network.named_parameters())


def test_scene_networks_are_those_of_the_authors() -> None:
    """From 7x7 to 112x112 in float64, to 1e-10."""
    torch.manual_seed(0)
    gan = LSGANConfig(networks="scenes", maps=1, latent_size=3).make(ImageSpec(3, 112, 112))
    z = torch.randn(4, 3, dtype=torch.float64)
    g, d = varied(gan.generator), varied(gan.discriminator)
    x = F.linear(z, g["dense.weight"], g["dense.bias"]).view(4, 4, 7, 7)
    x = F.relu(normed(x, g, "body.0"))
    for n, (maps, stride) in enumerate([(4, 2), (4, 1), (4, 2), (4, 1), (2, 2), (1, 2)]):
        x = F.relu(normed(up(x, g, f"body.{2 + 3 * n}", stride), g, f"body.{3 + 3 * n}"))
        assert x.shape[1] == maps
    x = torch.tanh(up(x, g, "image", 1))
    assert x.shape == (4, 3, 112, 112)
    torch.testing.assert_close(gan.generator(z), x, rtol=0, atol=1e-10)
    y = F.leaky_relu(down(x, d, "body.0"), 0.2)
    for n, maps in enumerate((2, 4, 8)):
        y = F.leaky_relu(normed(down(y, d, f"body.{2 + 3 * n}"), d, f"body.{3 + 3 * n}"), 0.2)
        assert y.shape[1] == maps
    want = F.linear(y.flatten(1), d["score.weight"], d["score.bias"])[:, 0]
    torch.testing.assert_close(gan.discriminator(x), want, rtol=1e-10, atol=1e-10)


def test_label_networks_are_those_of_the_authors() -> None:
    """The description of the class enters D three times; images are in [0, 1] within the networks. To 1e-10."""
    torch.manual_seed(0)
    gan = LSGANConfig(networks="labels", maps=2, latent_size=3).make(LABELS)
    z, classes = torch.randn(4, 3, dtype=torch.float64), torch.tensor([1, 6, 0, 6])
    g, d = varied(gan.generator), varied(gan.discriminator)
    y = g["label.weight"].T[classes] + g["label.bias"]
    x = F.linear(torch.cat([z, y], 1), g["dense.weight"], g["dense.bias"]).view(4, 4, 7, 7)
    x = F.relu(normed(x, g, "body.0"))
    x = F.relu(normed(up(x, g, "body.2", 2), g, "body.3"))
    x = torch.sigmoid(up(x, g, "image", 2))
    torch.testing.assert_close(gan.generator(z, labels=classes), 2 * x - 1, rtol=0, atol=1e-10)
    y = d["label.weight"].T[classes] + d["label.bias"]
    h = F.leaky_relu(down(x, d, "first.0"), 0.2)
    h = torch.cat([h, y[:, :, None, None].repeat(1, 1, 14, 14)], 1)
    h = F.leaky_relu(normed(down(h, d, "second.0"), d, "second.1"), 0.2)
    h = torch.cat([h.flatten(1), y], 1)
    h = F.leaky_relu(normed(F.linear(h, d["third.0.weight"], d["third.0.bias"]), d, "third.1"), 0.2)
    want = F.linear(torch.cat([h, y], 1), d["score.weight"], d["score.bias"])[:, 0]
    torch.testing.assert_close(gan.discriminator(2 * x - 1, classes), want, rtol=1e-9, atol=1e-9)


def test_weights_start_as_in_the_authors_code() -> None:
    """Deviation 0.02; the weights of D's convolutions are within two deviations, others are not."""
    gan = LSGANConfig(networks="scenes", maps=8).make(ImageSpec(3, 28, 28))
    g, d = gan.generator.dense.weight, gan.discriminator.body[2].weight
    assert float(g.detach().std()) == pytest.approx(0.02, rel=0.02)
    assert float(g.detach().abs().max()) > 0.06
    assert float(d.detach().std()) == pytest.approx(0.0176, rel=0.05)  # of a normal distribution cut at two deviations
    assert float(d.detach().abs().max()) <= 0.04
    for dense in (gan.discriminator.score, LSGANConfig(networks="labels", maps=1).make(LABELS).discriminator.third[0]):
        assert float(dense.weight.detach().std()) == pytest.approx(0.02, rel=0.1)
        assert float(dense.weight.detach().abs().max()) > 0.05
    assert float(gan.generator.image.weight.detach().abs().max()) > 0.05


def test_stability_presets_lack_the_batch_norm_that_they_name() -> None:
    found = {}
    for name in ("lsgan_64", "lsgan_64_no_bn_g", "lsgan_64_no_bn_rmsprop"):
        gan = replace(PRESETS[name]().gan, maps=1).make(ImageSpec(3, 64, 64))
        kinds = {gan.optimizers[n].kind for n in gan.networks}
        norms = [any("BatchNorm" in type(m).__name__ for m in net.modules()) for net in gan.networks.values()]
        found[name] = (*norms, *kinds)
    assert found == {
        "lsgan_64": (True, True, "adam"),
        "lsgan_64_no_bn_g": (False, True, "adam"),
        "lsgan_64_no_bn_rmsprop": (False, False, "rmsprop"),
    }


def test_settings_that_contradict_each_other_are_refused() -> None:
    for settings, message in (
        ({"a": 1.0}, "gan.a and gan.b must differ, both are 1"),
        ({"c": float("nan")}, "gan.c must be a finite number, got nan"),
        ({"maps": 0}, "gan.maps must be at least 1, got 0"),
        ({"bn_group": -1}, "gan.bn_group must be at least 0, got -1"),
        ({"networks": "scenes", "kernel": 5}, "gan.kernel must be 4 or 5, and is a setting of gan.networks dcgan"),
    ):
        with pytest.raises(ConfigError, match=message):
            LSGANConfig(**settings)


def test_images_that_the_networks_cannot_take_are_refused() -> None:
    for networks, spec, message in (
        ("scenes", ImageSpec(3, 8, 8), r"at least 16x16.*the data has 8x8"),
        ("scenes", ImageSpec(3, 113, 113), r"must be multiples of 16; the data has 113x113; use .*112x112"),
        ("labels", ImageSpec(1, 28, 28), "the data has no labels"),
        ("labels", ImageSpec(1, 30, 30, classes=3), r"multiples of 4, such as 28x28; the data has 30x30"),
    ):
        with pytest.raises(ConfigError, match=message):
            LSGANConfig(networks=networks, maps=1).make(spec)  # type: ignore[arg-type]


def test_scene_networks_take_other_sizes() -> None:
    for side in (28, 32, 96):
        gan = LSGANConfig(networks="scenes", maps=1, latent_size=2).make(ImageSpec(1, side, 2 * side))
        fake = gan.generator(torch.randn(2, 2))
        assert fake.shape == (2, 1, side, 2 * side)
        assert gan.discriminator(fake).shape == (2,)


def test_lsun_run_is_a_million_steps() -> None:
    config = PRESETS["lsgan_lsun_112"]()
    assert config.schedule.total_kimg * 1000 / stage_at(config.schedule, 0).batch == 1_000_000
