"""The Inception network of 2015-12-05, which defines Inception score, FID and KID, without TensorFlow.

It is Inception-v3 (Szegedy et al., arXiv:1512.00567) as in TensorFlow's graph ``inception-2015-12-05.tgz``. It differs
from other versions of Inception-v3: averages over 3x3 pixels do not count the padding, the last block uses the maximum
instead, there are 1008 outputs, and images are resized by TensorFlow 1's rule and scaled to [-1, 1).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from progan.metrics.extractors import FrozenExtractor, Outputs
from progan.weights import NORM, UNPUBLISHED, Published, fitted, folded, locate, read_state, weight_hash

_EPS = 1e-3  # of every batch norm
_SIDE = 299  # of the images that the network sees [pixels]
_CLASSES = 1008

_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
PUBLISHED = (
    Published(
        file="pt_inception-2015-12-05-6726825d.pth",
        url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        sha256=_SHA256,
    ),
    Published(
        file="weights-inception-2015-12-05-6726825d.pth",
        url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
        sha256=_SHA256,
    ),
    Published(
        file="inception-2015-12-05.pt",
        url="https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
        sha256="f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
    ),
)


@dataclass(frozen=True)
class Conv:
    """A convolution without bias, its batch norm and a ReLU."""

    name: str
    """Name in the state dict."""
    script: str
    """Name in the TorchScript file, which is that of the graph."""
    maps: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padded: bool = True
    """Whether the size is kept, if the stride is 1."""

    @property
    def padding(self) -> tuple[int, int]:
        keeps = self.padded and self.stride == 1
        return (self.kernel[0] // 2, self.kernel[1] // 2) if keeps else (0, 0)


@dataclass(frozen=True)
class Fork:
    """Parallel chains with the same input, whose outputs are concatenated."""

    chains: tuple["Step", ...]


Step = Conv | Fork | Callable[[Tensor], Tensor] | tuple["Step", ...]

_POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "average": partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False),
    "maximum": partial(F.max_pool2d, kernel_size=3, stride=1, padding=1),
    "halve": partial(F.max_pool2d, kernel_size=3, stride=2),
    "mean": partial(torch.mean, dim=(2, 3)),
}

# A line is a chain, "," parts its steps, "&" the ways of a fork. A step is a pool, or a convolution: its name in the
# state dict, its name in the graph, maps, kernel (1x1 if left out) and stride (1 if left out).
_A = """
    branch1x1 conv 64
    branch5x5_1 tower.conv 48, branch5x5_2 tower.conv_1 64 5x5
    branch3x3dbl_1 tower_1.conv 64, branch3x3dbl_2 tower_1.conv_1 96 3x3, branch3x3dbl_3 tower_1.conv_2 96 3x3
    average, branch_pool tower_2.conv {}
"""
_B = """
    branch3x3 conv 384 3x3 2
    branch3x3dbl_1 tower.conv 64, branch3x3dbl_2 tower.conv_1 96 3x3, branch3x3dbl_3 tower.conv_2 96 3x3 2
    halve
"""
_C = """
    branch1x1 conv 192
    branch7x7_1 tower.conv {0}, branch7x7_2 tower.conv_1 {0} 1x7, branch7x7_3 tower.conv_2 192 7x1
    branch7x7dbl_1 tower_1.conv {0}, branch7x7dbl_2 tower_1.conv_1 {0} 7x1, branch7x7dbl_3 tower_1.conv_2 {0} 1x7, \
        branch7x7dbl_4 tower_1.conv_3 {0} 7x1, branch7x7dbl_5 tower_1.conv_4 192 1x7
    average, branch_pool tower_2.conv 192
"""
_D = """
    branch3x3_1 tower.conv 192, branch3x3_2 tower.conv_1 320 3x3 2
    branch7x7x3_1 tower_1.conv 192, branch7x7x3_2 tower_1.conv_1 192 1x7, branch7x7x3_3 tower_1.conv_2 192 7x1, \
        branch7x7x3_4 tower_1.conv_3 192 3x3 2
    halve
