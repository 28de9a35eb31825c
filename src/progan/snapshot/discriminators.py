"""The trained networks that a snapshot's sampler lacks, such as the discriminator, in one file beside it."""

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
    """Where the trained networks are that the snapshot's sampler lacks, such as the discriminator."""
    return snapshot.with_name(f"{snapshot.stem}{BESIDE}.safetensors")


def save_discriminators(snapshot: Snapshot, path: Path, gan: GAN) -> None:
    """Write every trained network that the snapshot at ``path`` lacks into one file beside it, if there are any.

    Raises:
        CheckpointError: if the disk does not take it.
    """
    sampled = {id(p) for p in gan.sampler.parameters()}
    lacking = {n: net for n, net in gan.networks.items() if not all(id(p) in sampled for p in net.parameters())}
    if lacking:
        weights = nn.ModuleDict(lacking).state_dict()
        write_tensors(beside(path), weights, snapshot.header() | {"format": FORMAT})


def load_discriminators(path: Path | str, *, device: torch.device | str = "cpu") -> dict[str, nn.Module]:
    """The trained networks that a snapshot's sampler lacks, by name: a GAN's discriminator.

    Args:
        path: the snapshot, or whatever ``Snapshot.load`` takes.

    Raises:
        CheckpointError: if there are none beside it, or the file is damaged.
    """
    file = beside(find(Path(path)))
    if not file.is_file():
        raise CheckpointError(f"{file}: does not exist; a run writes it at its end, beside its last snapshot")
    values, tensors = read_header(file, FORMAT)
    header = Header.of(values, file)
    with fitting(file), outlined():
        networks = header.config.make(header.spec).networks
        names = dict.fromkeys(name.partition(".")[0] for name in tensors)
        found = nn.ModuleDict({name: networks[name] for name in names})
    return dict(read_into(found, file, device=device).items())
