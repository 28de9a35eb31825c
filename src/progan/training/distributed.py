"""Data parallelism under torchrun: the only file that knows torch.distributed."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module

import torch
import torch.distributed as dist
from torch import Tensor

_PATIENCE = timedelta(days=7)
"""How long ranks wait for the first one, which prepares data and measures alone. If a rank dies, torchrun ends the
others at once."""


@dataclass(frozen=True)
class Ranks:
    """Processes that share a batch; rank r trains on the samples i with i mod world = r."""

    rank: int = 0
    world: int = 1
    local: int = 0
    """Number of this process on its machine, which is also the number of its GPU."""

    @property
    def first(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Average over all ranks in place by one flat all-reduce; all ranks must pass the same number of tensors."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([t.reshape(-1) for t in tensors])
        dist.all_reduce(flat)
        flat /= self.world
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view(tensor.shape))

    def mean(self, values: Tensor) -> Tensor:
        """Mean over all ranks, in place."""
        if self.world > 1:
            dist.all_reduce(values)
            values /= self.world
        return values

    def total(self, values: Tensor) -> Tensor:
        """Sum over all ranks, through which gradients of any order flow."""
        return values if self.world == 1 else _Total.apply(values)  # type: ignore[return-value]

    @torch.no_grad()
    def gather(self, samples: Tensor) -> Tensor:
        """Collect samples [N, ...] of all ranks in batch order: row i of rank r becomes row i * world + r."""
        if self.world == 1:
            return samples
        own = samples.detach().contiguous()
        parts = [torch.empty_like(own) for _ in range(self.world)]
        dist.all_gather(parts, own)
        return torch.stack(parts, 1).flatten(0, 1)

    @torch.no_grad()
    def share(self, tensors: Sequence[Tensor]) -> None:
        """Copy the values of the first rank to all others, in place."""
        if self.world > 1:
            for tensor in tensors:
                same = tensor.contiguous()
                dist.broadcast(same, 0)
                tensor.copy_(same)

    def most(self, values: list[int]) -> list[int]:
        """Return the largest value of any rank, element by element."""
        if self.world == 1:
            return values
        tensor = torch.tensor(values, device="cuda" if dist.get_backend() == "nccl" else "cpu")
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return tensor.tolist()

    def wait(self) -> None:
        """Return once every rank has called this."""
        if self.world > 1:
            dist.barrier()


class _Total(torch.autograd.Function):
    """Sum over all ranks; its derivative is the sum of the derivatives on all ranks."""

    @staticmethod
    def forward(ctx: object, values: Tensor) -> Tensor:
        values = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(values)
        return values

    @staticmethod
    def backward(ctx: object, slopes: Tensor) -> Tensor:  # type: ignore[override]  # of one input
        return _Total.apply(slopes)  # type: ignore[return-value]


@contextmanager
def process_group(device_type: str) -> Iterator[Ranks]:
    """Join the other processes started by torchrun, if there are any: NCCL on GPUs, gloo on the CPU.

    No thread of the group is left at the end, because a thread that outlives Python occasionally aborts the process.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks()
        return
    import_module("torch.distributed.nn")  # its functions keep, as a default, the group they find when imported
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if device_type == "cuda":
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if device_type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Ranks(dist.get_rank(), world, local)
    finally:
        dist.destroy_process_group()