"""
_E = """
    branch1x1 conv 320
    branch3x3_1 tower_conv 384, \
        branch3x3_2a tower_mixed_conv 384 1x3 & branch3x3_2b tower_mixed_conv_1 384 3x1
    branch3x3dbl_1 tower_1_conv 448, branch3x3dbl_2 tower_1_conv_1 384 3x3, \
        branch3x3dbl_3a tower_1_mixed_conv 384 1x3 & branch3x3dbl_3b tower_1_mixed_conv_1 384 3x1
    {}, branch_pool tower_2_conv 192
"""


def _block(name: str, script: str, table: str, *values: int | str) -> Fork:
    """The block of one of the tables above, with its values filled in."""

    def step(text: str) -> Step:
        if "&" in text:
            return Fork(tuple(step(each) for each in text.split("&")))
        head, *rest = text.split()
        if not rest:
            return _POOLS[head]
        graph, maps, kernel, stride = rest + ["1x1", "1"][len(rest) - 2 :]
        height, width = map(int, kernel.split("x"))
        return Conv(f"{name}.{head}", f"layers.{script}.{graph}", int(maps), (height, width), int(stride))

    lines = table.format(*values).strip().splitlines()
    return Fork(tuple(tuple(step(text) for text in line.split(",")) for line in lines))


NETWORK: tuple[Step, ...] = (
    Conv("Conv2d_1a_3x3", "layers.conv", 32, (3, 3), 2),
    Conv("Conv2d_2a_3x3", "layers.conv_1", 32, (3, 3), padded=False),
    Conv("Conv2d_2b_3x3", "layers.conv_2", 64, (3, 3)),
    _POOLS["halve"],
    Conv("Conv2d_3b_1x1", "layers.conv_3", 80),
    Conv("Conv2d_4a_3x3", "layers.conv_4", 192, (3, 3), padded=False),
    _POOLS["halve"],
    _block("Mixed_5b", "mixed", _A, 32),
    _block("Mixed_5c", "mixed_1", _A, 64),
    _block("Mixed_5d", "mixed_2", _A, 64),
    _block("Mixed_6a", "mixed_3", _B),
    _block("Mixed_6b", "mixed_4", _C, 128),
    _block("Mixed_6c", "mixed_5", _C, 160),
    _block("Mixed_6d", "mixed_6", _C, 160),
    _block("Mixed_6e", "mixed_7", _C, 192),
    _block("Mixed_7a", "mixed_8", _D),
    _block("Mixed_7b", "mixed_9", _E, "average"),
    _block("Mixed_7c", "mixed_10", _E, "maximum"),
    _POOLS["mean"],
)


def _convolutions(step: Step, maps: int) -> tuple[list[tuple[Conv, int]], int]:
    """Every convolution of a step with its input maps, and the output maps of the step, if its input has ``maps``."""
    if isinstance(step, Conv):
        return [(step, maps)], step.maps
    if isinstance(step, Fork):
        parts = [_convolutions(chain, maps) for chain in step.chains]
        return [conv for convs, _ in parts for conv in convs], sum(out for _, out in parts)
    convs: list[tuple[Conv, int]] = []
    for each in step if isinstance(step, tuple) else ():
        more, maps = _convolutions(each, maps)
        convs += more
    return convs, maps


CONVOLUTIONS, _FEATURES = _convolutions(NETWORK, 3)


def _shapes() -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors of the state dict."""
    shapes: dict[str, tuple[int, ...]] = {}
    for conv, maps in CONVOLUTIONS:
        shapes[f"{conv.name}.conv.weight"] = (conv.maps, maps, *conv.kernel)
        shapes |= {f"{conv.name}.bn.{part}": (conv.maps,) for part in NORM}
    return shapes | {"fc.weight": (_CLASSES, _FEATURES), "fc.bias": (_CLASSES,)}


SHAPES = _shapes()


