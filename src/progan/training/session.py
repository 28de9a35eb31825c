"""A run in its directory: trains until the end, a signal or an error, and resumes exactly where it stopped."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from progan.data.store import Store
from progan.errors import BlowupError, CheckpointError
from progan.processes import stop_signals
from progan.schedule import Stage, spans
from progan.snapshot import Snapshot, snapshots_in
from progan.snapshot.discriminators import save_discriminators
from progan.snapshot.registry import name_of
from progan.training import checkpoint, identity, leftovers, pictures
from progan.training.blowups import Blowup, History
from progan.training.log import RunLog, read_stats
from progan.training.loop import Trainer
from progan.training.monitor import Monitor, measure
from progan.training.opening import Opened
from progan.training.preflight import Plan
from progan.training.saving import Saver
from progan.training.statistics import SKIPPED
from progan.training.watch import Watch, blown

MEET_S, MEET_STEPS = 2, 16
"""Seconds and iterations after which processes agree again on stopping and saving; torchrun kills after 30 s."""
_CODES = 64  # images whose codes are compared


@dataclass(frozen=True)
class Progress:
    """Files that a run has written after an iteration."""

    path: Path
    """The run directory."""
    kimg: float
    """Thousands of real images shown so far."""
    total_kimg: float
    """Thousands of real images shown at the end of the run."""
    stage: Stage
    stats: dict[str, Any] | None = None
    """A new row of stats.jsonl."""
    sheet: Path | None = None
    """A new sheet of samples."""
    snapshot: Path | None = None
    """A new snapshot."""


Callback = Callable[[Progress], object]
"""Called whenever a run has written something. If it returns False, the run saves its state and ends, as on Ctrl-C."""


class Session:
    """One run directory and the trainer that fills it.

    Raises:
        ConfigError: if the directory contains a run with different settings or on different data.
        CheckpointError: if it has checkpoints and none can be read.
        BlowupError: if its run blew up and nothing is to be changed.
    """

    def __init__(
        self,
        path: Path,
        trainer: Trainer,
        *stores: Store,
        about: dict[str, Any] | None = None,
        opened: Opened | None = None,
        classes: tuple[str, ...] = (),
        monitor: Monitor | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.path, self.trainer, self.stores, self.classes = path, trainer, stores, classes
        self.monitor, self.callbacks = monitor, callbacks
        self.config, self.writes = trainer.config, trainer.ranks.first
        self._stop, self._recorded, self._blown = False, True, ""
        self._error: Exception | None = None
        self.stopped = 0
        """Number of the signal that was to end the run when it blew up, if there was one."""
        opened = opened or Opened.read(path, trainer.config, trainer.spec, stores, about or {})
        state, self.facts, self.history = opened.state, opened.facts, opened.history
        trainer.halvings = self.history.halvings
        if state is not None:
            trainer.load_state_dict(state["trainer"])
        # Seconds of training since the last line of statistics, and where that was.
        self.since = (0.0, self.kimg) if state is None else state.get("since", (0.0, self.kimg))
        self._warnings: list[str] = [] if state is None else list(state.get("warnings", []))
        # Images between two measurements, on all ranks; 0: none.
        (self._measure_every,) = trainer.ranks.most([0 if monitor is None else max(round(1000 * monitor.kimg), 1)])
        if self.writes:
            with self._disk():
                path.mkdir(parents=True, exist_ok=True)
                self._start(state is not None, opened.warnings)
        self.saver = Saver(path, trainer, self.log if self.writes else None, resumed=state is not None)

    @property
    def kimg(self) -> float:
        """Thousands of real images seen."""
        return self.trainer.images_seen / 1000

    def _start(self, resumed: bool, warnings: list[str]) -> None:
        """Open the log, and make the directory fit the checkpoint."""
        aside = leftovers.set_aside(self.path, self.trainer.images_seen)
        self.log = RunLog(self.path, kimg=self.kimg)
        identity.write(self.path, self.facts)
        self.watch = Watch(read_stats(self.path), self.trainer.sampled, scaled=self.config.precision == "fp16")
        for warning in warnings:
            self.log.say(f"warning: {warning}; using {checkpoint.SPARE}")
        if warnings:
            checkpoint.set_aside(self.path, checkpoint.DAMAGED)
        if aside:
            self.log.say(f"moved {aside} later files of an abandoned attempt to {self.path / leftovers.FOLDER}")
        if resumed:
            self.log.say(f"resuming at {self.kimg:.1f} kimg, {self.trainer.stage}")
        elif not (self.path / f"samples/{pictures.REALS}.png").exists():
            pictures.write_reals(self.path, self.stores, self.trainer.spec.every, self.config.load_size)
        if self.history.blowups:
            halved = len(self.history.halvings)
            self.log.say(
                f"after {halved} blow-up{'s' * (halved > 1)} the learning rate is {0.5**halved:.3g} of its setting"
            )

    def train(self, plan: Plan) -> int | None:
        """Train to the end of the schedule; return the number of the signal that ended it early, if one did.

        Raises:
            CheckpointError: if the run cannot write its files.
            BlowupError: if nothing is learned any more.
        """
        try:
            ended_by = self._train(plan)
        except Exception as error:
            self._save_before(error)
            raise
        finally:
            if self.writes:
                self.log.end_progress()
        if self.writes:
            with self._disk():
                if ended_by:
                    self.log.say(f"stopped at {self.kimg:.1f} kimg; run the same command again to resume")
                else:
                    for line in pictures.write_growth(self.path, self.trainer):
                        self.log.say(line)
                    self.log.say(
                        f"done: {self.path}/samples, {self.path}/snapshots; next: progan generate {self.path} grid.png"
                    )
        if self._error is not None:
            raise self._error
        return ended_by

    def _train(self, plan: Plan) -> int | None:
        trainer = self.trainer
        met_at = time.monotonic()
        alone, steps = 0, 1  # iterations since the last agreement, and when the next one is due
        self.tick = (met_at - self.since[0], self.since[1])
        with stop_signals() as stopped:
            while not self._over:
                before = trainer.images_seen
                stage = trainer.iterate()
                alone += 1
                over = trainer.stage.key != stage.key or self._over
                with self._disk():
                    self._recorded = False
                    self._record(stage, before, over=over)
                    self._recorded = True
                    if self.writes:
                        self._progress(plan, stage)
                    measured = self._measure_every and (over or self._passed(before, self._measure_every))
                    if trainer.ranks.world > 1 and alone < steps and not over and not measured:
                        continue
                    due = over or measured or self.saver.due
                    passed = max(time.monotonic() - met_at, 1e-9)
                    steps = 1 if over else max(1, int(min(MEET_STEPS, alone * MEET_S / passed)))
                    stopped += [signal.SIGINT] * self._stop
                    signal_number, due, gone, fewer = trainer.ranks.most(
                        [stopped[0] if stopped else 0, int(due), int(bool(self._blown)), -steps]
                    )
                    alone, steps, met_at = 0, -fewer, time.monotonic()
                    if gone:
                        self.stopped = signal_number
                        self._give_up()
                    if signal_number or due:
                        self.save()
                    if measured:
                        self._measure(self._shown(stage))
                if signal_number:
                    return signal_number
        with self._disk():
            self.save()
            if any(trainer.ranks.most([int(bool(self._blown))])):  # the last state cannot be saved
                self._give_up()
            if self.writes and (files := snapshots_in(self.path)):
                save_discriminators(self.snapshot(self._shown(trainer.stage)), files[-1], trainer.gan)
        return None

    def save(self) -> None:
        """Write a checkpoint, if the state is sound."""
        self.saver.save(since=(time.monotonic() - self.tick[0], self.tick[1]), warnings=self._warnings)
        # The next row of statistics may be hours away.
        streaks = self.trainer.statistics.streaks(since={})
        row = {f"{phase}{SKIPPED}": steps for phase, steps in streaks.items()}
        self._blown = self._blown or self.saver.broken or blown(row, over=False)

    def _save_before(self, error: Exception) -> None:
        """Save what can be saved before an error ends the run."""
        if isinstance(error, BlowupError):
            return
        alone = self.trainer.ranks.world == 1  # the other processes do not know of the error
        if alone and self.trainer.consistent and self._recorded:  # else the records of an iteration would be missing
            with suppress(Exception):
                self.save()
        if self.writes and self.saver.saved is not None:
            with suppress(OSError):
                where = f"{self.saver.saved / 1000:.1f} kimg"
                self.log.say(f"ended by an error; its checkpoint is of {where}", f"{error!r}\n")

    def _give_up(self) -> None:
        """End a run that has blown up, and record it.

        Raises:
            BlowupError: always.
        """
        history = History((*self.history.blowups, Blowup(self.kimg, self._blown or "see the log of the first process")))
        if self.writes:
            if history.repeats(self.saver.saved) and (self.path / checkpoint.SPARE).exists():
                checkpoint.set_aside(self.path, checkpoint.BLOWN)
            identity.write(self.path, self.facts | history.facts())
            self.log.end_progress()
            self.log.say(history.message(self.path).splitlines()[0])
        self.trainer.ranks.wait()
        raise self._error or BlowupError(history.message(self.path))

    def snapshot(self, stage: Stage) -> Snapshot:
        """The averaged sampler as it is now, in ``stage``."""
        network, spec, gan = self.trainer.ema.network, self.trainer.spec, self.config.gan
        return Snapshot(network, name_of(gan), gan, spec, stage.level, stage.alpha, self.kimg, self.classes)

    def _record(self, stage: Stage, before: int, *, over: bool) -> None:
        """Write the samples, snapshots and statistics due after an iteration that began at ``before`` images."""
        config, now = self.config, self.kimg
        kinds = {"log": config.log_kimg, "sample": config.sample_kimg, "keep": config.snapshot_kimg}
        # Whole images, because 0.12 // 0.02 is 5.
        intervals = {name: max(round(1000 * kimg), 1) for name, kimg in kinds.items()}
        due = {name: over or self._passed(before, every) for name, every in intervals.items()}
        shown = self._shown(stage)
        written = Progress(self.path, now, config.schedule.total_kimg, shown)
        if self.writes and due["sample"]:
            written = replace(written, sheet=self._write_samples(shown))
        if self.writes and due["keep"]:
            snapshot_file = self.path / f"snapshots/{now:011.3f}.safetensors"
            self.snapshot(shown).save(snapshot_file)
            written = replace(written, snapshot=snapshot_file)
        if due["log"]:
            written = replace(written, stats=self._write_row(stage))
        if self.writes and (written.stats or written.sheet or written.snapshot):
            self._call_back(written)

    def _passed(self, before: int, every: int) -> bool:
        """Whether the last iteration, which began at ``before`` images, reached a multiple of a number of images."""
        return before // every != self.trainer.images_seen // every

    @property
    def _over(self) -> bool:
        """Whether the end of the schedule is reached."""
        return self.trainer.images_seen >= round(1000 * self.config.schedule.total_kimg)

    def _measure(self, stage: Stage) -> None:
        """Measure the generator; what was trained has been saved by then."""
        start = time.monotonic()
        if self.monitor is not None:
            self._warn(measure(self.monitor, self.snapshot(stage), self.log))
        self.tick = (self.tick[0] + time.monotonic() - start, self.tick[1])  # the rates are those of training

    def _write_samples(self, stage: Stage) -> Path:
        """Write a grid of generated images, always of the same latents."""
        images = self.trainer.samples(stage, pictures.count(self.trainer.spec.shorter))
        if not torch.isfinite(images).all():
            self._blown = self._blown or "the generated images are not finite"
        else:
            self._warn(self.watch.samples(images))
        if hasattr(self.trainer.gan.sampler, "encode"):
            self._warn(self.watch.codes(self.trainer.codes(stage, _CODES), self.trainer.latents(_CODES)))
        file = self.path / f"samples/{self.kimg:011.3f}.png"
        pictures.write_samples(images, file)
        return file

    def _warn(self, warnings: Sequence[str]) -> None:
        """Write warnings into the log, and into the next row of statistics."""
        for warning in warnings:
            self.log.say(f"warning: {warning}")
        self._warnings += warnings

    def _call_back(self, written: Progress) -> None:
        """Call the callbacks. If one fails, the run ends as if it had returned False, and then raises the error."""
        try:
            answers = [callback(written) for callback in self.callbacks]
            self._stop |= any(answer is not None and not answer for answer in answers)
        except Exception as error:
            self._stop, self._error = True, error

    def _shown(self, stage: Stage) -> Stage:
        """The stage after an iteration that belonged to ``stage``; the end of ``stage`` if that was its last one."""
        after = self.trainer.stage
        return after if after.key == stage.key else replace(stage, alpha=1.0)

    def _write_row(self, stage: Stage) -> dict[str, Any]:
        """Statistics since the last row, written by the first process."""
        statistics, loading_s = self.trainer.take_statistics(), self.trainer.take_loading_s()
        since, kimg = self.tick
        seconds = time.monotonic() - since
        self.tick = (time.monotonic(), self.kimg)
        where = {k: v for k, v in asdict(stage).items() if k not in ("level", "fading", "images_seen")}
        rate = (self.kimg - kimg) / seconds
        row = {"kimg": self.kimg, **where, **statistics, "seconds": seconds, "kimg_per_s": rate, "loading_s": loading_s}
        never = [phase for phase, last in self.trainer.statistics.applied().items() if self._over and not last]
        self._blown = self._blown or blown(row, over=self._over)
        if never:
            self._blown = self._blown or f"no step of the phase '{never[0]}' was ever applied"
        if self.writes:
            self._warn(self.watch.row(row))
            row |= {"warnings": self._warnings} if self._warnings else {}
            self._warnings = []
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

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """Say what is kept when a file cannot be written."""
        try:
            yield
        except OSError as error:
            kept = "the last checkpoint is kept; " if (self.path / checkpoint.NAME).exists() else ""
            raise CheckpointError(
                f"{error.filename or self.path}: cannot be written ({error.strerror or error}); "
                f"{kept}fix this and run the same command again"
            ) from error
