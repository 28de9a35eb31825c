"""The Inception network, with synthetic weights, against numbers of torch-fidelity and against TensorFlow's rules."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from progan.errors import DataError
from progan.metrics import inception
from progan.metrics.inception import CONVOLUTIONS, NETWORK, PUBLISHED, SHAPES, Inception, load, resize
from progan.weights import UNPUBLISHED, folded, weight_hash
from references.inception import SIZES, images, tensor
from references.inception import resize as resize_reference

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "inception_synthetic.json").read_text())["sizes"]


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return {name: torch.from_numpy(tensor(name, shape)) for name, shape in SHAPES.items()}


@pytest.fixture(scope="module")
def network(state: dict[str, Tensor]) -> Inception:
    return Inception(state)


def test_has_the_tensors_of_the_published_file() -> None:
    assert len(CONVOLUTIONS) == 94
    assert len(SHAPES) == 94 * 5 + 2
    assert sum(int(np.prod(shape)) for name, shape in SHAPES.items() if "running" not in name) == 23_850_960


def pooled(network: Inception, x: Tensor) -> dict[str, Tensor]:
    """What torch-fidelity calls 64, 192, 768 and 2048, and its logits without bias."""
    ends = {"64": 4, "192": 7, "768": 15, "2048": len(NETWORK)}
    values, start = {}, 0
    for name, end in ends.items():
        x = network.run(NETWORK[start:end], x)
        start = end
        values[name] = x.mean((2, 3)) if x.ndim == 4 else x
    return values | {"logits_unbiased": values["2048"] @ network.classes.T}


@pytest.mark.parametrize("side", SIZES)
def test_equals_torch_fidelity_layer_for_layer(network: Inception, side: int) -> None:
    values = pooled(network, network.scaled(torch.from_numpy(images(side))))
    steps = {"64": 8, "192": 24, "768": 96, "2048": 128, "logits_unbiased": 63}
    for name, wanted in GOLDEN[str(side)].items():
        found = values[name][:, :: steps[name]]
        worst = (found - torch.tensor(wanted)).abs().max() / torch.tensor(wanted).abs().max()
        assert worst < 1e-5, (name, worst)


def test_probabilities_leave_out_the_bias(network: Inception) -> None:
    outputs = network(torch.from_numpy(images(32)))
    logits = outputs.features.double() @ torch.from_numpy(tensor("fc.weight", (1008, 2048))).double().T
    torch.testing.assert_close(outputs.probabilities, logits.softmax(1).float(), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("height", "width", "side"), [(4, 4, 299), (32, 20, 23), (40, 61, 17), (7, 7, 7)])
def test_resize_is_that_of_tensorflow(height: int, width: int, side: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, (height, width)).astype(np.float32)
    found = resize(torch.from_numpy(image)[None, None], side)[0, 0].numpy()
    np.testing.assert_array_equal(found, resize_reference(image, side))


def test_resize_has_no_half_pixel_shift() -> None:
    row = torch.tensor([0.0, 100.0]).expand(1, 1, 2, 2)
    assert resize(row, 4)[0, 0, 0].tolist() == [0, 50, 100, 100]  # with the shift: 0, 25, 75, 100


def test_full_size_images_pass_unchanged(network: Inception) -> None:
    x = torch.from_numpy(images(299, count=1))
    assert torch.equal(network.scaled(x) * 128 + 128, x.float())


def test_folding_equals_convolution_and_batch_norm(state: dict[str, Tensor]) -> None:
    conv, norm = nn.Conv2d(3, 32, 3, 2, bias=False), nn.BatchNorm2d(32, eps=1e-3)
    parts = {part: state[f"Conv2d_1a_3x3.bn.{part}"] for part in ("weight", "bias", "running_mean", "running_var")}
    conv.load_state_dict({"weight": state["Conv2d_1a_3x3.conv.weight"]})
    norm.load_state_dict(parts, strict=False)
    x = torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    weight, bias = folded(conv.weight.detach(), parts, 1e-3)
    torch.testing.assert_close(F.conv2d(x, weight, bias, 2), norm.eval()(conv(x)), rtol=1e-5, atol=1e-5)


class Box(nn.Module):
    """Any tree of modules."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def script_file(state: dict[str, Tensor], path: Path) -> Path:
    """``state`` in the layout and under the names of the published TorchScript file."""
    top = Box()
    names = {"fc.weight": "output.weight", "fc.bias": "output.bias"}
    for conv, _ in CONVOLUTIONS:
        names[f"{conv.name}.conv.weight"] = f"{conv.script}.weight"
        for ours, theirs in (("bias", "beta"), ("running_mean", "mean"), ("running_var", "var")):
            names[f"{conv.name}.bn.{ours}"] = f"{conv.script}.{theirs}"
    for ours, theirs in names.items():
        *folders, leaf = theirs.split(".")
        place = top
        for folder in folders:
            if not hasattr(place, folder):
                place.add_module(folder, Box())
            place = getattr(place, folder)
        if leaf in ("mean", "var"):
            place.register_buffer(leaf, state[ours])
        else:
            place.register_parameter(leaf, nn.Parameter(state[ours]))
    torch.jit.script(top).save(str(path))
    return path


