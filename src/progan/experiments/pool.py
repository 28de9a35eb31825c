"""Runs of an experiment, one after another or several at a time in processes with one thread each."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from tqdm import tqdm

from progan.experiments.job import Job, Record, do, empty
from progan.processes import after_parent, stop_signals

_POLL_S = 0.5


def run_jobs(jobs: Sequence[Job], processes: int = 1) -> Iterator[Record]:
    """Run jobs and yield each record as soon as it is complete. After the user stops a job, no new one is started.

    If there are several processes, each writes its output to a text file next to its run directory. The first Ctrl-C
    lets every process save its state, the second one ends them immediately.
    """
    if processes > 1:
        yield from _parallel(list(jobs), processes)
        return
    for number, job in enumerate(jobs, 1):
        _say(f"[{number}/{len(jobs)}] row {job.row.name}, seed {job.seed}: {job.run}")
        record = do(job)
        yield record
        if record["stopped"]:
            return


def _parallel(waiting: list[Job], processes: int) -> Iterator[Record]:
    running: dict[Connection, tuple[SpawnProcess, Job]] = {}
    context, forwarded = multiprocessing.get_context("spawn"), False
    with stop_signals() as stopped:
        try:
            while running or (waiting and not stopped):
                while len(running) < processes and not stopped and (job := _next(waiting, running)):
                    receiver, sender = context.Pipe(duplex=False)
                    process = context.Process(target=_child, args=(job, sender))
                    process.start()
                    sender.close()  # so that the end of the process is the end of the pipe
                    running[receiver] = process, job
                    _say(f"row {job.row.name}, seed {job.seed}: {_output(job)}")
                for receiver in wait(list(running), timeout=_POLL_S):
                    yield _received(receiver, *running.pop(receiver), stopped=bool(stopped))  # type: ignore[arg-type, call-overload]
                if stopped and not forwarded:
                    _forward(running)
                    forwarded = True
        finally:
            for process, _ in running.values():
                process.terminate()


def _next(waiting: list[Job], running: dict) -> Job | None:
    """Remove and return the first job whose run directory is not in use."""
    busy = {job.run for _, job in running.values()}
    free = next((job for job in waiting if job.run not in busy), None)
    if free is not None:
        waiting.remove(free)
    return free


def _received(receiver: Connection, process: SpawnProcess, job: Job, *, stopped: bool) -> Record:
    """Return the record that a process sent at its end; ``stopped`` is whether it was told to end early."""
    try:
        record = receiver.recv()
    except EOFError:
        record = None
    process.join()
    if record is None:
        note = f"its process died (exit code {process.exitcode}); see {_output(job)}"
        note = "interrupted; run the same command again to resume" if stopped else note
        record = {**empty(job.row.name, job.seed, job.run.name), "stopped": stopped, "notes": [note]}
    return record


def _forward(running: dict) -> None:
    """Stop every process as Ctrl-C does."""
    for process, _ in running.values():
        if process.is_alive() and process.pid:
            os.kill(process.pid, signal.SIGINT)


def _child(job: Job, sender: Connection) -> None:
    """Run one job in its own process."""
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C reaches it through the first process only
    after_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))  # it saves and exits, so that no orphan keeps training
    import torch

    torch.set_num_threads(1)
    _output(job).parent.mkdir(parents=True, exist_ok=True)
    with _output(job).open("a", buffering=1, encoding="utf-8", errors="backslashreplace") as file:
        sys.stdout = sys.stderr = file
        sender.send(do(job))


def _output(job: Job) -> Path:
    return job.run.with_name(f"{job.run.name}.txt")


def _say(text: str) -> None:
    tqdm.write(text, file=sys.stderr)
