"""Names and texts from data sets, printed safely on one short line."""


def printable(text: str, most: int = 100) -> str:
    r"""Escape unprintable characters of a text and truncate it to ``most`` characters.

    >>> printable("a\n\udcff.png"), printable("caption", 6)
    ('a\\n\\udcff.png', 'cap...')
    """
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: most + 1])
    return line if len(line) <= most else f"{line[: most - 3]}..."
