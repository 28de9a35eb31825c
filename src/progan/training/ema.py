"""The moving average of the generator's weights and statistics, with which all samples are made."""

import copy

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of a network's parameters and float buffers (ProGAN appendix A.1).

    Args:
        decay: kept share at each step; 0.999 in the paper, whatever the batch size.
        half_life_kimg: if given, the share is 0.5^(images / half-life) instead.
    """

    def __init__(self, network: nn.Module, *, decay: float = 0.999, half_life_kimg: float | None = None) -> None:
        self.source, self.network = network, copy.deepcopy(network).requires_grad_(False).eval()
        self.decay, self.half_life_kimg = decay, half_life_kimg
        self._sources, self._averages = _floats(network), _floats(self.network)

    def kept(self, images: int) -> float:
        """Share of the old average that a step of ``images`` images keeps."""
        return self.decay if self.half_life_kimg is None else 0.5 ** (images / (1000 * self.half_life_kimg))

    @torch.no_grad()
    def update(self, images: int) -> None:
        """Move towards the network by one step of ``images`` real images."""
        torch._foreach_lerp_(self._averages, self._sources, 1 - self.kept(images))


def _floats(network: nn.Module) -> list[Tensor]:
    """Parameters, and what batch norm keeps."""
    return [*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())]
