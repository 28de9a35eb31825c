"""Statistics of training, kept on the device so that no iteration waits for them."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from progan.training.distributed import Ranks


class Statistics:
    """Means of named values since the last ``take``, and how many steps of each phase were skipped in a row.

    A value that is not finite is counted instead of averaged, so that one bad step does not hide all others.

    Args:
        device: device on which the values are computed.
        ranks: processes over which the values are averaged.
    """

    def __init__(self, device: torch.device, ranks: Ranks) -> None:
        self.device, self.ranks = device, ranks
        self._sums: dict[tuple[str, ...], Tensor] = {}  # [3, K]: sums of finite values, their weights, number of others
        self._steps: dict[str, Tensor] = {}  # [2]: steps skipped in a row until now, steps applied so far

    def add(self, values: Mapping[str, Tensor], weight: float = 1.0) -> None:
        """Add scalars. The mean of one of n micro-batches, already divided by n, has a ``weight`` of 1/n."""
        names, new = tuple(values), torch.stack([value.detach().float() for value in values.values()])
        finite = new.isfinite()
        rows = torch.stack([torch.where(finite, new, 0.0), finite * weight, ~finite])
        self._sums[names] = self._sums[names] + rows if names in self._sums else rows

    def stepped(self, phase: str, skipped: Tensor) -> None:
        """Count a step of a phase; ``skipped`` is 1 if its gradients were not finite, else 0."""
        streak, applied = self._steps[phase] if phase in self._steps else torch.zeros(2, device=self.device)
        self._steps[phase] = torch.stack([(streak + 1) * skipped, applied + 1 - skipped])

    def take(self) -> dict[str, float | None]:
        """Means since the last call, over all ranks; the one place where the host waits for the device.

        Returns:
            Means by name, None where no value was finite. If there are any, also
            ``NAME/not_finite``, the number of values that were not, and ``PHASE/skipped_in_a_row``.
        """
        self.share()
        total: dict[str, Tensor] = {}
        for group, sums in self._sums.items():
            for name, column in zip(group, sums.unbind(1), strict=True):
                total[name] = total[name] + column if name in total else column
        self._sums = {}
        names = sorted(total)
        rows = torch.stack([total[name] for name in names]) if names else torch.zeros(0, 3)
        found: dict[str, float | None] = {}
        for name, mean, (_, weight, others) in zip(
            names, (rows[:, 0] / rows[:, 1]).tolist(), rows.tolist(), strict=True
        ):
            found[name] = mean if weight else None
            found |= {f"{name}/not_finite": others * self.ranks.world} if others else {}
        return found | {f"{phase}/skipped_in_a_row": streak for phase, streak in self.streaks().items() if streak}

    def streaks(self) -> dict[str, float]:
        """Number of steps skipped in a row until now, by phase."""
        return {phase: steps[0].item() for phase, steps in sorted(self._steps.items())}

    def applied(self) -> dict[str, float]:
        """Number of steps applied so far, by phase."""
        return {phase: steps[1].item() for phase, steps in self._steps.items()}

    def share(self) -> None:
        """Replace the sums of each rank by their means over all ranks."""
        for group in sorted(self._sums):
            self.ranks.mean(self._sums[group])

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"sums": {"\n".join(names): sums for names, sums in self._sums.items()}, "steps": dict(self._steps)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with what a checkpoint kept."""
        self._sums = {tuple(names.split("\n")): sums.to(self.device) for names, sums in state["sums"].items()}
        self._steps = {phase: steps.to(self.device) for phase, steps in state["steps"].items()}


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether every number is finite, whatever it is the number of."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors if tensor.is_floating_point())
