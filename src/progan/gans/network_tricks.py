"""Changes of a discriminator that work with any network, because they walk through its layers.

A layer is a module with weights, such as a dense layer or a convolution, but not a norm. The spectral norm, minibatch
discrimination and the frozen layers stay; dropout and features last as long as a ``with`` block.
"""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from progan.layers import EqualizedConv2d, EqualizedLinear, MinibatchDiscrimination
from progan.ops import no_autocast

EPS = 1e-12  # least length of a singular vector before it is normalized (Miyato et al. 2018, authors' code)
WARM_UP = 15  # power iterations at the start, so that the first step's weights have a norm near 1; as in torch


@torch.no_grad()
def clip(network: nn.Module, limit: float) -> None:
    """Clip all parameters of a network to plus or minus ``limit``, also those of norms (Arjovsky et al. 2017)."""
    for p in network.parameters():
        p.clamp_(-limit, limit)


def layers_of(network: nn.Module) -> list[nn.Module]:
    """Return the layers of a network that have weights, in the order in which they are registered.

    That is the order in which they are applied in every discriminator here except those that grow, which are registered
    from the smallest image on. A layer inside another module, such as the linear functions of ``Maxout``, is listed
    itself. Minibatch discrimination is not listed, since its outputs are those of a branch, not of a layer.
    """
    return list(_weights(network))


def spectral_norm(network: nn.Module) -> None:
    """Divide the weights of every layer by their largest singular value, in place (Miyato et al. 2018, algorithm 1).

    The weights are a matrix of one row per output: a convolution's is [out, in * K * K], also that of a transposed one,
    and a maxout layer's has the pieces of all units as rows. Each forward pass in training mode takes one step of the
    power method. Call it after the initialization of the weights. The constants of an equalized learning rate become 1,
    because dividing by the singular value undoes any factor.
    """
    for layer, weight in _weights(network).items():
        norm = _SpectralNorm(weight, transposed=isinstance(layer, nn.modules.conv._ConvTransposeNd))
        parametrize.register_parametrization(layer, "weight", norm)
        layer.register_forward_pre_hook(_iterate)
        if isinstance(layer, EqualizedConv2d | EqualizedLinear):
            layer.scale = 1.0


