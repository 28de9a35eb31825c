"""What training would cost: arithmetic of operations, and memory that backward passes need."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Arithmetic(TorchDispatchMode):
    """Count the arithmetic of convolutions and matrix products, and the numbers in their outputs."""

    flops = features = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if (count := flop_registry.get(func.overloadpacket)) is not None:
            self.flops += count(*args, **(kwargs or {}), out_val=out)
            self.features += sum(x.numel() for x in (out if isinstance(out, tuple) else [out]) if x is not None)
        return out


@contextmanager
def saved_bytes() -> Iterator[list[int]]:
    """Give [current, peak] of the bytes that autograd keeps for backward passes."""
    counts, users = [0, 0], dict[int, int]()

    class Held:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor, self.key, self.size = (
                tensor,
                tensor.untyped_storage().data_ptr(),
                tensor.untyped_storage().nbytes(),
            )
            users[self.key] = users.get(self.key, 0) + 1
            counts[0] += self.size * (users[self.key] == 1)
            counts[1] = max(counts)

        def __del__(self) -> None:
            users[self.key] -= 1
            counts[0] -= self.size * (users[self.key] == 0)

    with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
        yield counts
