"""Comparisons of the classic GANs; no paper has these tables."""

from progan.experiments.base import Experiment, Row

_SOURCE = "A comparison of ours, which is in no paper"
_MNIST_KIMG = 200

FAMILY_MNIST = Experiment(
    name="family_mnist",
    title="MNIST, the classic GANs",
    caption=f"Each GAN is shown {_MNIST_KIMG},000 real digits with the settings of its preset for a laptop. WGAN and "
    "WGAN-GP show most of them to the critic and take far fewer steps of G.",
    source=_SOURCE,
    data="60,000 MNIST images, 28x28",
    prepare="progan prepare mnist STORE --resolution 28",
    rows=tuple(
        Row(name=name, preset=preset, title=title, change={"schedule.total_kimg": _MNIST_KIMG})
        for name, preset, title in (
            ("gan", "gan_mnist_small", "GAN"),
            ("cgan", "cgan_mnist_small", "CGAN, with classes"),
            ("dcgan", "dcgan_mnist_small", "DCGAN"),
            ("dcgan_torch", "dcgan_mnist_torch_small", "DCGAN of the PyTorch tutorial, narrower"),
            ("dcgan_keras", "dcgan_mnist_keras_small", "DCGAN of the Keras tutorial, narrower"),
            ("dcgan_conditional", "dcgan_mnist_conditional_small", "DCGAN of the authors, with classes"),
            ("wgan", "wgan_mnist_small", "WGAN"),
            ("wgan_gp", "wgan_gp_mnist_small", "WGAN-GP"),
            ("lsgan", "lsgan_mnist_small", "LSGAN"),
        )
    ),
    metrics=("swd", "digit_histogram"),
    values=("swd", "digit_kl", "digits", "digit_unsure"),
)

FAMILY_WGAN = Experiment(
    name="family_wgan",
    title="MNIST, what WGAN's loss means",
    caption="The critic's estimate of the Wasserstein distance during training beside SWD of the images, which the "
    "critic never sees. The claim of the paper is that the estimate falls as images improve.",
    source="Arjovsky, Chintala, Bottou 2017 (WGAN), figures 3 and 4, with a measure instead of the eye",
    data="60,000 MNIST images, 28x28",
    prepare="progan prepare mnist STORE --resolution 28",
    rows=(
        Row(name="wgan", preset="wgan_mnist_small", title="clipped", change={"snapshot_kimg": 15.0}),
        Row(name="wgan_gp", preset="wgan_gp_mnist_small", title="penalty", change={"snapshot_kimg": 15.0}),
    ),
    metrics=("swd",),
    figures=("distance",),
)

FAMILY_FACES = Experiment(
    name="family_faces",
    title="CelebA 64x64, DCGAN and LSGAN",
    caption="The same convolutions, with 16 maps next to the images, and two losses. Latents have 100 and 1,024 "
    "components, as in the authors' programs.",
    source=_SOURCE,
    data="CelebA images, 64x64",
    prepare="progan prepare CELEBA STORE --crop X,Y,W,H --resolution 64",
    rows=(
        Row(name="dcgan", preset="dcgan_celeba_64_small", title="non-saturating"),
        Row(name="lsgan", preset="lsgan_64_small", title="least squares"),
    ),
    metrics=("swd",),
)
