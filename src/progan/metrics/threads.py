"""Work of a CPU spread over threads by whole pieces."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

Each = Callable[..., Iterable]  # like ``map``


@contextmanager
def mapper(device: torch.device) -> Iterator[Each]:
    """``map`` by as many threads as torch uses, each of which calculates alone.

    Torch's own threads wait for one another after every operation, which takes many times as long as soon as other
    programs run on some of the processor's cores.
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
