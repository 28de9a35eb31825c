"""Paths through latents: the Gaussian beside scipy's, the loop, and what they do not depend on."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from progan import draws
from progan.errors import ConfigError
from progan.latent.walks import SIGMA_S, Walk

WALK = Walk(frames=90, cells=3, components=16, sigma=5.0, seed=7)


def reference(walk: Walk) -> np.ndarray:
    """White noise of every frame at once, scipy's wrapped Gaussian, unit mean square; [frames, cells, components]."""
    noise = [draws.normal(walk.seed, f"walk/{cell}", 0, walk.frames, walk.components) for cell in range(walk.cells)]
    z = gaussian_filter1d(np.stack(noise, 1).astype(float), walk.sigma, axis=0, mode="wrap", truncate=4)
    return z / np.sqrt((z**2).mean(2, keepdims=True))


@pytest.mark.parametrize(
    "walk", [WALK, replace(WALK, frames=7), replace(WALK, frames=400, sigma=45.0), replace(WALK, frames=1, sigma=0.75)]
)
def test_equals_scipys_wrapped_gaussian(walk: Walk) -> None:
    np.testing.assert_allclose(walk.latents(0, walk.frames), reference(walk), rtol=0, atol=2e-5)


def test_the_papers_gaussian() -> None:
    assert SIGMA_S * 60 == 45


def test_neighbours_in_time_are_as_alike_as_the_gaussian_says() -> None:
    """Noise blurred with deviation s is correlated by exp(-t^2 / 4 s^2) over t frames."""
    z = Walk(frames=600, cells=1, components=256, sigma=10).latents(0, 600)[:, 0].astype(float)
    for lag in (5, 10, 20):
        assert (z * np.roll(z, lag, 0)).mean() == pytest.approx(np.exp(-(lag**2) / 400), abs=0.03)


def test_the_loop_is_closed() -> None:
    z = WALK.latents(0, 2 * WALK.frames + 1)
    assert np.array_equal(z[: WALK.frames + 1], z[WALK.frames :])
    steps = np.sqrt(np.square(np.diff(z[: WALK.frames + 1], axis=0)).mean((1, 2)))
    assert steps[-1] < 1.5 * steps.mean()  # from the last frame to the first as between any two
    assert np.square(z[0] - z[WALK.frames // 2]).mean() > 0.5


def test_latents_lie_on_the_hypersphere() -> None:
    z = WALK.latents(0, WALK.frames)
    assert z.dtype == np.float32
    np.testing.assert_allclose(np.square(z.astype(float)).sum(2), WALK.components, rtol=1e-6)


def test_any_split_into_blocks_gives_the_same_frames() -> None:
    whole = WALK.latents(0, WALK.frames)
    parts = [WALK.latents(first, 1) for first in range(WALK.frames)]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=0, atol=1e-6)
    blocks = list(WALK.blocks())
    assert len(blocks) > 1
    np.testing.assert_allclose(np.concatenate(blocks), whole, rtol=0, atol=1e-6)


def test_a_cell_is_the_same_in_any_grid_and_cells_and_seeds_differ() -> None:
    z = WALK.latents(0, 5)
    assert np.array_equal(replace(WALK, cells=2).latents(0, 5), z[:, :2])
    assert np.abs(z[:, 0] - z[:, 1]).max() > 0.5
    assert np.abs(replace(WALK, seed=8).latents(0, 5) - z).max() > 0.5


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"frames": 0}, "frames must be at least 1, got 0"),
        ({"sigma": 0.0}, "sigma must be greater than 0 frames, got 0.0"),
    ],
)
def test_wrong_settings(wrong: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(WALK, **wrong)
