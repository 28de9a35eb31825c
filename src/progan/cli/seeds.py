"""Seeds as people write them."""

import re

from progan.errors import ConfigError


def parse_seeds(text: str) -> list[int]:
    """Seeds of a list with ranges.

    >>> parse_seeds("3,7,20-22")
    [3, 7, 20, 21, 22]
    """
    seeds = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if not match:
            raise ConfigError(f"seeds must look like 0-15 or 3,7,20-29; got {text!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ConfigError(f"seeds {part.strip()!r}: the range is empty; write the smaller number first")
        seeds += range(first, last + 1)
    return seeds
