"""What each trick does to a DCGAN; no paper has these tables."""

from typing import Any

from progan.experiments.base import Experiment, Row

_SOURCE = "A comparison of ours, which is in no paper"
_KIMG = 60
_T = "gan.tricks"
_NO_NORM = {"gan.norm": "generator"}


def _row(name: str, title: str, change: dict[str, Any], common: dict[str, Any]) -> Row:
    return Row(name=name, preset="dcgan_mnist_small", title=title, change=common | change)


_MNIST: dict[str, Any] = {"gan.maps": 16, "schedule.lr": 5e-4, "schedule.total_kimg": _KIMG}

_TRICKS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("plain", "DCGAN without tricks", {}),
    ("smoothing", "one-sided label smoothing, 0.9", {f"{_T}.label_smoothing": 0.1}),
    ("flips", "5 % of the labels wrong", {f"{_T}.label_flips": 0.05}),
    ("relativistic", "relativistic pairing", {f"{_T}.relativistic": True}),
    ("hinge", "hinge loss", {"gan.loss": "hinge"}),
    (
        "instance_noise",
        "noise of 0.1 that falls to 0",
        {f"{_T}.instance_noise": 0.1, f"{_T}.instance_noise_kimg": 30.0},
    ),
    ("input_noise", "noise of 0.1 that stays", {f"{_T}.instance_noise": 0.1}),
    ("dropout", "dropout of 0.25 in D", {f"{_T}.d_dropout": 0.25}),
    ("no_norm", "no batch norm in D", _NO_NORM),
    ("spectral", "spectral norm instead of batch norm in D", _NO_NORM | {f"{_T}.spectral_norm": True}),
    ("penalty", "gradient penalty 10 instead of batch norm in D", _NO_NORM | {f"{_T}.gradient_penalty": 10.0}),
    (
        "one_sided",
        "the same, one-sided",
        _NO_NORM | {f"{_T}.gradient_penalty": 10.0, f"{_T}.one_sided": True},
    ),
    ("r1", "R1 of 1 instead of batch norm in D", _NO_NORM | {f"{_T}.r1": 1.0}),
    ("r1_r2", "R1 and R2 of 1 instead of batch norm in D", _NO_NORM | {f"{_T}.r1": 1.0, f"{_T}.r2": 1.0}),
    ("minibatch", "minibatch discrimination, 32 kernels", {f"{_T}.minibatch": 32}),
    ("matching", "feature matching", {f"{_T}.feature_matching": 1.0}),
    ("history", "historical averaging, 1e-3", {f"{_T}.history": 1e-3}),
    ("virtual_bn", "virtual batch norm in G, 64 references", {"gan.virtual_bn": 64}),
    ("ttur", "D at twice, G at half the learning rate", {f"{_T}.d_lr": 2.0, f"{_T}.g_lr": 0.5}),
    ("d_steps", "2 steps of D per step of G", {f"{_T}.d_steps": 2}),
    ("g_steps", "2 steps of G per step of D", {f"{_T}.g_steps": 2}),
    ("average", "moving average of G, 0.999", {"ema_decay": 0.999}),
    ("clip", "weights of D within 0.1", {f"{_T}.clip": 0.1}),
    ("decay", "weight decay 1e-4", {f"{_T}.weight_decay": 1e-4}),
    ("narrow_d", "D with half the maps", {"gan.d_maps": 8}),
    ("wide_d", "D with twice the maps", {"gan.d_maps": 32}),
    (
        "augment",
        "translation and cutout, probability 0.5",
        {f"{_T}.augment": "fixed", f"{_T}.augment_p": 0.5, f"{_T}.augment_kinds": ("translate", "cutout")},
    ),
)

TRICKS_MNIST = Experiment(
    name="tricks_mnist",
    title="Measured on MNIST",
    caption=f"A narrow DCGAN (16 maps next to the images, learning rate 5e-4) is shown {_KIMG},000 real digits with "
    "each trick, from two seeds. Means and deviations over the seeds; a difference below the deviations means nothing.",
    source=_SOURCE,
    data="60,000 MNIST images, 28x28",
    prepare="progan prepare mnist STORE --resolution 28",
    rows=tuple(_row(*trick, _MNIST) for trick in _TRICKS),
    metrics=("swd", "digit_histogram"),
    values=("swd", "digit_kl", "digits", "digit_unsure"),
    seeds=2,
)
