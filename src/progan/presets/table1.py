"""Table 1 of Karras et al. 2018: from the WGAN-GP of Gulrajani et al. to ProGAN at 128x128, one change per row.

CelebA and LSUN bedroom use the same settings, except that bedrooms are not mirrored (--no-mirror). Most settings are
from appendix A.2, the others from the released programs. The half-life of G's average in images is equal in all rows.
"""

from dataclasses import replace

from progan.gans import ProGANConfig
from progan.presets.progressive import STDDEV_GROUP
from progan.schedule import ScheduleConfig
from progan.training.config import RunConfig


def table1_a() -> RunConfig:
    """Table 1, row a: WGAN-GP of Gulrajani et al.: batch and layer norm, 5 steps of D, batch size 64; no growing."""
    return RunConfig(
        gan=ProGANConfig(
            fmap_base=2048,
            latent_size=128,
            normalize_latents=False,
            generator_norm="batch",
            generator_activation="relu",
            tanh=True,
            discriminator_norm="layer",
            equalized=False,
            stddev_group=0,
            drift_weight=0.0,
            n_critic=5,
        ),
        schedule=ScheduleConfig(resolution=128, start_resolution=128, total_kimg=10_000, batch=64, lr=1e-4),
        beta2=0.9,
        ema_decay=0.999**20,
    )


def table1_b() -> RunConfig:
    """Table 1, row b: row a with progressive growing."""
    row = table1_a()
    return replace(row, schedule=replace(row.schedule, start_resolution=4, hold_kimg=600, fade_kimg=600))


def table1_c() -> RunConfig:
    """Table 1, row c: row b with batch size 16 instead of 64."""
    row = table1_b()
    return replace(row, schedule=replace(row.schedule, batch=16), ema_decay=0.999**5)


def table1_d() -> RunConfig:
    """Table 1, row d: row c with revised settings: 1 step of D, no normalization, leaky ReLU, drift, 512 latents."""
    row = table1_c()
    gan = replace(
        row.gan,
        latent_size=None,  # as many as the 4x4 block has maps, 512
        normalize_latents=True,
        generator_norm="none",
        generator_activation="leaky",
        tanh=False,
        discriminator_norm="none",
        drift_weight=0.001,
        n_critic=1,
    )
    return replace(row, gan=gan, beta2=0.99, ema_decay=0.999)


def table1_e_star() -> RunConfig:
    """Table 1, row e*: row d with the minibatch discrimination of Salimans et al. 2016, an alternative to row e."""
    row = table1_d()
    return replace(row, gan=replace(row.gan, minibatch_discrimination=100))


def table1_e() -> RunConfig:
    """Table 1, row e: row d with minibatch standard deviation."""
    row = table1_d()
    return replace(row, gan=replace(row.gan, stddev_group=STDDEV_GROUP))


def table1_f() -> RunConfig:
    """Table 1, row f: row e with equalized learning rate, and a learning rate ten times higher."""
    row = table1_e()
    return replace(row, gan=replace(row.gan, equalized=True), schedule=replace(row.schedule, lr=1e-3))


def table1_g() -> RunConfig:
    """Table 1, row g: row f with pixel norm in G."""
    row = table1_f()
    return replace(row, gan=replace(row.gan, generator_norm="pixel"))


def table1_h() -> RunConfig:
    """Table 1, row h: row g with networks of full capacity, trained longer (the paper does not say how long)."""
    row = table1_g()
    return replace(row, gan=replace(row.gan, fmap_base=8192), schedule=replace(row.schedule, total_kimg=20_000))
