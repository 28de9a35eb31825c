"""Docstrings, help and messages read as one writes today; docstrings of fields are the help of the command line."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src/progan"
OPTIONS = re.compile(r"(Config|Options|Decay)$")  # classes outside of cli/ whose fields become options

INSTEAD = {
    r"\b(goes|going|gone) on\b": "resumes, continues",
    r"\b(made|makes) images\b": "generated images, generates images",
    r"\blest\b": "so that ... not, to avoid",
    r"\bsay (--\w|[A-Z_]{3})": "set X=..., use --x",
    r"\bthe ending\b": "the extension, the suffix",
    r"\bso many (thousand|hundred)": "every N thousand",
    r"\bnow and then\b": "periodically",
    r"\b(is|are) there already\b": "already exists",
    r"\b(mend|forgets) (that|them|it)\b": "fix this, delete them",
    r"\b(the paper|it) does not tell\b": "the paper does not say",
    r"\b[Gg]rey\b|\b[Cc]entre|\b[Cc]olour|\b[Bb]ehaviour|[rt]imis(e|ation)\b|ormalis(e|ation)\b": "US spelling",
}
"""Idioms that a reader stumbles over, and what to write."""


@functools.cache
def module(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def files(part: Path) -> list[Path]:
    """A module, or all modules of a package."""
    return sorted(part.rglob("*.py")) if part.is_dir() else [part]


def strings(tree: ast.AST) -> Iterator[tuple[int, str, bool]]:
    """Line and text of every string, and whether it is a docstring; an f-string counts with its values left out."""
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    pieces = {id(piece) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for piece in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(piece.value) if isinstance(piece, ast.Constant) else "..." for piece in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in pieces:
            text = node.value
        else:
            continue
        yield node.lineno, " ".join(text.split()), id(node) in docs


def options(path: Path) -> Iterator[tuple[ast.AnnAssign, ast.stmt | None]]:
    """The fields of a module that become options, each with the statement behind it."""
    for node in ast.walk(module(path)):
        if isinstance(node, ast.ClassDef) and (path.parent.name == "cli" or OPTIONS.search(node.name)):
            for field, after in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(field, ast.AnnAssign) and "ClassVar" not in ast.unparse(field.annotation):
                    yield field, after


def test_strings_are_found_with_their_idioms() -> None:
    tree = ast.parse('"""Of the\nseed."""\nx = f"the run {1} goes on"\ny = "a" "b"')
    assert list(strings(tree)) == [(1, "Of the seed.", True), (3, "the run ... goes on", False), (4, "ab", False)]


@pytest.mark.parametrize(
    "part", sorted(PACKAGE.glob("[a-z]*")) + sorted(PACKAGE.glob("__[im]*.py")), ids=lambda p: p.name
)
def test_english(part: Path) -> None:
    found = []
    for path in files(part):
        for line, text, is_doc in strings(module(path)):
            place = f"{path.relative_to(PACKAGE)}:{line}"
            found += [f"{place}: {m[0]!r}, write {new}" for old, new in INSTEAD.items() if (m := re.search(old, text))]
            if is_doc and text.startswith(("Of ", "That of ")):
                found.append(f"{place}: {text[:40]!r} does not stand alone, write what it is")
    assert not found, "\n".join(found)


def test_every_option_has_a_description() -> None:
    missing = [
        f"{path.relative_to(PACKAGE)}:{field.lineno}: {ast.unparse(field.target)}"
        for path in files(PACKAGE)
        for field, after in options(path)
        if not (isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant))
        and "help=" not in ast.unparse(field)
    ]
    assert not missing, "\n".join(missing)
