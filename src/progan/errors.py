"""Errors that describe a user's mistake; the command line prints their message as one line and exits with code 2."""

import re

_UNSEEN = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_MOST = 2000  # characters of a line


class ProganError(Exception):
    """Error that the caller can fix; its message says what was expected, what was found and what to type."""


class ConfigError(ProganError):
    """Invalid setting or combination of settings."""


class DataError(ProganError):
    r"""Data source or store that is missing, empty, damaged or of an unexpected shape.

    Names and reasons in the message come from files, so characters that would control a terminal are escaped, and
    lines of thousands of characters are shortened in the middle.

    >>> print(DataError("a\x1b[31m.png: " + "broken " * 1000))  # doctest: +ELLIPSIS
    a\x1b[31m.png: broken broken ... broken broken...
    """

    def __init__(self, message: object = "") -> None:
        seen = _UNSEEN.sub(lambda found: ascii(found.group())[1:-1], str(message))
        super().__init__("\n".join(map(_shortened, seen.split("\n"))))


class CheckpointError(ProganError):
    """Checkpoint or snapshot that cannot be read or does not match."""


class BlowupError(ProganError):
    """A run that no longer learns anything because its gradients are not finite; the command line exits with code 1."""


def _shortened(line: str) -> str:
    return line if len(line) <= _MOST else f"{line[: _MOST * 3 // 4]} ... {line[-_MOST // 5 :]}"
