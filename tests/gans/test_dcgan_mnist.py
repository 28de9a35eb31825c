"""The tutorials' DCGANs against Keras' own numbers, and against networks and steps of plain PyTorch."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golden_family import Fixed, Given, fill, golden, gradient_norms, images, trainer_of, weights
from progan.errors import ConfigError
from progan.gans import DCGANMnistConfig, dcgan_mnist
from progan.gans.base import ImageSpec
from progan.gans.dcgan_mnist import DCGANMnist
from progan.gans.same_padding import SameConv2d, SameConvTranspose2d
from progan.presets import PRESETS
from progan.training.loop import Trainer

SPEC = ImageSpec(1, 28, 28)
GOLDEN = golden("dcgan_mnist_keras")
SIZE = GOLDEN["config"]


def some_maps(x: Tensor, keep: float) -> Tensor:
    """A dropout of every third map."""
    kept = torch.arange(x.shape[1]) % 3 != 0
    return x * (kept / keep).to(x.dtype).view(1, -1, 1, 1)


def tiny(tutorial: str, drop: Callable[[Tensor, float], Tensor], patch: pytest.MonkeyPatch, *, batch: int) -> Trainer:
    """A trainer of two maps in float64, whose dropout is fixed."""
    patch.setattr(dcgan_mnist, "dropout", lambda *_, **__: drop)
    config = PRESETS[f"dcgan_mnist_{tutorial}"]()
    gan = DCGANMnistConfig(tutorial=tutorial, maps=SIZE["maps"], latent_size=SIZE["latent"])  # type: ignore[arg-type]
    config = replace(config, gan=gan, schedule=replace(config.schedule, batch=batch))
    trainer = trainer_of(config, SPEC, images(SIZE["sx"], SIZE["N"], 1, 28, 28))
    trainer.gan.latent = Given(*latents())  # type: ignore[attr-defined]
    return trainer


def latents() -> list[Tensor]:
    draw = np.random.RandomState(SIZE["sz"])
    return [torch.from_numpy(draw.randn(SIZE["N"], SIZE["latent"])) for _ in range(3)]


def test_keras_networks_losses_and_gradients_are_those_of_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    """To 1e-5, because Keras computes partly in float32; its running variances lack N / (N - 1)."""
    trainer = tiny("keras", lambda x, _: x, monkeypatch, batch=SIZE["N"])
    gan = trainer.gan
    assert isinstance(gan, DCGANMnist)
    fill(gan.generator, weights(GOLDEN["generator"], SIZE["sG"]))
    fill(gan.discriminator, weights(GOLDEN["discriminator"], SIZE["sD"]))
    terms = gan.joint_loss(trainer._batch("both", trainer.stage, 0, SIZE["N"], 0, 1))
    means = {name: term.mean() for name, term in terms.items()}
    torch.stack(list(means.values())).sum().backward()
    assert (means["discriminator_real"] + means["discriminator_fake"]).item() == pytest.approx(GOLDEN["loss_D"], 1e-5)
    assert means["generator_fake"].item() == pytest.approx(GOLDEN["loss_G"], rel=1e-5)
    np.testing.assert_allclose(gradient_norms(gan.discriminator), GOLDEN["grad_norms_D"], rtol=1e-5)
    np.testing.assert_allclose(gradient_norms(gan.generator), GOLDEN["grad_norms_G"], rtol=1e-5)
    norm = gan.generator.body[1]
    np.testing.assert_allclose(norm.running_mean, GOLDEN["running_mean_1"], rtol=1e-5)
    variance, count = np.array(GOLDEN["running_variance_1"]), SIZE["N"] * 7 * 7
    np.testing.assert_allclose(norm.running_var - 0.99, (variance - 0.99) * count / (count - 1), rtol=1e-5)
    fake = gan.generator(latents()[0])
    np.testing.assert_allclose(fake.detach()[:, 0, ::9, ::9], GOLDEN["images"], atol=1e-6)
    np.testing.assert_allclose(gan.discriminator(fake).detach(), GOLDEN["fake_scores"], atol=1e-5)


class Rows(nn.Module):
    """The rows and columns ``first`` to ``last``."""

    def __init__(self, first: int, last: int) -> None:
        super().__init__()
        self.kept = slice(first, last + 1)

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, self.kept, self.kept]


class Drop(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return some_maps(x, 0.7)


def plain_networks(tutorial: str) -> tuple[nn.Module, nn.Module]:
    """The two networks with two maps, of torch's own layers; padding and cropping are written out."""
    flat, more = 8 * 49, {"eps": 1e-3, "momentum": 0.01} if tutorial == "keras" else {}
    first = [nn.Linear(3, flat, bias=tutorial == "torch"), nn.BatchNorm1d(flat, **more), nn.ReLU()]  # type: ignore[arg-type]
    norms = [nn.BatchNorm2d(maps, **more) for maps in (4, 2)]  # type: ignore[arg-type]
    leaky = nn.LeakyReLU(0.2)
    if tutorial == "keras":
        up = [nn.ConvTranspose2d(i, o, 5, s, bias=False) for i, o, s in ((8, 4, 1), (4, 2, 2), (2, 1, 2))]
        crops = [Rows(2, 8), Rows(1, 14), Rows(1, 28)]
        end = [up[2], crops[2]]
        down = [[nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(i, o, 5, 2)] for i, o in ((1, 2), (2, 4))]
    else:
        up = [nn.ConvTranspose2d(8, 4, 4, 2, 1), nn.ConvTranspose2d(4, 2, 4, 2, 1)]
        crops = [nn.Identity(), nn.Identity()]
        end = [nn.Conv2d(2, 1, 7, padding=3)]
        down = [[nn.Conv2d(i, o, 4, 2, 1)] for i, o in ((1, 2), (2, 4))]
    middle = [layer for n in range(2) for layer in (up[n], crops[n], norms[n], nn.ReLU())]
    generator = nn.Sequential(*first, nn.Unflatten(1, (8, 7, 7)), *middle, *end, nn.Tanh())
    both = [layer for convolution in down for layer in (*convolution, leaky, Drop())]
    return generator.double(), nn.Sequential(*both, nn.Flatten(), nn.Linear(4 * 49, 1), nn.Sigmoid()).double()


