"""Runs of Karras et al. 2018 (ProGAN) and of their released program, and small runs of our own."""

from dataclasses import replace

from progan.gans import ProGANConfig
from progan.gans.tricks import Tricks
from progan.schedule import ScheduleConfig
from progan.training.config import RunConfig

FEW = 2000
"""Number of images below which the preset "auto" augments them."""
STDDEV_GROUP = 16  # stddev group of the paper, which took the whole batch; smaller batches are one group too


def celebahq_1024_paper() -> RunConfig:
    """CelebA-HQ at 1024x1024 as in the paper (appendix A): 1 GPU, batch size 16 falling to 3, 19,000 kimg."""
    return RunConfig(
        gan=ProGANConfig(stddev_group=STDDEV_GROUP),
        schedule=ScheduleConfig(
            batch={4: 16, 256: 14, 512: 6, 1024: 3}, lr=0.001, hold_kimg=800, fade_kimg=800, total_kimg=19_000
        ),
    )


def celebahq_1024() -> RunConfig:
    """CelebA-HQ at 1024x1024 with the released program's settings for 1 GPU, 12,000 kimg."""
    return _celebahq({4: 128, 32: 64, 64: 32, 128: 16, 256: 8, 512: 4}, {4: 0.001, 1024: 0.0015})


def celebahq_1024_2gpu() -> RunConfig:
    """CelebA-HQ at 1024x1024 with the released program's settings for 2 GPUs (torchrun --nproc-per-node 2)."""
    return _celebahq({4: 256, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8}, {4: 0.001, 512: 0.0015, 1024: 0.002})


def celebahq_1024_4gpu() -> RunConfig:
    """CelebA-HQ at 1024x1024 with the released program's settings for 4 GPUs (torchrun --nproc-per-node 4)."""
    return _celebahq(
        {4: 512, 8: 256, 16: 128, 32: 64, 64: 32, 128: 16}, {4: 0.001, 256: 0.0015, 512: 0.002, 1024: 0.003}
    )


def celebahq_1024_8gpu() -> RunConfig:
    """CelebA-HQ at 1024x1024 with the released program's settings for 8 GPUs (torchrun --nproc-per-node 8)."""
    return _celebahq({4: 512, 8: 256, 16: 128, 32: 64, 64: 32}, {4: 0.001, 128: 0.0015, 256: 0.002, 512: 0.003})


def _celebahq(batch: dict[int, int], lr: dict[int, float]) -> RunConfig:
    return RunConfig(schedule=ScheduleConfig(batch=batch, lr=lr, hold_kimg=600, fade_kimg=600, total_kimg=12_000))


def celebahq_1024_no_growing() -> RunConfig:
    """CelebA-HQ as in the paper, but at 1024x1024 from the start with batch size 3 (figure 4c)."""
    return without_growing(celebahq_1024_paper())


def celebahq_1024_lsgan() -> RunConfig:
    """CelebA-HQ as in the paper, but with a least-squares loss and noise in D instead of WGAN-GP (appendix B)."""
    run = celebahq_1024_paper()
    gan = replace(run.gan, loss="least_squares", adaptive_noise=True, penalty_weight=0.0, drift_weight=0.0)
    return replace(run, gan=gan)


def without_growing(run: RunConfig) -> RunConfig:
    """Return the same run, trained at its full resolution from the start (figure 4)."""
    return replace(run, schedule=replace(run.schedule, start_resolution=run.schedule.resolution))


def lsun_256() -> RunConfig:
    """One of the 30 LSUN categories at 256x256 (paper, appendix G), 20,000 kimg.

    The paper used all images of bedroom and dog without mirroring (--no-mirror), and 100,000 images of each other
    category with mirroring.
    """
    return RunConfig(
        gan=ProGANConfig(stddev_group=STDDEV_GROUP),
        schedule=ScheduleConfig(resolution=256, hold_kimg=800, fade_kimg=800, total_kimg=20_000),
    )


