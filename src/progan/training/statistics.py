"""Statistics of training, kept on the device so that no iteration waits for them."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from progan.training.distributed import Ranks

SKIPPED, NOT_FINITE = "/skipped_in_a_row", "/not_finite"
"""Ends of the names of counts in a row."""


class Statistics:
    """Means of named values since the last ``take``, and how many steps of each phase were skipped in a row.

    A value that is not finite is counted instead of averaged, so that one bad step does not hide all others.

    Args:
        device: device on which the values are computed.
        ranks: processes over which the values are averaged.
    """

    def __init__(self, device: torch.device, ranks: Ranks) -> None:
        self.device, self.ranks = device, ranks
        # By number of parts and names, [3, K]: sums of finite values, their number, number of all values.
        self._sums: dict[tuple[int, tuple[str, ...]], Tensor] = {}
        self.steps: dict[str, int] = {}
        """Number of steps made so far, by phase."""
        self._applied: dict[str, Tensor] = {}  # number of the last step that was not skipped, int64, 0: none
        self._taken: dict[str, int] = {}  # steps made at the last ``take``

    def add(self, values: Mapping[str, Tensor], *, parts: int = 1) -> None:
        """Add scalars; of a batch in several ``parts`` the means of one of them, divided by the number of parts."""
        key, new = (parts, tuple(values)), torch.stack([value.detach() for value in values.values()]).float()
        rows = torch.stack([new.nan_to_num(0, 0, 0), new.isfinite(), torch.ones_like(new)])
        self._sums[key] = self._sums[key] + rows if key in self._sums else rows

    def stepped(self, phase: str, skipped: Tensor) -> None:
        """Count a step of a phase; ``skipped`` is 1 if its gradients were not finite, else 0."""
        number = self.steps[phase] = self.steps.get(phase, 0) + 1
        last = (
            self._applied[phase] if phase in self._applied else torch.zeros((), dtype=torch.int64, device=self.device)
        )
        self._applied[phase] = torch.where(skipped > 0, last, number)

    def take(self) -> dict[str, float | None]:
        """Means since the last call, over all ranks; the one place where the host waits for the device.

        Returns:
            Means by name, None where no value was finite. If there are any, also ``NAME/not_finite``, the number of
            values that were not, and ``PHASE/skipped_in_a_row``.
        """
        self.share()
        total: dict[str, Tensor] = {}
        for (parts, group), (sums, finite, number) in self._sums.items():
            columns = torch.stack([sums, finite / parts, number - finite]).unbind(1)
            for name, column in zip(group, columns, strict=True):
                total[name] = total[name] + column if name in total else column
        self._sums = {}
        names = sorted(total)
        rows = torch.stack([total[name] for name in names]) if names else torch.zeros(0, 3)
        means = (rows[:, 0] / rows[:, 1]).tolist()
        found: dict[str, float | None] = {}
        for name, mean, (_, weight, others) in zip(names, means, rows.tolist(), strict=True):
            found[name] = mean if weight else None
            found |= {f"{name}{NOT_FINITE}": others * self.ranks.world} if others else {}
        streaks = self.streaks(since=self._taken)
        self._taken = dict(self.steps)
        return found | {f"{phase}{SKIPPED}": streak for phase, streak in streaks.items() if streak}

    def streaks(self, *, since: Mapping[str, int]) -> dict[str, int]:
        """Number of steps skipped in a row until now, by phase; only phases that made steps ``since`` then."""
        applied = self.applied()
        made = {phase: number for phase, number in self.steps.items() if number > since.get(phase, 0)}
        return {phase: number - applied[phase] for phase, number in sorted(made.items())}

    def applied(self) -> dict[str, int]:
        """Number of the last step that was applied, by phase; 0: none."""
        return {phase: int(number) for phase, number in self._applied.items()}

    def share(self) -> None:
        """Replace the sums of each rank by their means over all ranks."""
        for key in sorted(self._sums):
            self.ranks.mean(self._sums[key])

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        sums = {"\n".join([str(parts), *names]): sums for (parts, names), sums in self._sums.items()}
        steps = {
            phase: torch.tensor([number, self._taken.get(phase, 0), int(self._applied[phase])])
            for phase, number in self.steps.items()
        }
        return {"sums": sums, "steps": steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with what a checkpoint kept."""
        self._sums = {}
        for key, sums in state["sums"].items():
            parts, *names = key.split("\n")
            self._sums[int(parts), tuple(names)] = sums.to(self.device)
        made = {phase: numbers.tolist() for phase, numbers in state["steps"].items()}
        self.steps = {phase: number for phase, (number, _, _) in made.items()}
        self._taken = {phase: taken for phase, (_, taken, _) in made.items()}
        self._applied = {phase: torch.tensor(last, device=self.device) for phase, (_, _, last) in made.items()}


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether every number is finite, whatever it is the number of."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors if tensor.is_floating_point())
