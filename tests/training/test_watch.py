"""A run that blows up stops, keeps its good checkpoint and continues only with a change; what else a run warns of."""

import json
import math
import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import toys
from progan.cli import main
from progan.data.loader import Loader
from progan.data.store import Store
from progan.errors import BlowupError, CheckpointError
from progan.gans.base import ImageSpec
from progan.training import checkpoint
from progan.training.config import RunConfig
from progan.training.distributed import Ranks
from progan.training.log import RunLog, read_stats
from progan.training.loop import Trainer
from progan.training.precision import Precision
from progan.training.run import Run
from progan.training.saving import Saver
from progan.training.session import Progress
from progan.training.statistics import Statistics, all_finite
from progan.training.train import train
from progan.training.watch import JUMP, Watch, blown
from small import small_run

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("no_probe")


# --- statistics


def test_means_leave_out_what_is_not_finite_and_count_it() -> None:
    """Against numpy.nanmean over the finite values, to 1e-6; parts of a batch weigh as much as they are."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((7, 3)).astype(np.float32)
    values[1, 0], values[4, 0], values[2, 1] = math.nan, math.inf, -math.inf
    values[:, 2] = math.nan
    statistics = Statistics(CPU, Ranks())
    for row in values:
        for _ in range(2):  # two micro-batches, each of which is divided by 2
            statistics.add({f"critic/{i}": torch.tensor(x / 2) for i, x in enumerate(row)}, parts=2)
    found = statistics.take()
    finite = np.where(np.isfinite(values), values, np.nan)
    assert found["critic/0"] == pytest.approx(np.nanmean(finite[:, 0]), abs=1e-6)
    assert found["critic/1"] == pytest.approx(np.nanmean(finite[:, 1]), abs=1e-6)
    assert found["critic/2"] is None
    counts = {name: found[f"critic/{name}/not_finite"] for name in (0, 1, 2)}
    assert counts == {0: 4, 1: 2, 2: 14}
    assert statistics.take() == {}


def test_skipped_steps_are_counted_in_a_row_for_each_phase() -> None:
    statistics = Statistics(CPU, Ranks())
    for critic, generator in [(1, 0), (0, 0), (1, 0), (1, 1)]:
        statistics.stepped("critic", torch.tensor(float(critic)))
        statistics.stepped("generator", torch.tensor(float(generator)))
    assert statistics.streaks(since={}) == {"critic": 2, "generator": 1}
    assert statistics.streaks(since={"critic": 4, "generator": 3}) == {"generator": 1}
    assert statistics.applied() == {"critic": 2, "generator": 3}
    other = Statistics(CPU, Ranks())
    other.load_state_dict(statistics.state_dict())
    other.stepped("critic", torch.ones(()))
    assert other.take() == {"critic/skipped_in_a_row": 3, "generator/skipped_in_a_row": 1}


def test_a_phase_that_is_over_is_not_reported_again(store: Store, tmp_path: Path) -> None:
    """As a pretraining whose last step was skipped: it neither fills the rows nor keeps the run from being saved."""
    config, spec = small_run(), ImageSpec(store.channels, store.height, store.width)
    trainer = Trainer(config, spec, Loader(store, seed=0, mirror=False), device=CPU)
    statistics, log = trainer.statistics, RunLog(tmp_path, quiet=True)
    (tmp_path / "config.json").touch()
    for skipped in (0.0, 1.0):
        statistics.stepped("pretrain", torch.tensor(skipped))
    assert statistics.take() == {"pretrain/skipped_in_a_row": 1}
    saver = Saver(tmp_path, trainer, log, resumed=False)
    for images in (8, 16):
        statistics.stepped("generator", torch.tensor(0.0))
        trainer.images_seen = images
        saver.save()
        assert saver.saved == images
        assert statistics.take() == {}
    log.close()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_bad_number_anywhere_is_found(bad: float) -> None:
    tensors = [torch.ones(3), torch.zeros(()), torch.zeros(0), torch.arange(4), torch.ones(2, 2, dtype=torch.bfloat16)]
    assert all_finite(tensors)
    assert not all_finite([*tensors, torch.tensor([[1.0, bad]])])


# --- blow-ups


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """From image 64 on the gradients of a phase are not finite, as long as the learning rate is above a limit."""
    setting = {"phase": "discriminator", "from": 64, "above": 6e-4}
    run, step = Trainer._run, Precision.step

    def noting(self: Trainer, phase: Any, stage: Any, *rest: Any) -> None:
        self.precision.poison = (  # type: ignore[attr-defined]
            phase.name == setting["phase"] and self.images_seen >= setting["from"] and stage.lr > setting["above"]
        )
        run(self, phase, stage, *rest)

    def poisoning(self: Precision, *optimizers: torch.optim.Optimizer) -> Any:
        if self.poison:  # type: ignore[attr-defined]
            next(p.grad for p in optimizers[0].param_groups[0]["params"] if p.grad is not None).fill_(math.nan)
        return step(self, *optimizers)

    monkeypatch.setattr(Trainer, "_run", noting)
    monkeypatch.setattr(Precision, "step", poisoning)
    return setting


def go(path: Path, store: Store, config: RunConfig, **more: Any) -> int | None:
    return train(config, store, path=path, about={}, device=CPU, **more)


def often(**changes: Any) -> RunConfig:
    """A checkpoint after every iteration, and many rows of statistics; without growing, which takes longer."""
    return replace(small_run(hold_kimg=1.0), checkpoint_minutes=0.0, log_kimg=0.016, **changes)


def weights(path: Path) -> dict[str, torch.Tensor]:
    state, _ = checkpoint.load(path)
    assert state is not None
    return state["trainer"]["networks"]


@pytest.mark.parametrize("phase", ["discriminator", "generator"])
def test_blown_run_stops_and_keeps_its_good_checkpoint(
    phase: str, poisoned: dict, store: Store, tmp_path: Path
) -> None:
    """At its end, after 12 of 20 steps were skipped; it is no run that is done."""
    poisoned["phase"], path = phase, tmp_path / "run"
    with pytest.raises(BlowupError) as raised:
        go(path, store, often())
    message = str(raised.value)
    assert f"training blew up at 0.2 kimg: the last 12 steps of the phase '{phase}' were skipped" in message
    assert f"the last good checkpoint, {path}/checkpoint.pt" in message
    assert "run the same command with --on-blowup halve-lr to continue from it at half the learning rate" in message
    state, _ = checkpoint.load(path)
    assert state is not None
    assert state["trainer"]["images_seen"] == 64
    warnings = [text for row in read_stats(path) for text in row.get("warnings", [])]
    assert warnings[0].startswith(f"{phase}: gradient not finite in 2 steps, which were skipped; try a lower learning")
    log = (path / "log.txt").read_text()
    assert all(f"warning: {text}" in log for text in warnings)
    assert "done:" not in log
    assert not Run.open(path).finished


def test_blown_run_stops_after_a_hundred_skipped_steps(poisoned: dict, store: Store, tmp_path: Path) -> None:
    """Not at the end of a run of 2000 images; the first row behind the hundredth step tells."""
    config = small_run(hold_kimg=2.0, total_kimg=2.0)
    with pytest.raises(BlowupError, match=r"blew up at 0\.9 kimg: the last 102 steps"):
        go(tmp_path / "run", store, replace(config, log_kimg=0.08))


def test_a_blow_up_is_noticed_when_rows_are_rare(poisoned: dict, store: Store, tmp_path: Path) -> None:
    """By the time of the next checkpoint: that of the 100th step, or of one right behind it."""
    config = small_run(hold_kimg=2.0, total_kimg=2.0)
    with pytest.raises(BlowupError, match=r"blew up at 0\.9 kimg: the last 100 steps"):
        go(tmp_path / "run", store, replace(config, log_kimg=100.0, checkpoint_minutes=0.0))


def test_the_same_command_does_not_repeat_a_blow_up(poisoned: dict, store: Store, tmp_path: Path, monkeypatch) -> None:
    for _ in range(2):
        with pytest.raises(BlowupError, match="--on-blowup halve-lr"):
            go(tmp_path / "run", store, often())
        monkeypatch.setattr(Trainer, "iterate", None)  # is not called again


def test_a_blown_run_continues_when_told_to_halve_the_learning_rate(
    poisoned: dict, store: Store, tmp_path: Path
) -> None:
    """From the good checkpoint, to the same weights whether in one process, or stopped and resumed in between."""
    one, other = tmp_path / "one", tmp_path / "other"
    assert go(one, store, often(on_blowup="halve-lr")) is None
    with pytest.raises(BlowupError):
        go(other, store, often())
    told, seen = often(on_blowup="halve-lr"), []

    def stop(progress: Progress) -> bool:
        seen.append(progress.kimg)
        return len(seen) != 3

    assert go(other, store, told, callbacks=[stop]) is not None
    assert go(other, store, often()) is None  # what was changed once holds, whatever is said now
    assert seen[0] > 0.064
    assert all(torch.equal(value, weights(other)[name]) for name, value in weights(one).items())
    for path in (one, other):
        rates = {row["kimg"]: row["lr"] for row in read_stats(path)}
        assert {lr for kimg, lr in rates.items() if kimg <= 0.064} == {0.001}
        assert {lr for kimg, lr in rates.items() if kimg > 0.072} == {0.0005}
        (blowup,) = json.loads((path / "config.json").read_text())["blowups"]
        assert (blowup["kimg"], blowup["halved_at"]) == (0.16, 64)
        assert "the learning rate is 0.5 of its setting" in (path / "log.txt").read_text()
        assert Run.open(path).finished


def test_halving_has_an_end(poisoned: dict, store: Store, tmp_path: Path, monkeypatch) -> None:
    """Without a good checkpoint the run starts again each time."""
    poisoned |= {"from": 0, "above": 0.0}
    monkeypatch.setattr("progan.training.blowups.MOST", 2)
    with pytest.raises(BlowupError, match=r"start a new run .*; this one was halved 2 times"):
        go(tmp_path / "run", store, replace(small_run(), on_blowup="halve-lr"))
    assert not (tmp_path / "run/checkpoint.pt").exists()
    assert len(json.loads((tmp_path / "run/config.json").read_text())["blowups"]) == 3


def test_a_checkpoint_that_leads_to_another_blow_up_gives_way_to_the_spare(
    poisoned: dict, store: Store, tmp_path: Path
) -> None:
    """The second blow-up after the same checkpoint continues from the one before, at a quarter of the rate."""
    poisoned["above"] = 3e-4
    assert go(tmp_path / "run", store, often(on_blowup="halve-lr")) is None
    first, second = json.loads((tmp_path / "run/config.json").read_text())["blowups"]
    assert (first["halved_at"], second["halved_at"]) == (56, 56)
    assert (tmp_path / "run/checkpoint.blown.pt").exists()
    assert read_stats(tmp_path / "run")[-1]["lr"] == 0.00025


@pytest.mark.parametrize(("where", "when"), [("networks", 72), ("ema", 72), ("optimizers", 72), ("optimizers", 152)])
def test_a_state_that_is_not_finite_ends_the_run(
    where: str, when: int, store: Store, tmp_path: Path, monkeypatch
) -> None:
    """Although every step is applied, as the numbers are not in use; it would never be saved again."""
    iterate = Trainer.iterate

    def breaking(self: Trainer) -> Any:
        if self.images_seen == when:
            state = self.steppers["generator"].torch.state
            tensors = {
                "networks": [*self.gan.networks["generator"].parameters()][-1:],
                "ema": [*self.ema.network.parameters()][-1:],
                "optimizers": [[*state.values()][-1]["exp_avg_sq"]],
            }
            for tensor in tensors[where]:
                tensor.detach().fill_(math.inf)
        return iterate(self)

    monkeypatch.setattr(Trainer, "iterate", breaking)
    with pytest.raises(BlowupError, match=r"not finite"):
        go(tmp_path / "run", store, often())
    state, _ = checkpoint.load(tmp_path / "run")
    assert state is not None
    assert state["trainer"]["images_seen"] == when


def test_a_skipped_step_leaves_the_statistics_of_batch_norm(monkeypatch) -> None:
    """Images that are not finite once must not stay in running averages, from which the run could not recover."""
    trainer = toys.run(toys.toy_trainer("aae"), 2)
    norms = [buffer for buffer in trainer.gan.networks.buffers() if buffer.is_floating_point()]
    before = [buffer.clone() for buffer in norms]
    with monkeypatch.context() as patch:
        images = toys.Pictures.images
        patch.setattr(toys.Pictures, "images", lambda *a, **b: images(*a, **b).float() * math.nan)
        toys.run(trainer, 1)
    assert norms
    assert trainer.precision.skipped > 0
    assert trainer.all_finite()
    toys.run(trainer, 1)
    assert any(not torch.equal(old, new) for old, new in zip(before, norms, strict=True))


def test_a_short_run_of_skipped_steps_is_not_done(poisoned: dict, store: Store, tmp_path: Path) -> None:
    poisoned["from"] = 0
    with pytest.raises(BlowupError, match="no step of the phase 'discriminator' was ever applied"):
        go(tmp_path / "run", store, small_run(total_kimg=0.04))


def stops(progress: Progress) -> bool:
    return progress.kimg < 0.16


def fails(progress: Progress) -> None:
    if progress.kimg >= 0.16:
        raise ValueError("from the callback")


def test_a_stop_at_the_moment_of_a_blow_up_is_heeded(poisoned: dict, store: Store, tmp_path: Path) -> None:
    """In place of continuing at half the rate, which the next command does."""
    told = often(on_blowup="halve-lr")
    assert go(tmp_path / "run", store, told, callbacks=[stops]) == signal.SIGINT
    assert not Run.open(tmp_path / "run").finished
    with pytest.raises(ValueError, match="from the callback"):
        go(tmp_path / "other", store, told, callbacks=[fails])
    assert go(tmp_path / "run", store, told) is None


@pytest.mark.parametrize("blowups", [[{"kimg": 1.0}], [1], 7, [{"kimg": 1.0, "reason": "", "later": 2}]])
def test_blow_ups_that_cannot_be_read_are_one_line(blowups: object, store: Store, tmp_path: Path) -> None:
    go(tmp_path / "run", store, small_run(), callbacks=[lambda progress: False])
    facts = json.loads((tmp_path / "run/config.json").read_text())
    (tmp_path / "run/config.json").write_text(json.dumps(facts | {"blowups": blowups}))
    with pytest.raises(CheckpointError, match=r"config\.json: is missing or damaged"):
        go(tmp_path / "run", store, small_run())


def test_exit_code_of_a_blown_run_is_1(store: Store, tmp_path: Path, capsys) -> None:
    """The acceptance case: a learning rate of 1e12, by the command."""
    options = [
        str(store.path),
        "--out",
        str(tmp_path),
        "--name",
        "run",
        "--device",
        "cpu",
        "--schedule.total-kimg",
        "0.4",
    ]
    small = ["--gan.fmap-max", "8", "--gan.latent-size", "8", "--schedule.batch", "8", "--schedule.lr", "1e12"]
    assert main(["train", "auto", *options, *small]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {tmp_path}/run: training blew up at 0.4 kimg")
    assert "kept: no checkpoint;" in error
    assert "done" not in (tmp_path / "run/log.txt").read_text()


# --- warnings


def rows(*norms: float, **last: float) -> list[dict[str, Any]]:
    stage = {"resolution": 16, "alpha": 1.0, "seconds": 10.0, "loading_s": 0.1}
    made = [
        {**stage, "kimg": i, "generator/gradient_norm": norm, "critic/gradient_norm": 1.0}
        for i, norm in enumerate(norms)
    ]
    made[-1] |= last
    return made


USUAL = [0.5, 1.5, 1.0, 0.8, 1.2, 1.0]


@pytest.mark.parametrize(
    ("norm", "last", "message"),
    [
        (0.02, {}, ""),
        (0.005, {}, r"the generator learns almost nothing .* gradient norm is 0.005, its median so far 1; try a lower"),
        (JUMP - 1, {}, ""),
        (JUMP + 1, {}, "the generator may be about to diverge: its gradient norm is 31, its median so far 1"),
        (1.0, {"critic/gradient_norm": 0.001}, "the critic is saturated"),
        (1.0, {"loading_s": 6.0}, "60% of the time is spent waiting for images"),
        (1.0, {"loading_s": 4.0}, ""),
        (1.0, {"resolution": 32, "generator/gradient_norm": 0.001}, ""),
        (1.0, {"alpha": 0.5, "generator/gradient_norm": 99.0}, ""),
        (
            1.0,
            {"critic/real/not_finite": 3.0, "critic/penalty/not_finite": 4.0},
            "critic: penalty, real not finite in 4",
        ),
        (1.0, {"critic/skipped_in_a_row": 9.0}, ""),
        (1.0, {"critic/skipped_in_a_row": 10.0}, "critic: the last 10 steps were skipped; try a lower learning rate"),
    ],
)
def test_rows_are_warned_of(norm: float, last: dict, message: str) -> None:
    *before, now = rows(*USUAL, norm, **last)
    found = Watch(before, ["generator"]).row(now)
    assert len(found) == bool(message)
    assert not message or re.search(message, found[0])


def test_a_gradient_that_becomes_smaller_slowly_is_no_warning() -> None:
    """By a tenth with each row, as that of a network that only learns to copy pixels."""
    watch = Watch([], ["generator"])
    assert [watch.row(row) for row in rows(*(0.9**i for i in range(120)))] == [[]] * 120


def test_a_warning_is_given_once_until_its_reason_is_gone() -> None:
    watch = Watch(rows(*USUAL), ["generator"])
    found = [len(watch.row(rows(norm)[0])) for norm in (0.001, 0.001, 1.0, 0.001)]
    assert found == [1, 0, 0, 1]
    resumed = Watch(rows(*USUAL, 0.001), ["generator"])
    assert resumed.row(rows(0.001)[0]) == []


def test_a_loss_scale_that_is_searched_for_is_no_warning() -> None:
    (now,) = rows(1.0, **{"critic/gradient_norm/not_finite": 3.0})
    assert Watch([], [], scaled=True).row(now) == []
    assert Watch([], []).row(now) != []


@pytest.mark.parametrize(
    ("count", "over", "gone"), [(99, False, False), (100, False, True), (9, True, False), (10, True, True)]
)
def test_when_nothing_is_learned_any_more(count: int, over: bool, gone: bool) -> None:
    assert bool(blown({"kimg": 1.0, "critic/skipped_in_a_row": float(count)}, over=over)) == gone


def test_samples_of_one_color_and_equal_samples_are_warned_of() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(8, 3, 4, 4, generator=generator) * 2 - 1
    watch, flat = Watch([], []), images.mean((1, 2, 3), keepdim=True).expand_as(images)
    assert watch.samples(images) == []
    assert watch.samples(images[:1]) == []
    assert "every sample is of one color" in watch.samples(flat)[0]
    assert watch.samples(flat) == []  # said already
    assert "all samples are equal" in watch.samples(images[:1].expand_as(images) + 1e-3 * images)[0]


def test_equal_samples_are_in_the_log_and_in_the_statistics(store: Store, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(
        Trainer, "samples", lambda self, stage, count: torch.linspace(-1, 1, 48).view(1, 3, 4, 4).expand(count, 3, 4, 4)
    )
    go(tmp_path / "run", store, small_run(hold_kimg=0.16))
    row, *others = [row for row in read_stats(tmp_path / "run") if "warnings" in row]
    assert not others
    assert "all samples are equal (mode collapse)" in row["warnings"][0]
    assert f"warning: {row['warnings'][0]}" in (tmp_path / "run/log.txt").read_text()
