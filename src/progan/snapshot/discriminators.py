"""The trained networks that a snapshot's sampler lacks, such as the discriminator, in one file beside it."""

from pathlib import Path

import torch
from torch import nn

from progan.errors import CheckpointError
from progan.gans.base import GAN, ImageSpec
from progan.snapshot import BESIDE, Snapshot, find, header_of
from progan.snapshot.registry import GANS
from progan.snapshot.tensors import read_tensors, write_tensors

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
    header, weights = read_tensors(file, FORMAT)
    with header_of(file):
        networks = GANS[header["gan"]](**header["config"]).make(ImageSpec.of(header["spec"])).networks
    names = dict.fromkeys(key.partition(".")[0] for key in weights)
    try:
        found = nn.ModuleDict({name: networks[name] for name in names})
        found.load_state_dict(weights)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{file}: its weights do not fit its settings ({error})") from error
    found.to(device, memory_format=torch.channels_last).requires_grad_(False).eval()  # type: ignore[call-overload]
    return dict(found.items())
