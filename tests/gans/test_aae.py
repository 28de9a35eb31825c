"""AAE (2015) against numbers of its definition, a loop written out, its priors, and its few labels."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golden_family import Fixed, Given, golden, weights
from progan.errors import ConfigError, DataError
from progan.gans import AAEConfig
from progan.gans.aae import AAE
from progan.gans.base import ImageSpec
from progan.gans.labeled import Labeled
from progan.gans.priors import Categorical, Petals, SwissRoll
from progan.presets import PRESETS
from progan.presets.family import constant
from progan.training.loop import Trainer
from progan.training.watch import Watch

GOLDEN = golden("aae")
SIZE = GOLDEN["config"]
EXACT = {"rtol": 1e-9, "atol": 0}
PLANE: dict[str, Any] = {"latent_size": 2, "hidden": (8,), "d_hidden": (8,)}
TINY: dict[str, Any] = {"latent_size": 3, "hidden": (8,), "d_hidden": (8,)}


def tiny(**more: Any) -> tuple[AAE, dict[str, nn.Parameter]]:
    """The golden networks: 10 pixels as 2x5."""
    config = AAEConfig(
        latent_size=SIZE["nz"], hidden=(SIZE["nh"], SIZE["nh"]), d_hidden=(SIZE["nd"], SIZE["nd"]), **more
    )
    gan = config.make(ImageSpec(1, 2, 5))
    gan.networks.double()
    parts = {"E": "encoder", "R": "decoder", "D": "discriminator"}
    found = {}
    for fact, value in zip(GOLDEN["parameters"], weights(GOLDEN["parameters"], SIZE["s"]), strict=True):
        network, layer, kind = fact["name"].split(".")
        own = f"layers.{2 * int(layer)}.{'weight' if kind == 'W' else 'bias'}"
        p = found[fact["name"]] = dict(gan.networks[parts[network]].named_parameters())[own]
        p.data = torch.from_numpy(value.T.copy() if kind == "W" else value)
    return gan, found


def numbers() -> tuple[Any, Tensor]:
    """The golden batch, and its samples of the prior."""
    rs = np.random.RandomState(SIZE["s"] + 1)
    x = torch.from_numpy(2 * rs.rand(SIZE["N"], SIZE["nx"]) - 1).view(-1, 1, 2, 5)
    return SimpleNamespace(images=x), torch.from_numpy(5 * rs.randn(SIZE["N"], SIZE["nz"]))


def check_norms(found: dict[str, nn.Parameter], terms: dict[str, Tensor], want: dict[str, float], prefix: str) -> None:
    """The gradients of a phase, which trains the networks that begin with a letter of ``prefix``."""
    names = [name for name in found if name[0] in prefix]
    total: Any = sum(term.mean() for term in terms.values())
    for name, gradient in zip(names, torch.autograd.grad(total, [found[n] for n in names]), strict=True):
        assert float(gradient.norm()) == pytest.approx(want[name], rel=1e-9), name


def test_networks_losses_and_gradients_are_those_of_the_definition() -> None:
    """To 1e-9, relative, in float64."""
    gan, found = tiny(reduction="mean")
    batch, prior = numbers()
    codes = gan.coder.encode(batch.images)
    np.testing.assert_allclose(codes.detach(), GOLDEN["code"], **EXACT)
    pixels = (gan.coder(codes).detach().flatten(1) + 1) / 2
    np.testing.assert_allclose(pixels, GOLDEN["reconstruction"], rtol=1e-9)
    for name, x in (("prior", prior), ("code", codes)):
        np.testing.assert_allclose(gan.networks["discriminator"](x).detach(), GOLDEN[f"D_{name}_logit"], **EXACT)
    terms = gan.reconstruction_loss(batch)
    assert terms["pixels"].mean().item() == pytest.approx(GOLDEN["recon_mse_mean_over_all"], rel=1e-9)
    check_norms(found, terms, GOLDEN["grad_norms_recon_mse"], "ER")
    gan.latent = Given(prior)  # type: ignore[assignment]
    batch.normal = batch.uniform = None
    terms = gan.discriminator_loss(batch)
    assert sum(t.mean().item() for t in terms.values()) == pytest.approx(GOLDEN["D_loss_sum"], rel=1e-9)
    check_norms(found, terms, GOLDEN["grad_norms_D"], "D")
    terms = gan.encoder_loss(batch)
    assert sum(t.mean().item() for t in terms.values()) == pytest.approx(
        GOLDEN["encoder_adversarial_loss_nonsaturating"], rel=1e-9
    )
    check_norms(found, terms, GOLDEN["grad_norms_encoder_adv"], "E")


@pytest.mark.parametrize(
    ("kind", "reduction", "name"),
    [("squared", "sum", "recon_mse_sum_over_pixels_mean_over_batch"), ("bce", "mean", "recon_bce_mean_over_all")],
)
def test_other_distances_of_reconstructions(kind: Any, reduction: Any, name: str) -> None:
    gan, _ = tiny(reconstruction=kind, reduction=reduction)
    assert gan.reconstruction_loss(numbers()[0])["pixels"].mean().item() == pytest.approx(GOLDEN[name], rel=1e-9)


def test_the_absolute_distance_is_that_of_the_golden_mixture() -> None:
    """A popular program minimizes 0.001 of the adversarial loss and 0.999 of the mean absolute distance."""
    gan, _ = tiny(reconstruction="absolute", reduction="mean")
    distance = gan.reconstruction_loss(numbers()[0])["pixels"].mean().item()
    mixture = 0.001 * GOLDEN["encoder_adversarial_loss_nonsaturating"] + 0.999 * distance
    assert mixture == pytest.approx(GOLDEN["pytorch_gan_style_value"], rel=1e-9)


def test_parameter_counts_of_the_papers_networks() -> None:
    with torch.device("meta"):
        gan = PRESETS["aae_mnist"]().gan.make(ImageSpec(1, 28, 28, classes=10))
    counts = [sum(p.numel() for p in network.parameters()) for network in gan.networks.values()]
    assert counts == [1_794_008, 1_794_784, 1_011_001]


def test_three_updates_in_turn_with_a_rate_and_momentum_each() -> None:
    """Two iterations against plain SGD written out, in float64 to 1e-12."""
    config = AAEConfig(**TINY, momentum=0.9, adversarial_momentum=0.1, adversarial_lr=10.0, init=0.5)
    run = constant(config, 4, batch=6, lr=0.01, total_kimg=1)
    pixels = torch.rand(12, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    trainer = Trainer(run, ImageSpec(1, 4, 4), Fixed(pixels), device=torch.device("cpu"))
    gan = trainer.gan
    assert isinstance(gan, AAE)
    gan.networks.double()
    trainer.ema.network.double()
    priors = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gan.latent = Given(*priors)  # type: ignore[assignment]
    w = {n: [p.detach().clone().requires_grad_(True) for p in m.parameters()] for n, m in gan.networks.items()}
    velocity: dict[str, list[Tensor]] = {}

    def net(name: str, x: Tensor) -> Tensor:
        a, b, c, d = w[name]
        return F.linear(F.linear(x, a, b).relu(), c, d)

    def step(loss: Tensor, key: str, names: tuple[str, ...], lr: float, momentum: float) -> None:
        ps = [p for name in names for p in w[name]]
        old = velocity.get(key, [torch.zeros_like(p) for p in ps])
        velocity[key] = [momentum * v + g for v, g in zip(old, torch.autograd.grad(loss, ps), strict=True)]
        with torch.no_grad():
            for p, v in zip(ps, velocity[key], strict=True):
                p -= lr * v

    for i in range(2):
        trainer.iterate()
        x = (pixels[6 * i : 6 * i + 6].flatten(1) + 1) / 2
        distance = (torch.sigmoid(net("decoder", net("encoder", x))) - x).square().sum(1).mean()
        step(distance, "rec", ("encoder", "decoder"), 0.01, 0.9)
        real, fake = net("discriminator", priors[i]), net("discriminator", net("encoder", x).detach())
        step(F.softplus(-real).mean() + F.softplus(fake).mean(), "d", ("discriminator",), 0.1, 0.1)
        step(F.softplus(-net("discriminator", net("encoder", x))).mean(), "e", ("encoder",), 0.1, 0.1)
    for name, network in gan.networks.items():
        for p, want in zip(network.parameters(), w[name], strict=True):
            torch.testing.assert_close(p.data, want.data, rtol=1e-12, atol=1e-12)


def test_a_gaussian_posterior_is_sampled_in_training_and_its_mean_is_the_code() -> None:
    gan = AAEConfig(**TINY, posterior="gaussian", init=0.5).make(ImageSpec(1, 4, 4))
    x, noise = torch.rand(5, 1, 4, 4) * 2 - 1, torch.randn(5, 3)
    scores = gan.networks["encoder"](x).detach()
    batch: Any = SimpleNamespace(images=x, normal=lambda *_: noise)
    want = scores[:, :3] + noise * (scores[:, 3:] / 2).exp()
    torch.testing.assert_close(gan.codes(batch).detach(), want, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gan.coder.encode(x).detach(), scores[:, :3])


@pytest.mark.parametrize("kind", [Petals, SwissRoll])
def test_parts_of_a_prior_are_where_they_belong(kind: Any) -> None:
    """Against the formulas in numpy, to 1e-5; without given parts, each is equally frequent."""
    prior, z = kind(scale=2.0, parts=4), torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    part = torch.arange(4000) % 4
    found = prior.in_parts(z, part).numpy()
    a, b = z.double().numpy().T
    u = torch.special.ndtr(z[:, 0].double()).numpy()
    if kind is Petals:
        angle = 2 * np.pi * part.numpy() / 4
        out, side = 1.4 + 0.5 * a, 0.1 * b
        want = 2 * np.stack([out * np.cos(angle) - side * np.sin(angle), out * np.sin(angle) + side * np.cos(angle)], 1)
    else:
        s = np.sqrt((part.numpy() + u) / 4)
        want = 2 * ((s + 0.01 * b) * np.stack([np.cos(4 * np.pi * s), np.sin(4 * np.pi * s)])).T
    inside = np.abs(a) < 4  # quantiles are cut off beyond
    np.testing.assert_allclose(found[inside], want[inside], rtol=2e-3, atol=2e-3)
    drawn = prior.of_normal(z).numpy()
    nearest = np.linalg.norm(drawn[:, None] - found[None], axis=2).argmin(1) % 4
    np.testing.assert_allclose(np.bincount(nearest) / 4000, 0.25, atol=0.03)
    assert np.linalg.norm(drawn[:, None] - found[None], axis=2).min(1).max() < 0.6


def test_categories_are_one_hot_and_equally_frequent() -> None:
    prior = Categorical(5, scale=3.0, categories=3)
    z = prior.draw(lambda _, size: torch.randn(6000, size), lambda *_: torch.zeros(0))  # type: ignore[misc]
    assert set(z[:, :3].unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(z[:, :3].sum(1), torch.ones(6000))
    np.testing.assert_allclose(z[:, :3].mean(0), 1 / 3, atol=0.03)
    np.testing.assert_allclose(z[:, 3:].std(0), 3.0, atol=0.15)


# --- labels


def semi(count: int, *, seed: int = 0, classes: int = 3, **more: Any) -> Trainer:
    """A semi-supervised run on 60 images, whose color is their number."""
    config = AAEConfig(**TINY, task="semi_supervised", labeled=count, labeled_seed=seed, init=0.3, **more)
    pixels = torch.arange(60, dtype=torch.uint8)[:, None, None, None].expand(60, 1, 4, 4).contiguous()
    run = constant(config, 4, batch=6, lr=0.01, total_kimg=1)
    return Trainer(
        run, ImageSpec(1, 4, 4, classes=classes), Fixed(pixels, torch.arange(60) % 3), device=torch.device("cpu")
    )


def test_only_the_chosen_labels_are_used_and_resumed() -> None:
    first, again, other = semi(7), semi(7), semi(7, seed=1)
    for trainer in (first, other):
        trainer.iterate()
    memory = first.gan.memory
    assert isinstance(memory, Labeled)
    chosen = memory.images[:, 0, 0, 0].long()
    assert torch.equal(chosen % 3, memory.labels)
    assert memory.labels.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert len(set(chosen.tolist())) == 7
    assert int(chosen.max()) > 20  # not the first ones
    assert not torch.equal(memory.images, other.gan.memory.images)  # type: ignore[arg-type]
    again.load_state_dict(first.state_dict())
    assert torch.equal(again.gan.memory.images, memory.images)  # type: ignore[arg-type]
    images, labels = memory.draw(first._batch("labels", first.stage, 0, 500, 0, 1))
    seen = ((images[:, 0, 0, 0] + 1) * 255 / 2).round().long()
    assert set(seen.tolist()) == set(chosen.tolist())
    assert torch.equal(seen % 3, labels)


def test_labels_teach_the_categories() -> None:
    trainer = semi(0, optimizer="adam", momentum=0.9, labels_lr=1.0, adversarial_lr=0.01)
    gan = trainer.gan
    assert isinstance(gan, AAE)
    images, labels = trainer.data[0].images(0, 60, 4), torch.arange(60) % 3
    gan.labeled.draw = lambda _: ((images.float() - 30) / 30, labels)  # type: ignore[method-assign]
    batch = trainer._batch("labels", trainer.stage, 0, 6, 0, 1)
    scores = gan.networks["encoder"]((images.float() - 30) / 30).detach()
    want = -torch.log_softmax(scores[:, :3].double(), 1)[torch.arange(60), labels]
    torch.testing.assert_close(gan.label_loss(batch)["cross_entropy"].detach().double(), want, rtol=1e-5, atol=1e-6)


def test_codes_begin_with_probabilities_of_the_categories() -> None:
    coder, images = semi(0).gan.sampler, torch.rand(5, 1, 4, 4)
    scores = coder.encoder(images).detach()  # type: ignore[operator]
    want = torch.cat([scores[:, :3].exp() / scores[:, :3].exp().sum(1, keepdim=True), scores[:, 3:]], 1)
    torch.testing.assert_close(coder.encode(images).detach(), want)  # type: ignore[operator]
    assert coder.categories == 3


def test_a_class_can_be_chosen_and_replaces_the_category() -> None:
    coder = semi(0).gan.sampler
    z = torch.cat([torch.eye(3)[[0, 1, 2]], torch.zeros(3, 3)], 1)
    torch.testing.assert_close(coder(z.flip(0), labels=torch.tensor([0, 1, 2])), coder(z))
    assert float((coder(z)[0] - coder(z)[1]).detach().abs().max()) > 1e-3


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_discriminator_is_told_the_class_whose_part_the_prior_gives(share: float) -> None:
    config = AAEConfig(**PLANE, task="class_prior", prior="petals", unlabeled_share=share)
    run = constant(config, 4, batch=300, lr=0.01, total_kimg=1)
    data = Fixed(torch.zeros(300, 1, 4, 4, dtype=torch.uint8), torch.arange(300) % 3)
    trainer = Trainer(run, ImageSpec(1, 4, 4, classes=3), data, device=torch.device("cpu"))
    gan, batch = trainer.gan, trainer._batch("discriminator", trainer.stage, 0, 300, 0, 1)
    assert isinstance(gan, AAE)
    told, latents = gan._told(batch), gan._latents(batch)
    assert told is not None
    angle = np.arctan2(*latents.numpy().T[::-1]) % (2 * np.pi)
    near = np.abs(angle / (2 * np.pi / 3) - batch.labels.numpy())
    assert np.median(np.minimum(near, 3 - near)) < 0.1
    hidden = (told == 3).float().mean().item()
    assert hidden == pytest.approx(share, abs=0.1)
    assert torch.equal(told[told < 3], batch.labels[told < 3])
    discriminator = gan.networks["discriminator"]
    assert discriminator.layers[0].in_features == 2 + 4  # type: ignore[union-attr, index]


# --- watch and messages


def test_codes_that_are_all_alike_are_reported_once() -> None:
    watch, latents = Watch([], ["encoder"]), torch.randn(64, 3)
    assert watch.codes(torch.randn(64, 3) * 0.5, latents) == []
    [text] = watch.codes(torch.randn(64, 3) * 0.001 + 4, latents)
    assert "posterior collapse" in text
    assert watch.codes(torch.zeros(64, 3), latents) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prior": "petals"}, "gan.prior petals lies in the plane: it requires --gan.latent-size 2"),
        ({"task": "class_prior"}, "--gan.prior petals or swiss_roll"),
        ({"networks": "conv", "reconstruction": "bce"}, "gan.reconstruction bce requires a sigmoid"),
        ({"labeled": -1}, "gan.labeled must be at least 0, got -1"),
        ({"hidden": (0,)}, r"gan.hidden must be at least 1 each, got \(0,\)"),
        ({"input_keep": 0.0}, "gan.input_keep must be above 0"),
        ({"prior_scale": 0.0}, "gan.prior_scale must be a number above 0"),
        ({"momentum": 1.0}, "gan.momentum must be at least 0 and below 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AAEConfig(**change)


def test_labels_that_are_missing_or_too_few_are_refused() -> None:
    spec = ImageSpec(1, 4, 4, classes=3)
    with pytest.raises(ConfigError, match="semi_supervised requires images with classes; give each class a subfolder"):
        AAEConfig(task="semi_supervised").make(ImageSpec(1, 4, 4))
    with pytest.raises(ConfigError, match=r"gan.labeled must be at least 3, one image for each class .*, got 2"):
        AAEConfig(task="semi_supervised", labeled=2).make(spec)
    with pytest.raises(ConfigError, match=r"gan.labeled 5 requires --gan.task semi_supervised"):
        AAEConfig(labeled=5).make(spec)
    with pytest.raises(DataError, match=r"requires 3 images of each class; class 3 has 0; add some to the data"):
        semi(12, classes=4).iterate()
    with pytest.raises(DataError, match=r"requires 21 images .*; class 0 has 20; use at most --gan.labeled 60"):
        semi(63).iterate()


def test_convolutions_encode_an_image_alike_in_any_batch() -> None:
    coder = AAEConfig(networks="conv", maps=4, latent_size=3).make_sampler(ImageSpec(3, 16, 16)).eval()
    x = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(coder.encode(x)[:1], coder.encode(x[:1]))
    assert coder(coder.encode(x)).shape == x.shape


def test_presets_of_the_paper_and_for_a_laptop() -> None:
    paper, small = PRESETS["aae_mnist"](), PRESETS["aae_mnist_semi_small"]()
    lr = [paper.schedule.decay.share(epoch * 60, paper.schedule.total_kimg) for epoch in (0, 49.9, 50, 999, 1000)]
    assert lr == [1, 1, 0.1, 0.1, 0.01]
    assert replace(small.gan, labeled=100).labeled == 100  # type: ignore[call-arg]
