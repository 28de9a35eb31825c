"""Which networks restore photographs before faces are cut out of them (ProGAN appendix C)."""

from pathlib import Path

import torch

from progan.errors import ConfigError
from progan.restoration.restore import Restoration
from progan.snapshot import Snapshot
from progan.weights import weight_hash


def load_restore(
    artefacts: Path | None = None, super_resolution: Path | None = None, *, device: torch.device | str = "cpu"
) -> tuple[Restoration, str]:
    """What removes JPEG artefacts, then enlarges four times, as far as snapshots of such networks are given.

    Args:
        artefacts: snapshot or run directory of 'progan train artefacts'.
        super_resolution: the same of 'progan train super_resolution'.
        device: where to calculate.

    Returns:
        the restoration, and a name that differs whenever its weights do.

    Raises:
        ConfigError: if neither is given, or one is something else.
        CheckpointError: if one cannot be read.
    """
    networks, names = [], []
    for kind, path in (("artefacts", artefacts), ("super_resolution", super_resolution)):
        if path is None:
            continue
        snapshot = Snapshot.load(path, device=device)
        if snapshot.gan != kind or snapshot.spec.channels != 3:
            raise ConfigError(
                f"{path}: wanted a network of kind {kind} for RGB images, found {snapshot.gan} for images of "
                f"{snapshot.spec.channels} channels\n  fix:   progan train {kind} PHOTOGRAPHS"
            )
        networks.append(snapshot.sampler)
        names.append(f"{kind} {weight_hash(snapshot.sampler.state_dict())}")
    if not networks:
        raise ConfigError("restoring needs the snapshot of an artefacts or of a super_resolution network")
    return Restoration(tuple(networks)), ", ".join(names)
