"""GANs of other kinds through the training loop: resumed, in micro-batches, and what each is given.

On two ranks they are in test_distributed.py.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from progan import draws
from progan.errors import ConfigError
from progan.training import checkpoint
from restoring import flat
from toys import STEPS, TOYS, AutoencoderConfig, Pictures, run, tensors, toy_trainer

TOLERANCE = 1e-5
"""Largest difference of a weight between whole batches and micro-batches: only the order of sums differs."""


@pytest.mark.parametrize("name", TOYS)
@pytest.mark.parametrize("stop", [1, 5])
def test_resumed_run_equals_uninterrupted_run(name: str, stop: int, tmp_path: Path) -> None:
    whole, first, second = run(toy_trainer(name), STEPS), run(toy_trainer(name), stop), toy_trainer(name)
    checkpoint.save(tmp_path, first.state_dict())
    second.load_state_dict(checkpoint.load(tmp_path)[0] or {})
    run(second, STEPS - stop)
    a, b = flat(whole.state_dict()), flat(second.state_dict())
    assert a.keys() == b.keys()
    assert [key for key in a if not torch.equal(torch.as_tensor(a[key]), torch.as_tensor(b[key]))] == []
    assert any(not torch.equal(v, tensors(toy_trainer(name))[k]) for k, v in tensors(whole).items())


@pytest.mark.parametrize("name", ["wgan", "points"])
def test_micro_batches_give_the_weights_of_whole_batches(name: str) -> None:
    one, parts = (tensors(run(toy_trainer(name, micro_batch=micro), STEPS)) for micro in (None, 2))
    assert max(float((one[k] - parts[k]).abs().max()) for k in one) < TOLERANCE


def test_batch_norm_refuses_micro_batches_unless_its_groups_fit() -> None:
    with pytest.raises(ConfigError, match=r"micro_batch 4 would split the 8 samples .*--gan.bn-group 4$"):
        toy_trainer("aae", micro_batch=4)
    groups = replace(TOYS["aae"], gan=AutoencoderConfig(bn_group=4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TOYS, "aae", groups)
        one, parts = (tensors(run(toy_trainer("aae", micro_batch=micro), STEPS)) for micro in (None, 4))
    running = {k for k in one if "running" in k or "batches" in k}  # move once for each micro-batch
    assert max(float((one[k] - parts[k]).abs().max()) for k in one.keys() - running) < TOLERANCE


def test_phases_that_show_images_show_every_position_once() -> None:
    trainer = toy_trainer("points")
    data = trainer.data[0]
    assert isinstance(data, Pictures)
    run(trainer, 4)
    assert trainer.images_seen == 4 * 2 * 8
    assert data.asked == list(range(64))


def test_clock_counts_the_images_of_one_source() -> None:
    trainer = run(toy_trainer("cyclegan"), 3)
    assert trainer.images_seen == 3 * 8
    a, b = trainer.data
    assert isinstance(a, Pictures)
    assert isinstance(b, Pictures)
    assert a.asked == b.asked == [p for i in range(3) for _ in range(2) for p in range(8 * i, 8 * i + 8)]


def test_a_larger_batch_and_every_repeat_have_draws_of_their_own(monkeypatch) -> None:
    trainer, asked = toy_trainer("points"), []
    uniform = draws.uniform

    def spy(seed: int, stream: str, first: int, count: int, width: int) -> np.ndarray:
        asked.append((stream, first, count))
        return uniform(seed, stream, first, count, width)

    monkeypatch.setattr(draws, "uniform", spy)
    run(trainer, 3)
    latents = [(stream, first, count) for stream, first, count in asked if stream.endswith("/latent")]
    assert [count for _, _, count in latents] == 3 * [8, 8, 24, 24]
    used = [(stream, position) for stream, first, count in latents for position in range(first, first + count)]
    assert len(set(used)) == len(used) == 3 * 64


def test_a_step_has_one_common_draw() -> None:
    whole, parts = toy_trainer("points"), toy_trainer("points", micro_batch=4)
    run(whole, 2), run(parts, 2)
    assert len(whole.gan.shifts) == 8
    assert parts.gan.shifts == [s for s, n in zip(whole.gan.shifts, [2, 2, 6, 6] * 2, strict=True) for _ in range(n)]
    assert len(set(whole.gan.shifts)) == 8


def test_optimizers_and_rates_are_those_of_the_phase() -> None:
    trainer = run(toy_trainer("aae"), 3)
    reconstruct, fool = (trainer.steppers[key].torch for key in ("encoder", "fool/encoder"))
    assert (reconstruct.param_groups[0]["momentum"], fool.param_groups[0]["momentum"]) == (pytest.approx(0.564), 0.1)
    assert (reconstruct.param_groups[0]["lr"], fool.param_groups[0]["lr"]) == (0.1, pytest.approx(0.01))
    one, other = (s["momentum_buffer"] for o in (reconstruct, fool) for s in list(o.state.values())[:1])
    assert not torch.equal(one, other)
    assert run(toy_trainer("points"), 1).steppers["generator"].torch.param_groups[0]["lr"] == 0.005


def test_a_gan_looks_at_every_image_once_before_its_first_step() -> None:
    trainer = toy_trainer("aae")
    data = trainer.data[0]
    assert isinstance(data, Pictures)
    mean = (data.pixels.double() / 255).mean(0).flatten()
    trainer._look(trainer.stage)
    assert sorted(data.asked) == list(range(len(data)))
    bias = trainer.gan.networks["decoder"][-1].bias
    np.testing.assert_allclose(torch.sigmoid(bias).detach(), mean, atol=1e-6)
    assert torch.equal(trainer.ema.network.decoder[-1].bias, bias)
    run(trainer, 1)
    data.asked.clear()
    run(trainer, 1)
    assert sorted(set(data.asked)) == list(range(8, 16))


def test_the_average_moves_behind_the_phase_that_says_so() -> None:
    trainer = toy_trainer("aae")
    trainer._look(trainer.stage)
    before = trainer.ema.network.encoder[0].weight.clone()
    moved = []
    update = trainer.ema.update

    def spy(images: int) -> None:
        moved.append((images, trainer.gan.networks["encoder"][0].weight.clone()))
        update(images)

    trainer.ema.update = spy  # type: ignore[method-assign]
    trainer.iterate()
    ((images, weight),) = moved
    assert images == 8
    assert not torch.equal(weight, trainer.gan.networks["encoder"][0].weight)  # which then moved against the critic
    torch.testing.assert_close(trainer.ema.network.encoder[0].weight, before.lerp(weight, 0.1))


def test_no_average_means_the_current_weights() -> None:
    trainer = run(toy_trainer("wgan"), 5)
    average, now = trainer.ema.network.state_dict(), trainer.gan.sampler.state_dict()
    assert all(torch.equal(average[k], v) for k, v in now.items())


def test_critic_is_clipped_before_each_of_its_steps() -> None:
    trainer = toy_trainer("wgan")
    weights = trainer.gan.networks["critic"][0].weight
    trainer.iterate()
    assert 0.05 < weights.abs().max() < 0.05 + 3 * trainer.stage.lr * 10  # a step away from what was clipped
    trainer.gan.clip()
    assert weights.abs().max() == pytest.approx(0.05)


def test_rates_fall_as_images_are_shown() -> None:
    trainer = toy_trainer("cyclegan")
    rates = []
    for _ in range(10):
        rates.append(trainer.stage.lr)
        trainer.iterate()
    wanted = [0.01 * min(1.0, 1 - (8 * i - 40) / 160) for i in range(10)]
    assert rates == pytest.approx(wanted)
