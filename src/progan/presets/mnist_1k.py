"""Table 4 of Karras et al. 2018 (MNIST-1K): ways of training, one change a row, each with two sizes of a small D.

The paper tells networks, losses, timetable, and the batch of WGAN-GP. The rest is ours: batch 64 in the first two
rows, too; there Adam with beta1 0.5 and rate 0.0002, as in DCGAN; from WGAN-GP on Gulrajani's betas 0 and 0.9 with rate
0.001; G's average with the half-life of ProGAN's in images.

D has no norm in WGAN-GP, as in Gulrajani et al.: batch norm makes a score depend on the other samples, but the penalty
is one of single samples. In trials of K/4 with 150 kimg G made 2 modes with batch norm in D (at rate 0.0001; at 0.001
the scores ran away), and 110 without. With layer norm and 500 kimg it made 20: that hides an image's mean and contrast
from D, and G made pale digits on grey.
"""

from dataclasses import replace
from functools import partial

from progan.gans import MNIST1KConfig
from progan.schedule import ScheduleConfig
from progan.training.config import RunConfig


def gan(shrink: int) -> RunConfig:
    """The GAN of Metz et al. 2017: non-saturating loss and batch norm."""
    return RunConfig(
        gan=MNIST1KConfig(shrink=shrink),
        schedule=ScheduleConfig(resolution=32, start_resolution=32, batch=64, lr=2e-4, total_kimg=10_000),
        mirror=False,
        beta1=0.5,
        beta2=0.999,
        ema_decay=0.999**4,
    )


def unrolled(shrink: int) -> RunConfig:
    """Unrolled GAN: G's gradient goes through 5 steps of D."""
    row = gan(shrink)
    return replace(row, gan=replace(row.gan, unrolled=5))


def wgan_gp(shrink: int) -> RunConfig:
    """WGAN-GP in place of the GAN's loss: 5 steps of D, no norm in D, other settings of Adam."""
    row = gan(shrink)
    return replace(
        row,
        gan=replace(row.gan, loss="wgan", n_critic=5, normalization="generator"),
        schedule=replace(row.schedule, lr=1e-3),
        beta1=0.0,
        beta2=0.9,
        ema_decay=0.999**20,
    )


def normalization(shrink: int) -> RunConfig:
    """+ our normalization: equalized learning rate, and pixel norm in G in place of batch norm."""
    row = wgan_gp(shrink)
    return replace(row, gan=replace(row.gan, normalization="ours"))


def stddev(shrink: int) -> RunConfig:
    """+ minibatch standard deviation."""
    row = normalization(shrink)
    return replace(row, gan=replace(row.gan, stddev=True))


def growing(shrink: int) -> RunConfig:
    """+ progressive growing, 15,000 kimg."""
    row = stddev(shrink)
    timetable = replace(row.schedule, start_resolution=4, hold_kimg=500, fade_kimg=2000, total_kimg=15_000)
    return replace(row, schedule=timetable)


ROWS = (gan, unrolled, wgan_gp, normalization, stddev, growing)
PRESETS = {f"mnist_1k_k{shrink}_{row.__name__}": partial(row, shrink) for shrink in (2, 4) for row in ROWS}
