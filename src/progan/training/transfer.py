"""Transfer: the first weights of a run are those of another run or of a snapshot, as far as they fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from progan.errors import ConfigError
from progan.snapshot import Snapshot, find
from progan.snapshot.discriminators import beside, load_discriminators
from progan.training import checkpoint
from progan.training.loop import Trainer

_NAMED = 3  # tensors that do not fit and are named for each network


@dataclass(frozen=True)
class Source:
    """Trained weights of a run or a snapshot."""

    path: Path
    networks: Mapping[str, Tensor]
    """Tensors of all networks by "network.tensor"; of a snapshot without its discriminator, there are none."""
    sampler: Mapping[str, Tensor]
    """Tensors of the averaged sampler."""

    @classmethod
    def read(cls, path: str | Path) -> "Source":
        """Read the checkpoint of a run directory, or a snapshot and the discriminator next to it, if there is one.

        Raises:
            CheckpointError: if there is neither, or it is damaged.
        """
        path = Path(path)
        state, _ = checkpoint.load(path) if path.is_dir() else (None, [])
        if state is not None:
            return cls(path, state["trainer"]["networks"], state["trainer"]["ema"])
        file = find(path)
        others = nn.ModuleDict(load_discriminators(file) if beside(file).is_file() else {})
        return cls(path, others.state_dict(), Snapshot.load(file).sampler.state_dict())


def begin_with(source: Source, trainer: Trainer) -> list[str]:
    """Give a trainer that has made no step the weights of a source: whatever has the same name and shape.

    Returns:
        Lines that say what was taken and what was not.

    Raises:
        ConfigError: if no weights fit.
    """
    gan, lines = trainer.gan, []
    given = _taken(gan.sampler, source.sampler)  # also names the weights of networks that are in no snapshot
    trainer.ema.reset()
    for name, network in gan.networks.items():
        tensors = {key.removeprefix(f"{name}."): t for key, t in source.networks.items() if key.startswith(f"{name}.")}
        if tensors:
            lines.append(_line(name, network, tensors, _taken(network, tensors)))
        elif name in trainer.sampled:
            lines.append(_line(name, gan.sampler, source.sampler, given))
        else:
            lines.append(f"init: {source.path} has no {name}, which starts with new weights")
    _taken(trainer.ema.network, source.sampler)
    if not any(line.startswith("init: took") for line in lines):
        raise ConfigError(
            f"--init {source.path}: none of its weights fits these networks; use the preset and the --gan settings "
            "that it was trained with"
        )
    return lines


@torch.no_grad()
def _taken(network: nn.Module, tensors: Mapping[str, Tensor]) -> set[str]:
    """Copy the tensors that fit into a network; return their names."""
    found = network.state_dict()
    fitting = {name for name, tensor in found.items() if name in tensors and tensors[name].shape == tensor.shape}
    for name in fitting:
        found[name].copy_(tensors[name])
    return fitting


def _line(name: str, network: nn.Module, tensors: Mapping[str, Tensor], taken: set[str]) -> str:
    """What was taken for a network, and what was not."""
    here = network.state_dict()
    if not taken:
        return f"init: nothing fits the {name}, which starts with new weights"
    new = [key for key in here if key not in taken]
    if not new:
        return f"init: took all {len(here)} tensors of the {name}"
    shown = "; ".join(
        f"{key} is {_shape(here[key])} here and {_shape(tensors[key]) if key in tensors else 'missing'} there"
        for key in new[:_NAMED]
    )
    more = f"; and {len(new) - _NAMED} more" if len(new) > _NAMED else ""
    return f"init: took {len(taken)} of {len(here)} tensors of the {name}; new are: {shown}{more}"


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
