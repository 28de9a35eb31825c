"""Work on a run directory: train until the end, a signal or an error, and resume later as if nothing had happened."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image

from progan.data.store import Store
from progan.errors import CheckpointError
from progan.images import save_png, sheet, to_uint8
from progan.processes import stop_signals
from progan.schedule import Stage, spans
from progan.snapshot import Snapshot, snapshots_in
from progan.snapshot.discriminators import save_discriminators
from progan.snapshot.registry import name_of
from progan.training import checkpoint, identity
from progan.training.log import RunLog
from progan.training.loop import Trainer
from progan.training.monitor import Monitor, measure
from progan.training.preflight import Plan

MEET_S, MEET_STEPS = 2, 16
"""Time and iterations after which several processes agree again on stopping and saving; torchrun leaves them 30 s."""


@dataclass(frozen=True)
class Progress:
    """What a run has written after an iteration."""

    path: Path
    """The run directory."""
    kimg: float
    """Thousands of real images shown so far ..."""
    total_kimg: float
    """... and at the end of the run."""
    stage: Stage
    stats: dict[str, Any] | None = None
    """A new row of stats.jsonl."""
    sheet: Path | None = None
    """A new sheet of samples."""
    snapshot: Path | None = None
    """A new snapshot."""


Callback = Callable[[Progress], object]
"""Called whenever a run has written something. Where it returns False the run saves what it has and ends, as after
Ctrl-C."""


class Session:
    """One run directory and the trainer that fills it.

    Raises:
        ConfigError: if the directory holds a run with other settings or of other data.
        CheckpointError: if it has checkpoints and none can be read.
    """

    def __init__(
        self,
        path: Path,
        trainer: Trainer,
        *stores: Store,
        about: dict[str, Any],
        classes: tuple[str, ...] = (),
        monitor: Monitor | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.path, self.trainer, self.stores, self.classes = path, trainer, stores, classes
        self.monitor, self.callbacks = monitor, callbacks
        self.config, self.writes = trainer.config, trainer.ranks.first
        self._stop = False
        self._error: Exception | None = None
        state, warnings = checkpoint.load(path)
        facts = identity.describe(self.config, trainer.spec, stores, about)
        identity.check_same(path, facts, self.config, needed=state is not None)
        if state is not None:
            trainer.load_state_dict(state["trainer"])
        # Seconds of training since the last line of statistics, and where that was.
        self.since = (0.0, self.kimg) if state is None else state.get("since", (0.0, self.kimg))
        if self.writes:
            with self._disk():
                path.mkdir(parents=True, exist_ok=True)
                self.log = RunLog(path, kimg=self.kimg)
                identity.write(path, facts)
                self._say_start(state is not None, warnings)

    @property
    def kimg(self) -> float:
        """Thousands of real images seen."""
        return self.trainer.images_seen / 1000

    @property
    def finished(self) -> bool:
        """Whether the schedule's end is reached."""
        return self.trainer.images_seen >= round(1000 * self.config.schedule.total_kimg)

    def train(self, plan: Plan) -> int | None:
        """Train to the end of the schedule; returns the number of the signal that ended it early, if one did.

        Raises:
            CheckpointError: if the disk does not take what the run writes.
        """
        with self._disk():
            try:
                ended_by = self._train(plan)
            finally:
                if self.writes:
                    self.log.end_progress()
            if self.writes and ended_by:
                self.log.say(f"stopped at {self.kimg:.1f} kimg; the same command goes on from there")
            elif self.writes:
                self._write_growth()
                self.log.say(f"done: {self.path}/samples, {self.path}/snapshots")
        if self._error is not None:
            raise self._error
        return ended_by

    def _train(self, plan: Plan) -> int | None:
        trainer, total = self.trainer, round(1000 * self.config.schedule.total_kimg)
        saved_at = met_at = time.monotonic()
        alone, steps = 0, 1  # iterations since the last agreement, and when the next one is due
        self.tick = (saved_at - self.since[0], self.since[1])
        with stop_signals() as stopped:
            while trainer.images_seen < total:
                before = trainer.images_seen
                stage = trainer.iterate()
                alone += 1
                over = trainer.stage.key != stage.key or trainer.images_seen >= total
                self._record(stage, before, over=over)
                if self.writes:
                    self._progress(plan, stage)
                if trainer.ranks.world > 1 and alone < steps and not over:
                    continue
                due = time.monotonic() - saved_at >= 60 * self.config.checkpoint_minutes
                passed = max(time.monotonic() - met_at, 1e-9)
                steps = 1 if over else max(1, int(min(MEET_STEPS, alone * MEET_S / passed)))
                stopped += [signal.SIGINT] * self._stop
                signal_number, due, fewer = trainer.ranks.most([stopped[0] if stopped else 0, int(due), -steps])
                alone, steps, met_at = 0, -fewer, time.monotonic()
                if signal_number or due:
                    self.save()
                    saved_at = time.monotonic()
                if signal_number:
                    return signal_number
        self.save()
        if self.writes and (files := snapshots_in(self.path)):
            save_discriminators(self.snapshot(self._shown(trainer.stage)), files[-1], trainer.gan)
        return None

    def save(self) -> None:
        """Write a checkpoint."""
        for name in sorted(self.trainer.sums):  # each rank has the statistics of its own samples
            self.trainer.ranks.mean(self.trainer.sums[name])
        if self.writes:
            since = (time.monotonic() - self.tick[0], self.tick[1])
            checkpoint.save(self.path, {"trainer": self.trainer.state_dict(), "since": since})
        self.trainer.ranks.wait()

    def snapshot(self, stage: Stage) -> Snapshot:
        """The averaged sampler as it is now, in ``stage``."""
        network, spec, gan = self.trainer.ema.network, self.trainer.spec, self.config.gan
        return Snapshot(network, name_of(gan), gan, spec, stage.level, stage.alpha, self.kimg, self.classes)

    def _record(self, stage: Stage, before: int, *, over: bool) -> None:
        """Statistics, samples and snapshots that are due after an iteration that began at ``before`` images."""
        config, now = self.config, self.kimg
        kinds = {"log": config.log_kimg, "sample": config.sample_kimg, "keep": config.snapshot_kimg}
        kinds |= {} if self.monitor is None else {"measure": self.monitor.kimg}
        # Whole images, because 0.12 // 0.02 is 5.
        intervals = {name: max(round(1000 * kimg), 1) for name, kimg in kinds.items()}
        due = {name: over or before // n != self.trainer.images_seen // n for name, n in intervals.items()}
        shown = self._shown(stage)
        written = Progress(self.path, now, config.schedule.total_kimg, shown)
        if due["log"]:
            written = replace(written, stats=self._write_row(stage))
        if self.writes and due["sample"]:
            sheet_file = self.path / f"samples/{now:011.3f}.png"
            save_png(self._samples(shown), sheet_file)
            written = replace(written, sheet=sheet_file)
        if self.writes and due["keep"]:
            snapshot_file = self.path / f"snapshots/{now:011.3f}.safetensors"
            self.snapshot(shown).save(snapshot_file)
            written = replace(written, snapshot=snapshot_file)
        if self.writes and self.monitor is not None and due["measure"]:
            start = time.monotonic()
            measure(self.monitor, self.snapshot(shown), self.log, self.trainer.sampled)
            self.tick = (self.tick[0] + time.monotonic() - start, self.tick[1])  # the rates are those of training
        if self.writes and (written.stats or written.sheet or written.snapshot):
            self._call_back(written)

    def _call_back(self, written: Progress) -> None:
        """Tell the callbacks; one that fails ends the run as one that asks for it, and its error follows then."""
        try:
            answers = [callback(written) for callback in self.callbacks]
            self._stop |= any(answer is not None and not answer for answer in answers)
        except Exception as error:
            self._stop, self._error = True, error

    def _shown(self, stage: Stage) -> Stage:
        """The stage as it is after an iteration that belonged to ``stage``; its end, if that was the last one."""
        after = self.trainer.stage
        return after if after.key == stage.key else replace(stage, alpha=1.0)

    def _write_row(self, stage: Stage) -> dict[str, Any]:
        """The statistics since the last row, which the first process also writes."""
        statistics = self.trainer.take_statistics()
        since, kimg = self.tick
        seconds = time.monotonic() - since
        self.tick = (time.monotonic(), self.kimg)
        where = {k: v for k, v in asdict(stage).items() if k not in ("level", "fading", "images_seen")}
        rate = (self.kimg - kimg) / seconds
        row = {"kimg": self.kimg, **where, **statistics, "seconds": seconds, "kimg_per_s": rate}
        if self.writes:
            self.log.row(row)
        return row

    def _progress(self, plan: Plan, stage: Stage) -> None:
        seen = self.trainer.images_seen
        since, kimg = self.tick
        done = self.kimg - kimg
        if done > 0:
            plan.measured(stage.level, (time.monotonic() - since) / done)
        left = [(s, s.end - max(s.first, seen)) for s in spans(self.config.schedule) if s.end > seen]
        times = [plan.seconds_per_kimg(s.level) * images / 1000 for s, images in left] or [0.0]
        self.log.progress(
            kimg=self.kimg,
            total_kimg=self.config.schedule.total_kimg,
            stage=str(stage),
            stage_left_s=times[0],
            run_left_s=sum(times),
        )

    def _samples(self, stage: Stage) -> Image:
        """A sheet of the same latents every time; small images are enlarged, not smoothed."""
        images = self.trainer.samples(stage, 64 if self.trainer.spec.shorter <= 128 else 16)
        if not torch.isfinite(images).all():
            raise CheckpointError(
                f"{self.path}: the generator at {self.kimg:.1f} kimg makes images that are not finite"
            )
        return sheet(to_uint8(images).cpu())

    def _say_start(self, resumed: bool, warnings: list[str]) -> None:
        for warning in warnings:
            self.log.say(f"warning: {warning}; using {checkpoint.SPARE}")
        if warnings:
            checkpoint.set_aside(self.path)
        if resumed:
            self.log.say(f"going on at {self.kimg:.1f} kimg, {self.trainer.stage}")
        elif not (self.path / "samples/reals.png").exists():
            self._write_reals()

    def _write_reals(self) -> None:
        """Images from all over each data set, which often lies there class by class."""
        for number, (store, spec) in enumerate(zip(self.stores, self.trainer.spec.every, strict=True)):
            side = self.config.load_size or spec.shorter
            rows = np.linspace(0, store.count - 1, min(64 if side <= 128 else 16, store.count)).astype(int)
            images = torch.from_numpy(store.level(side)[rows]).permute(0, 3, 1, 2)
            save_png(sheet(images), self.path / f"samples/reals{f'-{number}' if number else ''}.png")

    def _write_growth(self) -> None:
        """growth.png: the same latents at the end of every resolution, one row each."""
        if self.trainer.gan.sampler.latent is None:
            return
        newest: dict[int, Snapshot] = {}
        for file in snapshots_in(self.path):
            try:
                snapshot = Snapshot.load(file, device=self.trainer.device)
            except CheckpointError as error:
                self.log.say(f"warning: left out of growth.png: {error}")
                continue
            if snapshot.alpha == 1:
                newest[snapshot.level] = snapshot
        rows, spec = [], self.trainer.spec
        z = self.trainer.latents(12)
        label = self.trainer.data[0].labels(0, 12) if self.config.gan.takes_labels and spec.attributes else None
        for level, snapshot in sorted(newest.items()):
            factor = (1 << (spec.levels - 1 - level)) * max(1, 64 // spec.shorter)
            images = snapshot.generate(z, label=label)
            rows.append(images.repeat_interleave(factor, 2).repeat_interleave(factor, 3))
        if rows:
            save_png(sheet(torch.cat(rows), columns=12), self.path / "growth.png")
            self.log.say(f"the growth of 12 latents: {self.path}/growth.png")

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """Say what remains when the disk does not take a file."""
        try:
            yield
        except OSError as error:
            kept = "the last checkpoint is kept; " if (self.path / checkpoint.NAME).exists() else ""
            raise CheckpointError(
                f"{error.filename or self.path}: cannot be written ({error.strerror or error}); "
                f"{kept}mend that and run the same command again"
            ) from error
