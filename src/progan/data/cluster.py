"""Image decoding on the workers of a Dask cluster."""

import contextlib
import logging
import os
import socket
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError, Executor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from progan.errors import DataError

_WAIT_S = 10
_GONE_S, _LOOK_S = 30, 2  # without any worker until it is given up (a lost one may be replaced), and between two looks


@contextlib.contextmanager
def dask_workers(address: str, path: Path | None = None) -> Generator[tuple[Executor, int], None, None]:
    """Yield the workers of a Dask cluster as an executor and their number of threads, both for ``prepare``.

    The workers read the images of a folder themselves; this process reads those of an archive and sends their bytes.

    Args:
        address: address of the scheduler, such as tcp://10.0.0.1:8786.
        path: path of the images; if it is a folder, all workers must see it.

    Raises:
        DataError: if Dask is not installed, no scheduler answers, the workers cannot decode the images, or the cluster
            is lost during the work.
    """
    try:
        from dask.distributed import Client
        from distributed import KilledWorker
        from distributed.comm import CommClosedError, get_address_host_port, parse_address
    except ImportError as error:
        raise DataError(f"--dask requires Dask ({error})\n  fix:   pip install 'progan[dask]'") from error
    try:
        # Asked first, because a client that could not connect can block the next one when it is collected as garbage.
        if parse_address(address)[0] in ("tcp", "tls"):
            socket.create_connection(get_address_host_port(address), _WAIT_S).close()
        client: Any = Client(address, timeout=_WAIT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise DataError(
            f"no Dask scheduler answers at {address!r}\n"
            f"  found: {error}\n"
            f"  fix:   use the address that 'dask scheduler' prints, such as tcp://10.0.0.1:8786"
        ) from error
    with client, warnings.catch_warnings(), _silent("distributed.client"):  # what it logs, the error below says
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)  # images of archives, sent on purpose
        _check(client, address, path)
        executor = _Workers(client)
        with _watched(executor) as gone:
            try:
                yield executor, sum(client.nthreads().values())
            except (KilledWorker, CommClosedError, CancelledError) as error:
                deaths = error.allowed_failures + 1 if isinstance(error, KilledWorker) else 0
                raise _lost(address, deaths=deaths, gone=gone.is_set()) from error


class _Workers(Executor):
    """Executor on Dask's own futures; those of ``Client.get_executor`` can wait forever after a worker was lost."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self._futures: weakref.WeakSet[Any] = weakref.WeakSet()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Return the future of one call. Identical calls are not merged, which would require hashing all bytes."""
        future = self.client.submit(fn, *args, pure=False, **kwargs)
        self._futures.add(future)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Cancel pending calls if ``cancel_futures`` is set; the client stays open."""
        if cancel_futures:
            self.client.cancel(list(self._futures))


@contextlib.contextmanager
def _watched(executor: _Workers) -> Generator[threading.Event, None, None]:
    """Cancel all work if there has been no worker for a while, because Dask waits forever for new ones."""
    gone, over = threading.Event(), threading.Event()

    def watch() -> None:
        last = time.monotonic()
        while not over.wait(_LOOK_S):
            try:
                last = time.monotonic() if executor.client.nthreads() else last
            except Exception:  # the scheduler is lost, which the client notices by itself
                return
            if time.monotonic() - last > _GONE_S:
                gone.set()
                executor.shutdown(cancel_futures=True)
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield gone
    finally:
        over.set()
        watcher.join(_WAIT_S)


def _lost(address: str, *, deaths: int, gone: bool) -> DataError:
    """Return the error for a lost cluster: what happened and how to resume."""
    again = "then run the same command again to resume"
    if deaths:
        found, fix = f"{deaths} workers died decoding the same images", "read their logs and give them more memory"
    elif gone:
        found, fix = f"no workers for {_GONE_S} s", f"start workers with 'dask worker {address}'"
    else:
        found, fix = "the scheduler no longer answers", "restart it and its workers"
    return DataError(f"{address}: the cluster was lost\n  found: {found}\n  fix:   {fix}, {again}")


@contextlib.contextmanager
def _silent(name: str) -> Generator[None, None, None]:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def _check(client: Any, address: str, path: Path | None) -> None:
    """Check that there are workers, that they have this version of progan, and that they see the images."""
    try:
        client.wait_for_workers(1, timeout=_WAIT_S)
    except TimeoutError as error:
        fix = f"start some with 'dask worker {address}'"
        raise DataError(f"{address}: the cluster has no workers\n  fix:   {fix}") from error
    found = client.run(version, "progan", on_error="return")
    wanted = version("progan")
    others = {name: what for name, what in found.items() if what != wanted}
    if others:
        name, what = next(iter(others.items()))
        raise DataError(
            f"{address}: {len(others)} of {len(found)} workers do not have progan {wanted}\n"
            f"  found: {what!r} on {name}\n"
            f"  fix:   run 'pip install progan=={wanted}' on each of them"
        )
    if path is None or not path.is_dir():
        return
    blind = [name for name, sees in client.run(os.path.isdir, str(path.absolute())).items() if not sees]
    if blind:
        raise DataError(
            f"{path}: {len(blind)} of {len(found)} workers cannot see this folder\n"
            f"  found: nothing at {path.absolute()} on {blind[0]}\n"
            f"  fix:   move it to a shared file system, or pack it into a tar, which this process reads"
        )