@contextmanager
def dropping(network: nn.Module, drop: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Context in which ``drop`` changes the input of every layer except the first one that a pass applies.

    In a network with convolutions, that is the first convolution, and layers before it, which take labels, are left
    alone as well.

    Args:
        network: network to change.
        drop: function from features [N, ...] to features of the same shape.
    """
    convolutional = any(weight.ndim > 2 for weight in _weights(network).values())
    at_input = True

    def start(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        nonlocal at_input
        at_input = True

    def change(layer: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        nonlocal at_input
        if at_input:
            at_input = convolutional and args[0].ndim == 2
            return None
        return drop(args[0]), *args[1:]

    with ExitStack() as hooks:
        hooks.enter_context(_removing(network.register_forward_pre_hook(start)))
        for layer in layers_of(network):
            hooks.enter_context(_removing(layer.register_forward_pre_hook(change)))
        yield


@contextmanager
def features(network: nn.Module) -> Iterator[list[Tensor]]:
    """Context whose list gets the features [N, F] of every pass, for feature matching (Salimans et al. 2016, 3.1).

    They are the input of the last layer that a pass applies, before ``dropping``, and belong to the graph.
    """
    passes: list[Tensor] = []
    latest: list[Tensor] = []

    def note(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        latest[:] = args[:1]

    def finish(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        passes.append(latest.pop().flatten(1))

    with ExitStack() as hooks:
        for layer in layers_of(network):
            hooks.enter_context(_removing(layer.register_forward_pre_hook(note, prepend=True)))
        hooks.enter_context(_removing(network.register_forward_hook(finish)))
        yield passes


def add_minibatch_discrimination(network: nn.Module, kernels: int, dims: int, group: int) -> None:
    """Let the scores of a network depend on how close samples are, in place (Salimans et al. 2016, section 3.2).

    A linear function of ``MinibatchDiscrimination`` of the last layer's input is added to its output, as if the last
    layer were a dense one with more inputs. The last layer is ``network.score`` if there is one.

    Args:
        network: network to change; shapes stay as they are.
        kernels: number of outputs of minibatch discrimination.
        dims: dimensions of the space that a kernel projects to.
        group: number of samples that are compared; see ``minibatch_stddev``.

    Raises:
        ValueError: if the network already has minibatch discrimination.
    """
    if any(isinstance(module, MinibatchDiscrimination) for module in network.modules()):
        raise ValueError(f"{type(network).__name__} already has minibatch discrimination")
    weights = _weights(network)
    last = getattr(network, "score", None)
    last = last if last in weights else list(weights)[-1]
    name = next(name for name, module in network.named_modules() if module is last)
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, _Comparing(last, weights[last], kernels, dims, group))


def freeze_first(network: nn.Module, count: int, *inputs: Tensor) -> None:
    """Freeze the layers nearest to the image for good, and the norms between them (FreezeD, Mo et al. 2020).

    Args:
        network: discriminator.
        count: number of layers to freeze.
        inputs: arguments of a pass, such as images [N, C, H, W], of which only the shapes matter. Layers and norms are
            frozen in the order in which such a pass applies them, and what does not depend on the first argument, such
            as a layer of labels, neither counts nor is frozen. Without arguments, the order is that of registration.

    Raises:
        ValueError: if no layer would be left.
    """
    modules = _applied(network, *inputs) if inputs else _owners(network)
    layers = layers_of(network)
    known = sum(module in layers for module in modules)
    if not 0 <= count < known:
        raise ValueError(f"{count} layers cannot be frozen: the discriminator has {known}, and one must be left")
    frozen = 0
    for module in modules:
        if frozen == count:
            return
        frozen += module in layers
        for p in _owned(module):
            p.requires_grad_(False)


def _applied(network: nn.Module, *inputs: Tensor) -> list[nn.Module]:
    """The ``_owners`` that depend on the first input, in the order in which a pass applies them.

    A copy is run, because a pass can change buffers, and on the CPU, because the network may have no values yet.
    """
    twin = copy.deepcopy(network).to_empty(device="cpu").requires_grad_(False)
    found: list[nn.Module] = []
    with ExitStack() as hooks, torch.enable_grad(), torch.device("cpu"):
        for original, module in zip(_owners(network), _owners(twin), strict=True):

            def note(module: nn.Module, args: tuple[Tensor, ...], original: nn.Module = original) -> None:
                if args[0].requires_grad and original not in found:
                    found.append(original)

            hooks.enter_context(_removing(module.register_forward_pre_hook(note)))
        images, *others = (torch.zeros_like(x, device="cpu", requires_grad=False) for x in inputs)
        twin(images.requires_grad_(True), *others)
    return found


def _owners(network: nn.Module) -> list[nn.Module]:
    """Modules inside a network that have parameters of their own, in the order in which they are registered."""
    skipped = (parametrize.ParametrizationList, MinibatchDiscrimination)
    inside = [module for module in network.modules() if module is not network and not isinstance(module, skipped)]
    return [module for module in inside if _owned(module)]


def _owned(module: nn.Module) -> list[nn.Parameter]:
    """Parameters of a module itself, also those behind a parametrization."""
    hidden = module.parametrizations.parameters() if parametrize.is_parametrized(module) else ()  # type: ignore[union-attr]
    return [*module.parameters(recurse=False), *hidden]  # type: ignore[misc]


@contextmanager
def _removing(handle: torch.utils.hooks.RemovableHandle) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()


def _weights(network: nn.Module) -> dict[nn.Module, Tensor]:
    """The layers of a network and the weights of each, before a parametrization."""
    found: dict[nn.Module, Tensor] = {}
    for module in network.modules():
        weight: Tensor | None = module._parameters.get("weight")
        if parametrize.is_parametrized(module, "weight"):
            weight = module.parametrizations["weight"].original  # type: ignore[index, union-attr, assignment]
        if weight is not None and weight.ndim >= 2 and not isinstance(module, MinibatchDiscrimination):
            found[module] = weight
    return found


class _SpectralNorm(nn.Module):
    """Parametrization of weights W as W / sigma with sigma = u W v, where u and v approach the first singular vectors.

    u and v have no gradient. In contrast to torch's, v is updated before u, as in the authors' code, and once per
    pass, however often a layer reads its weights.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor, *, transposed: bool) -> None:
        super().__init__()
        self.transposed = transposed
        matrix = self._matrix(weight.detach())
        self.register_buffer("u", F.normalize(torch.randn_like(matrix[:, 0]), dim=0))
        self.register_buffer("v", torch.zeros_like(matrix[0]))
        if not weight.is_meta:
            self.iterate(weight, WARM_UP)

    def forward(self, weight: Tensor) -> Tensor:
        u, v = self.u.clone(), self.v.clone()  # the next pass changes them before this one's derivatives are taken
        with no_autocast(weight):
            return weight / torch.dot(u, self._matrix(weight) @ v)

    @torch.no_grad()
    def iterate(self, weight: Tensor, count: int = 1) -> None:
        """Take steps of the power method."""
        matrix = self._matrix(weight)
        with no_autocast(weight):
            for _ in range(count):
                self.v.copy_(F.normalize(matrix.T @ self.u, dim=0, eps=EPS))
                self.u.copy_(F.normalize(matrix @ self.v, dim=0, eps=EPS))

    def _matrix(self, weight: Tensor) -> Tensor:
        return (weight.transpose(0, 1) if self.transposed else weight).flatten(1)


def _iterate(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
    if layer.training:
        weights = layer.parametrizations["weight"]  # type: ignore[index]
        for norm in (module for module in weights if isinstance(module, _SpectralNorm)):  # type: ignore[union-attr]
            norm.iterate(weights.original)  # type: ignore[arg-type, union-attr]


class _Comparing(nn.Module):
    """Last layer of a discriminator whose output also depends on how close samples are.

    The layer itself is registered last, as it is applied. Weights of the closeness are initialized as torch does for a
    dense layer that also has the inputs of the layer.

    Shape: those of the layer, whose input has F values per sample and whose output is [N, out] or [N, out, 1, 1].
    """

    def __init__(self, layer: nn.Module, weight: Tensor, kernels: int, dims: int, group: int) -> None:
        super().__init__()
        inputs = weight[0].numel()
        self.group = group
        self.distances = MinibatchDiscrimination(inputs, kernels, dims)
        self.closeness = nn.Linear(kernels, len(weight), bias=False)
        nn.init.uniform_(self.closeness.weight, -1 / math.sqrt(inputs + kernels), 1 / math.sqrt(inputs + kernels))
        self.to(weight.device, weight.dtype)
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        more, scores = self.closeness(self.distances(x.flatten(1), self.group)), self.layer(x)
        return scores + more.view(*more.shape, *[1] * (scores.ndim - 2))
