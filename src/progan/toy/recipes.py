"""The losses and cures of 'progan toy', each with the settings that its paper recommends."""

from dataclasses import dataclass, replace
from typing import Any

from progan.gans.points import PointsConfig
from progan.gans.tricks import NetworkTricks
from progan.presets.family import constant
from progan.training.config import RunConfig

BATCH = 128
"""Points per step."""
STEPS = 2000
"""Steps of G."""
NETWORKS = PointsConfig(width=128, layers=2, activation="relu", orthogonal=0.8, latent_size=64)
"""Networks of all: two hidden layers of 128, orthogonal weights of gain 0.8 (Metz et al. 2017, appendix A)."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A loss or cure and its settings."""

    title: str
    """Name for people."""
    about: str
    """One line: what it is, and where it comes from."""
    gan: PointsConfig
    lr: float = 1e-3
    beta1: float = 0.5
    beta2: float = 0.999

    def run(self, *, seed: int, steps: int) -> RunConfig:
        """Return the settings of a run of ``steps`` steps of G."""
        kimg = steps * BATCH * (self.gan.tricks.d_steps or self.gan.n_critic) / 1000
        rates = {"lr": self.lr, "beta1": self.beta1, "beta2": self.beta2}
        return constant(self.gan, 1, batch=BATCH, total_kimg=kimg, seed=seed, **rates)  # type: ignore[arg-type]


PLAIN = "non_saturating"
"""Name of the GAN that the tricks are added to."""
_PLAIN = replace(NETWORKS, loss="non_saturating")

RECIPES = {
    "saturating": Recipe(
        title="GAN, min-max",
        about="the game of the first paper: G minimizes what D maximizes (Goodfellow et al. 2014, equation 1)",
        gan=replace(NETWORKS, loss="saturating"),
    ),
    "non_saturating": Recipe(
        title="GAN, non-saturating",
        about="the plain GAN: G maximizes log D (Goodfellow et al. 2014, section 3)",
        gan=_PLAIN,
    ),
    "least_squares": Recipe(
        title="LSGAN (0, 1, 1)",
        about="squared distances from 0 and 1 instead of logarithms (Mao et al. 2017, equation 9)",
        gan=replace(NETWORKS, loss="least_squares"),
    ),
    "pearson": Recipe(
        title="LSGAN (-1, 1, 0)",
        about="squared distances whose minimum is the Pearson divergence (Mao et al. 2017, equation 8)",
        gan=replace(NETWORKS, loss="pearson"),
    ),
    "hinge": Recipe(
        title="hinge",
        about="D stops where it is right by a margin (Lim and Ye 2017)",
        gan=replace(NETWORKS, loss="hinge"),
    ),
    "wgan": Recipe(
        title="WGAN, clipping",
        about="Wasserstein distance, weights of D clipped, 5 steps of D, RMSprop (Arjovsky et al. 2017)",
        gan=replace(NETWORKS, loss="wgan", n_critic=5, clip=0.1, optimizer="rmsprop"),
        beta2=0.99,
    ),
    "wgan_gp": Recipe(
        title="WGAN-GP",
        about="Wasserstein distance, gradient penalty 0.1, 5 steps of D (Gulrajani et al. 2017)",
        gan=replace(NETWORKS, loss="wgan_gp", n_critic=5, penalty_weight=0.1),
        beta2=0.9,
    ),
    "r1": Recipe(
        title="GAN + R1",
        about="the plain GAN with a penalty of D's gradient at real points (Mescheder et al. 2018)",
        gan=replace(_PLAIN, r1=0.1),
    ),
    "slow_d": Recipe(
        title="GAN, slow D",
        about="the plain GAN whose D learns at a tenth of G's rate: it collapses (Metz et al. 2017)",
        gan=replace(_PLAIN, d_lr=0.1),
    ),
    "unrolled": Recipe(
        title="GAN, slow D, unrolled",
        about="its cure: G looks 5 steps of D ahead (Metz et al. 2017)",
        gan=replace(_PLAIN, d_lr=0.1, unrolled=5),
    ),
    "discrimination": Recipe(
        title="GAN + minibatch discrimination",
        about="the plain GAN whose D sees the distances between 32 points (Salimans et al. 2016)",
        gan=replace(_PLAIN, minibatch="discrimination"),
    ),
    "stddev": Recipe(
        title="GAN + minibatch stddev",
        about="the plain GAN whose D sees the standard deviation of 32 points (Karras et al. 2018)",
        gan=replace(_PLAIN, minibatch="stddev"),
    ),
}
"""By the names in 'progan toy --loss'. Adam with beta1 0.5 and a learning rate of 1e-3 unless the paper has others."""


def _trick(title: str, about: str, **tricks: Any) -> Recipe:
    """The plain GAN with a trick."""
    return Recipe(title=title, about=about, gan=replace(_PLAIN, tricks=NetworkTricks(**tricks)))


TRICKS = {
    "smoothing": _trick("label smoothing", "D wants 0.9 for real points (Salimans et al. 2016)", label_smoothing=0.1),
    "flips": _trick("noise on labels", "one label in 20 is wrong", label_flips=0.05),
    "instance_noise": _trick(
        "instance noise",
        "D sees points with noise that falls to 0 (Sonderby et al. 2017)",
        instance_noise=0.1,
        instance_noise_kimg=STEPS * BATCH / 2000,
    ),
    "relativistic": _trick(
        "relativistic", "D compares real with generated points (Jolicoeur-Martineau 2019)", relativistic=True
    ),
    "dropout": _trick("dropout in D", "D drops a quarter of its features", d_dropout=0.25),
    "spectral_norm": _trick(
        "spectral norm", "each layer of D has a norm of 1 (Miyato et al. 2018)", spectral_norm=True
    ),
    "penalty": _trick("gradient penalty", "D has slopes of 1 between real and generated points", gradient_penalty=0.1),
    "one_sided": _trick("one-sided penalty", "D has no slopes above 1 there", gradient_penalty=0.1, one_sided=True),
    "r1_r2": _trick("R1 and R2", "D is flat at real and at generated points", r1=0.1, r2=0.1),
    "matching": _trick(
        "feature matching", "G matches the mean features of D (Salimans et al. 2016)", feature_matching=1.0
    ),
    "history": _trick("historical averaging", "both stay near their mean (Salimans et al. 2016)", history=1e-3),
    "ttur": _trick("TTUR", "D learns 4 times as fast as G (Heusel et al. 2017)", d_lr=2.0, g_lr=0.5),
    "d_steps": _trick("5 steps of D", "D steps 5 times, then G once", d_steps=5),
    "g_steps": _trick("2 steps of G", "D steps once, then G twice", g_steps=2),
    "clip": _trick("weight clipping", "all weights of D are within 0.3", clip=0.3),
    "weight_decay": _trick("weight decay", "both networks have an L2 penalty", weight_decay=1e-4),
}
"""Tricks on top of the plain GAN, by the names in 'progan toy --loss'; settings chosen for points, not tuned."""

KNOWN = RECIPES | TRICKS
"""All that can be trained."""

COMPARED = (PLAIN, "discrimination", "stddev", "r1", *TRICKS)
"""What 'progan toy --tricks' trains: the plain GAN and each of the tricks, some of which are cures above."""

DEFAULT = ("non_saturating", "least_squares", "r1")
"""What 'progan toy' trains if nothing is chosen: the plain GAN, another loss, and a penalty."""
