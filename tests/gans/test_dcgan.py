"""DCGAN against the PyTorch example's numbers, and its options against their meaning."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from golden_family import Given, fill, golden, gradient_norms, images, trainer_of, weights
from progan.batchnorm import BatchNorm1d, BatchNorm2d
from progan.errors import ConfigError
from progan.gans import DCGANConfig
from progan.gans.base import ImageSpec, Optimizer
from progan.gans.dcgan import DCGAN
from progan.presets import PRESETS
from progan.schedule import stage_at
from progan.training.optimizers import Stepper

GOLDEN = golden("dcgan")
SIZE = GOLDEN["config"]
SPEC = ImageSpec(3, 64, 64)
TOLERANCE = 1e-9  # of parameters after 5 steps of Adam; the decay of beta1 is worth 2e-10


def golden_gan() -> DCGAN:
    gan = DCGANConfig(maps=SIZE["ngf"], latent_size=SIZE["nz"]).make(SPEC)
    gan.discriminator = gan.networks["discriminator"] = DCGANConfig(maps=SIZE["ndf"]).make_discriminator(SPEC)
    fill(gan.generator, weights(GOLDEN["G_parameters"], SIZE["sG"]))
    fill(gan.discriminator, weights(GOLDEN["D_parameters"], SIZE["sD"]))
    return gan


def latents() -> list[Tensor]:
    """One batch for each step of the golden trajectory."""
    shape = SIZE["steps"], SIZE["N"], SIZE["nz"]
    return list(torch.from_numpy(np.random.RandomState(SIZE["sz"]).randn(*shape, 1, 1)).view(shape))


def reals() -> Tensor:
    return images(SIZE["sx"], SIZE["N"], 3, 64, 64)


def test_networks_give_the_outputs_of_the_example() -> None:
    """To 2e-7: outputs are stored as float32, scores and statistics to 1e-9."""
    gan, z = golden_gan(), latents()[0]
    fake = gan.generator(z)
    np.testing.assert_allclose(fake.detach()[:2, :, ::16, ::16], GOLDEN["G_train_part"], atol=2e-7)
    scores = {name: torch.sigmoid(gan.discriminator(x)) for name, x in (("real", reals()), ("fake", fake))}
    for name, score in scores.items():
        np.testing.assert_allclose(score.detach(), GOLDEN[f"D_{name}"], rtol=1e-9)
    running = {k.rsplit(".", 1)[1]: v for k, v in gan.generator.named_buffers() if k.startswith("first")}
    for kind in ("running_mean", "running_var"):
        want = GOLDEN["G_running_stats_after_one_forward"][f"main.1.{kind}"]
        np.testing.assert_allclose(running[kind][:4], want, rtol=1e-9)
    with torch.no_grad():
        later = gan.generator.eval()(z)
    np.testing.assert_allclose(later[:2, :, ::16, ::16], GOLDEN["G_eval_after_one_train_forward_part"], atol=2e-7)


def test_losses_and_gradients_are_those_of_the_example() -> None:
    """To 1e-7, relative."""
    gan, z = golden_gan(), latents()[0]
    fake = gan.generator(z)
    terms = gan.rules.adversarial.critic(gan.discriminator(reals()), gan.discriminator(fake.detach()))
    means = {name: term.mean() for name, term in terms.items()}
    assert means["real"].item() == pytest.approx(GOLDEN["loss_D_real"], rel=1e-9)
    assert means["fake"].item() == pytest.approx(GOLDEN["loss_D_fake"], rel=1e-9)
    sum(means.values()).backward()  # type: ignore[union-attr]
    np.testing.assert_allclose(gradient_norms(gan.discriminator), list(GOLDEN["grad_norms_D"].values()), rtol=1e-7)
    loss = gan.rules.adversarial.generator(gan.discriminator(fake))["fake"].mean()
    assert loss.item() == pytest.approx(GOLDEN["loss_G"], rel=1e-9)
    loss.backward()
    np.testing.assert_allclose(gradient_norms(gan.generator), list(GOLDEN["grad_norms_G"].values()), rtol=1e-7)


def test_training_follows_the_example_step_by_step() -> None:
    """Four iterations of the library's own loop, to 1e-6: the fakes of D's step train G against the stepped D."""
    config = PRESETS["dcgan_celeba_64"]()
    config = replace(
        config,
        gan=DCGANConfig(maps=SIZE["ngf"], latent_size=SIZE["nz"]),
        schedule=replace(config.schedule, batch=SIZE["N"]),
    )
    narrow = DCGANConfig(maps=SIZE["ndf"]).make_discriminator(SPEC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DCGANConfig, "make_discriminator", lambda *_: narrow)
        trainer = trainer_of(config, SPEC, reals())
    gan = trainer.gan
    assert isinstance(gan, DCGAN)
    fill(gan.generator, weights(GOLDEN["G_parameters"], SIZE["sG"]))
    fill(gan.discriminator, weights(GOLDEN["D_parameters"], SIZE["sD"]))
    gan.latent = Given(*latents())  # type: ignore[assignment]
    for want in GOLDEN["trajectory"]:
        trainer.iterate()
        got = trainer.take_statistics()
        loss = got["discriminator/real"] + got["discriminator/fake"]  # type: ignore[operator]
        assert (loss, got["generator/fake"]) == pytest.approx((want["Loss_D"], want["Loss_G"]), rel=1e-6)
    assert not gan._fakes


@pytest.mark.parametrize(
    ("preset", "g", "d"), [("dcgan_celeba_64", 3_576_704, 2_765_568), ("dcgan_faces_64", 18_885_760, 17_232_768)]
)
def test_parameter_counts_of_the_published_networks(preset: str, g: int, d: int) -> None:
    gan = PRESETS[preset]().gan
    with torch.device("meta"):
        networks = gan.make(SPEC).networks
    counts = [sum(p.numel() for p in networks[name].parameters()) for name in ("generator", "discriminator")]
    assert counts == [g, d]


@pytest.mark.parametrize("kernel", [4, 5])
@pytest.mark.parametrize(("channels", "height", "width"), [(1, 28, 28), (3, 16, 16), (4, 32, 32), (3, 32, 64)])
def test_networks_fit_the_size_and_the_channels_of_images(kernel: int, channels: int, height: int, width: int) -> None:
    spec = ImageSpec(channels, height, width)
    gan = DCGANConfig(maps=2, kernel=kernel).make(spec)
    fake = gan.generator(torch.randn(3, 100))
    assert fake.shape == (3, channels, height, width)
    assert gan.discriminator(fake).shape == (3,)


def test_flat_batch_norm_treats_each_feature_separately() -> None:
    gan = DCGANConfig(maps=2, kernel=5, latent="uniform").make(ImageSpec(1, 16, 16))
    assert gan.generator.first.num_features == gan.generator.dense.out_features == 4 * 16
    z = gan.generator.latent.draw(torch.randn, lambda _, size: torch.rand(500, size))
    assert (float(z.min()), float(z.max())) == pytest.approx((-1, 1), abs=0.01)


def test_settings_reach_the_networks_the_loss_and_the_optimizers() -> None:
    spec = ImageSpec(1, 32, 32)
    gan = DCGANConfig(maps=4, most_maps=8, loss="least_squares", weight_decay=0.25).make(spec)
    assert [gan.optimizers[name].weight_decay for name in gan.networks] == [0.25, 0.25]
    widths = [m.out_channels for m in gan.discriminator.modules() if isinstance(m, torch.nn.Conv2d)]
    assert widths == [4, 8, 8]
    terms = gan.rules.adversarial.critic(torch.tensor([3.0]), torch.tensor([5.0]))
    assert {name: term.item() for name, term in terms.items()} == {"real": 2, "fake": 12.5}
    for norm, normed in {"both": [True, True], "generator": [True, False], "discriminator": [False, True]}.items():
        networks = DCGANConfig(maps=2, norm=norm).make(spec).networks.values()  # type: ignore[arg-type]
        assert [any(isinstance(m, BatchNorm2d) for m in network.modules()) for network in networks] == normed


def test_too_small_images_are_refused_with_sizes_that_fit() -> None:
    with pytest.raises(ConfigError, match=r"at least 16x16.*the data has 8x8; use .*--resolution 16'$"):
        DCGANConfig().make(ImageSpec(3, 8, 8))
    with pytest.raises(ConfigError, match=r"multiples of 16; the data has 109x89"):
        DCGANConfig().make(ImageSpec(3, 109, 89))


def test_authors_version_trains_the_networks_on_alternate_batches() -> None:
    config = PRESETS["dcgan_faces_64"]()
    gan = replace(config.gan, maps=2).make(ImageSpec(3, 16, 16))
    trained = [gan.phases(stage_at(config.schedule, n * 128))[0].trains for n in range(4)]
    assert trained == [("generator",), ("discriminator",)] * 2


def test_mixed_batches_share_batch_norm_statistics() -> None:
    """In float64 to 1e-12; separate batches hide from D that all generated images are darker, mixed ones do not."""
    spec = ImageSpec(1, 16, 16)
    gan = DCGANConfig(maps=2, d_batches="mixed").make(spec)
    gan.networks.double()
    real, fake = torch.randn(2, 4, 1, 16, 16, dtype=torch.float64)
    fake = fake - 1

    class Reals:
        images = real

    mixed = gan.discriminator_terms(Reals(), fake)  # type: ignore[arg-type]
    scores = gan.discriminator(torch.cat([real, fake]))
    torch.testing.assert_close(mixed["real"], F.softplus(-scores[:4]), rtol=1e-12, atol=0)
    torch.testing.assert_close(mixed["fake"], F.softplus(scores[4:]), rtol=1e-12, atol=0)
    gan.config = replace(gan.config, d_batches="separate")
    separate = gan.discriminator_terms(Reals(), fake)  # type: ignore[arg-type]
    torch.testing.assert_close(separate["real"], F.softplus(-gan.discriminator(real)), rtol=1e-12, atol=0)
    assert float((separate["real"] - mixed["real"]).abs().max()) > 1e-3


def test_adam_with_weight_decay_is_that_of_the_authors_code() -> None:
    """To 1e-9: the code lets beta1 decay by 1e-8 a step. It adds epsilon where torch does, not as Keras."""
    case = golden("dcgan_code")["dcgan_code_adam"]
    rs = np.random.RandomState(621)
    p = torch.nn.Parameter(torch.from_numpy(rs.randn(5)))
    a = rs.randn(5, 5)
    h = torch.from_numpy(a @ a.T)
    config = replace(PRESETS["dcgan_faces_64"](), beta1=case["b1"], beta2=case["b2"], adam_eps=case["eps"])
    network = torch.nn.ParameterList([p])
    stepper = Stepper(network, Optimizer(weight_decay=case["l2_added_to_gradient"]), config)
    for number, want in enumerate(case["params_after_steps_1_to_5"]):
        stepper.set(case["lr"], number)
        (0.5 * p @ h @ p).backward()
        stepper.torch.step()
        stepper.torch.zero_grad()
        np.testing.assert_allclose(p.detach(), want, atol=TOLERANCE)


def test_batch_norm_is_that_of_the_authors_code() -> None:
    """To 1e-9: biased variance of the batch and epsilon 1e-8, for maps with gains and for the features of a vector."""
    case = golden("dcgan_code")["dcgan_code_batchnorm"]
    rs = np.random.RandomState(611)
    x, gain = torch.from_numpy(rs.randn(6, 3, 4, 5) * 2 + 1), torch.from_numpy(1 + 0.1 * rs.randn(3))
    bias, vector = torch.from_numpy(0.1 * rs.randn(3)), torch.from_numpy(rs.randn(6, 7))
    maps, features = BatchNorm2d(3, eps=case["eps"]).double(), BatchNorm1d(7, eps=case["eps"]).double()
    maps.weight.data, maps.bias.data = gain, bias
    for y, norm, first in ((maps(x), "y4_norm", "y4_first"), (features(vector), "y2_norm", "y2_first")):
        assert y.norm().item() == pytest.approx(case[norm], rel=1e-9)
        np.testing.assert_allclose(y.detach().flatten()[: len(case[first])], case[first], rtol=1e-9)
