"""Table 4 of Karras et al. 2018 (MNIST-1K): training methods, one change per row, each with two sizes of a small D.

The paper specifies the networks, losses and schedule, and the batch size of WGAN-GP. The rest is our choice: batch size
64 in the first two rows as well, with Adam's beta1 0.5 and learning rate 0.0002 as in DCGAN; from WGAN-GP on, the betas
0 and 0.9 of Gulrajani et al. with learning rate 0.001; and for G's average the same half-life in images as in ProGAN.

D has no normalization in WGAN-GP, as in Gulrajani et al.: batch norm makes a score depend on the other samples, whereas
the penalty applies to each sample. In trials with K/4 and 150 kimg, G produced 2 modes with batch norm in D (learning
rate 0.0001; at 0.001 the scores diverged) and 110 without. With layer norm and 500 kimg it produced 20, because layer
norm hides an image's mean and contrast from D, and G produced pale digits on gray.
"""

from dataclasses import replace
from functools import partial

from progan.gans import MNIST1KConfig
from progan.schedule import ScheduleConfig
from progan.training.config import RunConfig


def gan(shrink: int) -> RunConfig:
    """MNIST-1K (table 4): GAN of Metz et al. 2017 with non-saturating loss and batch norm."""
    return RunConfig(
        gan=MNIST1KConfig(shrink=shrink),
        schedule=ScheduleConfig(resolution=32, start_resolution=32, batch=64, lr=2e-4, total_kimg=10_000),
        mirror=False,
        beta1=0.5,
        beta2=0.999,
        ema_decay=0.999**4,
    )


def unrolled(shrink: int) -> RunConfig:
    """MNIST-1K (table 4): unrolled GAN, in which G's gradient passes through 5 steps of D."""
    row = gan(shrink)
    return replace(row, gan=replace(row.gan, unrolled=5))


def wgan_gp(shrink: int) -> RunConfig:
    """MNIST-1K (table 4): WGAN-GP with 5 steps of D per step of G and no normalization in D."""
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
    """MNIST-1K (table 4): WGAN-GP with equalized learning rate, and pixel norm instead of batch norm in G."""
    row = wgan_gp(shrink)
    return replace(row, gan=replace(row.gan, normalization="ours"))


def stddev(shrink: int) -> RunConfig:
    """MNIST-1K (table 4): the previous row with minibatch standard deviation."""
    row = normalization(shrink)
    return replace(row, gan=replace(row.gan, stddev=True))


def growing(shrink: int) -> RunConfig:
    """MNIST-1K (table 4): the previous row with progressive growing, 15,000 kimg."""
    row = stddev(shrink)
    timetable = replace(row.schedule, start_resolution=4, hold_kimg=500, fade_kimg=2000, total_kimg=15_000)
    return replace(row, schedule=timetable)


ROWS = (gan, unrolled, wgan_gp, normalization, stddev, growing)
PRESETS = {f"mnist_1k_k{shrink}_{row.__name__}": partial(row, shrink) for shrink in (2, 4) for row in ROWS}
