"""The report of 'progan prepare --inspect'."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from progan.data.inspection import Inspection
from progan.data.inspection.doubts import doubts
from progan.data.printing import bars, printable, quoted
from progan.files import short_name

_MOST = 20  # lines of a list


def report(found: Inspection, path: str, *, given: str = "") -> str:
    """Return a report of everything found in a source, and the commands to run next.

    Args:
        found: result of the inspection.
        path: path of the source, or the name of a known data set.
        given: value of --from, the files of a known data set.
    """
    facts, total = found.findings, len(found.source)
    modes = ", ".join(f"{mode} {count}" for mode, count in Counter(facts.modes).most_common())
    lines = [
        f"source       {printable(found.source.description, 200)}",
        f"images       {len(facts.names)} of {total} can be read",
        f"channels     {modes or 'none'}",
        "sizes        (height x width)",
        *(f"  {line}" for line in histogram(facts.sizes)),
        *_listed("broken", facts.broken),
        *_listed("identical", [" = ".join(group) for group in found.exact], "group with the same decoded pixels"),
        *_listed("similar", [" ~ ".join(group) for group in found.near], "group that looks alike (difference hash)"),
    ]
    counts = found.class_counts()
    lines.append(f"classes      {len(counts) or 'none'}")
    lines += [f"  {line}" for line in bars([(printable(name, 60), n) for name, n in list(counts.items())[:_MOST]])]
    lines += [f"  ... and {len(counts) - _MOST} more"] if len(counts) > _MOST else []
    lines += [f"columns      {', '.join(map(str, found.source.columns))}"] * bool(found.source.columns)
    lines += facts.values.lines("all pixels")
    lines += [
        f"note         {printable(note, 500)}"
        for note in (*found.source.notes, *(found.plan.notes if found.plan else ()))
    ]
    lines += [f"warning      {doubt}" for doubt in doubts(found.facts())]
    return "\n".join(lines + _suggestion(found, path, given))


def histogram(sizes: Sequence[tuple[int, int]]) -> list[str]:
    """Return bars of all sizes, or of ranges of the shorter side if there are more than 10 sizes."""
    counts = Counter(sizes)
    if len(counts) <= 10:
        return bars([(f"{height}x{width}", n) for (height, width), n in sorted(counts.items())])
    steps = Counter(min(size).bit_length() for size in sizes)
    return bars([(f"{1 << k >> 1} ... {(1 << k) - 1} (shorter side)", steps[k]) for k in sorted(steps)])


def _listed(title: str, items: Sequence[str], what: str = "") -> list[str]:
    what = what if len(items) == 1 else what.replace("group", "groups", 1).replace("looks", "look")
    short = [printable(item, 200) for item in items[:_MOST]]
    more = [f"... and {len(items) - _MOST} more"] if len(items) > _MOST else []
    return [f"{title:<12} {len(items)} {what}".rstrip(), *(f"  {line}" for line in short + more)]


def _suggestion(found: Inspection, path: str, given: str) -> list[str]:
    plan = found.plan
    if plan is None:
        return ["suggestion   no image can be used; repair or replace the files listed above"]
    size = str(plan.height) if plan.height == plan.width else f"{plan.height}x{plan.width}"
    kind = {1: "grayscale", 3: "RGB", 4: "RGBA"}[plan.channels]
    stem = re.split("[.@:]", Path(path).name)[0]
    path, store = quoted(path), quoted(f"{short_name(stem, room=len(size) + 1)}_{size}")
    unusable = len(found.findings.broken) + found.too_small
    options = (f" --from {quoted(given)}" if given else "") + (" --on-error skip" if unusable else "")
    command = f"progan prepare {path} {store} --resolution {size}{options}"
    preset = {(256, 3): "lsun_256", (32, 3): "cifar10", (1024, 3): "celebahq_1024"}.get((plan.height, plan.channels))
    lines = [
        f"suggestion   {plan.height}x{plan.width} {kind}, a store of {found.store_bytes / 1e6:.1f} MB",
        *(
            [f"             smaller images skipped: {found.too_small}; to use them, add --upscale"]
            * (found.too_small > 0)
        ),
        f"run          {command}",
        f"             progan train auto {store} --dry-run",
        f"             progan train auto {store}",
    ]
    return [*lines, f"             progan train {preset} {store}     (as in the paper)"] if preset else lines
