"""A watch over a run: warnings from its statistics and samples, what to try, and when it has blown up."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from torch import Tensor

from progan.training.statistics import NOT_FINITE, SKIPPED

Row = Mapping[str, Any]

NORM = "/gradient_norm"
BLOWN = 100
"""Number of steps of a phase skipped in a row that ends the run."""
BLOWN_AT_END = 10
"""The same at the end of the run; from then on, its state is not saved either."""
FEWEST, MOST = 5, 20
"""Numbers of rows of a stage, the latest ones, of which a median is taken."""
DEAD, JUMP = 0.01, 30.0
"""Gradient norms below and above these multiples of their median are reported."""
FLAT = 1 / 255
"""Samples in [-1, 1] whose pixels differ by less than this are considered equal."""
COLLAPSED = 0.02
"""Codes whose standard deviation over images is below this multiple of the prior's are considered equal."""
LOADING = 0.5
"""Share of the time spent on loading images above which it is reported."""
LOWER = "try a lower learning rate (--schedule.lr)"


class Watch:
    """Warnings about one run; each is given once, when its cause appears.

    Args:
        rows: rows of stats.jsonl so far.
        sampled: names of the networks that the sampler is made of.
        scaled: whether a loss scale is searched for (fp16), so that single gradients that are not finite are normal.
    """

    def __init__(self, rows: Sequence[Row], sampled: Sequence[str], *, scaled: bool = False) -> None:
        self.sampled, self.scaled = sampled, scaled
        self._rows: list[Row] = []
        self._active: dict[str, set[str]] = {}
        for row in rows:  # so that a resumed run does not repeat its warnings
            self.row(row)

    def row(self, row: Row) -> list[str]:
        """Return warnings about a new row of statistics."""
        here = [old for old in self._rows if _stage(old) == _stage(row)]
        self._rows = [*here, row]  # those of other stages are not needed again
        return self._new("row", dict([*self._skips(row), *self._norms(row, here), *_loading(row)]))

    def samples(self, images: Tensor) -> list[str]:
        """Return warnings about samples [N, C, H, W] in about [-1, 1]."""
        flat = images.flatten(1)
        if float((flat.amax(1) - flat.amin(1)).max()) < FLAT:
            found = {"color": f"every sample is of one color; {LOWER}, or start again with another --seed"}
        elif len(images) > 1 and float((flat.amax(0) - flat.amin(0)).max()) < FLAT:
            found = {"equal": f"all samples are equal (mode collapse); {LOWER}, or start again with another --seed"}
        else:
            found = {}
        return self._new("samples", found)

    def codes(self, codes: Tensor, latents: Tensor) -> list[str]:
        """Return warnings about codes of different real images [N, F], beside latents of the prior [N, F]."""
        spread, usual = (float(x.float().std(0).max()) for x in (codes, latents))
        found = {}
        if spread < COLLAPSED * usual:
            found["codes"] = (
                f"the encoder gives all images almost the same code (posterior collapse): codes vary by {spread:.2g}, "
                f"latents by {usual:.2g}; {LOWER}, or start again with another --seed"
            )
        return self._new("codes", found)

    def _new(self, source: str, found: Mapping[str, str]) -> list[str]:
        """The texts whose keys the same source did not have the last time."""
        new = [text for key, text in found.items() if key not in self._active.get(source, ())]
        self._active[source] = set(found)
        return new

    def _skips(self, row: Row) -> Iterator[tuple[str, str]]:
        """Steps whose loss or gradients were not finite."""
        for phase, (what, count) in not_finite(row, gradients=not self.scaled).items():
            yield f"{phase} finite", f"{phase}: {what} not finite in {count:.0f} steps, which were skipped; {LOWER}"
        for key, count in row.items():
            if key.endswith(SKIPPED) and count >= (BLOWN // 2 if self.scaled else BLOWN_AT_END):
                yield key, f"{key.removesuffix(SKIPPED)}: the last {count:.0f} steps were skipped; {LOWER}"

    def _norms(self, row: Row, before: Sequence[Row]) -> Iterator[tuple[str, str]]:
        """Gradients that vanish or jump."""
        for key in [key for key in row if key.endswith(NORM) and row[key] is not None]:
            past, name = [old[key] for old in before[-MOST:] if old.get(key) is not None], key.removesuffix(NORM)
            if len(past) < FEWEST:
                continue
            usual, now = median(past), row[key]
            numbers = f"its gradient norm is {now:.2g}, its median so far {usual:.2g}"
            if now < DEAD * usual and name in self.sampled:
                yield f"{name} dead", f"the {name} learns almost nothing (saturated opponent?): {numbers}; {LOWER}"
            elif now < DEAD * usual:
                yield f"{name} dead", f"the {name} is saturated: {numbers}; {LOWER}, or another loss"
            elif now > JUMP * usual > 0:
                yield f"{name} jump", f"the {name} may be about to diverge: {numbers}; {LOWER}"


def _loading(row: Row) -> Iterator[tuple[str, str]]:
    share = row.get("loading_s", 0.0) / max(row.get("seconds", 0.0), 1e-9)
    if share > LOADING and row["loading_s"] > 1:
        yield "loading", f"{share:.0%} of the time is spent waiting for images; put the store on a faster disk"


def blown(row: Row, *, over: bool) -> str:
    """Return why a run has blown up, judging by its latest row, or "".

    Args:
        over: whether the run ends with this row.
    """
    for key, count in row.items():
        if key.endswith(SKIPPED) and count >= (BLOWN_AT_END if over else BLOWN):
            phase = key.removesuffix(SKIPPED)
            what, _ = not_finite(row).get(phase, ("gradients", 0))
            return f"the last {count:.0f} steps of the phase '{phase}' were skipped (not finite: {what})"
    return ""


def not_finite(row: Row, *, gradients: bool = True) -> dict[str, tuple[str, float]]:
    """Terms that were not finite, by phase or network, in words, and the largest number of their steps."""
    found: dict[str, tuple[str, float]] = {}
    for key in sorted(key for key in row if key.endswith(NOT_FINITE)):
        name, _, term = key.removesuffix(NOT_FINITE).rpartition("/")
        if gradients or term != NORM[1:]:
            words, count = found.get(name, ("", 0))
            term = "gradient" if term == NORM[1:] else term
            found[name] = (f"{words}, {term}" if words else term, max(count, row[key]))
    return found


def _stage(row: Row) -> tuple[Any, bool]:
    return row.get("resolution"), row.get("alpha", 1) < 1
