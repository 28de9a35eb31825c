"""Unrolled GANs (Metz et al. 2017): the generator plays against where the discriminator will be, not where it is."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]
"""Parameters of a network by name, for ``torch.func.functional_call``."""


def unrolled(network: nn.Module, loss: Callable[[Weights], Tensor], *, steps: int, lr: float) -> Weights:
    """Return the weights of a network after steps of gradient descent, with the graph of these steps (equation 7).

    Args:
        network: network from whose weights the steps start; it stays unchanged.
        loss: function from weights to the loss of the network, a scalar.
        steps: number of steps.
        lr: learning rate.
    """
    weights = {name: p.detach().requires_grad_(True) for name, p in network.named_parameters()}
    for _ in range(steps):
        slopes = torch.autograd.grad(
            loss(weights), list(weights.values()), create_graph=True, allow_unused=True, materialize_grads=True
        )
        moved = zip(weights.items(), slopes, strict=True)
        weights = {name: weight - lr * slope for (name, weight), slope in moved}
    return weights
