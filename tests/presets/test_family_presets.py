"""Presets of the classic family: the settings of the papers and of the authors' programs."""

from dataclasses import replace

import pytest

from progan.gans.base import ImageSpec
from progan.presets import PRESETS
from progan.schedule import stage_at

LSUN, CELEBA = 3033.042, 202.599  # thousands of images

# Batch, learning rate, betas of Adam (None: another optimizer), thousands of real images
TABLE: dict[str, tuple[int, float, tuple[float, float] | None, float]] = {
    "gan_mnist": (100, 0.1, None, 500 * 50),
    "gan_cifar10": (100, 0.025, None, 500 * 40),
    "gan_cifar10_conv": (128, 0.004, None, 500 * 40),
    "cgan_mnist": (100, 0.1, None, 500 * 50),
    "dcgan_celeba_64": (64, 2e-4, (0.5, 0.999), 25 * CELEBA),
    "dcgan_mnist": (64, 2e-4, (0.5, 0.999), 25 * 60),
    "dcgan_faces_64": (128, 2e-4, (0.5, 0.999), 25 * 350),
    "dcgan_lsun_64": (128, 2e-4, (0.5, 0.999), 5 * LSUN),
    "dcgan_imagenet_32": (128, 2e-4, (0.5, 0.999), 25 * 1281.167),
    "dcgan_mnist_keras": (256, 1e-4, (0.9, 0.999), 50 * 60),
    "dcgan_mnist_torch": (64, 2e-4, (0.9, 0.999), 50 * 60),
    "dcgan_mnist_conditional": (128, 2e-4, (0.5, 0.999), 200 * 60),
    "wgan_lsun_64": (64, 5e-5, None, 25 * LSUN),
    "wgan_mlp_lsun_64": (64, 5e-5, None, 25 * LSUN),
    "wgan_mnist": (64, 5e-5, None, 100 * 60),
    "wgan_gp_mnist": (50, 1e-4, (0.5, 0.9), 200 * 5 * 50),
    "wgan_gp_lsun_64": (64, 1e-4, (0, 0.9), 200 * 5 * 64),
    "wgan_gp_dcgan_lsun_64": (64, 1e-4, (0.5, 0.9), 200 * 5 * 64),
    "wgan_gp_cifar10": (64, 2e-4, (0, 0.9), 100 * 5 * 64),
    "wgan_gp_cifar10_conditional": (64, 2e-4, (0, 0.9), 100 * 5 * 64),
    "lsgan_lsun_112": (64, 1e-3, (0.5, 0.999), 64_000),
    "lsgan_64": (64, 2e-4, (0.5, 0.999), 25 * CELEBA),
    "lsgan_64_no_bn_g": (64, 2e-4, (0.5, 0.999), 25 * CELEBA),
    "lsgan_64_no_bn_rmsprop": (64, 2e-4, None, 25 * CELEBA),
    "lsgan_hwdb": (64, 2e-4, (0.5, 0.999), 64_000),
}

