"""Classes of a conditional generator, chosen by number or by name."""

import contextlib
import difflib
import re
import unicodedata
from collections.abc import Sequence
from typing import SupportsInt

from progan.data.printing import printable
from progan.errors import ConfigError

_MOST = 10  # names in a message


def class_number(label: SupportsInt | str, classes: Sequence[str], count: int) -> int:
    """Return the number of a class.

    An int is the number itself. A text is the name of a class; if no class is named by a whole number, it may also be
    a number. So ``"3"`` is the class named 3 if the classes are named 1, 2 and 3, and otherwise the class of number 3.

    Args:
        label: number or name of the class.
        classes: names of all classes; empty if they are unknown.
        count: number of classes.

    Raises:
        ConfigError: if there is no such class; the message contains the nearest names.

    >>> class_number("dog", ["cat", "dog"], 2), class_number("1", ["cat", "dog"], 2), class_number("3", "123", 3)
    (1, 1, 2)
    """
    if not isinstance(label, str):
        return _checked(int(label), count)
    same = [i for i, name in enumerate(classes) if name == label]
    same = same or [i for i, name in enumerate(classes) if _plain(name) == _plain(label)]
    if len(same) == 1:
        return same[0]
    numbers = {i: int(name) for i, name in enumerate(classes) if _whole(name)}
    if _whole(label) and not numbers:
        return _checked(int(label), count)
    if _whole(label) and len(same := [i for i, number in numbers.items() if number == int(label)]) == 1:
        return same[0]  # such as 7 for 007
    raise ConfigError(f"no class is named {printable(label)!r}; {_hint(label, classes, count)}")


def _checked(number: int, count: int) -> int:
    if not 0 <= number < count:
        raise ConfigError(f"label must be 0 ... {count - 1}, or the name of a class; got {number}")
    return number


def _whole(text: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]{1,18}", text.strip()) is not None


def _plain(name: str) -> str:
    """One form of names that look alike: composed, and UTF-8 even where the locale of a process is a different one."""
    with contextlib.suppress(UnicodeError):  # of bytes of another encoding
        name = name.encode("utf-8", "surrogateescape").decode("utf-8")
    return unicodedata.normalize("NFC", name)


def _hint(label: str, classes: Sequence[str], count: int) -> str:
    if not classes:
        return f"the names of its classes are unknown, use a number 0 ... {count - 1}"
    lower = {name.lower(): name for name in classes}
    close = [lower[name] for name in difflib.get_close_matches(label.lower(), list(lower), n=3, cutoff=0.6)]
    if close:
        return f"did you mean {' or '.join(map(printable, close))}?"
    more = f", ... ({count} classes)" if count > _MOST else ""
    return f"choose from {', '.join(map(printable, classes[:_MOST]))}{more}"