def train_plainly(tutorial: str, generator: nn.Module, discriminator: nn.Module, real: Tensor) -> None:
    """Three steps as the tutorials write them: binary cross entropy of probabilities, and torch's own Adam."""
    lr, eps = (1e-4, 1e-7) if tutorial == "keras" else (2e-4, 1e-8)
    steppers = [torch.optim.Adam(net.parameters(), lr=lr, eps=eps) for net in (generator, discriminator)]
    ones, zeros = torch.ones(len(real), 1).double(), torch.zeros(len(real), 1).double()
    for z in latents():
        fake = generator(z)
        loss_d = F.binary_cross_entropy(discriminator(real), ones)
        loss_d = loss_d + F.binary_cross_entropy(discriminator(fake.detach()), zeros)
        gradients_d = torch.autograd.grad(loss_d, list(discriminator.parameters()))
        if tutorial == "torch":  # D has stepped when G is trained
            step(steppers[1], discriminator, gradients_d)
        loss_g = F.binary_cross_entropy(discriminator(fake), ones)
        step(steppers[0], generator, torch.autograd.grad(loss_g, list(generator.parameters())))
        if tutorial == "keras":
            step(steppers[1], discriminator, gradients_d)


def step(stepper: torch.optim.Optimizer, network: nn.Module, gradients: tuple[Tensor, ...]) -> None:
    for p, gradient in zip(network.parameters(), gradients, strict=True):
        p.grad = gradient
    stepper.step()


