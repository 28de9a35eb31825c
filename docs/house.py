"""Draws docs/house.svg, the layers of the package, from the layer rule in pyproject.toml and the docstrings.

python docs/house.py
"""

import ast
import textwrap
import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
WIDTH, GAP = 1280, 10
"""Width of the picture, and distance between boxes [pixels]."""
LINE, LETTER = 15, 6.3
"""Height of a line of text, and mean width of a letter [pixels]."""


def floors() -> list[list[str]]:
    """Modules of every layer, the top one first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    return [[name.strip(" ()") for name in layer.split("|")] for layer in layers]


def about(name: str) -> str:
    """What a module is, from the first line of its docstring."""
    place = ROOT / "src" / "progan" / name
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    doc = ast.get_docstring(ast.parse(file.read_text())) or ""
    return doc.splitlines()[0].replace("``", "").rstrip(".")


def inside(name: str) -> str:
    """The files of a folder."""
    place = ROOT / "src" / "progan" / name
    files = sorted(p for p in place.iterdir() if p.name[0] not in "._") if place.is_dir() else []
    return ", ".join(f"{p.name}/" if p.is_dir() else p.stem for p in files)


def draw() -> str:
    """The picture as SVG: an arrow of import may only point down."""
    parts, top = [], GAP
    for floor in floors():
        width = (WIDTH - GAP) / len(floor) - GAP
        letters = int((width - 16) / LETTER)
        texts = [textwrap.wrap(about(name), letters) for name in floor]
        lists = [textwrap.wrap(inside(name), letters) for name in floor]
        height = 30 + LINE * max(len(a) + len(b) for a, b in zip(texts, lists, strict=True))
        for number, (name, lines, files) in enumerate(zip(floor, texts, lists, strict=True)):
            left = GAP + number * (width + GAP)
            folder = (ROOT / "src" / "progan" / name).is_dir()
            parts.append(
                f'<rect x="{left:.0f}" y="{top}" width="{width:.0f}" height="{height}" rx="6" '
                f'fill="{"#e8f0fe" if folder else "#f6f6f4"}" stroke="#8a94a6"/>'
            )
            parts.append(f'<text x="{left + 8:.0f}" y="{top + 18}" class="name">{name}{"/" * folder}</text>')
            for row, line in enumerate([*lines, *files]):
                kind = ' class="files"' if row >= len(lines) else ""
                parts.append(f'<text x="{left + 8:.0f}" y="{top + 35 + LINE * row}"{kind}>{escape(line)}</text>')
        top += height + GAP
    style = "text { font: 12px sans-serif; fill: #333 } .files { fill: #68758c } "
    style += ".name { font: bold 13px sans-serif; fill: #111 }"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}">'
    white = f'<rect width="{WIDTH}" height="{top}" fill="white"/>'
    return "\n".join([head, f"<style>{style}</style>", white, *parts, "</svg>", ""])


if __name__ == "__main__":
    (ROOT / "docs/house.svg").write_text(draw())
