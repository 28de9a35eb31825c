"""Parallel decoding: chunks of records are sent to workers, and finished chunks come back in order."""

import contextlib
import functools
import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from typing import TypeVar

import numpy as np

from progan.data.pixels import Chunk, Plan, make_chunk
from progan.data.records import Record, Source
from progan.errors import DataError
from progan.processes import after_parent, in_order, usable_cpus

T = TypeVar("T")

_CHUNK_BYTES = 16 << 20  # decoded images of one chunk
_CHUNK_READ_BYTES = 32 << 20  # encoded images of one chunk
_CHUNK_IMAGES = 128
_PAYS_S = 1.0  # work in this process from which worker processes pay; two of them start in about 0.3 s


def make_chunks(
    source: Source,
    plan: Plan,
    *,
    start: int = 0,
    skip: bool,
    workers: int | None = None,
    executor: Executor | None = None,
) -> Generator[Chunk, None, None]:
    """Yield all images of a source from position ``start``, converted and in order.

    Args:
        source: images to convert.
        plan: how each image is converted.
        start: position of the first image.
        skip: whether to omit images that cannot be used, instead of failing.
        workers: number of processes; 0 or 1 decodes in this process. By default one per CPU if the time of the first
            chunk shows that this pays off.
        executor: executor to use instead of new processes. It is not shut down, and ``workers`` is its size.

    Raises:
        DataError: if an image cannot be used, or a worker dies.
    """
    limit = max(1, min(_CHUNK_IMAGES, _CHUNK_BYTES // (plan.height * plan.width * plan.channels)))
    positions = range(start, len(source))
    chunks = _split(source.records(positions), limit)
    work = functools.partial(make_chunk, plan=plan, skip=skip)
    cpus = usable_cpus()
    count = cpus if workers is None else workers
    count = min(count, cpus) if executor is None else count
    if executor is None and workers is None and count > 1:
        for records in itertools.islice(chunks, 1):  # made here, to see how long the others will take
            begin = time.perf_counter()
            chunk = work(records)
            rest_s = (time.perf_counter() - begin) * (len(positions) / len(records) - 1)
            count = count if rest_s >= _PAYS_S else 0
            yield chunk
    if executor is None and count <= 1:
        yield from map(work, chunks)
        return
    with contextlib.ExitStack() as stack:
        if executor is None:
            executor = _pool(count)
            stack.callback(executor.shutdown, wait=True, cancel_futures=True)
        try:
            jobs = ((records,) for records in chunks)
            yield from in_order(executor, work, jobs, in_flight=2 * max(count, 1) + 1)
        except BrokenExecutor as error:
            raise DataError(
                f"a worker process died ({error})\n"
                f"  found: {count} workers; either memory ran out, or a script lacks 'if __name__ == \"__main__\"'\n"
                f"  fix:   use --workers 0, which decodes in the main process and shows the cause"
            ) from error


def _split(records: Iterable[Record], limit: int) -> Iterator[list[Record]]:
    """Yield chunks of at most ``limit`` records with a bounded number of bytes."""
    chunk: list[Record] = []
    size = 0
    for record in records:
        chunk.append(record)
        size += record.data.nbytes if isinstance(record.data, np.ndarray) else 0
        size += len(record.data) if isinstance(record.data, bytes) else 0
        if len(chunk) == limit or size >= _CHUNK_READ_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _pool(workers: int) -> ProcessPoolExecutor:
    """Return a pool of fresh processes, because a fork of a process that runs torch's threads could hang."""
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    context.set_forkserver_preload(["progan.data.pixels"])  # loaded once for all; it needs no torch
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)


def _start_worker() -> None:
    """Leave Ctrl-C to the parent process, and exit with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    after_parent(lambda: os._exit(1))
