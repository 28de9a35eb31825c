"""Work on a CPU divided into whole pieces for several threads."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

Each = Callable[..., Iterable]  # like ``map``


@contextmanager
def mapper(device: torch.device) -> Iterator[Each]:
    """Provide a ``map`` that uses as many threads as torch does, each of which computes on its own.

    Torch's own threads wait for each other after every operation, which becomes many times slower when other programs
    use some of the processor's cores.
    """
    if device.type == "cuda":
        yield map
        return
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool.map
    finally:
        torch.set_num_threads(threads)  # a thread that starts takes over what the last caller of this wanted