# Settings of the GAN that the paper or program gives, and that differ between runs
SETTINGS: dict[str, dict[str, object]] = {
    "gan_mnist": {
        "latent": "uniform",
        "latent_size": 100,
        "g_hidden": (1200, 1200),
        "d_units": (240, 240),
        "d_pieces": 5,
        "g_range": 0.05,
        "g_output_range": 0.05,
        "d_range": 0.005,
        "d_keep_input": 0.8,
        "d_keep_hidden": 0.5,
        "momentum": 0.5,
        "final_momentum": 0.7,
        "momentum_kimg": 249 * 50,
        "half_d_loss": True,
        "update": "simultaneous",
        "loss": "non_saturating",
        "pixel_bias": True,
        "g_output": "sigmoid",
    },
    "gan_cifar10": {
        **{
            "latent": "normal",
            "g_output": "linear",
            "g_last_hidden": "sigmoid",
            "g_range": 0.05,
            "g_output_range": 0.5,
        },
        "d_units": (1600, 1600),
        "momentum_kimg": 249 * 40,
        "pixel_bias": False,
    },
    "gan_cifar10_conv": {
        "generator": "conv",
        "discriminator": "conv",
        "g_last_hidden": "sigmoid",
        "g_output_range": 0.05,
        "d_maps": (32, 32, 192),
        "d_units": (500,),
        "g_maps": 80,
        "g_output": "linear",
    },
    "cgan_mnist": {"g_keep_hidden": 0.5, "d_keep_hidden": 0.5, "half_d_loss": False, "latent": "cube"},
    "dcgan_celeba_64": {"kernel": 4, "bn_eps": 1e-5, "weight_decay": 0, "turns": "steps", "reuse_fakes": True},
    "dcgan_faces_64": {
        "kernel": 5,
        "maps": 128,
        "bn_eps": 1e-8,
        "weight_decay": 1e-5,
        "turns": "batches",
        "latent": "uniform",
    },
    "dcgan_mnist_conditional": {"bn_eps": 1e-8, "weight_decay": 2.5e-5, "turns": "batches", "dense": 1024},
    "wgan_lsun_64": {
        "clip": 0.01,
        "clip_moment": "after",
        "optimizer": "rmsprop",
        "n_critic": 5,
        "latent_size": 100,
        "long_critic": 100,
        "long_rounds": 25,
        "long_every": 500,
    },
    "wgan_gp_lsun_64": {"body": "resnet", "penalty_weight": 10, "n_critic": 5, "latent_size": 128},
    "wgan_gp_cifar10": {"maps": 128, "generator_batch": 2, "dequantize": True, "conditional": False},
    "wgan_gp_cifar10_conditional": {"dequantize": True, "conditional": True, "generator_batch": 2},
    "lsgan_lsun_112": {"reduction": "sum", "a": 0, "b": 1, "c": 1, "latent_size": 1024, "networks": "scenes"},
    "lsgan_64_no_bn_g": {"kernel": 5, "norm": "discriminator", "optimizer": "adam"},
    "lsgan_64_no_bn_rmsprop": {"kernel": 5, "norm": "none", "optimizer": "rmsprop"},
    "lsgan_hwdb": {"reduction": "sum", "networks": "labels", "label_size": 256},
}


@pytest.mark.parametrize("name", TABLE)
def test_runs_have_the_rates_of_the_paper_or_program(name: str) -> None:
    config = PRESETS[name]()
    batch, lr, betas, kimg = TABLE[name]
    assert (config.schedule.batch, config.schedule.lr) == (batch, lr)
    assert config.schedule.total_kimg == pytest.approx(kimg, rel=1e-12)
    assert (config.ema_decay, config.mirror) == (0, False)
    if betas:
        assert (config.beta1, config.beta2) == betas
    assert config.adam_eps == (1e-7 if "keras" in name else 1e-8)


@pytest.mark.parametrize("name", SETTINGS)
def test_gans_have_the_settings_of_the_paper_or_program(name: str) -> None:
    gan, wanted = PRESETS[name]().gan, SETTINGS[name]
    assert {setting: getattr(gan, setting) for setting in wanted} == wanted


def test_rmsprop_has_the_decay_of_the_framework() -> None:
    """0.99 in PyTorch, with which WGAN's program runs, and 0.9 in TensorFlow, with which LSGAN's runs."""
    gan = replace(PRESETS["wgan_lsun_64"]().gan, maps=1).make(ImageSpec(3, 16, 16))  # type: ignore[call-arg]
    for optimizer in gan.optimizers.values():
        assert (optimizer.kind, optimizer.beta2, optimizer.eps) == ("rmsprop", 0.99, 1e-8)
    assert PRESETS["lsgan_64_no_bn_rmsprop"]().beta2 == 0.9


def test_learning_rates_fall_as_in_the_programs() -> None:
    """At exact steps: divided by a factor after each one, or in a straight line by G's iterations."""
    rates = {
        "gan_cifar10": lambda step: max(0.025 / 1.000004**step, 1e-6),
        "gan_cifar10_conv": lambda step: max(0.004 / 1.000004**step, 1e-6),
        "wgan_gp_cifar10": lambda step: 2e-4 * max(0.0, 1 - step // 5 / 100_000),
    }
    for name, rate in rates.items():
        schedule = PRESETS[name]().schedule
        for step in (0, 5, 1000, 250_000, 499_995, 3_000_000):
            got = stage_at(schedule, step * schedule.batch).lr  # type: ignore[operator]
            assert got == pytest.approx(rate(step), rel=1e-9, abs=1e-16), (name, step)