def _renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the TorchScript file under the names of the state dict; other names are kept.

    That file omits the scale of the batch norms, which is 1.
    """
    names = {"output.weight": "fc.weight", "output.bias": "fc.bias"}
    for conv, _ in CONVOLUTIONS:
        names[f"{conv.script}.weight"] = f"{conv.name}.conv.weight"
        for old, new in (("beta", "bias"), ("mean", "running_mean"), ("var", "running_var")):
            names[f"{conv.script}.{old}"] = f"{conv.name}.bn.{new}"
    if "output.weight" not in state:
        return state
    ones = {f"{conv.name}.bn.weight": torch.ones(conv.maps) for conv, _ in CONVOLUTIONS}
    return ones | {names.get(name, name): value for name, value in state.items()}


def resize(images: Tensor, side: int = _SIDE) -> Tensor:
    """Resize images by TensorFlow 1's bilinear rule: output pixel i is at input pixel i * input size / output size.

    There is no half-pixel shift, and no smoothing before reducing the size.

    Shape: float32 [N, C, H, W] -> [N, C, side, side].
    """
    for dim in (3, 2):
        size = images.shape[dim]
        position = torch.arange(side, dtype=torch.float32) * (torch.tensor(size) / torch.tensor(side))
        low = position.long()
        share = (position - low).to(images.device)
        low = low.to(images.device)
        first, second = images.index_select(dim, low), images.index_select(dim, (low + 1).clamp(max=size - 1))
        images = first + (second - first) * (share if dim == 3 else share[:, None])
    return images


class Inception:
    """The network with its batch norms folded into the convolutions: uint8 [N, 3, H, W] -> Outputs.

    Features are pool_3 [N, 2048]; probabilities [N, 1008] are the softmax of the logits without bias, as in the
    Inception score.

    Args:
        state: tensors with the names and shapes in SHAPES.
        device: device of the network.
    """

    def __init__(self, state: dict[str, Tensor], device: str = "cpu") -> None:
        self.layers: dict[str, tuple[Tensor, Tensor]] = {}
        for conv, _ in CONVOLUTIONS:
            norm = {part: state[f"{conv.name}.bn.{part}"] for part in NORM}
            weight, bias = folded(state[f"{conv.name}.conv.weight"], norm, _EPS)
            self.layers[conv.name] = weight.to(device), bias.to(device)
        self.classes = state["fc.weight"].to(device)

    def __call__(self, images: Tensor) -> Outputs:
        features = self.run(NETWORK, self.scaled(images))
        return Outputs(features=features, probabilities=(features @ self.classes.T).softmax(1))

    def scaled(self, images: Tensor) -> Tensor:
        """Convert images uint8 [N, 3, H, W] to the input of the first layer, [N, 3, 299, 299] in [-1, 1)."""
        return ((resize(images.float()) - 128) / 128).contiguous(memory_format=torch.channels_last)

    def run(self, step: Step, x: Tensor) -> Tensor:
        """Apply one step of NETWORK, or several."""
        if isinstance(step, Conv):
            weight, bias = self.layers[step.name]
            return F.conv2d(x, weight, bias, step.stride, step.padding).relu_()
        if isinstance(step, Fork):
            return torch.cat([self.run(chain, x) for chain in step.chains], 1)
        if not isinstance(step, tuple):
            return step(x)
        for each in step:
            x = self.run(each, x)
        return x


def load(weights: Path | None = None, device: str = "cpu") -> FrozenExtractor:
    """Load the extractor with the weights in a file, or with the published ones, which are downloaded once.

    Args:
        weights: one of the files in PUBLISHED, or a different one with the same tensors.
        device: device of the network.

    Raises:
        DataError: if the weights cannot be found, or are those of a different network (see ``weights``).
    """
    path, known = locate(PUBLISHED, weights)
    state = fitted(_renamed(read_state(path)), SHAPES, path)
    return FrozenExtractor(
        name="inception",
        hash=weight_hash(state),
        features=_FEATURES,
        note="" if known else UNPUBLISHED,
        network=Inception(state, device),
        device=device,
    )
