"""Decoding on the workers of a Dask cluster."""

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
    """The workers of a Dask cluster as an executor, and how many threads they have; both are for ``prepare``.

    Images of a folder are read by the workers, those of an archive by this process, which sends them their bytes.

    Args:
        address: of the scheduler, like tcp://10.0.0.1:8786.
        path: of the images; if it is a folder, all workers must see it.

    Raises:
        DataError: if Dask is not installed, nobody answers, or the workers cannot do it or get lost on the way.
    """
    try:
        from dask.distributed import Client
        from distributed import KilledWorker
        from distributed.comm import CommClosedError, get_address_host_port, parse_address
    except ImportError as error:
        raise DataError(f"--dask needs Dask ({error})\n  fix:   pip install 'progan[dask]'") from error
    try:
        # Asked first, because a client that could not connect can block the next one when it is collected as garbage.
        if parse_address(address)[0] in ("tcp", "tls"):
            socket.create_connection(get_address_host_port(address), _WAIT_S).close()
        client: Any = Client(address, timeout=_WAIT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise DataError(
            f"no Dask scheduler answers at {address!r}\n"
            f"  found: {error}\n"
            f"  fix:   name the address that 'dask scheduler' prints, like tcp://10.0.0.1:8786"
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
    """Workers behind Dask's own futures; those of ``Client.get_executor`` can wait for ever after a worker was lost."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self._futures: weakref.WeakSet[Any] = weakref.WeakSet()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """A future of one call. Equal calls are not looked for, which would hash all their bytes."""
        future = self.client.submit(fn, *args, pure=False, **kwargs)
        self._futures.add(future)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Cancel what is under way if asked to; the client outlives it."""
        if cancel_futures:
            self.client.cancel(list(self._futures))


@contextlib.contextmanager
def _watched(executor: _Workers) -> Generator[threading.Event, None, None]:
    """Cancel all work when there has been no worker for a while, because Dask waits for new ones for ever."""
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
    """What happened to a cluster that broke off, and how to go on."""
    again = "and type the same command, which goes on with what is finished"
    if deaths:
        found, fix = f"{deaths} workers died over the same images", f"see their logs, give them more memory {again}"
    elif gone:
        found, fix = f"no workers for {_GONE_S} s", f"dask worker {address}, {again}"
    else:
        found, fix = "the scheduler does not answer any more", f"start it and its workers again, {again}"
    return DataError(f"{address}: the cluster was lost\n  found: {found}\n  fix:   {fix}")


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
    """Whether there are workers, with this version of progan, and the images where they are here."""
    try:
        client.wait_for_workers(1, timeout=_WAIT_S)
    except TimeoutError as error:
        raise DataError(f"{address}: the cluster has no workers\n  fix:   dask worker {address}") from error
    found = client.run(version, "progan", on_error="return")
    wanted = version("progan")
    others = {name: what for name, what in found.items() if what != wanted}
    if others:
        name, what = next(iter(others.items()))
        raise DataError(
            f"{address}: {len(others)} of {len(found)} workers are without progan {wanted}\n"
            f"  found: {name} has {what!r}\n"
            f"  fix:   pip install progan=={wanted} there"
        )
    if path is None or not path.is_dir():
        return
    blind = [name for name, sees in client.run(os.path.isdir, str(path.absolute())).items() if not sees]
    if blind:
        raise DataError(
            f"{path}: {len(blind)} of {len(found)} workers cannot see this folder\n"
            f"  found: nothing at {path.absolute()} on {blind[0]}\n"
            f"  fix:   put it on a file system that all share, or pack it into a tar, which is read here"
        )
