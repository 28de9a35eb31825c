"""Layers and parameters of networks, counted without allocating their weights (ProGAN table 2)."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from progan.experiments.base import Row
from progan.experiments.job import Record, empty
from progan.experiments.results import markdown
from progan.gans.base import ImageSpec

CHANNELS = 3


def count_parameters(rows: list[Row]) -> list[Record]:
    """Return a record for each row with the number of parameters of every network."""
    return [_record(row) for row in rows]


def layers(row: Row) -> str:
    """Describe both networks of a row at full size as Markdown tables with the output and parameters of each layer."""
    networks, spec = _networks(row)
    level = spec.levels - 1
    with torch.device("meta"):
        z = torch.empty(_batch(row), networks["generator"].latent.size)  # type: ignore[union-attr, arg-type]
        images = torch.empty(_batch(row), spec.channels, spec.height, spec.width)
    called = {"generator": (z, level), "discriminator": (images, level)}
    return "\n\n".join(_layers(f"{row.name}, {name}", networks[name], *args) for name, args in called.items())


def _record(row: Row) -> Record:
    networks, _ = _networks(row)
    values: dict[str, Any] = {name: _size(network) for name, network in networks.items()}
    return {**empty(row.name), "measured": {"parameters": {"values": values, "real": {}}}}


def _networks(row: Row) -> tuple[nn.ModuleDict, ImageSpec]:
    config = row.config()
    side = config.schedule.resolution
    spec = ImageSpec(CHANNELS, side, side)
    with torch.device("meta"):
        return config.gan.make(spec).networks, spec


def _batch(row: Row) -> int:
    """Return a batch size that every layer accepts: a whole group."""
    return min(row.config().gan.group, 16)


def _layers(title: str, network: nn.Module, *inputs: Any) -> str:
    """Return a table with one line per layer in order of use, and one for the layers not used at full size."""
    lines = [[title, "output", "parameters"]]
    names = {module: name for name, module in network.named_modules()}
    seen: set[nn.Module] = set()

    def note(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor) and module not in seen:
            seen.add(module)
            lines.append([names[module], "x".join(map(str, output.shape[1:])), f"{_size(module):,}"])

    leaves = [module for module in network.modules() if not list(module.children()) and _size(module)]
    hooks = [leaf.register_forward_hook(note) for leaf in leaves]
    with torch.no_grad():
        network(*inputs)
    for hook in hooks:
        hook.remove()
    rest = _size(network) - sum(_size(module) for module in seen)
    lines += [
        ["not used at full size", "", f"{rest:,}"],
        ["total", "", f"{_size(network):,}"],
    ]
    return markdown(lines)


def _size(module: nn.Module) -> int:
    return sum(math.prod(p.shape) for p in module.parameters())
