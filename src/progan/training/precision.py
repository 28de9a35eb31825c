"""Device and arithmetic: which device, autocast, and optimizer steps that skip gradients that are not finite."""

import ctypes
import sys
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from progan.errors import ConfigError

_GROW_AFTER = 2000  # finite fp16 steps after which the loss scale is doubled, as in torch.amp


def pick_device(name: str, local_rank: int = 0) -> torch.device:
    """The device called ``name``; auto: CUDA, else MPS, else the CPU.

    Raises:
        ConfigError: if that device is not on this machine.
    """
    counts = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    there = [kind for kind, count in counts.items() if count]
    kind, _, number = (there[0] if name == "auto" else name).partition(":")
    if kind not in there or (number and not (number.isdecimal() and int(number) < counts[kind])):
        raise ConfigError(f"device {name!r} is not available here; try --device {', '.join(there)} or auto")
    return torch.device(f"{kind}:{number or local_rank}" if kind == "cuda" else kind)


def keep_freed_memory() -> None:
    """Ask glibc to keep freed memory for the next large tensor; page faults cost up to half of a weight's gradient."""
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
            libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        except (OSError, AttributeError):  # another C library
            return


class Precision:
    """Autocast for the forward passes, and the loss scale that fp16 needs.

    Nothing here makes the host wait for the device: a step with gradients that are not finite is skipped by
    the fused Adam kernel itself, and counted in a tensor.
    """

    def __init__(self, kind: str, device: torch.device) -> None:
        if device.type == "cpu":
            keep_freed_memory()
        self.kind, self.device = kind, device
        self.dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[kind]
        self.scale = torch.full((), 2.0**16 if kind == "fp16" else 1.0, device=device)
        self.finite_steps = torch.zeros((), device=device)
        self.skipped = torch.zeros((), device=device)

    def autocast(self) -> AbstractContextManager:
        """Context of the forward passes."""
        return nullcontext() if self.kind == "fp32" else torch.autocast(self.device.type, self.dtype)

    def scaled(self, loss: Tensor) -> Tensor:
        """What to call backward() on."""
        return loss * self.scale if self.kind == "fp16" else loss

    def step(self, *optimizers: torch.optim.Optimizer) -> list[Tensor]:
        """Step with what one backward pass left, if every gradient of it is finite, else leave everything as it is.

        Returns:
            norm of the gradients of each optimizer's network.
        """
        norms = [torch.nn.utils.get_total_norm(gradients_of(o)) / self.scale for o in optimizers]
        bad = (~torch.isfinite(torch.stack(norms).sum())).float()
        for optimizer in optimizers:
            optimizer.found_inf = bad  # type: ignore[attr-defined]  # read by the fused kernel, as torch.amp does it
            if self.kind == "fp16":
                optimizer.grad_scale = self.scale  # type: ignore[attr-defined]
            optimizer.step()
        self.skipped += bad
        if self.kind == "fp16":
            self.finite_steps = (self.finite_steps + 1) * (1 - bad)
            grow = (self.finite_steps == _GROW_AFTER).float()
            self.scale = self.scale * (1 - bad / 2) * (1 + grow)
            self.finite_steps *= 1 - grow
        return norms

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return {"scale": self.scale, "finite_steps": self.finite_steps, "skipped": self.skipped}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over what a checkpoint kept."""
        for name, value in state.items():
            setattr(self, name, value.to(self.device))


def gradients_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The gradients that the optimizer's next step would use."""
    return [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
