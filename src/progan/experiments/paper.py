"""Tables and figures of Karras et al. 2018 (ProGAN), with the paper's numbers."""

from dataclasses import replace
from typing import Any

from progan.data.recipes import RECIPES
from progan.experiments.base import Experiment, Paper, Row, Value

_PAPER = "Karras, Aila, Laine, Lehtinen 2018 (ProGAN)"
_NOT_MIRRORED = {"mirror": False}  # LSUN bedroom and dog (appendix G)


def _table1(levels: str, average: float, ms_ssim: float) -> Paper:
    """Return a line of Table 1: SWD x 1e3 at 128, 64, 32 and 16, their average, and MS-SSIM."""
    names = ("swd_128", "swd_64", "swd_32", "swd_16")
    return dict(zip(names, map(float, levels.split()), strict=True)) | {"swd": average, "ms_ssim": ms_ssim}


_TABLE1_ROWS = {
    "a": ("table1_a", "WGAN-GP of Gulrajani et al."),
    "b": ("table1_b", "+ progressive growing"),
    "c": ("table1_c", "+ small minibatch"),
    "d": ("table1_d", "+ revised training parameters"),
    "e*": ("table1_e_star", "d + minibatch discrimination"),
    "e": ("table1_e", "d + minibatch stddev"),
    "f": ("table1_f", "+ equalized learning rate"),
    "g": ("table1_g", "+ pixel normalization"),
    "h": ("table1_h", "full networks, trained to convergence"),
}
_FROM_RGB = ("no layer norm in D's convolutions of the images; the paper does not specify this, see Gulrajani et al.",)
_TABLE1_DIFFERS = {
    **dict.fromkeys("abc", _FROM_RGB),
    "e*": ("the initialization of minibatch discrimination is our choice",),
    "h": ("20,000 kimg is our choice; the paper does not say",),
}
_CELEBA = {
    "a": _table1("12.99 7.79 7.62 8.73", 9.28, 0.2854),
    "b": _table1("4.62 2.64 3.78 6.06", 4.28, 0.2838),
    "c": _table1("75.42 41.33 41.62 26.57", 46.23, 0.4065),
    "d": _table1("9.20 6.53 4.71 11.84", 8.07, 0.3027),
    "e*": _table1("10.76 6.28 6.04 16.29", 9.84, 0.3057),
    "e": _table1("13.94 5.67 2.82 5.71", 7.04, 0.2950),
    "f": _table1("4.42 3.28 2.32 7.52", 4.39, 0.2902),
    "g": _table1("4.06 3.04 2.02 5.13", 3.56, 0.2845),
    "h": _table1("2.42 2.17 2.24 4.99", 2.96, 0.2828),
}
_BEDROOM = {
    "a": _table1("11.97 10.51 8.03 14.48", 11.25, 0.0587),
    "b": _table1("7.09 6.27 7.40 9.64", 7.60, 0.0615),
    "c": _table1("72.73 40.16 42.75 42.46", 49.52, 0.1061),
    "d": _table1("7.39 5.51 3.65 9.63", 6.54, 0.0662),
    "e*": _table1("10.29 6.22 5.32 11.88", 8.43, 0.0648),
    "e": _table1("7.77 5.23 3.27 9.64", 6.48, 0.0671),
    "f": _table1("3.61 3.32 2.71 6.44", 4.02, 0.0668),
    "g": _table1("3.89 3.05 3.24 5.87", 4.01, 0.0640),
    "h": _table1("3.47 2.60 2.30 4.87", 3.31, 0.0636),
}


def _table1_rows(paper: dict[str, Paper], **more: Any) -> tuple[Row, ...]:
    return tuple(
        Row(name=n, preset=p, title=t, paper=paper[n], differs=_TABLE1_DIFFERS.get(n, ()), **more)
        for n, (p, t) in _TABLE1_ROWS.items()
    )


_CELEBA_DATA = "202,599 aligned CelebA images, cut to 128x128 around (89, 121)"
_CELEBA_PREPARE = "progan prepare celeba STORE --from img_align_celeba.zip"


def _swd_only(paper: Paper) -> Paper:
    return {metric: value for metric, value in paper.items() if metric != "ms_ssim"}


TABLE1_CELEBA = Experiment(
    name="table1_celeba",
    title="Table 1, CelebA 128x128",
    caption="What each component of the method adds, from WGAN-GP (a) to full ProGAN (h).",
    source=f"{_PAPER}, section 6.1",
    data=_CELEBA_DATA,
    prepare=_CELEBA_PREPARE,
    recipe="celeba",
    rows=_table1_rows(_CELEBA),
    metrics=("swd", "ms_ssim"),
)