def cifar10() -> RunConfig:
    """Unsupervised CIFAR-10 at 32x32 (paper, section 6.5 and appendix D), 20,000 kimg."""
    return RunConfig(
        gan=ProGANConfig(
            fmap_base=4096, fmap_max=128, stddev_group=STDDEV_GROUP, penalty_target=750.0, simultaneous=True
        ),
        schedule=ScheduleConfig(resolution=32, hold_kimg=400, fade_kimg=400, total_kimg=20_000),
        mirror=False,
    )


def cifar10_conditional() -> RunConfig:
    """Class-conditional CIFAR-10: G receives the labels, and D also classifies the images (AC-GAN)."""
    run = cifar10()
    return replace(run, gan=replace(run.gan, conditional=True))


def demo() -> RunConfig:
    """Images of 16x16 pixels for a first try; takes a few minutes on a laptop."""
    return RunConfig(
        gan=ProGANConfig(fmap_base=128, fmap_max=32, latent_size=64),
        schedule=ScheduleConfig(resolution=16, hold_kimg=3, fade_kimg=5, total_kimg=120, lr=0.008),
        mirror=False,
        log_kimg=1,
        sample_kimg=10,
        snapshot_kimg=50,
    )


def auto(
    resolution: int = 64,
    count: int = 10_000,
    device: str = "cpu",
    *,
    grows: bool = True,
    augments: bool = True,
    trained: ProGANConfig | None = None,
) -> tuple[RunConfig, list[str]]:
    """Return settings that suit the data and the machine, and the reasons for them.

    Args:
        resolution: shorter side of the images [pixels].
        count: number of images.
        device: type of the device: "cuda", "mps" or "cpu".
        grows: whether networks can grow to this size by doubling.
        augments: whether few images are augmented.
        trained: settings of networks that are trained already, and therefore need not grow.
    """
    start = 4 if grows and trained is None else resolution
    levels = resolution.bit_length() - 3
    if device != "cuda":
        total = 40 * levels + 40
        gan = ProGANConfig(fmap_base=512, fmap_max=64, latent_size=128)
        schedule = replace(
            ScheduleConfig(batch=16, lr=0.003, hold_kimg=20, fade_kimg=20, total_kimg=total),
            resolution=resolution,
            start_resolution=start,
        )
        why = [
            f"{device}: at most 64 feature maps, batch size 16, 20 kimg per fade and per hold, {total} kimg in total"
        ]
    else:
        base = celebahq_1024()
        total = 1200 * levels + 2400
        gan, schedule = (
            base.gan,
            replace(base.schedule, resolution=resolution, start_resolution=start, total_kimg=total),
        )
        why = [
            f"{device}: the paper's networks, the released program's batch sizes for one GPU, {total:,} kimg in total"
        ]
    gan = gan if trained is None else replace(trained, tricks=Tricks())
    if augments and count < FEW:
        gan = replace(gan, tricks=Tricks(augment="adaptive", augment_kimg=total / 4))
    config = RunConfig(gan=gan, schedule=schedule)
    if device != "cuda":
        config = replace(config, ema_kimg=5, log_kimg=1, sample_kimg=10, snapshot_kimg=50)
        why.append("moving average of G with a half-life of 5 kimg, because the run is short")
    why += [f"resolution {resolution}, from the data", "random mirroring; use --no-mirror if left and right matter"]
    if trained is not None:
        why.append("the settings of the networks that it begins with, and no growing, because they are trained already")
    elif not grows:
        why.append("no growing, which requires a power of two as the shorter side and a multiple of it as the longer")
    if augments and count < FEW:
        why.append(
            f"only {count:,} images, which D is shown augmented, the more often the more it overfits (ADA); 5 % "
            "of them are held out to measure that; turn it off with --gan.tricks.augment none"
        )
    elif count < 5000:
        why.append(f"only {count:,} images: expect D to memorize them; stop early and compare with samples/reals.png")
    return config, why
