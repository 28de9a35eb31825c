"""Adversarial losses and penalties: functions from scores to named terms of every sample, without networks."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from progan.ops import no_autocast

Scorer = Callable[[Tensor], Tensor]
"""Function from images [N, C, H, W] to scores [N]."""


@dataclass(frozen=True)
class Adversarial:
    """Losses of a critic and a generator, as terms [N] of scores [N]."""

    critic: Callable[[Tensor, Tensor], dict[str, Tensor]]
    """Function from scores of real and of generated images to terms."""
    generator: Callable[..., dict[str, Tensor]]
    """Function from scores of generated images to terms; if ``relative``, from scores of generated and real images."""
    relative: bool = False
    """Whether the generator's terms compare generated with real images."""
    labels: bool = False
    """Whether the critic's terms are distances of scores from labels, which can be smoothed."""


def least_squares(*, a: float, b: float, c: float) -> Adversarial:
    """Return half the squared distances of scores from constants (LSGAN equation 2).

    With b - c = 1 and b - a = 2, as for (-1, 1, 0), the generator minimizes the Pearson chi-squared divergence.

    Args:
        a: score that the critic should give generated images.
        b: score that the critic should give real images.
        c: score that the generator wants for generated images.
    """
    return Adversarial(
        critic=lambda real, fake: {"fake": (fake - a).square() / 2, "real": (real - b).square() / 2},
        generator=lambda fake: {"fake": (fake - c).square() / 2},
        labels=True,
    )


WASSERSTEIN = Adversarial(  # WGAN equations 2 and 3
    critic=lambda real, fake: {"fake": fake, "real": -real},
    generator=lambda fake: {"fake": -fake},
)
LEAST_SQUARES = least_squares(a=0, b=1, c=1)  # LSGAN equation 9
NON_SATURATING = Adversarial(  # GAN section 3, scores before the sigmoid
    critic=lambda real, fake: {"fake": F.softplus(fake), "real": F.softplus(-real)},
    generator=lambda fake: {"fake": F.softplus(-fake)},
    labels=True,
)
SATURATING = Adversarial(  # GAN equation 1: the generator minimizes what the discriminator maximizes
    critic=NON_SATURATING.critic,
    generator=lambda fake: {"fake": -F.softplus(fake)},
    labels=True,
)
HINGE = Adversarial(  # Lim and Ye 2017
    critic=lambda real, fake: {"fake": F.relu(1 + fake), "real": F.relu(1 - real)},
    generator=lambda fake: {"fake": -fake},
)

ADVERSARIAL = {
    "wgan": WASSERSTEIN,
    "least_squares": LEAST_SQUARES,
    "non_saturating": NON_SATURATING,
    "saturating": SATURATING,
    "hinge": HINGE,
}

LOGISTIC = ("non_saturating", "saturating")
"""Names of the losses whose scores are logits, so that positive ones mean real."""


def halved(adversarial: Adversarial) -> Adversarial:
    """Return losses with half the terms of the critic."""
    return replace(
        adversarial,
        critic=lambda real, fake: {name: term / 2 for name, term in adversarial.critic(real, fake).items()},
    )


def smoothed(adversarial: Adversarial, by: float) -> Adversarial:
    """Return losses whose label of real images is ``1 - by`` of the way from the generated ones' to the usual one.

    Only the critic's term of real images changes: one-sided label smoothing (Salimans et al. 2016, section 3.4).
    """

    def critic(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        terms = adversarial.critic(real, fake)
        return terms | {"real": torch.lerp(terms["real"], adversarial.critic(real, real)["fake"], by)}

    return replace(adversarial, critic=critic)


def relativistic(adversarial: Adversarial) -> Adversarial:
    """Return losses of the differences of scores (Jolicoeur-Martineau 2019, RpGAN).

    The critic wants a real image to score higher than the generated one of the same pair, by the loss that it had for
    the score of real images; the generator wants the opposite.
    """

    def loss(difference: Tensor) -> dict[str, Tensor]:
        return {"pair": adversarial.critic(difference, difference)["real"]}

    return Adversarial(
        critic=lambda real, fake: loss(real - fake), generator=lambda fake, real: loss(fake - real), relative=True
    )


def gradient_penalty(
    critic: Scorer,
    real: Tensor,
    fake: Tensor,
    mix: Tensor,
    *,
    target: float = 1.0,
    enlarged: float = 1.0,
    one_sided: bool = False,
) -> Tensor:
    """Return (|grad critic| - target)^2 / target^2 between real and generated samples (WGAN-GP equation 3).

    Autocast does not apply: the dtype is that of the images, because squares of gradients do not fit into 16 bits.

    Args:
        mix: position between the samples, [N, 1, 1, 1]; 0 is real, 1 is generated. An argument, for tests.
        target: target norm of the gradient [score per unit of pixel value]; 750 for CIFAR-10 (ProGAN appendix D).
        enlarged: factor by which the gradient's norm is divided, as if images were repeated ``enlarged`` times in
            height and width and scaled down again by the critic. The authors' programs always use images of the final
            size, so this is 2**k if k blocks are missing.
        one_sided: whether gradients below the target are not penalized (WGAN-GP section 4).

    Shape: real, fake [N, C, H, W] -> [N].
    """
    between = torch.lerp(real, fake, mix).detach().requires_grad_(True)
    with no_autocast(between):
        (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    excess = slope.flatten(1).norm(dim=1) / enlarged - target
    return (excess.relu() if one_sided else excess).square() / target**2


def zero_centered_penalty(critic: Scorer, images: Tensor) -> Tensor:
    """Return |grad critic|^2 at the images; at real ones it is R1 (Mescheder et al. 2018, equation 9).

    Autocast does not apply, as in ``gradient_penalty``.

    Shape: images [N, C, H, W] -> [N].
    """
    at = images.detach().requires_grad_(True)
    with no_autocast(at):
        (slope,) = torch.autograd.grad(critic(at).sum(), at, create_graph=True)
    return slope.flatten(1).square().sum(1)


def drift(real: Tensor) -> Tensor:
    """Return the squared scores of real images; they keep the critic from drifting from zero (ProGAN appendix A.1)."""
    return real.square()
