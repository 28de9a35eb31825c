"""Restoration networks for photographs before faces are cropped from them (ProGAN appendix C)."""

from pathlib import Path

import torch

from progan.errors import ConfigError
from progan.restoration.restore import Restoration
from progan.snapshot import Snapshot
from progan.weights import weight_hash


def load_restore(
    artefacts: Path | None = None, super_resolution: Path | None = None, *, device: torch.device | str = "cpu"
) -> tuple[Restoration, str]:
    """Load the networks that remove JPEG artifacts and then enlarge images four times, or one of the two.

    Args:
        artefacts: snapshot or run directory of 'progan train artefacts'.
        super_resolution: snapshot or run directory of 'progan train super_resolution'.
        device: device for the networks.

    Returns:
        The restoration, and a name that identifies its weights.

    Raises:
        ConfigError: if neither is given, or one contains a different kind of network.
        CheckpointError: if one cannot be read.
    """
    networks, names = [], []
    for kind, path in (("artefacts", artefacts), ("super_resolution", super_resolution)):
        if path is None:
            continue
        snapshot = Snapshot.load(path, device=device)
        if snapshot.gan != kind or snapshot.spec.channels != 3:
            raise ConfigError(
                f"{path}: expected a network of kind {kind} for RGB images, found {snapshot.gan} for images with "
                f"{snapshot.spec.channels} channels\n  fix:   progan train {kind} PHOTOGRAPHS"
            )
        networks.append(snapshot.sampler)
        names.append(f"{kind} {weight_hash(snapshot.sampler.state_dict())}")
    if not networks:
        raise ConfigError("restoration requires the snapshot of an artefacts or a super_resolution network")
    return Restoration(tuple(networks)), ", ".join(names)
