"""The adversarial losses as their papers write them, and the gradient penalty the authors' programs compute."""

import numpy as np

from references.derivatives import gradient
from references.networks import downscale, upscale


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


CRITIC = {  # (scores of reals, scores of fakes) -> terms of reals, terms of fakes
    "wgan": lambda real, fake: (-real, fake),
    "least_squares": lambda real, fake: (0.5 * (real - 1) ** 2, 0.5 * fake**2),
    "non_saturating": lambda real, fake: (-np.log(sigmoid(real)), -np.log(1 - sigmoid(fake))),
    "saturating": lambda real, fake: (-np.log(sigmoid(real)), -np.log(1 - sigmoid(fake))),
    "hinge": lambda real, fake: (np.where(real.real < 1, 1 - real, 0), np.where(fake.real > -1, 1 + fake, 0)),
}
GENERATOR = {
    "wgan": lambda fake: -fake,
    "least_squares": lambda fake: 0.5 * (fake - 1) ** 2,
    "non_saturating": lambda fake: -np.log(sigmoid(fake)),
    "saturating": lambda fake: np.log(1 - sigmoid(fake)),
    "hinge": lambda fake: -fake,
}


def cross_entropy(logits, labels):
    return np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(labels)), labels]


def penalty(score, real, fake, mix, *, target=1.0, missing=0):
    """((|grad| - target) / target)^2 with the gradient by pixels of the *final* size, ``missing`` doublings away.

    The images are enlarged, and the critic's ``score`` sees them scaled down again, as in the released programs.
    """

    def enlarged_score(x):
        for _ in range(missing):
            x = downscale(x)
        return score(x).sum(-1)

    x = real + (fake - real) * mix.reshape(-1, 1, 1, 1)
    for _ in range(missing):
        x = upscale(x)
    norm = np.sqrt((gradient(enlarged_score, x) ** 2).sum((1, 2, 3)))
    return ((norm - target) / target) ** 2
