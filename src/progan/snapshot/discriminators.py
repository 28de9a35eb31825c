"""Trained networks that a snapshot does not contain, such as the discriminator, in one file next to it."""

from pathlib import Path

import torch
from torch import nn

from progan.errors import CheckpointError
from progan.gans.base import GAN
from progan.snapshot import BESIDE, Snapshot, find
from progan.snapshot.headers import Header, fitting
from progan.snapshot.outline import outlined
from progan.snapshot.tensors import read_header, read_into, write_tensors

FORMAT = "progan-networks-1"


def beside(snapshot: Path) -> Path:
    """Return the file of the trained networks that the snapshot does not contain, such as the discriminator."""
    return snapshot.with_name(f"{snapshot.stem}{BESIDE}.safetensors")


def save_discriminators(snapshot: Snapshot, path: Path, gan: GAN) -> None:
    """Write the trained networks that the snapshot at ``path`` does not contain, if any, into one file next to it.

    Raises:
        CheckpointError: if the file cannot be written.
    """
    sampled = {id(p) for p in gan.sampler.parameters()}
    lacking = {n: net for n, net in gan.networks.items() if not all(id(p) in sampled for p in net.parameters())}
    if lacking:
        weights = nn.ModuleDict(lacking).state_dict()
        write_tensors(beside(path), weights, snapshot.header() | {"format": FORMAT})


def load_discriminators(path: Path | str, *, device: torch.device | str = "cpu") -> dict[str, nn.Module]:
    """Read the trained networks that a snapshot does not contain, by name, such as the discriminator.

    Args:
        path: the snapshot, or anything else that ``Snapshot.load`` accepts.

    Raises:
        CheckpointError: if there is no such file next to the snapshot, or it is damaged.
    """
    file = beside(find(Path(path)))
    if not file.is_file():
        raise CheckpointError(f"{file}: does not exist; a run writes it at its end, next to its last snapshot")
    values, tensors = read_header(file, FORMAT)
    header = Header.of(values, file)
    with fitting(file), outlined():
        networks = header.config.make(header.spec).networks
        names = dict.fromkeys(name.partition(".")[0] for name in tensors)
        found = nn.ModuleDict({name: networks[name] for name in names})
    return dict(read_into(found, file, device=device).items())