TABLE1_BEDROOM = Experiment(
    name="table1_bedroom",
    title="Table 1, LSUN bedroom 128x128",
    caption="The rows of Table 1, trained on bedrooms.",
    source=f"{_PAPER}, section 6.1",
    data="3,033,042 images of LSUN bedroom at 128x128, not mirrored",
    prepare="progan prepare lsun_bedroom STORE --from bedroom_train_lmdb --resolution 128",
    recipe="lsun_bedroom",
    rows=_table1_rows(_BEDROOM, change=_NOT_MIRRORED),
    metrics=("swd", "ms_ssim"),
)


def _parameters(generator: int, discriminator: int) -> Paper:
    return {"generator": generator, "discriminator": discriminator}


TABLE2 = Experiment(
    name="table2",
    title="Table 2, the networks",
    caption="Layers and parameters of G and D, with the totals of the authors' program. For D of MNIST-1K "
    "the paper states about 2000 and 500.",
    source=f"{_PAPER}, appendix A.1",
    data="none",
    prepare="none",
    rows=(
        Row(name="celebahq", preset="celebahq_1024", paper=_parameters(23_079_115, 23_087_249)),
        Row(name="lsun", preset="lsun_256", paper=_parameters(23_044_309, 23_052_353)),
        Row(name="table1", preset="table1_g", paper=_parameters(13_629_810, 13_636_897)),
        Row(name="cifar10", preset="cifar10", paper=_parameters(1_296_908, 1_298_689)),
        Row(name="mnist-k2", preset="mnist_1k_k2_wgan_gp", paper={"discriminator": 2000}),
        Row(name="mnist-k4", preset="mnist_1k_k4_wgan_gp", paper={"discriminator": 500}),
    ),
)

_LAST = ("metrics are computed with a run's last generator, not with its best one",)

TABLE3 = Experiment(
    name="table3",
    title="Table 3, CIFAR-10",
    caption="Inception score of the best run, and mean and standard deviation of all runs, with and without labels.",
    source=f"{_PAPER}, section 6.5 and appendix D",
    data="50,000 CIFAR-10 training images, 32x32",
    prepare="progan prepare cifar10 STORE",
    rows=(
        Row(
            name="unsupervised",
            preset="cifar10",
            title="gradient target 750, simultaneous updates",
            paper={"inception_score": Value(8.56, 0.06, 8.80)},
            differs=_LAST,
        ),
        Row(name="labels", preset="cifar10_conditional", title="the same settings with AC-GAN labels", differs=_LAST),
    ),
    metrics=("inception", "fid", "swd", "ms_ssim", "fd_lite0"),
    seeds=10,
    best=True,
)


def _modes(count: float, count_deviation: float, kl: float, kl_deviation: float) -> Paper:
    return {"modes": Value(count, count_deviation), "kl": Value(kl, kl_deviation)}


_TABLE4_TITLES = {
    "gan": "GAN",
    "unrolled": "unrolled GAN, 5 steps",
    "wgan_gp": "WGAN-GP",
    "normalization": "+ our normalization",
    "stddev": "+ minibatch stddev",
    "growing": "+ progressive growing",
}
_GAN_OURS = "batch size 64 and Adam with learning rate 0.0002 and beta1 0.5 are our choice; the paper does not say"
_GAN_NORM = "D's convolution of the images has no batch norm; the paper does not specify this, see Radford et al."
_WGAN_OURS = ("Adam with learning rate 0.001 and betas 0 and 0.9 is our choice; the paper does not say",)
_TABLE4_DIFFERS = {
    "gan": (_GAN_OURS, _GAN_NORM),
    "unrolled": (
        _GAN_OURS,
        _GAN_NORM,
        "learning rate 0.05 of D's unrolled steps is our choice",
    ),
    "wgan_gp": (*_WGAN_OURS, "no batch norm in D, because the penalty applies to each sample"),
    **dict.fromkeys(("normalization", "stddev", "growing"), _WGAN_OURS),
}
_TABLE4 = {
    "k4": {
        "gan": _modes(30.6, 20.7, 5.99, 0.42),
        "unrolled": _modes(372.2, 20.7, 4.66, 0.46),
        "wgan_gp": _modes(640.1, 136.3, 1.97, 0.70),
        "normalization": _modes(856.7, 50.4, 1.10, 0.19),
        "stddev": _modes(881.3, 39.2, 1.09, 0.10),
        "growing": _modes(859.5, 36.2, 1.05, 0.09),
    },
    "k2": {
        "gan": _modes(628.0, 140.9, 2.58, 0.75),
        "unrolled": _modes(817.4, 39.9, 1.43, 0.12),
        "wgan_gp": _modes(772.4, 146.5, 1.35, 0.55),
        "normalization": _modes(886.6, 58.5, 0.98, 0.33),
        "stddev": _modes(918.3, 30.2, 0.89, 0.21),
        "growing": _modes(919.8, 35.1, 0.82, 0.13),
    },
}

