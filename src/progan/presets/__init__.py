"""Presets: functions that return the settings of a run."""

from collections.abc import Callable

from progan.presets import aae, bigan, dcgan, gan, lsgan, mnist_1k, progressive, restoration, table1, wgan
from progan.training.config import RunConfig

AUTO = "auto"
"""Name of the preset that adapts its settings to the data and the machine."""

PRESETS = {
    AUTO: lambda: progressive.auto()[0],
    "demo": progressive.demo,
    "cifar10": progressive.cifar10,
    "cifar10_conditional": progressive.cifar10_conditional,
    "celebahq_1024": progressive.celebahq_1024,
    "celebahq_1024_2gpu": progressive.celebahq_1024_2gpu,
    "celebahq_1024_4gpu": progressive.celebahq_1024_4gpu,
    "celebahq_1024_8gpu": progressive.celebahq_1024_8gpu,
    "celebahq_1024_paper": progressive.celebahq_1024_paper,
    "celebahq_1024_no_growing": progressive.celebahq_1024_no_growing,
    "celebahq_1024_lsgan": progressive.celebahq_1024_lsgan,
    "lsun_256": progressive.lsun_256,
    "table1_a": table1.table1_a,
    "table1_b": table1.table1_b,
    "table1_c": table1.table1_c,
    "table1_d": table1.table1_d,
    "table1_e_star": table1.table1_e_star,
    "table1_e": table1.table1_e,
    "table1_f": table1.table1_f,
    "table1_g": table1.table1_g,
    "table1_h": table1.table1_h,
    **mnist_1k.PRESETS,
    "gan_mnist": gan.gan_mnist,
    "gan_mnist_small": gan.gan_mnist_small,
    "gan_cifar10": gan.gan_cifar10,
    "gan_cifar10_conv": gan.gan_cifar10_conv,
    "cgan_mnist": gan.cgan_mnist,
    "cgan_mnist_small": gan.cgan_mnist_small,
    "dcgan_celeba_64": dcgan.dcgan_celeba_64,
    "dcgan_celeba_64_small": dcgan.dcgan_celeba_64_small,
    "dcgan_mnist": dcgan.dcgan_mnist,
    "dcgan_mnist_small": dcgan.dcgan_mnist_small,
    "dcgan_faces_64": dcgan.dcgan_faces_64,
    "dcgan_lsun_64": dcgan.dcgan_lsun_64,
    "dcgan_imagenet_32": dcgan.dcgan_imagenet_32,
    "lsgan_lsun_112": lsgan.lsgan_lsun_112,
    "lsgan_64": lsgan.lsgan_64,
    "lsgan_64_small": lsgan.lsgan_64_small,
    "lsgan_64_no_bn_g": lsgan.lsgan_64_no_bn_g,
    "lsgan_64_no_bn_rmsprop": lsgan.lsgan_64_no_bn_rmsprop,
    "lsgan_hwdb": lsgan.lsgan_hwdb,
    "lsgan_mnist_small": lsgan.lsgan_mnist_small,
    "wgan_lsun_64": wgan.wgan_lsun_64,
    "wgan_mlp_lsun_64": wgan.wgan_mlp_lsun_64,
    "wgan_mnist": wgan.wgan_mnist,
    "wgan_mnist_small": wgan.wgan_mnist_small,
    "wgan_gp_mnist": wgan.wgan_gp_mnist,
    "wgan_gp_mnist_small": wgan.wgan_gp_mnist_small,
    "wgan_gp_lsun_64": wgan.wgan_gp_lsun_64,
    "wgan_gp_dcgan_lsun_64": wgan.wgan_gp_dcgan_lsun_64,
    "wgan_gp_cifar10": wgan.wgan_gp_cifar10,
    "wgan_gp_cifar10_conditional": wgan.wgan_gp_cifar10_conditional,
    "wgan_gp_64_small": wgan.wgan_gp_64_small,
    "dcgan_mnist_keras": dcgan.dcgan_mnist_keras,
    "dcgan_mnist_torch": dcgan.dcgan_mnist_torch,
    "dcgan_mnist_conditional": dcgan.dcgan_mnist_conditional,
    "dcgan_mnist_conditional_small": dcgan.dcgan_mnist_conditional_small,
    "dcgan_mnist_keras_small": dcgan.dcgan_mnist_keras_small,
    "dcgan_mnist_torch_small": dcgan.dcgan_mnist_torch_small,
    "aae_mnist": aae.aae_mnist,
    "aae_mnist_2d": aae.aae_mnist_2d,
    "aae_mnist_semi": aae.aae_mnist_semi,
    "aae_mnist_clusters": aae.aae_mnist_clusters,
    "aae_mnist_small": aae.aae_mnist_small,
    "aae_mnist_2d_small": aae.aae_mnist_2d_small,
    "aae_mnist_semi_small": aae.aae_mnist_semi_small,
    "aae_mnist_clusters_small": aae.aae_mnist_clusters_small,
    "bigan_mnist": bigan.bigan_mnist,
    "bigan_mnist_small": bigan.bigan_mnist_small,
    "bigan_celeba_64": bigan.bigan_celeba_64,
    "bigan_celeba_64_small": bigan.bigan_celeba_64_small,
    "artefacts": restoration.artefacts,
    "artefacts_small": restoration.artefacts_small,
    "super_resolution": restoration.super_resolution,
    "super_resolution_small": restoration.super_resolution_small,
}


def about(preset: Callable[[], RunConfig]) -> str:
    """Return the first line of a preset's docstring."""
    doc = getattr(preset, "func", preset).__doc__  # of a partial function, not of partial
    return (doc or "").partition("\n")[0]
