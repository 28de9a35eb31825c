"""The artefact network against plain numpy, its examples against Pillow, and its training."""

import io
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
from progan.restoration.artefacts import ArtefactRemoval, ArtefactsConfig, Autoencoder, jpeg
from references import restoration
from restoring import assert_resumes_bit_for_bit, batch_of, photographs, randomize, trainer

SMALL = ArtefactsConfig(maps=6, depth=3, crop=0)


def test_network_is_red10_written_out() -> None:
    network = randomize(Autoencoder(ArtefactsConfig(maps=5, depth=5), 3))
    x = torch.rand(1, 3, 9, 7) * 2 - 1
    encoder, decoder = (
        [(layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()) for layer in layers]
        for layers in (network.encoder, reversed(network.decoder))
    )
    wanted = restoration.red10(x[0].double().numpy(), encoder, decoder)
    assert np.abs(network(x)[0].detach().numpy() - wanted).max() < 1e-5


@pytest.mark.parametrize("depth", [1, 2, 3, 15])
def test_untrained_network_leaves_images_as_they_are(depth: int) -> None:
    x = torch.rand(2, 1, 8, 12) * 2 - 1
    assert torch.equal(Autoencoder(replace(SMALL, depth=depth), 1)(x), x)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_reach_is_how_far_an_output_pixel_sees(depth: int) -> None:
    network = Autoencoder(replace(SMALL, depth=depth), 3)
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, 0.1)  # positive everywhere: no ReLU hides anything
    x = torch.rand(1, 3, 31, 31, requires_grad=True)
    network(x)[0, :, 15, 15].sum().backward()
    rows = x.grad[0].abs().sum((0, 2)).nonzero()[:, 0]
    assert (rows.min(), rows.max()) == (15 - network.reach, 15 + network.reach)


@pytest.mark.parametrize("channels", [1, 3])
def test_compression_is_that_of_libjpeg_with_half_the_chroma(channels: int) -> None:
    pixels = photographs(3, 24)[..., :channels]
    ours = to_uint8(jpeg(to_float(torch.from_numpy(pixels).permute(0, 3, 1, 2)), torch.tensor([10, 50, 90])))
    for one, quality, result in zip(pixels, (10, 50, 90), ours, strict=True):
        file = io.BytesIO()
        Image.fromarray(one.squeeze()).save(file, "JPEG", quality=quality)  # 4:2:0 is what libjpeg does unasked
        wanted = np.asarray(Image.open(file)).reshape(one.shape)
        assert np.array_equal(result.permute(1, 2, 0).numpy(), wanted)


@pytest.mark.parametrize("config", [SMALL, replace(SMALL, crop=16)], ids=["whole", "parts"])
def test_examples_depend_on_the_position_of_a_sample_alone(config: ArtefactsConfig) -> None:
    images, gan = photographs(8, 48), ArtefactRemoval(config, ImageSpec(3, 48, 48))
    together = gan.examples(batch_of(images))
    for offset in range(4):
        apart = gan.examples(batch_of(images, offset=offset, stride=4))
        assert all(torch.equal(a, b[offset::4]) for a, b in zip(apart, together, strict=True))


def ramps(count: int) -> np.ndarray:
    """Even slopes, in which the only steps are those between JPEG's blocks, uint8 [count, 64, 64, 3]."""
    slopes = np.random.default_rng(0).uniform(0.5, 1, count)
    pixels = np.linspace(0, 229, 64) * slopes[:, None, None] + np.linspace(0, 25, 64)[:, None]
    return pixels.astype(np.uint8)[..., None].repeat(3, 3)


