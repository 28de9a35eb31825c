"""Run of a GAN of points by the package's own training loop, watched from outside."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from progan.gans.base import ImageSpec
from progan.toy.data import Distribution, Points
from progan.toy.measure import COUNT, Coverage, coverage
from progan.toy.recipes import Recipe
from progan.training.loop import Trainer

SPEC = ImageSpec(2, 1, 1)
"""Points as images: two coordinates, one pixel."""
FIELD = 48
"""Points per side of the square on which D's scores are computed; their number is a multiple of D's groups of 32."""
EXTENT = 1.5
"""Half the side of this square."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What a frame of a film shows."""

    step: int
    """Steps of G so far."""
    points: np.ndarray
    """Generated points [N, 2], always of the same latents."""
    field: np.ndarray
    """Scores of D at the centers of a square's cells, [FIELD, FIELD], the top row first."""
    coverage: Coverage


@dataclass(frozen=True, kw_only=True)
class Result:
    """End of a run."""

    coverage: Coverage
    seconds: float
    """Duration of the training, without the film."""
    moments: tuple[Moment, ...]
    """At equal intervals from the start to the end, or nothing."""


def train(
    recipe: Recipe,
    distribution: Distribution,
    *,
    seed: int,
    steps: int,
    moments: int = 0,
    progress: Callable[[], object] = lambda: None,
) -> Result:
    """Train on points of a distribution, on one CPU thread: the networks are too small to be shared.

    Args:
        recipe: loss and settings.
        distribution: real points.
        seed: seed of the weights, of the real points and of every random draw.
        steps: steps of G.
        moments: number of moments to keep, the first one before the first step; at most one more than steps.
        progress: function called after each step.
    """
    seen: list[Moment] = []
    times = {steps * i // max(moments - 1, 1) for i in range(moments)}
    with one_thread():
        data = Points(distribution, seed)
        trainer = Trainer(recipe.run(seed=seed, steps=steps), SPEC, data, device=torch.device("cpu"))
        seconds = 0.0
        for step in range(steps + 1):
            if step in times:
                seen.append(look(trainer, distribution, step))
            if step < steps:
                start = time.perf_counter()
                trainer.iterate()
                seconds += time.perf_counter() - start
                progress()
        end = seen[-1].coverage if seen else coverage(generated(trainer), distribution)
        return Result(coverage=end, seconds=seconds, moments=tuple(seen))


def generated(trainer: Trainer) -> np.ndarray:
    """Return points [N, 2] of the trainer's generator, always of the same latents."""
    return trainer.samples(trainer.stage, COUNT).flatten(1).numpy()


def look(trainer: Trainer, distribution: Distribution, step: int) -> Moment:
    """Return the current state of a run; nothing of it changes.

    A D that compares points is shown points of the square only, so that its scores compare these with each other.
    """
    points, discriminator = generated(trainer), trainer.gan.networks["discriminator"]
    at = (torch.arange(FIELD) + 0.5) * (2 * EXTENT / FIELD) - EXTENT
    y, x = torch.meshgrid(at.flip(0), at, indexing="ij")
    discriminator.eval()
    with torch.no_grad():
        field = discriminator(torch.stack([x, y], 2).view(-1, 2, 1, 1)).view(FIELD, FIELD).numpy()
    discriminator.train()
    return Moment(step=step, points=points, field=field, coverage=coverage(points, distribution))


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread of torch; numbers then are the same whatever the number of cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
