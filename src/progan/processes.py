"""Processes on this machine: usable CPUs, results in order, signals that stop them, and the end of their parent."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from typing import Any, TypeVar

T = TypeVar("T")
_STOPPING = b"\nstopping after the current step; press Ctrl-C again to stop at once, without saving\n"


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(executor: Executor, work: Callable[..., T], jobs: Iterable[tuple], in_flight: int) -> Iterator[T]:
    """Yield the results of ``work(*job)`` in the order of the jobs, with at most ``in_flight`` of them pending."""
    pending: deque[Future[T]] = deque()
    try:
        for job in jobs:
            pending.append(executor.submit(work, *job))
            if len(pending) >= in_flight:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def after_parent(do: Callable[[], object]) -> None:
    """Call ``do`` in a thread when the process that started this one has ended, for whatever reason."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), do()), daemon=True).start()


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Yield a list to which SIGINT, SIGTERM and SIGHUP add their number; a second signal stops at once.

    The first SIGINT says so on stderr. Only the main thread can take signals; elsewhere the list stays empty.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def receive(number: int, frame: Any) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        if number == signal.SIGINT and first:  # a step may take minutes
            with suppress(OSError):  # a closed stderr
                os.write(2, _STOPPING)  # print is not safe in here

    first = multiprocessing.parent_process() is None and os.environ.get("LOCAL_RANK", "0") == "0"
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup has it
        numbers.append(signal.SIGHUP)
    old = {number: signal.signal(number, receive) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