@pytest.mark.parametrize("crop", [0, 24], ids=["whole", "parts"])
def test_worse_and_clean_part_show_the_same_place_with_blocks_anywhere(crop: int) -> None:
    gan = ArtefactRemoval(replace(SMALL, crop=crop, highest_quality=10), ImageSpec(3, 64, 64))
    worse, clean = gan.examples(batch_of(ramps(64)))
    assert worse.shape == clean.shape == (64, 3, crop or 64, crop or 64)
    assert (worse - clean).square().mean() < 0.5 * (worse - clean.roll(8, 3)).square().mean()
    steps = (worse.diff(dim=3) - clean.diff(dim=3)).abs().mean((1, 2))  # [N, W - 1]
    seams = torch.stack([steps[:, phase::8].mean(1) for phase in range(8)]).argmax(0).tolist()
    assert set(seams) == {7} if crop == 0 else len(set(seams)) >= 6


def test_qualities_fill_the_range_and_stay_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def spy(images: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
        seen.extend(quality.tolist())
        return images

    monkeypatch.setattr("progan.restoration.artefacts.jpeg", spy)
    config = replace(SMALL, lowest_quality=30, highest_quality=33)
    ArtefactRemoval(config, ImageSpec(3, 8, 8)).examples(batch_of(photographs(200, 8)))
    assert set(seen) == {30, 31, 32, 33}


def test_losses_are_the_mean_errors_of_the_restored_images() -> None:
    images, spec = photographs(4), ImageSpec(3, 16, 16)
    for loss, power in (("squared", 2), ("absolute", 1)):
        gan = ArtefactRemoval(replace(SMALL, loss=loss), spec)
        randomize(gan.generator)
        worse, clean = gan.examples(batch_of(images))
        error = (gan.generator(worse) - clean).abs().detach().numpy() ** power
        (term,) = gan.loss(batch_of(images)).values()
        assert term.tolist() == pytest.approx(error.mean((1, 2, 3)).tolist(), rel=1e-5)


def test_training_improves_compressed_images_that_it_was_trained_on(store: Store) -> None:
    some = trainer(replace(SMALL, lowest_quality=10, highest_quality=10), store, lr=3e-3)
    still = trainer(replace(SMALL, lowest_quality=10, highest_quality=10), store, lr=0)
    for _ in range(20):  # four times all 40 images
        some.iterate()
    errors = []
    for one in (some, still):
        one.take_statistics()
        for _ in range(5):
            one.iterate()
        errors.append(one.take_statistics()["restore/squared"])
    assert errors[0] < 0.98 * errors[1]  # still: the error of the input itself


def test_resumed_run_equals_uninterrupted_run(store: Store, tmp_path: Path) -> None:
    assert_resumes_bit_for_bit(replace(SMALL, loss="absolute"), store, tmp_path, stop=3, end=6)


def test_micro_batches_give_the_same_step(store: Store) -> None:
    whole, split = trainer(SMALL, store), trainer(SMALL, store)
    split.config = replace(split.config, micro_batch=2)
    for some in (whole, split):
        some.iterate()
    a, b = (t.take_statistics()["restore/squared"] for t in (whole, split))
    assert a == pytest.approx(b, rel=1e-5)


def test_samples_show_worse_restored_and_true_image() -> None:
    images, gan = photographs(3), ArtefactRemoval(SMALL, ImageSpec(3, 16, 16))
    worse, restored, clean = gan.samples(gan.generator, batch_of(images)).split(16, 3)
    assert torch.equal(to_uint8(clean).permute(0, 2, 3, 1), torch.from_numpy(images))
    assert torch.equal(worse, restored)  # untrained
    assert not torch.equal(worse, clean)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lowest_quality": 80}, "got 80 and 70"),
        ({"highest_quality": 96}, r"must be 1 \.\.\. 95"),
        ({"maps": 0}, r"gan\.maps must be at least 1, got 0"),
        ({"crop": -1}, r"gan\.crop"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ArtefactsConfig(**change)


def test_images_that_jpeg_does_not_know() -> None:
    with pytest.raises(ConfigError, match="1 or 3 channels, the data has 4"):
        SMALL.make(ImageSpec(4, 16, 16))
