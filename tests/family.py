"""Every GAN of the classic family at tiny size, for the checks that all of them must pass."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from golden_family import Fixed
from progan.gans import (
    AAEConfig,
    BiGANConfig,
    CGANConfig,
    ConditionalDCGANConfig,
    DCGANConfig,
    DCGANMnistConfig,
    LAPGANConfig,
    LSGANConfig,
    OriginalGANConfig,
    WGANConfig,
    WGANGPConfig,
)
from progan.gans.base import GANConfig, ImageSpec
from progan.gans.tricks import NetworkTricks
from progan.presets.family import constant
from progan.training.config import RunConfig
from progan.training.distributed import Ranks, process_group
from progan.training.loop import Trainer

STEPS = 6
"""Iterations of a run."""
BATCH = 8


@dataclass(frozen=True)
class Member:
    """A GAN, the images that it is trained on, and a learning rate that it takes."""

    gan: GANConfig
    spec: ImageSpec = field(default_factory=lambda: ImageSpec(3, 16, 16))
    lr: float = 5e-4


CGAN = CGANConfig(
    g_latent_features=8,
    g_condition_features=8,
    g_joint_features=16,
    d_image_units=8,
    d_joint_units=8,
    tricks=NetworkTricks(wrong_labels=0.25),
)
AAE: dict[str, Any] = {"latent_size": 2, "hidden": (16,), "d_hidden": (16,), "init": 0.1, "adversarial_lr": 1.0}
CONV: dict[str, Any] = {
    "generator": "conv",
    "g_hidden": (16,),
    "g_maps": 4,
    "discriminator": "conv",
    "d_maps": (2, 2, 2),
}
PYRAMID: dict[str, Any] = {"base_g_hidden": (8,), "base_d_hidden": (16,), "g_maps": 2, "d_maps": 2, "latent_size": 4}
FAMILY = {
    "gan": Member(OriginalGANConfig(g_hidden=(16, 16), d_units=(8, 8), d_range=0.05), ImageSpec(1, 16, 16), lr=0.1),
    "gan_conv": Member(
        OriginalGANConfig(**CONV, g_output="linear", d_units=(8,), update="alternating", d_steps=2), lr=0.01
    ),
    "cgan": Member(CGAN, ImageSpec(1, 16, 16, classes=3), lr=0.1),
    "cgan_vectors": Member(CGAN, ImageSpec(3, 16, 16, attributes=3), lr=0.1),
    "dcgan": Member(DCGANConfig(maps=2, latent_size=4)),
    "dcgan_authors": Member(
        DCGANConfig(maps=2, kernel=5, latent="uniform", turns="batches", weight_decay=1e-5), ImageSpec(1, 28, 28)
    ),
    "dcgan_mixed": Member(DCGANConfig(maps=2, d_batches="mixed", reuse_fakes=False, bn_group=4)),
    "dcgan_keras": Member(DCGANMnistConfig(tutorial="keras", maps=2, latent_size=4), ImageSpec(1, 28, 28)),
    "dcgan_torch": Member(DCGANMnistConfig(tutorial="torch", maps=2, latent_size=4), ImageSpec(1, 28, 28)),
    "dcgan_conditional": Member(
        ConditionalDCGANConfig(maps=1, dense=4, latent_size=4), ImageSpec(1, 16, 16, classes=3)
    ),
    "dcgan_tricks": Member(
        DCGANConfig(
            maps=2,
            latent_size=4,
            norm="generator",
            tricks=NetworkTricks(
                **{"label_smoothing": 0.1, "label_flips": 0.2, "instance_noise": 0.1, "instance_noise_kimg": 0.06},
                **{"r1": 1.0, "r2": 1.0, "gradient_penalty": 1.0, "one_sided": True, "history": 0.01},
                **{"d_dropout": 0.2, "spectral_norm": True, "d_lr": 2.0, "weight_decay": 1e-4, "freeze_d": 1},
                **{"augment": "adaptive", "augment_p": 0.5, "augment_kimg": 0.1, "held_out": 0.2},
            ),
        )
    ),
    "dcgan_matching": Member(
        DCGANConfig(maps=2, latent_size=4, tricks=NetworkTricks(feature_matching=1.0, d_steps=2, g_steps=2, clip=0.05))
    ),
    "wgan": Member(WGANConfig(maps=2, long_rounds=1, long_critic=6, long_every=2)),
    "wgan_dense": Member(
        WGANConfig(generator="mlp", critic="mlp", hidden=8, clip_moment="before", long_rounds=0), ImageSpec(1, 16, 16)
    ),
    "wgan_gp_mnist": Member(WGANGPConfig(body="mnist", maps=1, latent_size=4), ImageSpec(1, 28, 28)),
    "wgan_gp_tricks": Member(
        WGANGPConfig(
            body="dcgan",
            maps=1,
            latent_size=4,
            n_critic=2,
            tricks=NetworkTricks(relativistic=True, augment="adaptive", augment_p=0.5, augment_kimg=0.1, d_dropout=0.2),
        )
    ),
    "wgan_gp_dcgan": Member(WGANGPConfig(body="dcgan", maps=1, latent_size=4, n_critic=2)),
    "wgan_gp_resnet": Member(WGANGPConfig(maps=1, latent_size=4, n_critic=2)),
    "wgan_gp_cifar": Member(
        WGANGPConfig(
            body="cifar", maps=4, latent_size=4, conditional=True, dequantize=True, generator_batch=2, n_critic=2
        ),
        ImageSpec(3, 32, 32, classes=3),
        lr=1e-4,
    ),
    "bigan": Member(BiGANConfig(latent_size=4, hidden=(16, 16)), ImageSpec(1, 16, 16)),
    "bigan_conv": Member(BiGANConfig(networks="conv", latent_size=4, maps=2, update="alternating", bn_group=4)),
    "lapgan": Member(LAPGANConfig(**PYRAMID), lr=0.02),
    "lapgan_in_turn": Member(
        LAPGANConfig(**PYRAMID, levels=(6, 9, 16), order="in_turn", turn_kimg=0.9 * BATCH / 1000, conditional=True),
        ImageSpec(3, 16, 16, classes=3),
        lr=0.02,
    ),
    "lsgan": Member(LSGANConfig(maps=2, latent_size=4)),
    "lsgan_scenes": Member(LSGANConfig(networks="scenes", maps=2, latent_size=4, bn_group=4)),
    "lsgan_labels": Member(
        LSGANConfig(networks="labels", maps=1, latent_size=4, label_size=4), ImageSpec(1, 16, 16, classes=3)
    ),
    "aae": Member(
        AAEConfig(**AAE, task="class_prior", prior="petals", unlabeled_share=0.2, input_keep=0.8),
        ImageSpec(1, 16, 16, classes=3),
    ),
    "aae_semi": Member(
        AAEConfig(**AAE, task="semi_supervised", labeled=7, optimizer="adam"), ImageSpec(1, 16, 16, classes=3)
    ),
    "aae_norm": Member(AAEConfig(**AAE, task="clustering", encoder_norm=True, optimizer="adam"), ImageSpec(1, 16, 16)),
    "aae_clusters": Member(
        AAEConfig(**AAE, task="clustering", networks="conv", maps=2, posterior="gaussian", optimizer="adam")
    ),
}
"""By name, each with the options that take other paths."""
LIKE_OTHERS = ("aae_norm", "dcgan_matching", "wgan_gp_tricks")
"""Members that differ from others in their steps only, so that commands treat them alike."""


def settings(name: str) -> RunConfig:
    """A short run of a member.

    Adam's epsilon is far above rounding errors, which it would otherwise turn to steps: biases before batch norm have
    no other gradients.
    """
    member = FAMILY[name]
    return constant(
        member.gan, member.spec.shorter, batch=BATCH, lr=member.lr, total_kimg=0.1, beta1=0.5, adam_eps=1e-2
    )


def data(spec: ImageSpec, seed: int = 1) -> Fixed:
    """40 random images with the labels of a specification."""
    draw = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (40, spec.channels, spec.height, spec.width), generator=draw, dtype=torch.uint8)
    labels: Tensor | None = None
    if spec.classes:
        labels = torch.arange(40) % spec.classes
    elif spec.attributes:
        labels = torch.randn(40, spec.attributes, generator=draw)
    return Fixed(pixels, labels)


def trained(name: str, steps: int, ranks: Ranks = Ranks(), state: dict | None = None) -> Trainer:  # noqa: B008, frozen
    """A trainer of a member after some iterations, from ``state`` on if that is given."""
    spec = FAMILY[name].spec
    held_out = data(spec, seed=2) if FAMILY[name].gan.held_out else None
    trainer = Trainer(settings(name), spec, data(spec), held_out=held_out, device=torch.device("cpu"), ranks=ranks)
    if state is not None:
        trainer.load_state_dict(state)
    for _ in range(steps):
        trainer.iterate()
    return trainer


def two_ranks(folder: Path) -> None:
    """Train every member on two ranks, and save its weights."""
    with process_group("cpu") as ranks:
        for name in FAMILY:
            torch.save(trained(name, STEPS, ranks).gan.networks.state_dict(), folder / f"{name}{ranks.rank}.pt")
