"""The two restoration networks of CelebA-HQ (ProGAN appendix C), as in their papers and in small sizes for a CPU."""

from progan.restoration.artefacts import ArtefactsConfig
from progan.restoration.super_resolution import SuperResolutionConfig
from progan.schedule import ScheduleConfig
from progan.training.config import RunConfig


def artefacts() -> RunConfig:
    """JPEG artifact removal by RED30 (Mao et al. 2016), on crops of 256x256 photographs; run length chosen by us."""
    return RunConfig(
        gan=ArtefactsConfig(),
        schedule=_fixed(256, batch=64, lr=1e-4, total_kimg=10_000),
        beta1=0.9,
        beta2=0.999,
    )


def artefacts_small() -> RunConfig:
    """JPEG artifact removal with 10 layers of 32 maps, on crops of 128x128 photographs; about 6 minutes on one core."""
    return RunConfig(
        gan=ArtefactsConfig(maps=32, depth=5, crop=48),
        schedule=_fixed(128, batch=8, lr=5e-4, total_kimg=16),
        beta1=0.9,
        beta2=0.999,
        ema_kimg=0.5,
        log_kimg=0.4,
        sample_kimg=2,
        snapshot_kimg=5,
    )


def super_resolution() -> RunConfig:
    """4x super-resolution by SRGAN (Ledig et al. 2017): 1,000,000 steps of SRResNet, then 200,000 steps of the GAN."""
    return RunConfig(
        gan=SuperResolutionConfig(),
        schedule=_fixed(256, batch=16, lr=1e-4, total_kimg=19_200),
        beta1=0.9,
        beta2=0.999,
    )


def super_resolution_small() -> RunConfig:
    """4x super-resolution with 4 blocks of 32 maps, on crops of 128x128 photographs; about 7 minutes on one core."""
    return RunConfig(
        gan=SuperResolutionConfig(maps=32, blocks=4, critic_maps=16, crop=48, pretrain_steps=1500),
        schedule=_fixed(128, batch=8, lr=5e-4, total_kimg=18),
        beta1=0.9,
        beta2=0.999,
        ema_kimg=0.5,
        log_kimg=0.4,
        sample_kimg=2,
        snapshot_kimg=5,
    )


def _fixed(resolution: int, *, batch: int, lr: float, total_kimg: float) -> ScheduleConfig:
    """Return a schedule without growing."""
    return ScheduleConfig(resolution=resolution, start_resolution=resolution, batch=batch, lr=lr, total_kimg=total_kimg)
