"""Runs on points: one seed gives one run, and watching changes nothing."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from progan.toy.data import DISTRIBUTIONS, Points
from progan.toy.recipes import DEFAULT, RECIPES
from progan.toy.training import EXTENT, FIELD, SPEC, look, train
from progan.training.loop import Trainer

RING = DISTRIBUTIONS["ring"]
SMALL = {name: replace(recipe, gan=replace(recipe.gan, width=8, latent_size=4)) for name, recipe in RECIPES.items()}


def test_one_seed_gives_one_run() -> None:
    threads = torch.get_num_threads()
    often, again, other = (
        train(SMALL["wgan_gp"], RING, seed=seed, steps=4, moments=moments) for seed, moments in ((1, 5), (1, 2), (2, 2))
    )
    assert torch.get_num_threads() == threads
    assert [moment.step for moment in often.moments] == [0, 1, 2, 3, 4]
    assert [moment.step for moment in again.moments] == [0, 4]
    last, same = often.moments[-1], again.moments[-1]
    assert np.array_equal(last.points, same.points)
    assert np.array_equal(last.field, same.field)
    assert not np.isclose(last.points, other.moments[-1].points).any()
    assert train(SMALL["wgan_gp"], RING, seed=1, steps=4).coverage == often.coverage == last.coverage


@pytest.mark.parametrize("name", ["discrimination", "stddev"])
def test_watching_changes_nothing(name: str) -> None:
    """D with minibatch discrimination sets itself by the first points that it is shown, which are never the film's."""
    trainer = Trainer(SMALL[name].run(seed=0, steps=2), SPEC, Points(RING, 0), device=torch.device("cpu"))
    before = copy.deepcopy(trainer.gan.networks.state_dict())
    look(trainer, RING, 0)
    after = trainer.gan.networks.state_dict()
    assert [key for key, value in before.items() if not torch.equal(value, after[key])] == []
    assert all(module.training for module in trainer.gan.networks.modules())


def test_the_field_is_the_score_at_each_place_of_the_square(monkeypatch: pytest.MonkeyPatch) -> None:
    """D is replaced by the sum of x and 10 y."""
    monkeypatch.setattr(
        "progan.gans.points.Discriminator.forward",
        lambda self, x: x[:, 0, 0, 0] + 10 * x[:, 1, 0, 0] + 0 * self.score.bias,
    )
    field = train(SMALL["non_saturating"], RING, seed=0, steps=1, moments=1).moments[0].field
    edge = EXTENT * (1 - 1 / FIELD)
    assert field.shape == (FIELD, FIELD)
    corners = [field[0, 0], field[0, -1], field[-1, 0], field[-1, -1]]
    assert corners == pytest.approx([9 * edge, 11 * edge, -11 * edge, -9 * edge], rel=1e-5)


PAPERS: dict[str, dict[str, object]] = {
    "wgan": {"loss": "wgan", "n_critic": 5, "clip": 0.1, "optimizer": "rmsprop"},
    "wgan_gp": {"loss": "wgan_gp", "n_critic": 5, "penalty_weight": 0.1, "optimizer": "adam"},
    "r1": {"loss": "non_saturating", "r1": 0.1},
    "slow_d": {"loss": "non_saturating", "unrolled": 0, "d_lr": 0.1},
    "unrolled": {"loss": "non_saturating", "unrolled": 5, "d_lr": 0.1},
    "discrimination": {"loss": "non_saturating", "minibatch": "discrimination", "minibatch_group": 32},
    "stddev": {"loss": "non_saturating", "minibatch": "stddev", "minibatch_group": 32},
}
"""Settings of the recipes that are more than a loss; the names of the others are those of their losses."""


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_the_loss_and_the_settings_that_its_line_names(name: str) -> None:
    recipe, wanted = RECIPES[name], PAPERS.get(name, {"loss": name, "n_critic": 1, "optimizer": "adam"})
    assert {setting: getattr(recipe.gan, setting) for setting in wanted} == wanted
    assert (recipe.lr, recipe.beta1) == (1e-3, 0.5)
    assert recipe.beta2 == {"wgan": 0.99, "wgan_gp": 0.9}.get(name, 0.999)


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_counts_steps_of_g(name: str) -> None:
    run, gan = RECIPES[name].run(seed=3, steps=500), RECIPES[name].gan
    assert run.seed == 3
    assert round(1000 * run.schedule.total_kimg) == 500 * 128 * gan.n_critic  # type: ignore[operator]
    assert set(DEFAULT) <= set(RECIPES)
    networks = {"width": gan.width, "layers": gan.layers, "latent_size": gan.latent_size, "orthogonal": gan.orthogonal}
    assert networks == {"width": 128, "layers": 2, "latent_size": 64, "orthogonal": 0.8}  # equal for all