@pytest.fixture(scope="module")
def files(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same weights as a new and an old state dict and as TorchScript; the last cannot hold a batch norm's scale."""
    folder = tmp_path_factory.mktemp("weights")
    ones = {name: torch.ones_like(value) if name.endswith("bn.weight") else value for name, value in state.items()}
    counters = {"Mixed_5b.branch1x1.bn.num_batches_tracked": torch.tensor(0)}
    torch.save(ones | counters, folder / "new.pth")
    torch.save(ones, folder / "old.pth", _use_new_zipfile_serialization=False)
    return {"new": folder / "new.pth", "old": folder / "old.pth", "script": script_file(ones, folder / "a.pt")}


def test_reads_every_published_format(state: dict[str, Tensor], files: dict[str, Path]) -> None:
    ones = {name: torch.ones_like(value) if name.endswith("bn.weight") else value for name, value in state.items()}
    extractors = [load(path) for path in files.values()]
    assert {extractor.hash for extractor in extractors} == {weight_hash(ones)} != {weight_hash(state)}
    assert all(extractor.note == UNPUBLISHED for extractor in extractors)
    layers = [extractor.network.layers for extractor in extractors]
    for name, (weight, bias) in layers[0].items():
        assert all(torch.equal(weight, other[name][0]) and torch.equal(bias, other[name][1]) for other in layers)


GRAPH = {
    "mixed": "conv tower.conv tower.conv_1 tower_1.conv tower_1.conv_1 tower_1.conv_2 tower_2.conv",
    "mixed_3": "conv tower.conv tower.conv_1 tower.conv_2",
    "mixed_4": "conv tower.conv tower.conv_1 tower.conv_2 tower_1.conv tower_1.conv_1 tower_1.conv_2 tower_1.conv_3 "
    "tower_1.conv_4 tower_2.conv",
    "mixed_8": "tower.conv tower.conv_1 tower_1.conv tower_1.conv_1 tower_1.conv_2 tower_1.conv_3",
    "mixed_10": "conv tower_conv tower_mixed_conv tower_mixed_conv_1 tower_1_conv tower_1_conv_1 tower_1_mixed_conv "
    "tower_1_mixed_conv_1 tower_2_conv",
}


def test_names_in_torchscript_are_those_of_the_graph() -> None:
    names = [conv.script for conv, _ in CONVOLUTIONS]
    assert len(set(names)) == 94
    assert names[:5] == ["layers.conv", *(f"layers.conv_{i}" for i in (1, 2, 3, 4))]
    blocks = list(dict.fromkeys(name.split(".")[1] for name in names[5:]))
    assert blocks == ["mixed", *(f"mixed_{i}" for i in range(1, 11))]
    for block, parts in GRAPH.items():
        inside = [name.removeprefix(f"layers.{block}.") for name in names if name.split(".")[1] == block]
        assert inside == parts.split()


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda published: published.file)
def test_a_published_name_with_other_content_is_refused(tmp_path: Path, published: inception.Published) -> None:
    path = tmp_path / published.file
    path.write_bytes(b"something else")
    with pytest.raises(DataError, match=rf"(?s)wrong SHA-256.*{published.sha256}.*found"):
        load(path)


def test_the_network_of_torchvision_is_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    other = state | {"fc.weight": torch.zeros(1000, 2048), "AuxLogits.conv0.conv.weight": torch.zeros(128, 768, 1, 1)}
    del other["fc.bias"]
    torch.save(other, tmp_path / "inception_v3.pth")
    with pytest.raises(
        DataError, match=r"(?s)3 tensors do not match.*fc.bias: missing; AuxLogits.*unknown.*\[1000, 2048\]"
    ):
        load(tmp_path / "inception_v3.pth")


def test_says_where_to_put_the_weights_without_a_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROGAN_CACHE", str(tmp_path))
    nowhere = inception.Published(file=PUBLISHED[0].file, url="http://127.0.0.1:9/a.pth", sha256=PUBLISHED[0].sha256)
    monkeypatch.setattr(inception, "PUBLISHED", (nowhere,))
    with pytest.raises(DataError, match=rf"(?s){nowhere.url}.*{nowhere.sha256}.*{tmp_path}/weights/{nowhere.file}"):
        load()
