"""Arithmetic of training: autocast, the loss scale of fp16, and steps that skip gradients that are not finite."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from progan.devices import prepare_training

_GROW_AFTER = 2000  # finite fp16 steps after which the loss scale is doubled, as in torch.amp


class Precision:
    """Autocast for the forward passes, and the loss scale of fp16.

    Nothing here makes the host wait for the device. A step whose gradients are not finite is skipped by the fused
    kernel itself, or undone on devices whose kernels cannot skip (MPS before torch 2.13), and counted in a tensor.

    Args:
        kind: "fp32", "bf16" or "fp16".
        device: device of the networks.
    """

    def __init__(self, kind: str, device: torch.device) -> None:
        prepare_training(device)
        self.kind, self.device, self.kernels_skip = kind, device, _kernels_skip(device)
        self.dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[kind]
        self.scale = torch.full((), 2.0**16 if kind == "fp16" else 1.0, device=device)
        self.finite_steps = torch.zeros((), device=device)
        self.skipped = torch.zeros((), device=device)

    def autocast(self) -> AbstractContextManager:
        """Context manager for the forward passes."""
        return nullcontext() if self.kind == "fp32" else torch.autocast(self.device.type, self.dtype)

    def scaled(self, loss: Tensor) -> Tensor:
        """The tensor on which to call backward()."""
        return loss * self.scale if self.kind == "fp16" else loss

    def step(self, *optimizers: torch.optim.Optimizer) -> tuple[list[Tensor], Tensor]:
        """Step with the gradients of one backward pass if all of them are finite; otherwise change nothing.

        Returns:
            The norm of the gradients of each optimizer's network, and 1 if the step was skipped, else 0.
        """
        norms = [torch.nn.utils.get_total_norm(gradients_of(o)) / self.scale for o in optimizers]
        bad = (~torch.isfinite(torch.stack(norms).sum())).float()
        for optimizer in optimizers:
            if self.kernels_skip:
                optimizer.found_inf = bad  # type: ignore[attr-defined]  # read by the fused kernel, as torch.amp does it
                if self.kind == "fp16":
                    optimizer.grad_scale = self.scale  # type: ignore[attr-defined]
                optimizer.step()
            else:
                if self.kind == "fp16":
                    torch._foreach_div_(gradients_of(optimizer), self.scale)
                _step_and_undo(optimizer, bad)
        self.skipped += bad
        if self.kind == "fp16":
            self.finite_steps = (self.finite_steps + 1) * (1 - bad)
            grow = (self.finite_steps == _GROW_AFTER).float()
            self.scale = self.scale * (1 - bad / 2) * (1 + grow)
            self.finite_steps *= 1 - grow
        return norms, bad

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return {"scale": self.scale, "finite_steps": self.finite_steps, "skipped": self.skipped}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue with what a checkpoint kept."""
        for name, value in state.items():
            setattr(self, name, value.to(self.device))


def gradients_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Gradients that the next step of the optimizer would use."""
    return [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]


def _kernels_skip(device: torch.device) -> bool:
    """Whether fused kernels heed ``found_inf`` on a device, shown by one step of one number."""
    weight = torch.nn.Parameter(torch.zeros(1, device=device))
    weight.grad = torch.ones_like(weight)
    optimizer = torch.optim.Adam([weight], fused=True)
    optimizer.found_inf = torch.ones((), device=device)  # type: ignore[attr-defined]
    optimizer.step()
    return weight.item() == 0


def _step_and_undo(optimizer: torch.optim.Optimizer, bad: Tensor) -> None:
    """Step, then restore weights and state where ``bad`` is 1."""
    before: dict[Tensor, dict[str, Tensor]] = {}

    def keep(*_: Any) -> None:  # called behind the hooks that create the state
        for p in (p for group in optimizer.param_groups for p in group["params"] if p.grad is not None):
            before[p] = {name: value.clone() for name, value in optimizer.state[p].items()} | {"": p.detach().clone()}

    hook = optimizer.register_step_pre_hook(keep)
    optimizer.step()
    hook.remove()
    for p, kept in before.items():
        for name, value in {**optimizer.state[p], "": p.detach()}.items():
            value.copy_(torch.where(bad > 0, kept.get(name, torch.zeros_like(value)), value))
