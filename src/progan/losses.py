"""Adversarial losses and penalties: scores in, named terms of every sample out. Nothing here owns a network."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from progan.ops import no_autocast

Scorer = Callable[[Tensor], Tensor]
"""Images [N, C, H, W] -> scores [N]."""


@dataclass(frozen=True)
class Adversarial:
    """What a critic and a generator minimize, as terms [N] of their scores [N]."""

    critic: Callable[[Tensor, Tensor], dict[str, Tensor]]
    """(scores of reals, scores of fakes) -> terms."""
    generator: Callable[..., dict[str, Tensor]]
    """scores of fakes -> terms; where the loss is ``relative``, (scores of fakes, scores of reals) -> terms."""
    relative: bool = False
    """Whether the generator's terms compare fakes with reals."""


WASSERSTEIN = Adversarial(  # WGAN equations 2 and 3
    critic=lambda real, fake: {"fake": fake, "real": -real},
    generator=lambda fake: {"fake": -fake},
)
LEAST_SQUARES = Adversarial(  # LSGAN equation 9
    critic=lambda real, fake: {"fake": fake.square() / 2, "real": (real - 1).square() / 2},
    generator=lambda fake: {"fake": (fake - 1).square() / 2},
)
NON_SATURATING = Adversarial(  # GAN section 3, scores before the sigmoid
    critic=lambda real, fake: {"fake": F.softplus(fake), "real": F.softplus(-real)},
    generator=lambda fake: {"fake": F.softplus(-fake)},
)
SATURATING = Adversarial(  # GAN equation 1: the generator minimizes what the discriminator maximizes
    critic=NON_SATURATING.critic,
    generator=lambda fake: {"fake": -F.softplus(fake)},
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


def gradient_penalty(
    critic: Scorer, real: Tensor, fake: Tensor, mix: Tensor, *, target: float = 1.0, enlarged: float = 1.0
) -> Tensor:
    """(|grad critic| - target)^2 / target^2 between real and fake samples (WGAN-GP equation 3).

    Under autocast it is in the dtype of the images all the same, because squares of gradients do not fit 16 bits.

    Args:
        mix: position on each line, [N, 1, 1, 1]; 0 is real, 1 is fake. Given, not drawn, so that tests can fix it.
        target: wanted norm of the gradient [score per unit of pixel value]; 750 for CIFAR-10 (ProGAN appendix D).
        enlarged: the penalty is that of images repeated ``enlarged`` times in height and width, which the critic
            would scale down again. The authors' programs always feed final-size images, so that 2**k stands here
            when k blocks are still missing; the gradient's norm is smaller by this factor.

    Shape: real, fake [N, C, H, W] -> [N].
    """
    between = torch.lerp(real, fake, mix).detach().requires_grad_(True)
    with no_autocast(between):
        (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (slope.flatten(1).norm(dim=1) / enlarged - target).square() / target**2


def drift(real: Tensor) -> Tensor:
    """Square of the real scores, which keeps the critic from drifting far from zero (ProGAN appendix A.1)."""
    return real.square()
