"""Device and arithmetic: which device, autocast, and optimizer steps that skip gradients that are not finite."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from progan.devices import keep_freed_memory

_GROW_AFTER = 2000  # finite fp16 steps after which the loss scale is doubled, as in torch.amp


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