@pytest.mark.parametrize("tutorial", ["keras", "torch"])
def test_three_steps_are_those_of_plain_networks(tutorial: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights and running statistics in float64 to 1e-9; a step changes weights by about 1e-4."""
    trainer = tiny(tutorial, some_maps, monkeypatch, batch=SIZE["N"])
    networks = dict(zip(("generator", "discriminator"), plain_networks(tutorial), strict=True))
    for name, network in networks.items():
        kept = dict(zip(network.state_dict(), trainer.gan.networks[name].state_dict().values(), strict=True))
        network.load_state_dict(kept)
    train_plainly(tutorial, networks["generator"], networks["discriminator"], trainer.data[0].images(0, SIZE["N"], 28))
    for _ in range(3):
        trainer.iterate()
    for name, network in networks.items():
        for (key, want), got in zip(
            network.state_dict().items(), trainer.gan.networks[name].state_dict().values(), strict=True
        ):
            torch.testing.assert_close(got, want, rtol=0, atol=1e-9, msg=lambda m, key=key: f"{key}: {m}")


@pytest.mark.parametrize(("tutorial", "g", "d"), [("keras", 2_305_472, 212_865), ("torch", 1_951_105, 138_561)])
def test_parameter_counts(tutorial: str, g: int, d: int) -> None:
    """Those that the tutorial in Keras prints, and sums over the layers of the other."""
    with torch.device("meta"):
        networks = PRESETS[f"dcgan_mnist_{tutorial}"]().gan.make(SPEC).networks
    assert [sum(p.numel() for p in networks[n].parameters()) for n in ("generator", "discriminator")] == [g, d]


@pytest.mark.parametrize("tutorial", ["keras", "torch"])
def test_dropout_is_of_features_in_keras_and_of_whole_maps_in_torch(tutorial: str) -> None:
    gan = DCGANMnistConfig(tutorial=tutorial, maps=8).make(SPEC)  # type: ignore[arg-type]
    config = replace(PRESETS[f"dcgan_mnist_{tutorial}"](), gan=gan.config)
    trainer = Trainer(config, SPEC, Fixed(torch.rand(4, 1, 28, 28)), device=torch.device("cpu"))
    seen: list[Tensor] = []
    gan.discriminator.second.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    batch = trainer._batch("both", trainer.stage, 0, 64, 0, 1)
    scores = [gan.score(batch, batch.images, stream) for stream in ("fake", "fake", "real")]
    assert torch.equal(scores[0], scores[1])
    assert not torch.equal(scores[0], scores[2])
    zero = (seen[0] == 0).flatten(2)
    assert float(zero.float().mean()) == pytest.approx(0.3, abs=0.05)
    assert torch.equal(zero.all(2), zero.any(2)) == (tutorial == "torch")


def test_keras_draws_weights_as_glorot() -> None:
    """Limits are sqrt(6 / (inputs + outputs)) of each kernel; uniform draws come close to them."""
    gan = DCGANMnistConfig(tutorial="keras").make(SPEC)
    for weight, inputs, outputs in (
        (gan.generator.dense[0].weight, 100, 12544),
        (gan.generator.body[0].weight, 25 * 256, 25 * 128),
        (gan.discriminator.second.weight, 25 * 64, 25 * 128),
    ):
        assert float(weight.detach().abs().max()) == pytest.approx((6 / (inputs + outputs)) ** 0.5, rel=1e-3)
    assert float(gan.discriminator.second.bias.detach().abs().max()) == 0


@pytest.mark.parametrize("side", [1, 7, 13, 14])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2), (4, 2)])
def test_same_padding_is_that_of_tensorflow(side: int, kernel: int, stride: int) -> None:
    """By its rule: ceil(side / stride) outputs, the surplus behind the image; to 1e-12 in float64."""
    torch.manual_seed(0)
    convolution = SameConv2d(2, 3, kernel, stride).double()
    transposed = SameConvTranspose2d(3, 2, kernel, stride, bias=False).double()
    x = torch.randn(2, 2, side, side, dtype=torch.float64)
    out = -(-side // stride)
    before = max((out - 1) * stride + kernel - side, 0) // 2
    wide = torch.zeros(2, 2, side + 2 * kernel, side + 2 * kernel, dtype=torch.float64)
    wide[:, :, kernel : kernel + side, kernel : kernel + side] = x
    want = torch.empty(2, 3, out, out, dtype=torch.float64)
    for i in range(out):
        for j in range(out):
            top, left = (kernel + n * stride - before for n in (i, j))
            window = wide[:, None, :, top : top + kernel, left : left + kernel]
            want[:, :, i, j] = (window * convolution.weight).sum((2, 3, 4)) + convolution.bias
    torch.testing.assert_close(convolution(x), want, rtol=0, atol=1e-12)
    # The transposed convolution is the derivative of the convolution with the same kernel on the larger size.
    larger = torch.zeros(2, 2, side * stride, side * stride, dtype=torch.float64, requires_grad=True)
    convolution.weight.data = transposed.weight.data
    y = torch.randn(2, 3, side, side, dtype=torch.float64)
    (want,) = torch.autograd.grad((convolution(larger) * y).sum(), larger)
    torch.testing.assert_close(transposed(y), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("tutorial", ["keras", "torch"])
def test_sizes_that_do_not_fit_are_refused(tutorial: str) -> None:
    config = DCGANMnistConfig(tutorial=tutorial, maps=2)  # type: ignore[arg-type]
    assert config.make(ImageSpec(3, 32, 16)).generator(torch.randn(2, 100)).shape == (2, 3, 32, 16)
    with pytest.raises(ConfigError, match=r"multiples of 4, such as 28x28; the data has 30x30; .*--resolution 28'$"):
        config.make(ImageSpec(1, 30, 30))
