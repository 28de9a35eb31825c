"""The moving average of the sampler's weights and statistics, which generates all samples."""

import copy

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of a network's parameters and float buffers (ProGAN appendix A.1).

    Integer buffers, and those that a module lists in ``copied_buffers``, are copied.

    Args:
        network: network to average.
        decay: share of the average that each step keeps; 0.999 in the paper for every batch size; 0: no averaging.
        half_life_kimg: if given, the share is 0.5^(images / half-life) instead [thousands of images].
    """

    def __init__(self, network: nn.Module, *, decay: float = 0.999, half_life_kimg: float | None = None) -> None:
        self.source, self.network = network, copy.deepcopy(network).requires_grad_(False).eval()
        self.decay, self.half_life_kimg = decay, half_life_kimg
        (self._sources, self._copied), (self._averages, self._copies) = _tensors(network), _tensors(self.network)

    def kept(self, images: int) -> float:
        """Share of the average kept by a step of ``images`` images."""
        return self.decay if self.half_life_kimg is None else 0.5 ** (images / (1000 * self.half_life_kimg))

    @torch.no_grad()
    def update(self, images: int) -> None:
        """Move towards the network by one step of ``images`` real images."""
        torch._foreach_lerp_(self._averages, self._sources, 1 - self.kept(images))
        self._copy(self._copies, self._copied)

    @torch.no_grad()
    def reset(self) -> None:
        """Start again with the current network."""
        self._copy([*self._averages, *self._copies], [*self._sources, *self._copied])

    @staticmethod
    def _copy(to: list[Tensor], of: list[Tensor]) -> None:
        if to:
            torch._foreach_copy_(to, of)


def _tensors(network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """The tensors that are averaged (parameters and statistics of batch norm), and those that are copied."""
    averaged: list[Tensor] = list(network.parameters())
    copied: list[Tensor] = []
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            whole = not buffer.is_floating_point() or name in getattr(module, "copied_buffers", ())
            (copied if whole else averaged).append(buffer)
    return averaged, copied
