"""Presets: functions that return the settings of a run."""

from progan.presets import dcgan, mnist_1k, progressive, restoration, table1

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
    "dcgan_celeba_64": dcgan.dcgan_celeba_64,
    "dcgan_celeba_64_small": dcgan.dcgan_celeba_64_small,
    "dcgan_mnist": dcgan.dcgan_mnist,
    "dcgan_mnist_small": dcgan.dcgan_mnist_small,
    "dcgan_faces_64": dcgan.dcgan_faces_64,
    "dcgan_lsun_64": dcgan.dcgan_lsun_64,
    "dcgan_imagenet_32": dcgan.dcgan_imagenet_32,
    "artefacts": restoration.artefacts,
    "artefacts_small": restoration.artefacts_small,
    "super_resolution": restoration.super_resolution,
    "super_resolution_small": restoration.super_resolution_small,
}
