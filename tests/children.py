"""Processes for tests: started in no time, with what they said in a file, and none that outlives its test for long."""

import faulthandler
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
import torch.distributed as dist

from small import quick_plan

_PATIENCE_S = 200
"""A process that takes longer says where it is, and ends itself: even if its test was killed before."""

_CONTEXT = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
_CONTEXT.set_forkserver_preload(["progan.cli.train", "progan.training.monitor", "progan.evaluation.monitor"])
"""On Linux, forks of one process that has imported torch: to import it takes longer than most tests."""


def command(*args: str) -> int:
    """Run ``progan ARGS`` without the probe, which takes longer than training here and has tests of its own."""
    from progan.cli import main
    from progan.training import preflight

    preflight.probe = quick_plan  # type: ignore[assignment]
    return main(list(args))


@contextmanager
def child(work: Callable[..., int | None], *args: object, said: Path, **environment: str) -> Iterator[BaseProcess]:
    """A process that does ``work(*args)`` and exits with what that returns; ``said`` has its stdout and stderr."""
    process = _CONTEXT.Process(target=_begin, args=(work, args, said, environment), daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def _begin(work: Callable[..., int | None], args: tuple, said: Path, environment: dict[str, str]) -> None:
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    faulthandler.dump_traceback_later(_PATIENCE_S, exit=True, file=file)
    os.environ.update(environment)
    torch.set_num_threads(1)
    sys.exit(work(*args))


def run_ranks(world: int, work: Callable[..., int | None], *args: object, folder: Path, **environment: str) -> None:
    """Do ``work(*args)`` in processes that find each other as those of torchrun do.

    Raises:
        AssertionError: if one of them fails or they take too long, with what all of them said.
    """
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # of the launcher, on any free port
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": str(world)}
    shared |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0", **environment}
    files = [folder / f"rank{rank}.txt" for rank in range(world)]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(child(work, *args, said=file, RANK=str(rank), LOCAL_RANK=str(rank), **shared))
            for rank, file in enumerate(files)
        ]
        end = time.monotonic() + _PATIENCE_S
        while any(p.is_alive() for p in processes) and not any(p.exitcode for p in processes):
            connection.wait([p.sentinel for p in processes if p.is_alive()], max(end - time.monotonic(), 0))
            if time.monotonic() >= end:
                break
        codes = [p.exitcode for p in processes]
    if codes != [0] * world:
        raise AssertionError("\n".join([f"exit codes {codes}", *(file.read_text() for file in files if file.exists())]))


if __name__ == "__main__":  # as a rank of torchrun
    faulthandler.dump_traceback_later(_PATIENCE_S, exit=True)
    sys.exit(command(*sys.argv[1:]))
