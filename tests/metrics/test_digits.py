"""Mode count and KL against closed forms and numpy; the digit classifier's form, file and errors."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.stats import entropy

from progan.errors import ConfigError, DataError
from progan.metrics.base import Setup
from progan.metrics.digits import DigitClassifier, DigitHistogram, load, mode_count

SETUP = Setup(height=32, width=32, channels=3)


def digits_of(numbers: np.ndarray) -> torch.Tensor:
    """Digits [N, 3] whose number is given, the units first."""
    return torch.from_numpy(np.stack([numbers % 10, numbers // 10 % 10, numbers // 100], 1))


@pytest.fixture
def images() -> torch.Tensor:
    squares = torch.randint(0, 2, (6, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)) * 255
    return squares.repeat_interleave(7, 2).repeat_interleave(7, 3)


@pytest.fixture
def network(images: torch.Tensor) -> DigitClassifier:
    """With random weights that read different digits in the images."""
    torch.manual_seed(0)
    network = DigitClassifier().eval()
    with torch.no_grad():
        for layer in network.body:
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.running_mean.normal_(std=0.1)
                layer.weight.uniform_(2, 4)
        network.head.bias -= network.head(network(images[:, :1]).features).mean(0)
    return network


def test_red_is_the_digit_of_the_units() -> None:
    histogram = DigitHistogram(SETUP).update(torch.tensor([[3, 2, 1], [3, 2, 1], [9, 0, 0]]))
    assert histogram.count == 3
    assert {i: n for i, n in enumerate(histogram.histogram) if n} == {123: 2, 9: 1}


def test_all_numbers_equally_often_are_1000_modes_and_no_divergence() -> None:
    result = mode_count(DigitHistogram(SETUP).update(digits_of(np.repeat(np.arange(1000), 3))))
    assert result["modes"] == 1000
    assert result["kl"] == pytest.approx(0, abs=1e-12)


def test_one_number_is_one_mode_and_the_largest_divergence() -> None:
    result = mode_count(DigitHistogram(SETUP).update(digits_of(np.full(50, 777))))
    assert result == {"modes": 1, "kl": pytest.approx(np.log(1000))}


@pytest.mark.parametrize("batches", [1, 2, 7])
def test_equals_numpy_for_any_split_merged_and_loaded(batches: int) -> None:
    numbers = (np.random.default_rng(0).beta(1, 4, 2500) * 1000).astype(np.int64)
    first, second = DigitHistogram(SETUP), DigitHistogram(SETUP)
    for i, part in enumerate(np.array_split(numbers, batches)):
        (first if i < 4 else second).update(digits_of(part))
    whole = first.merge(second)
    assert whole.count == 2500
    result = mode_count(DigitHistogram(SETUP).load(whole.arrays()))
    assert result["modes"] == len(set(numbers.tolist()))
    assert result["kl"] == pytest.approx(entropy(np.bincount(numbers, minlength=1000), np.full(1000, 1e-3)), abs=1e-12)


def test_no_images_have_no_modes() -> None:
    with pytest.raises(ConfigError, match="requires at least 1 image, got 0"):
        mode_count(DigitHistogram(SETUP))


@pytest.mark.parametrize(("channels", "height", "width"), [(3, 64, 64), (3, 28, 32), (1, 32, 32)])
def test_images_that_hold_no_three_digits(channels: int, height: int, width: int) -> None:
    with pytest.raises(ConfigError, match=f"got {channels} x {height} x {width}"):
        DigitHistogram(Setup(height=height, width=width, channels=channels))


def test_channels_are_read_one_by_one(network: DigitClassifier, images: torch.Tensor) -> None:
    outputs = network(images)
    assert outputs.digits is not None
    assert outputs.digits.dtype == torch.int64
    assert len(outputs.digits.unique()) > 1
    alone = [network(images[:, [c]]) for c in range(3)]
    torch.testing.assert_close(outputs.digits, torch.cat([one.digits for one in alone], 1))
    torch.testing.assert_close(outputs.features, torch.cat([one.features for one in alone], 1))


def test_one_digit_of_an_image_is_read_in_all_its_channels(network: DigitClassifier, images: torch.Tensor) -> None:
    """Grayscale images and RGB images that are gray give equal probabilities; other channels are averaged."""
    gray = images[:, :1]
    expected = network.logits(torch.nn.functional.pad(gray, [2] * 4) / 255).softmax(1)
    torch.testing.assert_close(network(gray).probabilities, expected)
    torch.testing.assert_close(network(gray.expand(-1, 3, -1, -1)).probabilities, expected)
    alone = torch.stack([network(images[:, [c]]).probabilities for c in range(3)])
    torch.testing.assert_close(network(images).probabilities, alone.mean(0))


def test_a_black_border_of_two_changes_nothing(network: DigitClassifier, images: torch.Tensor) -> None:
    padded = torch.nn.functional.pad(images, [2] * 4)
    torch.testing.assert_close(network(padded).features, network(images).features)
    scores = network.head(network(images[:, :1]).features)
    torch.testing.assert_close(scores, network.logits(padded[:, :1] / 255))
    with pytest.raises(ConfigError, match="28x28 or 32x32, got 3 x 64 x 64"):
        network(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


def test_a_saved_classifier_reads_the_same(network: DigitClassifier, images: torch.Tensor, tmp_path: Path) -> None:
    network.save(tmp_path / "new" / "digits.safetensors", test_error=0.25)
    extractor = load(tmp_path / "new" / "digits.safetensors")
    outputs = extractor(images)
    assert extractor.name == "digits"
    assert outputs.features.shape == (6, extractor.features)
    torch.testing.assert_close(outputs.features, network(images).features)
    assert torch.equal(outputs.digits, network(images).digits)
    torch.testing.assert_close(outputs.probabilities, network(images).probabilities)
    assert extractor(images[:, :1]).digits.shape == (6, 1)  # one channel is read once
    assert extractor.hash == load(tmp_path / "new" / "digits.safetensors").hash
    with torch.no_grad():
        network.head.bias[0] += 1
    network.save(tmp_path / "other.safetensors", test_error=0.25)
    assert load(tmp_path / "other.safetensors").hash != extractor.hash


def test_the_cache_folder_is_looked_in(
    network: DigitClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROGAN_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=r"weights/digits.safetensors: .*progan metric digits MNIST_FOLDER$"):
        load()
    network.save(tmp_path / "weights" / "digits.safetensors", test_error=0.25)
    assert load().name == "digits"


def test_files_that_are_no_classifier(network: DigitClassifier, tmp_path: Path) -> None:
    path = tmp_path / "digits.safetensors"
    network.save(path, test_error=0.25)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="is not a whole safetensors file"):
        load(path)
    for header in ({}, {"progan": "{"}, {"progan": '{"format": "progan-snapshot-1"}'}):
        save_file({"a": torch.zeros(1)}, path, header)
        with pytest.raises(DataError, match="is not a digit classifier"):
            load(path)
    save_file({"a": torch.zeros(1)}, path, {"progan": json.dumps({"format": "progan-digits-1"})})
    with pytest.raises(DataError, match="is not the digit classifier of this version") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_place_that_cannot_be_written(network: DigitClassifier, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write the digit classifier"):
        network.save(tmp_path / "file" / "digits.safetensors", test_error=0.25)
