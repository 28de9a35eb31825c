"""CycleGAN (Zhu et al. 2017): the published run at 256x256, and smaller ones."""

from dataclasses import replace

from progan.gans.cyclegan import CycleGANConfig
from progan.presets.family import constant
from progan.schedule import DecayConfig
from progan.training.config import RunConfig

EPOCH = 1.334  # thousands of images: the zebras of the paper's horses and zebras, the larger of the two sets


def cyclegan_256() -> RunConfig:
    """CycleGAN as published: random 256x256 of 286 pixels, ResNet-9, 64 feature maps, 200 epochs of 1,334 images.

    The learning rate is 0.0002 for 100 epochs and then falls to 0 in a straight line, image by image. For n images in
    the larger data set, set total_kimg to n / 5 and decay.start_kimg to n / 10. The last epoch of the authors' PyTorch
    code has a learning rate of 0; here, it falls to 0 at the end.
    """
    return constant(
        CycleGANConfig(),
        256,
        batch=1,
        lr=2e-4,
        total_kimg=200 * EPOCH,
        decay=DecayConfig(kind="linear", start_kimg=100 * EPOCH),
        beta1=0.5,
        beta2=0.999,
        load_size=286,
        mirror=True,
        log_kimg=1,
        sample_kimg=5,
        snapshot_kimg=20,
    )


def cyclegan_128() -> RunConfig:
    """cyclegan_256 at 128x128 of 143 pixels: ResNet-6, 64 feature maps (section 7.2)."""
    row = cyclegan_256()
    return replace(row, gan=CycleGANConfig(blocks=6), schedule=row.schedule.resized(128), load_size=143)


def cyclegan_64_small() -> RunConfig:
    """cyclegan_128 for a laptop: random 64x64 of 72 pixels, 32 feature maps instead of 64, and 10 kimg."""
    row = cyclegan_128()
    decay = DecayConfig(kind="linear", start_kimg=5)
    schedule = replace(row.schedule.resized(64), total_kimg=10, decay=decay)
    gan = CycleGANConfig(blocks=6, ngf=32, ndf=32)
    return replace(row, gan=gan, schedule=schedule, load_size=72, log_kimg=0.1, sample_kimg=0.5, snapshot_kimg=2)
