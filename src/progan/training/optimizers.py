"""Optimizers as configured by a GAN, all of which can skip a step on the device."""

from typing import Any

import torch
from torch import nn

from progan.gans.base import Optimizer, Ramp
from progan.training.config import RunConfig

_UNCORRECTED = 2.0**24  # steps from which on nothing is left of Adam's correction; float32 counts no further


class Stepper:
    """A torch optimizer of one network whose rates depend on the number of images shown.

    All kinds are fused: their kernels skip a step where ``found_inf`` is set (see Precision). RMSprop is Adam without
    momentum and without its correction of the first steps.

    Args:
        network: network whose parameters are stepped.
        how: settings of the GAN; the ones that are None are taken from ``config``.
        config: settings of the run.
    """

    def __init__(self, network: nn.Module, how: Optimizer, config: RunConfig) -> None:
        self.how = how
        self._beta1 = config.beta1 if how.beta1 is None else how.beta1
        self._beta2 = config.beta2 if how.beta2 is None else how.beta2
        eps = config.adam_eps if how.eps is None else how.eps
        more: dict[str, Any] = {"weight_decay": how.weight_decay, "fused": True}
        if how.kind == "sgd":
            self.torch: torch.optim.Optimizer = torch.optim.SGD(network.parameters(), momentum=self.beta1(0), **more)
            self.torch.register_step_pre_hook(_at_rest)
            return
        self.torch = torch.optim.Adam(network.parameters(), betas=(self.beta1(0), self._beta2), eps=eps, **more)
        if how.kind == "rmsprop":
            self.torch.register_step_pre_hook(_uncorrected)

    def beta1(self, images_seen: int) -> float:
        """Momentum, or decay of the gradients' mean, after ``images_seen`` real images."""
        if self.how.kind == "rmsprop":
            return 0.0
        return self._beta1.at(images_seen) if isinstance(self._beta1, Ramp) else self._beta1

    def set(self, lr: float, images_seen: int) -> None:
        """Set the rates of the next step; ``lr`` is the learning rate of the schedule times that of the phase."""
        for group in self.torch.param_groups:
            group["lr"] = lr * self.how.lr
            if self.how.kind == "sgd":
                group["momentum"] = self.beta1(images_seen)
            else:
                group["betas"] = (self.beta1(images_seen), self._beta2)


def _at_rest(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Start with zero momentum, because the kernel leaves it undefined if it skips the first step."""
    for group in optimizer.param_groups:
        for p in group["params"] if group["momentum"] else ():
            if p.grad is not None and optimizer.state[p].get("momentum_buffer") is None:
                optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p, memory_format=torch.preserve_format)


def _uncorrected(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    for group in optimizer.param_groups:
        for p in group["params"]:
            if p.grad is not None and not optimizer.state[p]:
                optimizer.state[p] = {
                    "step": torch.full((), _UNCORRECTED, device=p.device),
                    "exp_avg": torch.zeros_like(p, memory_format=torch.preserve_format),
                    "exp_avg_sq": torch.zeros_like(p, memory_format=torch.preserve_format),
                }
