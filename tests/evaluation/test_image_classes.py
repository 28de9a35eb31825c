"""Metrics that know the class of every image, and those that can do without real images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.data.store import Store
from progan.errors import ConfigError
from progan.evaluation.measure import Measurement
from progan.evaluation.monitor import MetricMonitor
from progan.evaluation.report import table
from progan.evaluation.sets import ImageSet, of_array, of_snapshot, of_store
from progan.gans import ProGANConfig
from progan.gans.base import ImageSpec, Latent
from progan.metrics import extractors
from progan.metrics.extractors import Outputs
from progan.snapshot import Snapshot
from small import write_images

TONE = 25  # an image of digit d is 25 d everywhere


class Tones:
    """Reads the digit of a plain image."""

    name, hash, features, note = "digits", "0123456789abcdef", 10, "synthetic"

    def __call__(self, images: Tensor) -> Outputs:
        digits = (images.float().mean((1, 2, 3)) / TONE).round().long()
        rows = torch.nn.functional.one_hot(digits, 10).float()
        return Outputs(features=rows, probabilities=rows, digits=digits[:, None])


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(extractors.EXTRACTORS, "digits", lambda weights, device: Tones())


class Drawn(torch.nn.Module):
    """A generator with one plain image for each class."""

    latent = Latent(4)

    def __init__(self, digits: tuple[int, ...]) -> None:
        super().__init__()
        self.tones = torch.nn.Parameter(torch.tensor(digits) * TONE / 127.5 - 1)

    def forward(self, z: Tensor, level: int, alpha: Tensor | None, labels: Tensor | None) -> Tensor:
        chosen = self.tones[:1].expand(len(z)) if labels is None else self.tones[labels]
        return chosen[:, None, None, None].expand(-1, 1, 32, 32)


def generator(digits: tuple[int, ...], classes: tuple[str, ...]) -> Snapshot:
    """Class i is called ``classes[i]``, and its images show ``digits[i]``."""
    spec = ImageSpec(1, 32, 32, len(digits) if classes else 0)
    return Snapshot(Drawn(digits), "progan", ProGANConfig(conditional=bool(classes)), spec, 3, classes=classes)


def plain(digits: np.ndarray, labels: np.ndarray | None = None, classes: tuple[str, ...] = ()) -> ImageSet:
    images = np.broadcast_to((digits * TONE).astype(np.uint8)[:, None, None, None], (len(digits), 32, 32, 1))
    return of_array(images, name="real", labels=labels, classes=classes)


def values(report) -> dict[str, float]:
    return report.results[0].values


def test_a_generator_is_measured_by_the_classes_it_was_asked_for() -> None:
    fake = of_snapshot(generator((7, 0, 8), ("7", "0", "3")), name="g")
    report = Measurement(None, ["digit_accuracy"], count=300)(fake)
    found = values(report)
    assert {key: found[key] for key in found if key != "digit_accuracy"} == {
        "digit_accuracy_0": 1.0,
        "digit_accuracy_3": 0.0,
        "digit_accuracy_7": 1.0,
    }
    asked = fake.read_labels(0, 300)
    assert found["digit_accuracy"] == pytest.approx(float((asked != 2).float().mean()))
    assert "worst is 3: " in report.results[0].note
    assert "read as 8 (100.0%)" in report.results[0].note
    assert (report.results[0].extractor, report.fake["labels"]) == ("digits", "uniform")


def test_unnamed_classes_are_digits_by_their_numbers() -> None:
    snapshot = replace(generator((0, 1, 2), ("a", "b", "c")), classes=())
    assert values(Measurement(None, ["digit_accuracy"], count=30)(of_snapshot(snapshot, name="g")))[
        "digit_accuracy"
    ] == pytest.approx(1)


def test_real_images_with_labels_are_the_reference() -> None:
    labels = np.array([3, 4] * 50)
    read = np.where(np.arange(100) < 20, 9, labels)
    real = plain(read, labels, tuple("0123456789"))
    fake = of_snapshot(generator((3, 4), ("3", "4")), name="g")
    result = Measurement(real, ["digit_accuracy"], count=100)(fake).results[0]
    assert result.real_values == {"digit_accuracy": 0.8, "digit_accuracy_3": 0.8, "digit_accuracy_4": 0.8}
    assert (result.value, result.real_count, result.floor_count) == (1, 0, 100)
    again = Measurement(real, ["digit_accuracy"], count=100)(real)
    assert values(again) == result.real_values
    for other in (plain(read), plain(read, labels, tuple("abcdefghij"))):
        assert Measurement(other, ["digit_accuracy"], count=100)(fake).results[0].real_values == {}


def test_labels_of_a_store_are_those_of_its_images_in_their_order(store: Store) -> None:
    images, labels = of_store(store, seed=3), store.labels()
    assert images.classes == store.classes == ("class0", "class1")
    rows = [
        int((np.array(store.level(16)) == one.permute(1, 2, 0).numpy()).all((1, 2, 3)).argmax())
        for one in images.read(5, 20)
    ]
    assert images.read_labels(5, 20).tolist() == labels[rows].tolist()
    assert 0 < labels[rows].sum() < 20


def test_a_generator_without_classes_cannot_be_asked_for_one(store: Store) -> None:
    with pytest.raises(ConfigError, match="requires images with classes, which these do not have"):
        Measurement(None, ["digit_accuracy"])(of_snapshot(generator((1,), ()), name="g"))
    with pytest.raises(ConfigError, match="requires images with classes"):  # before the run begins
        MetricMonitor(store, ["digit_accuracy"], kimg=1, seed=0, size=(32, 32))


def test_training_measures_the_classes_of_its_generator(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", size=(32, 32), count=12)
    store = prepare(folder, tmp_path / "store", PrepareOptions(resolution="32", channels=1), workers=0)
    monitor = MetricMonitor(
        store, ["digit_accuracy", "digit_histogram"], kimg=1, seed=0, count=12, classes=store.classes
    )
    row = monitor(generator((0, 8), ("class0", "class1")))
    fake = of_snapshot(generator((0, 8), ("class0", "class1")), name="g", like=of_store(store))
    assert row["digit_accuracy"] == pytest.approx(float((fake.read_labels(0, 12) == 0).float().mean()))
    assert row["digit_accuracy_1"] == 0
    assert {"digit_kl", "real/digit_kl", "real/digit_accuracy"} <= row.keys()
    assert monitor.better({"resolution": 32, "alpha": 1.0} | row, []) == "digit_accuracy"


def test_histogram_is_compared_with_the_real_images_or_else_with_a_uniform_one() -> None:
    fake, real = plain(np.array([1, 2] * 10)), plain(np.array([1, 2, 2, 2] * 10))
    alone = Measurement(None, ["digit_histogram"])(fake)
    assert values(alone)["digit_kl"] == pytest.approx(np.log(5))
    assert alone.results[0].note == "synthetic; compared with a uniform histogram, because there are no real images"
    result = Measurement(real, ["digit_histogram"])(fake).results[0]
    assert result.value == pytest.approx(0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75))
    assert (result.note, result.count, result.real_count, result.floor_count) == ("synthetic", 20, 40, 20)
    assert "digit_kl" in result.real_values
    assert "digits_1" in table(alone)


def test_parzen_is_measured_on_stores(store: Store) -> None:
    result = Measurement(of_store(store), ["parzen"], count=20)(of_store(store, seed=1)).results[0]
    assert (result.count, result.real_count, result.floor_count) == (20, 20, 20)
    assert result.values.keys() == {"parzen", "parzen_std_error", "parzen_sigma"} == result.real_values.keys()
    assert result.note.startswith("a weak estimate")
    with pytest.raises(ConfigError, match="parzen requires at least 10 images of each set, got 9"):
        Measurement(of_store(store), ["parzen"], count=9)
