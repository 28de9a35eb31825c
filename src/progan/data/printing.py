"""Names and texts from data sets, printed safely on one short line, and counts as bars."""

import shlex
from collections.abc import Callable, Sequence

_BAR = 40  # widest bar [characters]


def printable(text: str, most: int = 100) -> str:
    r"""Escape unprintable characters of a text and truncate it to ``most`` characters.

    >>> printable("a\n\udcff.png"), printable("caption", 6)
    ('a\\n\\udcff.png', 'cap...')
    """
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: most + 1])
    return line if len(line) <= most else f"{line[: most - 3]}..."


def quoted(path: str) -> str:
    """Return a path as it is typed in a command.

    >>> quoted("photos"), quoted("my photos"), quoted("-photos")
    ('photos', "'my photos'", './-photos')
    """
    return shlex.quote(f"./{path}" if path.startswith("-") else path)


def bars(counts: Sequence[tuple[str, int]], *, show: Callable[[int], str] = str) -> list[str]:
    """Return a line with a bar for each count; the longest bar has 40 characters.

    Args:
        counts: name and number.
        show: formats a number behind its bar.

    >>> bars([("a", 80), ("bb", 1)])
    ['a  ######################################## 80', 'bb # 1']
    """
    width, most = max((len(name) for name, _ in counts), default=0), max((n for _, n in counts), default=1)
    return [f"{name:<{width}} {'#' * -(-n * _BAR // max(most, 1))} {show(n)}" for name, n in counts]


def some(names: Sequence[str], most: int = 3) -> str:
    """Return the first names of a list, printable.

    >>> some(["a", "b", "c"], 2), some(["a"])
    ('a, b, ...', 'a')
    """
    return ", ".join(printable(name, 60) for name in names[:most]) + (", ..." if len(names) > most else "")


def counted(count: int, what: str) -> str:
    """Return a number of things, whose plural ends in s.

    >>> counted(1, "file"), counted(2, "file")
    ('1 file', '2 files')
    """
    return f"{count} {what}{'' if count == 1 else 's'}"  # counts of numpy, too
