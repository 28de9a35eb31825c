"""The command 'progan family'."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from progan.cli import nearest
from progan.errors import ConfigError
from progan.presets import PRESETS, about
from progan.presets.catalog import FAMILY, Member

_WIDTH = 118


@dataclass(frozen=True)
class Family:
    """List the GANs of this library, or describe one of them."""

    name: Annotated[
        tyro.conf.Positional[str | None], tyro.conf.arg(metavar="NAME", help_behavior_hint="(default: all)")
    ] = None
    """GAN to describe, such as dcgan."""

    def run(self) -> int:
        """Print the table, or the description of one GAN."""
        if self.name is None:
            print(table())
            return 0
        name = self.name.lower().replace("-", "_")
        if name not in FAMILY:
            raise ConfigError(f"unknown GAN {self.name!r}; {nearest(name, list(FAMILY))}")
        print(describe(FAMILY[name]))
        return 0


def table() -> str:
    """Return a table of all GANs, with the advice below each line."""
    rows = [("name", "year", "loss", "networks", "start with")]
    rows += [(name, str(m.year), m.loss, m.networks, m.preset) for name, m in FAMILY.items()]
    widths = [min(max(len(row[i]) for row in rows), (8, 4, 38, 44, 24)[i]) for i in range(5)]
    lines = []
    for row in rows:
        cells = [textwrap.wrap(cell, width) for cell, width in zip(row, widths, strict=True)]
        for number in range(max(map(len, cells))):
            parts = (c[number] if number < len(c) else "" for c in cells)
            lines.append("  ".join(f"{part:<{width}}" for part, width in zip(parts, widths, strict=True)).rstrip())
        if row[0] in FAMILY:
            member = FAMILY[row[0]]
            for text in (member.advice, f"Needs {member.needs}."):
                lines += textwrap.wrap(text, _WIDTH, initial_indent=" " * 16, subsequent_indent=" " * 16)
            lines.append("")
    return "\n".join([*lines, "progan family NAME: formula, files, presets and measured numbers"])


def describe(member: Member) -> str:
    """Return everything about one GAN."""
    small = [name for name in member.presets if name.endswith("_small")]
    files = ", ".join(f"src/progan/{module}" for module in member.modules)
    facts = {
        "loss": member.loss,
        "networks": member.networks,
        "needs": member.needs,
        "read": files,
        "measured": "",
        "advice": member.advice,
    }
    lines = [f"{member.title}: {member.paper}", "", *(f"    {line}" for line in member.formula), ""]
    for key, value in facts.items():
        if key == "measured":
            entries = member.measured or ("nothing yet",)
            lines += [f"{key if i == 0 else '':<10}{entry}" for i, entry in enumerate(entries)]
        else:
            lines += textwrap.wrap(value, _WIDTH, initial_indent=f"{key:<10}", subsequent_indent=" " * 10)
    lines += ["", "presets"]
    width = max(map(len, member.presets))
    for name in member.presets:
        lines.append(f"  {name:<{width}}  {about(PRESETS[name])}")
    start = member.preset if member.preset == "auto" or not small else small[0]
    data = "A B" if PRESETS[start]().gan.sources == 2 else "DATA"
    return "\n".join([*lines, "", f"start with: progan train {start} {data}", "more: docs/family.md"])


def main(args: Sequence[str]) -> int:
    """Parse the arguments and run the command."""
    return tyro.cli(Family, args=list(args), prog="progan family").run()