TABLE4 = Experiment(
    name="table4",
    title="Table 4, MNIST-1K",
    caption="How many of 1000 three-digit numbers G generates with a small D (K/4, K/2), and KL from uniform.",
    source=f"{_PAPER}, appendix E; Metz et al. 2017",
    data="1,000,000 images of three MNIST digits as R, G and B, 32x32",
    prepare="progan prepare mnist_rgb STORE, and progan metric digits MNIST_FOLDER",
    recipe="mnist_rgb",
    rows=tuple(
        Row(
            name=f"{size}-{name}".replace("_", "-"),
            preset=f"mnist_1k_{size}_{name}",
            title=_TABLE4_TITLES[name],
            paper=paper,
            differs=_TABLE4_DIFFERS[name],
        )
        for size, rows in _TABLE4.items()
        for name, paper in rows.items()
    ),
    metrics=("modes",),
    repeats=10,
    seeds=8,
)

FIGURE4 = Experiment(
    name="figure4",
    recipe="celeba",
    title="Figure 4 a and b, with and without growing, CelebA 128x128",
    caption="SWD of each level of the pyramid over training time: rows a and b of Table 1.",
    source=f"{_PAPER}, section 6.2",
    data=_CELEBA_DATA,
    prepare=_CELEBA_PREPARE,
    rows=(
        Row(name="not-growing", preset="table1_a", paper=_swd_only(_CELEBA["a"]), differs=_FROM_RGB),
        Row(name="growing", preset="table1_b", paper=_swd_only(_CELEBA["b"]), differs=_FROM_RGB),
    ),
    metrics=("swd",),
    figures=("growing",),
)

FIGURE4C = Experiment(
    name="figure4c",
    title="Figure 4 c, speed of growing at 1024x1024",
    caption="Images shown over training time. The paper: 6.4 million in 96 hours with growing and in about 520 "
    "without, a factor of 5.4, with a schedule that it does not state; ours compares the whole runs.",
    source=f"{_PAPER}, section 6.2",
    data="30,000 CelebA-HQ images, 1024x1024",
    prepare="progan prepare celebahq ..., or progan prepare SOURCE STORE --resolution 1024",
    rows=(
        Row(name="not-growing", preset="celebahq_1024_no_growing"),
        Row(name="growing", preset="celebahq_1024_paper"),
    ),
    metrics=("swd",),
    figures=("growing",),
)

_HQ = {
    **{"swd_1024": 7.48, "swd_512": 7.24, "swd_256": 6.08, "swd_128": 3.51, "swd_64": 3.55, "swd_32": 3.02},
    **{"swd_16": 7.22, "swd": 5.44, "fid": 7.30},
}
CELEBAHQ = Experiment(
    name="celebahq_1024",
    title="CelebA-HQ 1024x1024",
    caption="Faces at a resolution of one megapixel.",
    source=f"{_PAPER}, section 6.3 and appendix C",
    data="30,000 CelebA-HQ images, 1024x1024",
    prepare="progan prepare celebahq ..., or progan prepare SOURCE STORE --resolution 1024",
    rows=(
        Row(name="wgan-gp", preset="celebahq_1024_paper", title="1 GPU, 19,000 kimg", paper=_HQ),
        Row(name="lsgan", preset="celebahq_1024_lsgan", title="least squares, noise in D (appendix B)"),
    ),
    metrics=("swd", "ms_ssim", "fid"),
)

FIGURE10 = Experiment(
    name="figure10",
    title="Figure 10 and the video: memorization",
    caption="Training images nearest to generated ones by features of central crops, and a walk through latent space.",
    source=f"{_PAPER}, section 6.3",
    data="30,000 CelebA-HQ images, 1024x1024",
    prepare="progan prepare celebahq ..., or progan prepare SOURCE STORE --resolution 1024",
    rows=(replace(CELEBAHQ.rows[0], paper={}),),
    metrics=("swd",),
    figures=("neighbours", "walk"),
)

LSUN = Experiment(
    name="lsun",
    title="LSUN, 30 categories at 256x256",
    caption="One run per category.",
    source=f"{_PAPER}, section 6.4 and appendix G",
    data="all images of bedroom and dog, not mirrored; 100,000 of each other category, mirrored",
    prepare="progan prepare lsun_CATEGORY DATA/lsun_CATEGORY --from CATEGORY_train_lmdb",
    rows=tuple(
        Row(
            name=name.removeprefix("lsun_"),
            preset="lsun_256",
            data=name,
            change=_NOT_MIRRORED if name in ("lsun_bedroom", "lsun_dog") else {},
        )
        for name in RECIPES
        if name.startswith("lsun_")
    ),
    metrics=("swd", "ms_ssim", "fid"),
)
