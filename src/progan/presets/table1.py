"""Table 1 of Karras et al. 2018: from the WGAN-GP of Gulrajani et al. to ProGAN, one change a row, at 128x128.

CelebA and LSUN bedroom were trained alike, except that bedrooms are not mirrored (--no-mirror). Appendix A.2 has most
settings, the released programs have the others. The decay of G's average keeps its half-life in images.
"""

from dataclasses import replace

from progan.gans import ProGANConfig
from progan.presets.progressive import STDDEV_GROUP
from progan.schedule import ScheduleConfig
from progan.training.config import RunConfig


def table1_a() -> RunConfig:
    """(a) WGAN-GP of Gulrajani et al. 2017: batch norm, layer norm, 5 steps of D, batch 64, no growing."""
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
    """(b) + progressive growing."""
    row = table1_a()
    return replace(row, schedule=replace(row.schedule, start_resolution=4, hold_kimg=600, fade_kimg=600))


def table1_c() -> RunConfig:
    """(c) + small minibatch, 16 instead of 64."""
    row = table1_b()
    return replace(row, schedule=replace(row.schedule, batch=16), ema_decay=0.999**5)


def table1_d() -> RunConfig:
    """(d) + revised training parameters: one step of D, no normalization, leaky ReLU, drift term, 512 latents."""
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
    """(e*) (d) + minibatch discrimination of Salimans et al. 2016, which was tried for (e)."""
    row = table1_d()
    return replace(row, gan=replace(row.gan, minibatch_discrimination=100))


def table1_e() -> RunConfig:
    """(e) (d) + minibatch standard deviation."""
    row = table1_d()
    return replace(row, gan=replace(row.gan, stddev_group=STDDEV_GROUP))


def table1_f() -> RunConfig:
    """(f) + equalized learning rate, which is ten times larger."""
    row = table1_e()
    return replace(row, gan=replace(row.gan, equalized=True), schedule=replace(row.schedule, lr=1e-3))


def table1_g() -> RunConfig:
    """(g) + pixel norm in G."""
    row = table1_f()
    return replace(row, gan=replace(row.gan, generator_norm="pixel"))


def table1_h() -> RunConfig:
    """(h) Converged: networks of full capacity, trained longer (the paper does not say how long)."""
    row = table1_g()
    return replace(row, gan=replace(row.gan, fmap_base=8192), schedule=replace(row.schedule, total_kimg=20_000))
