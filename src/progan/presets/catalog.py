"""The GANs of this library in the order of their papers: what each optimizes, needs, and is good for."""

from dataclasses import dataclass

from progan.presets import PRESETS
from progan.snapshot.registry import name_of


@dataclass(frozen=True, kw_only=True)
class Member:
    """One GAN of the family."""

    title: str
    paper: str
    """Authors and title of the paper."""
    year: int
    loss: str
    """Name of the loss."""
    formula: tuple[str, ...]
    """What the networks optimize, a line each."""
    networks: str
    needs: str
    """Images and labels that it takes."""
    kinds: tuple[str, ...]
    """Names under which its settings are registered (``GANS``)."""
    modules: tuple[str, ...]
    """Files to read, within the package."""
    preset: str
    """Preset to start with; on a laptop where there is a small one."""
    advice: str
    """When to take it."""
    measured: tuple[str, ...] = ()
    """What this library measured with it."""

    @property
    def presets(self) -> list[str]:
        """Names of all its presets."""
        return [name for name, make in PRESETS.items() if name != "auto" and name_of(make().gan) in self.kinds]


FAMILY = {
    "gan": Member(
        title="GAN",
        paper="Goodfellow et al. 2014, Generative Adversarial Nets",
        year=2014,
        loss="non-saturating, or min-max",
        formula=(
            "D maximizes  E[log D(x)] + E[log(1 - D(G(z)))]",
            "G maximizes  E[log D(G(z))]  (non-saturating), or minimizes  E[log(1 - D(G(z)))]  (min-max)",
        ),
        networks="dense; D of maxout units with dropout",
        needs="small images of any size",
        kinds=("gan",),
        modules=("gans/gan.py", "gans/maxout.py"),
        preset="gan_mnist_small",
        advice="The place to begin reading: every other GAN here is this one with one thing changed.",
        measured=("MNIST 28x28, gan_mnist_small after 200 kimg: SWD x 1e3 145, KL of the digits 0.77 nats",),
    ),
    "cgan": Member(
        title="CGAN",
        paper="Mirza and Osindero 2014, Conditional Generative Adversarial Nets",
        year=2014,
        loss="non-saturating",
        formula=(
            "D maximizes  E[log D(x, y)] + E[log(1 - D(G(z, y), y))]",
            "G maximizes  E[log D(G(z, y), y)],  where y is the class, the attributes, or any vector of an image",
        ),
        networks="dense; both networks also take y",
        needs="small images with classes, attributes or vectors",
        kinds=("cgan",),
        modules=("gans/cgan.py", "gans/maxout.py"),
        preset="cgan_mnist_small",
        advice="The simplest way to choose what is generated: a class, attributes, or an embedding for each image.",
        measured=(
            "MNIST 28x28, cgan_mnist_small after 200 kimg: SWD x 1e3 50.1, KL of the digits 0.0021 nats",
            "at its end, 600 kimg: 97.4 % of 10,000 images show the digit asked for; SWD x 1e3 24.5",
        ),
    ),
    "lapgan": Member(
        title="LAPGAN",
        paper="Denton et al. 2015, Deep Generative Image Models using a Laplacian Pyramid of Adversarial Networks",
        year=2015,
        loss="non-saturating, at every level of a pyramid",
        formula=(
            "D maximizes  (E[log D(h + l)] + E[log(1 - D(G(z, l) + l))]) / 2,  l: x reduced and enlarged, h = x - l",
            "G maximizes  E[log D(G(z, l) + l)];  the coarsest level is a GAN without l",
        ),
        networks="convolutions that keep the size; dense at the coarsest level",
        needs="28x28, 32x32, 64x64, or any size in steps of at most 2; classes for the conditional one",
        kinds=("lapgan",),
        modules=("gans/lapgan.py", "gans/lapgan_networks.py"),
        preset="lapgan_cifar10_small",
        advice="To see images being refined from coarse to fine. For results take DCGAN or ProGAN.",
        measured=("CIFAR-10 28x28, lapgan_cifar10_small at its end, 150 kimg: SWD x 1e3 55.0 (a DCGAN: 14.3)",),
    ),
    "aae": Member(
        title="AAE",
        paper="Makhzani et al. 2015, Adversarial Autoencoders",
        year=2015,
        loss="reconstruction, and non-saturating on codes",
        formula=(
            "E and G minimize  |x - G(E(x))|^2",
            "D maximizes  E[log D(z)] + E[log(1 - D(E(x)))],  z from the prior",
            "E maximizes  E[log D(E(x))]",
        ),
        networks="dense, or DCGAN's; D of codes",
        needs="small images of any size (dense), as DCGAN (conv); classes for class_prior and semi_supervised",
        kinds=("aae",),
        modules=("gans/aae.py", "gans/aae_networks.py", "gans/priors.py", "gans/labeled.py"),
        preset="aae_mnist_small",
        advice="To encode as well as generate: codes, classes from a few labels, clusters. Images are soft.",
        measured=(
            "MNIST 28x28, aae_mnist_small at its end, 600 kimg: Parzen log-likelihood 284 +- 2 nats, PSNR 15.7 dB",
            "MNIST, 1,000 labels, aae_mnist_semi_small at its end, 1,800 kimg: 2.66 % of the test digits misread",
        ),
    ),
    "dcgan": Member(
        title="DCGAN",
        paper="Radford et al. 2016, Unsupervised Representation Learning with Deep Convolutional GANs",
        year=2016,
        loss="non-saturating",
        formula=("D maximizes  E[log D(x)] + E[log(1 - D(G(z)))]", "G maximizes  E[log D(G(z))]"),
        networks="convolutions with stride 2, batch norm",
        needs="16x16 pixels and more, sides 4 to 7 times a power of two",
        kinds=("dcgan", "dcgan_mnist", "dcgan_conditional"),
        modules=("gans/dcgan.py", "gans/dcgan_networks.py", "gans/dcgan_mnist.py", "gans/dcgan_conditional.py"),
        preset="dcgan_celeba_64_small",
        advice="The fastest way to recognizable images up to 64x64. It can collapse; watch the samples.",
        measured=(
            "MNIST 28x28, dcgan_mnist_small after 200 kimg: SWD x 1e3 8.8, KL of the digits 0.14 nats",
            "CelebA 64x64, dcgan_celeba_64_small at its end, 400 kimg: SWD x 1e3 32.0",
        ),
    ),
    "bigan": Member(
        title="BiGAN",
        paper="Donahue et al. 2017, Adversarial Feature Learning",
        year=2017,
        loss="non-saturating, on pairs of image and code",
        formula=(
            "D maximizes  (E[log D(x, E(x))] + E[log(1 - D(G(z), z))]) / 2",
            "E and G maximize  (E[log(1 - D(x, E(x)))] + E[log D(G(z), z)]) / 2",
        ),
        networks="dense, or DCGAN's; an encoder of the same kind",
        needs="small images of any size (dense), or as DCGAN (conv)",
        kinds=("bigan",),
        modules=("gans/bigan.py", "gans/bigan_networks.py"),
        preset="bigan_mnist_small",
        advice="For features of images without labels. Its reconstructions keep what an image shows, not its pixels.",
        measured=(
            "MNIST 28x28, bigan_mnist_small at its end, 1,200 kimg: 96.0 % of the test digits by 1 nearest neighbor, "
            "PSNR 12.3 dB",
        ),
    ),
    "wgan": Member(
        title="WGAN",
        paper="Arjovsky et al. 2017, Wasserstein GAN",
        year=2017,
        loss="Wasserstein distance, clipped weights",
        formula=(
            "f maximizes  E[f(x)] - E[f(G(z))],  all weights of f clipped to [-0.01, 0.01]",
            "G maximizes  E[f(G(z))]",
        ),
        networks="DCGAN's, or dense",
        needs="as DCGAN; any size with dense networks",
        kinds=("wgan",),
        modules=("gans/wgan.py", "gans/dcgan_networks.py"),
        preset="wgan_mnist_small",
        advice="Its loss falls as images improve, which no GAN before it had. Slow; for results take WGAN-GP.",
        measured=(
            "MNIST 28x28, wgan_mnist_small after 200 kimg: SWD x 1e3 23.2, KL of the digits 0.15 nats",
            "rank correlation of its loss and SWD over 20 snapshots of 300 kimg: 0.68",
        ),
    ),
    "wgan_gp": Member(
        title="WGAN-GP",
        paper="Gulrajani et al. 2017, Improved Training of Wasserstein GANs",
        year=2017,
        loss="Wasserstein distance, gradient penalty",
        formula=(
            "f maximizes  E[f(x)] - E[f(G(z))] - 10 E[(|grad f(u)| - 1)^2],  u on the line between x and G(z)",
            "G maximizes  E[f(G(z))]",
        ),
        networks="residual, or DCGAN's; no batch norm in f",
        needs="28x28 (mnist), 32x32 (cifar), 16x16 and more (resnet); classes for the conditional one",
        kinds=("wgan_gp",),
        modules=("gans/wgan_gp.py",),
        preset="wgan_gp_mnist_small",
        advice="Trains almost any pair of networks without collapse, at five critic steps for one of G.",
        measured=("MNIST 28x28, wgan_gp_mnist_small after 200 kimg: SWD x 1e3 21.4, KL of the digits 0.013 nats",),
    ),
    "lsgan": Member(
        title="LSGAN",
        paper="Mao et al. 2017, Least Squares Generative Adversarial Networks",
        year=2017,
        loss="least squares",
        formula=(
            "D minimizes  E[(D(x) - b)^2] / 2 + E[(D(G(z)) - a)^2] / 2",
            "G minimizes  E[(D(G(z)) - c)^2] / 2,  with (a, b, c) = (0, 1, 1) or (-1, 1, 0)",
        ),
        networks="DCGAN's, 112x112, or conditional",
        needs="as DCGAN; 112x112 for the paper's scenes",
        kinds=("lsgan",),
        modules=("gans/lsgan.py", "gans/dcgan_networks.py"),
        preset="lsgan_64_small",
        advice="DCGAN with one line changed: gradients do not vanish where D is right, so training is calmer.",
        measured=(
            "MNIST 28x28, lsgan_mnist_small after 200 kimg: SWD x 1e3 21.8, KL of the digits 0.15 nats",
            "CelebA 64x64, lsgan_64_small at its end, 400 kimg: SWD x 1e3 37.1",
        ),
    ),
    "cyclegan": Member(
        title="CycleGAN",
        paper="Zhu et al. 2017, Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks",
        year=2017,
        loss="least squares, cycle and identity terms",
        formula=(
            "D_B minimizes  (E[(D_B(b) - 1)^2] + E[D_B(G(a))^2]) / 2,  and D_A the same for a and F(b)",
            "G, F minimize  E[(D_B(G(a)) - 1)^2] + E[(D_A(F(b)) - 1)^2] + 10 E|F(G(a)) - a| + 10 E|G(F(b)) - b| "
            "+ 5 E|F(a) - a| + 5 E|G(b) - b|",
        ),
        networks="residual generators, or U-Nets; D of overlapping patches",
        needs="two data sets without pairs; sides that are multiples of 4, at least 24",
        kinds=("cyclegan",),
        modules=("gans/cyclegan.py", "gans/cyclegan_networks.py", "gans/image_pool.py"),
        preset="cyclegan_64_small",
        advice="Translates between two kinds of images that have no pairs. It changes colors and textures, not shapes.",
    ),
    "progan": Member(
        title="ProGAN",
        paper="Karras et al. 2018, Progressive Growing of GANs for Improved Quality, Stability, and Variation",
        year=2018,
        loss="WGAN-GP with drift, or least squares",
        formula=(
            "f maximizes  E[f(x)] - E[f(G(z))] - 10 E[(|grad f(u)| - 1)^2] - 0.001 E[f(x)^2]",
            "G maximizes  E[f(G(z))],  from 4x4 pixels up to the full size",
        ),
        networks="convolutions that grow, equalized learning rate, pixel norm, minibatch stddev",
        needs="any size; square or a longer side that is a multiple of the shorter one to grow",
        kinds=("progan",),
        modules=("gans/progressive.py", "gans/progressive_networks.py"),
        preset="auto",
        advice="For the best images, and for everything above 64x64.",
        measured=("see docs/results.md",),
    ),
}
"""Every GAN by its name in 'progan family NAME'."""
