"""Inception score of class probabilities."""

from itertools import pairwise

import numpy as np
import torch

from progan.errors import ConfigError
from progan.metrics.bank import FeatureBank


def inception_score(fake: FeatureBank, *, seed: int = 0, splits: int = 10) -> dict[str, float]:
    """Return mean and standard deviation over splits of exp(mean KL(p(y|x) || p(y))) (Salimans et al. 2016, section 4).

    Split i contains rows i N / splits ... (i + 1) N / splits in their order; p(y) is the mean over the split. The score
    is between 1 and the number of classes; higher is better.

    Args:
        fake: probabilities p(y|x), [N, classes].
        seed: not used, because nothing is drawn; part of the common interface.

    Returns:
        {"inception_score", "inception_score_std"}.

    Raises:
        ConfigError: if a split would be empty.
    """
    if not 1 <= splits <= fake.count:
        raise ConfigError(
            f"the Inception score requires 1 image or more per split, got {fake.count} for {splits} splits"
        )
    bounds = [i * fake.count // splits for i in range(splits + 1)]
    scores = []
    for first, last in pairwise(bounds):
        p = fake.rows[first:last].double()
        divergence = (torch.xlogy(p, p) - torch.xlogy(p, p.mean(0))).sum(1)  # xlogy: 0 log 0 = 0
        scores.append(float(divergence.mean().exp()))
    return {"inception_score": float(np.mean(scores)), "inception_score_std": float(np.std(scores))}
