"""Names and texts of others in one short line."""


def printable(text: str, most: int = 100) -> str:
    r"""A text with its unusual characters as escapes, and cut off behind ``most`` characters.

    >>> printable("a\n\udcff.png"), printable("caption", 6)
    ('a\\n\\udcff.png', 'cap...')
    """
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: most + 1])
    return line if len(line) <= most else f"{line[: most - 3]}..."
