"""Decoding on the workers of a Dask cluster."""

import contextlib
import os
import socket
import warnings
from collections.abc import Generator
from concurrent.futures import CancelledError, Executor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from progan.errors import DataError

_WAIT_S = 10


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
    with client, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)  # images of archives, sent on purpose
        _check(client, address, path)
        try:
            yield client.get_executor(), sum(client.nthreads().values())
        except (KilledWorker, CommClosedError, CancelledError) as error:
            fix = "look into the logs of the workers; memory may have run out"
            raise DataError(
                f"{address}: the cluster was lost\n  found: {error or 'cancelled'}\n  fix:   {fix}"
            ) from error


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
