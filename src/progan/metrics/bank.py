"""A statistic that keeps every row, for metrics that compare single images instead of sums over a set."""

from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from torch import Tensor

from progan.devices import float64_device
from progan.metrics.base import Setup


class FeatureBank:
    """All rows of one set as float32, in the order in which they were added: features, or probabilities of classes.

    It requires 4 NF bytes: 0.4 GB for 50,000 rows of 2048 features.
    """

    def __init__(self, setup: Setup) -> None:
        self._device = float64_device(setup.device)
        self._parts: list[Tensor] = []

    @property
    def count(self) -> int:
        return sum(map(len, self._parts))

    @property
    def rows(self) -> Tensor:
        """Float32 [N, F]; [0, 0] before the first update."""
        if len(self._parts) > 1:
            self._parts = [torch.cat(self._parts)]
        return self._parts[0] if self._parts else torch.empty(0, 0, device=self._device)

    def update(self, rows: Tensor) -> Self:
        """Add rows [N, F] of any float dtype."""
        if len(rows):
            self._parts.append(rows.detach().to(self._device, torch.float32, copy=True))
        return self

    def merge(self, other: Self) -> Self:
        self._parts += [part.to(self._device) for part in other._parts]
        return self

    def arrays(self) -> dict[str, np.ndarray]:
        return {"rows": self.rows.cpu().numpy()}

    def load(self, arrays: Mapping[str, np.ndarray]) -> Self:
        self._parts = []
        return self.update(torch.from_numpy(np.array(arrays["rows"])))
